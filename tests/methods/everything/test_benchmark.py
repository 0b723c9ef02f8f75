"""The BSDS500 benchmark from files to figures: against the Matlab code's results, and with bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from data.miniatures import make_bsds
from PIL import Image as PILImages

from maskwright.errors import ConfigError, DatasetError, MaskwrightError
from maskwright.methods.everything.evaluate import (
    BenchmarkResult,
    Counted,
    KnownPhoto,
    Protocol,
    count_all,
    photos_of,
)
from maskwright.methods.everything.finished import FinishedPhotos
from maskwright.methods.everything.predictions import on_256_levels, read_prediction

Array = npt.NDArray[np.float64]


def scored(photos: list[KnownPhoto], folder: Path, protocol: Protocol) -> BenchmarkResult:
    found = dict(count_all(photos, folder, protocol))
    for counted in found.values():
        assert isinstance(counted, Counted), counted
    return BenchmarkResult([counted for photo in photos if isinstance(counted := found[photo], Counted)])


@pytest.mark.parametrize(
    ("form", "tests"), [("ucm2", ["test_1"]), ("png", ["test_2"]), ("segs", ["test_3", "test_4", "test_5"])]
)
def test_figures_equal_those_of_the_matlab_code(data_root: Path, form: str, tests: list[str]) -> None:
    root = data_root / "BSDS500/expected/mini"
    names = sorted(path.stem for path in (root / "groundTruth").iterdir())
    photos = [KnownPhoto(root / f"images/{name}.jpg", root / f"groundTruth/{name}.mat") for name in names]
    result = scored(photos, root / form, Protocol(suppress=False, thresholds=5))
    for name in tests:
        check_boundaries(result, root / name)
        if (root / name / "eval_cover.txt").exists():
            check_regions(result, root / name)


def check_boundaries(result: BenchmarkResult, folder: Path) -> None:
    """Their matching is random by some 1e-4, and so are these figures."""
    if not (folder / "eval_bdry.txt").exists():
        return
    lines = result.boundaries
    figures = [lines.ods.recall, lines.ods.precision, lines.ods.f]
    figures += [lines.ois.recall, lines.ois.precision, lines.ois.f, lines.ap]
    expected = np.loadtxt(folder / "eval_bdry.txt")
    assert lines.ods.threshold == pytest.approx(expected[0], abs=1e-6)
    np.testing.assert_allclose(figures, expected[1:], atol=7e-4)
    assert abs(lines.ods.f - expected[3]) < 5e-4
    by_level = np.stack([lines.thresholds, lines.recall, lines.precision, lines.f], axis=1)
    np.testing.assert_allclose(by_level, np.loadtxt(folder / "eval_bdry_thr.txt"), atol=7e-4)
    f = np.loadtxt(folder / "eval_bdry_img.txt")[:, -1]
    np.testing.assert_allclose([best.f for best in lines.per_image], f, atol=2e-3)


def check_regions(result: BenchmarkResult, folder: Path) -> None:
    regions = result.regions
    covering, rand, voi = regions.covering, regions.pri, regions.voi
    found = [covering.level, covering.ods, covering.ois, regions.best_covering]
    np.testing.assert_allclose(found, np.loadtxt(folder / "eval_cover.txt"), rtol=2e-6)
    found = [rand.level, rand.ods, rand.ois, voi.level, voi.ods, voi.ois]
    np.testing.assert_allclose(found, np.loadtxt(folder / "eval_RI_VOI.txt"), rtol=5e-6)
    by_level = np.stack([regions.levels, regions.coverings], axis=1)
    np.testing.assert_allclose(by_level, np.loadtxt(folder / "eval_cover_th.txt"), rtol=5e-6)
    by_level = np.stack([regions.levels, regions.rands, regions.informations], axis=1)
    np.testing.assert_allclose(by_level, np.loadtxt(folder / "eval_RI_VOI_thr.txt"), rtol=5e-6)


@pytest.fixture
def photo(tmp_path: Path) -> KnownPhoto:
    return photos_of(f"bsds500:{make_bsds(tmp_path / 'bsds')}?split=test")[0]


def save_truth(photo: KnownPhoto, folder: Path, depth: type[np.unsignedinteger] = np.uint8) -> Path:
    """The first annotator's boundary as a prediction."""
    cells = scipy.io.loadmat(photo.truth)["groundTruth"].ravel()
    folder.mkdir(exist_ok=True)
    path = folder / f"{photo.name}.png"
    PILImages.fromarray(cells[0]["Boundaries"][0, 0].astype(depth) * np.iinfo(depth).max).save(path)
    return path


def test_photos_are_counted_once_whoever_drew_them(tmp_path: Path) -> None:
    spec = f"bsds500:{make_bsds(tmp_path / 'bsds', annotators=3)}"
    assert [photo.name for photo in photos_of(f"{spec}?split=trainval&annotator=all")] == ["100", "101"]
    assert len(photos_of(f"{spec}?split=trainval", limit=1)) == 1


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_what_an_annotator_drew_is_precise(
    photo: KnownPhoto, tmp_path: Path, depth: type[np.unsignedinteger]
) -> None:
    save_truth(photo, tmp_path / "maps", depth)
    result = scored([photo], tmp_path / "maps", Protocol(suppress=False, thresholds=3))
    assert result.boundaries.ods.precision == 1
    assert 0.3 < result.boundaries.ods.recall <= 1
    assert result.to_json()["n"] == 1


def test_an_empty_map_scores_nothing_and_is_one_region(photo: KnownPhoto, tmp_path: Path) -> None:
    path = save_truth(photo, tmp_path / "maps")
    PILImages.fromarray(np.asarray(PILImages.open(path)) * np.uint8(0)).save(path)
    result = scored([photo], tmp_path / "maps", Protocol(suppress=True, thresholds=3))
    assert (result.boundaries.ods.f, result.boundaries.ap) == (0, 0)
    assert 0 < result.regions.covering.ods < 1


def test_a_detector_is_scored_as_its_stored_maps_are(photo: KnownPhoto, tmp_path: Path) -> None:
    height, width = np.asarray(PILImages.open(photo.image)).shape[:2]
    values = np.random.default_rng(0).random((height, width), np.float32)
    (tmp_path / "maps").mkdir()
    stored = np.rint(on_256_levels(values) * 255).astype(np.uint8)
    PILImages.fromarray(stored).save(tmp_path / f"maps/{photo.name}.png")
    protocol = Protocol(suppress=True, thresholds=5)
    ((_, counted),) = count_all([photo], lambda path: values, protocol)
    assert isinstance(counted, Counted)
    assert counted.to_json() == scored([photo], tmp_path / "maps", protocol).photos[0].to_json()


def test_processes_count_the_same(tmp_path: Path) -> None:
    photos = photos_of(f"bsds500:{make_bsds(tmp_path / 'bsds')}?split=trainval")
    for photo in photos:
        save_truth(photo, tmp_path / "maps")
    protocol = Protocol(suppress=False, thresholds=3)
    one = scored(photos, tmp_path / "maps", protocol)
    # An error comes back from a process with its message.
    (tmp_path / "maps/100.png").unlink()
    found = dict(count_all(photos, tmp_path / "maps", protocol, 2))
    assert "no prediction of 100" in str(found[photos[0]])
    counted = found[photos[1]]
    assert isinstance(counted, Counted)
    assert counted.to_json() == one.photos[1].to_json()


def test_bad_predictions_are_named(photo: KnownPhoto, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    path = save_truth(photo, maps)

    def error() -> str:
        ((_, found),) = count_all([photo], maps, Protocol(suppress=False, thresholds=1))
        assert isinstance(found, MaskwrightError)
        return str(found)

    PILImages.new("RGB", (8, 8)).save(path)
    assert "grey PNG" in error()
    PILImages.new("L", (8, 9)).save(path)
    assert "8×9, but the photo" in error()
    path.write_bytes(path.read_bytes()[:40])
    assert path.name in error()
    path.with_suffix(".mat").write_bytes(b"no Matlab file")
    assert "two predictions" in error()
    path.unlink()
    assert "cannot be read as a Matlab file" in error()
    cells = np.empty(2, object)
    cells[:] = [np.ones((3, 3)), np.ones((3, 4))]
    for content, message in (
        ({"other": 1}, "no variable ucm2 or segs"),
        ({"ucm2": np.zeros((4, 5))}, "ucm2 must be"),
        ({"ucm2": np.full((3, 5), 1.5)}, "ucm2 must be"),
        ({"segs": np.ones((3, 3))}, "segs must be a cell"),
        ({"segs": cells}, "one size"),
    ):
        scipy.io.savemat(path.with_suffix(".mat"), content)
        assert message in error()
    path.with_suffix(".mat").unlink()
    assert "no prediction" in error()


def test_partitions_as_predictions_need_not_count_from_one(tmp_path: Path) -> None:
    cells = np.empty(1, object)
    cells[0] = np.array([[7, 7, 900], [7, 7, 900]], np.uint16)
    scipy.io.savemat(tmp_path / "a.mat", {"segs": cells})
    prediction = read_prediction(tmp_path / "a.mat", suppressed=False)
    assert prediction.size == (2, 3)
    levels = prediction.levels(99)
    assert levels.tolist() == [1]
    assert next(prediction.lines(levels)).tolist() == [[False, True, False]] * 2
    assert next(prediction.partitions(levels)).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_other_datasets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError):
        photos_of(f"pairs:{tmp_path}")


def test_a_folder_carries_on_with_the_same_settings_only(photo: KnownPhoto, tmp_path: Path) -> None:
    maps, out = tmp_path / "maps", tmp_path / "out"
    path, files = save_truth(photo, maps), photo.files(maps)
    counted = scored([photo], maps, Protocol(suppress=False, thresholds=2)).photos[0]
    folder = FinishedPhotos(out, {"thresholds": 2})
    assert folder.get(photo.name, files) is None
    folder.add(photo.name, files, counted.to_json())
    again = FinishedPhotos(out, {"thresholds": 2}).get(photo.name, files)
    assert Counted.from_json(again).to_json() == counted.to_json()
    with pytest.raises(ConfigError, match="thresholds: 2 -> 3"):
        FinishedPhotos(out, {"thresholds": 3})
    # A prediction that was written again is scored again.
    path.write_bytes(path.read_bytes() + b" ")
    assert FinishedPhotos(out, {"thresholds": 2}).get(photo.name, files) is None
    assert FinishedPhotos(out, {"thresholds": 3}, overwrite=True).get(photo.name, files) is None
