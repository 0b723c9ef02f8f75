"""`maskwright label boundaries`: what it stores in both forms, that it resumes, generations, bad photos."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from data.contour_sets import photo
from labeling.toy import content
from PIL import Image as PILImage
from tiny import save_tiny_boundary

from maskwright.cli.main import main
from maskwright.data.boundary_targets import boundary_target
from maskwright.data.dsa import DSA
from maskwright.data.registry import open_dataset
from maskwright.errors import WeightsError
from maskwright.io.contour_files import ContourRecord, read_contours
from maskwright.io.images import read_image
from maskwright.labeling.boundaries import BoundarySettings, BoundaryWorker, DetectorChoice
from maskwright.labeling.engine import finish_shard
from maskwright.labeling.folder import LabelFolder
from maskwright.labeling.items import ItemChoice
from maskwright.labeling.plan import Shard
from maskwright.models.boundary_files import load_boundary

SIZES = [(64, 48), (40, 70), (33, 33), (50, 20)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_boundary(tmp_path_factory.mktemp("model") / "tiny.safetensors", resolution=64)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A dataset of four photos with label maps, of several shapes."""
    root = tmp_path / "data"
    rng = np.random.default_rng(1)
    for number, (width, height) in enumerate(SIZES):
        photo(root / f"images/{number}.png", width, height, number)
        blocks = rng.integers(0, 3, (height // 10 + 1, width // 10 + 1), dtype=np.uint8)
        values = np.kron(blocks, np.ones((10, 10), np.uint8))[:height, :width]
        (root / "labels").mkdir(exist_ok=True)
        PILImage.fromarray(values).save(root / f"labels/{number}.png")
    return root


def run(out: Path, model: Path, *data: Path | str, more: tuple[str, ...] = ()) -> int:
    given = [part for spec in data for part in ("--data", str(spec))]
    options = ("--model", str(model), "--out", str(out), "--device", "cpu", "--shard-images", "2", "--quiet")
    return main(["label", "boundaries", *given, *options, *more])


def records(folder: Path) -> list[ContourRecord]:
    dataset = DSA(folder)
    return [dataset.record(index) for index in range(len(dataset))]


def test_each_photo_gets_the_models_lines_and_those_of_its_masks(
    labels: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = tmp_path / "r.json"
    more = ("--threshold", "0.4", "--thickness", "2", "--json", str(result))
    assert run(out, model, f"labels:{labels}", more=more) == 0
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["labels"]
    detector = load_boundary(model, device="cpu")
    dataset = open_dataset(f"labels:{labels}")
    some = 0
    for number, (width, height) in enumerate(SIZES):
        raw = json.loads((out / f"labels/{number:07d}.json").read_text())
        assert list(raw) == ["image_path", "image_size", "pseudo_label", "human_label"]
        assert raw["image_path"] == str(labels / f"images/{number}.png")
        assert raw["image_size"] == [width, height]
        record = read_contours(out / f"labels/{number:07d}.json")
        [pseudo], [human] = record.pseudo, record.human
        assert (pseudo.source, human.source) == (detector.signature, "labels")
        expected = detector(read_image(raw["image_path"])) > 0.4
        np.testing.assert_array_equal(pseudo.label.decode(), expected)
        target = boundary_target(dataset, number, thickness=2)
        np.testing.assert_array_equal(human.label.decode(), target.fraction > 0)
        some += int(human.label.area > 0) + int(0 < pseudo.label.area < width * height)
    assert some > 4
    told = json.loads(result.read_text())
    assert (told["n"], told["failed"], told["skipped"], told["model"]) == (4, 0, 0, detector.signature)


def test_as_published_labels_are_squares(labels: Path, model: Path, tmp_path: Path) -> None:
    more = ("--size", "square", "--resolution", "96", "--thickness", "5", "--style", "official")
    assert run(tmp_path / "out", model, f"labels:{labels}", more=more) == 0
    detector = load_boundary(model, device="cpu")
    for record, (width, height) in zip(records(tmp_path / "out"), SIZES, strict=True):
        assert record.image_size == (height, width)
        assert record.pseudo[0].label.size == record.human[0].label.size == (96, 96)
        square = PILImage.open(record.image_path).resize((96, 96), PILImage.Resampling.BICUBIC)
        expected = detector(np.asarray(square), resolution=96) > 0.5
        np.testing.assert_array_equal(record.pseudo[0].label.decode(), expected)
        assert record.human[0].label.decode()[:5].all()


def test_both_forms_hold_the_same(labels: Path, model: Path, tmp_path: Path) -> None:
    for form in ("dsa", "parquet"):
        assert run(tmp_path / form, model, f"labels:{labels}", more=("--format", form)) == 0
    assert sorted(path.name for path in (tmp_path / "parquet/contours").iterdir()) == [
        "00000.parquet",
        "00001.parquet",
    ]
    assert records(tmp_path / "dsa") == records(tmp_path / "parquet")
    one, other = DSA(tmp_path / "dsa"), DSA(tmp_path / "parquet")
    assert [one.subset(k) for k in range(4)] == [other.subset(k) for k in range(4)] == ["labels"] * 4
    np.testing.assert_array_equal(one.contours(2).maps[0], other.contours(2).maps[0])


def test_folders_of_photos_have_no_human_labels(labels: Path, model: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(labels / "images", tmp_path / "holiday")
    assert run(tmp_path / "out", model, photos, f"labels:{labels}", f"labels:{labels}?fold=1/2") == 0
    found = DSA(tmp_path / "out")
    assert [found.items[k].name for k in (0, 4, 8)] == [
        "holiday/0000000",
        "labels/0000000",
        "labels-2/0000000",
    ]
    assert not found.record(0).human
    assert found.record(4).human[0].source == found.record(8).human[0].source == "labels"


def test_paths_may_be_relative_so_that_everything_can_move(labels: Path, model: Path, tmp_path: Path) -> None:
    assert run(labels / "lines", model, f"labels:{labels}", more=("--relative-paths",)) == 0
    assert json.loads((labels / "lines/labels/0000001.json").read_text())["image_path"] == "../images/1.png"
    moved = labels.rename(tmp_path / "moved")
    assert DSA(moved / "lines")[1].image.size == SIZES[1][::-1]


def test_a_set_that_is_labelled_again_has_one_label_more(labels: Path, model: Path, tmp_path: Path) -> None:
    newer = save_tiny_boundary(tmp_path / "newer.safetensors", resolution=32, seed=5)
    assert run(tmp_path / "gen0", model, f"labels:{labels}", more=("--source", "first")) == 0
    assert run(tmp_path / "gen1", newer, f"dsa:{tmp_path / 'gen0'}") == 0
    signature = load_boundary(newer, device="cpu").signature
    for before, after in zip(records(tmp_path / "gen0"), records(tmp_path / "gen1"), strict=True):
        assert [each.source.partition(":")[0] for each in after.pseudo] == ["first", "newer.safetensors"]
        assert after.pseudo[1].source == signature
        assert (after.pseudo[0], after.human) == (before.pseudo[0], before.human)
        assert after.pseudo[1].label != after.pseudo[0].label
    # By the same model again: its label is replaced and not doubled.
    assert run(tmp_path / "gen2", newer, f"dsa:{tmp_path / 'gen1'}") == 0
    assert [len(record.pseudo) for record in records(tmp_path / "gen2")] == [2] * 4
    newest = DSA(tmp_path / "gen1", label="pseudo").chosen(0)
    assert [each.source for each in newest] == [signature]


def test_again_does_nothing_and_after_an_interruption_the_bytes_are_the_same(
    labels: Path, model: Path, tmp_path: Path
) -> None:
    for form, file in (("dsa", "labels/0000003.json"), ("parquet", "contours/00001.parquet")):
        out, more = tmp_path / form, ("--format", form)
        assert run(out, model, f"labels:{labels}", more=more) == 0
        whole = content(out)
        assert run(out, model, f"labels:{labels}", more=more) == 0
        assert content(out) == whole
        # As after a kill between the second shard's files and its line in the ledger.
        ledger = out / "ledger.jsonl"
        ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
        (out / file).write_bytes(b"half a file")
        (out / file).with_name(".maskwright-0.part").write_bytes(b"half")
        with pytest.raises(Exception, match="2 of 4 photos are done"):
            DSA(out)
        assert run(out, model, f"labels:{labels}", more=more) == 0
        assert content(out) == whole


def test_a_worker_travels_to_other_processes_and_writes_there_what_it_writes_here(
    labels: Path, model: Path, tmp_path: Path
) -> None:
    assert run(tmp_path / "out", model, f"labels:{labels}") == 0
    before = content(tmp_path / "out")
    folder = LabelFolder(tmp_path / "out")
    worker = BoundaryWorker(
        folder, DetectorChoice(str(model), "cpu"), ItemChoice((f"labels:{labels}",)), BoundarySettings()
    )
    worker.prepare()
    elsewhere = pickle.loads(pickle.dumps(worker))
    for shard, entry in zip(folder.read_plan().shards(), folder.ledger.entries(), strict=True):
        for path in elsewhere.files(shard):
            path.unlink()
        assert finish_shard(Shard.from_json(shard.to_json()), elsewhere) == entry
    assert content(tmp_path / "out") == before
    save_tiny_boundary(model.with_name("other.safetensors"), seed=9)
    stranger = pickle.loads(pickle.dumps(worker))
    stranger.model = DetectorChoice(str(model.with_name("other.safetensors")), "cpu")
    with pytest.raises(WeightsError, match="all machines must have the same file"):
        stranger.prepare()


def test_a_bad_photo_is_named_and_has_no_file(
    labels: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (labels / "images/1.png").read_bytes()
    (labels / "images/1.png").write_bytes(good[:100])
    PILImage.new("L", (9, 9)).save(labels / "labels/2.png")
    out = tmp_path / "out"
    assert run(out, model, f"labels:{labels}") == 1
    errors = capsys.readouterr().err
    assert "images/1.png" in errors
    assert "labels/2.png" in errors
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["0000000.json", "0000003.json"]
    assert len(DSA(out)) == 2
    (labels / "images/1.png").write_bytes(good)
    assert run(out, model, f"labels:{labels}", more=("--retry-failed",)) == 1
    assert len(DSA(out)) == 3
    assert run(out, model, f"labels:{labels}", more=("--overwrite",)) == 1
    assert len(DSA(out)) == 3


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--threshold", "1"), "--threshold must be at least 0 and below 1"),
        (("--thickness", "0"), "--thickness must be at least 1"),
        (("--resolution", "0"), "--resolution must be at least 1"),
        (("--size", "square"), "--size square needs a --resolution"),
        (("--style", "official", "--thickness", "1"), "--style official needs --thickness of at least 2"),
        (("--shard-images", "0"), "--shard-images must be at least 1"),
        (("--every", "0"), "--every and --limit must be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_made(
    labels: Path,
    model: Path,
    tmp_path: Path,
    more: tuple[str, ...],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(tmp_path / "out", model, f"labels:{labels}", more=more) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_settings_cannot_go_on_in_a_folder(
    labels: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "out", model, f"labels:{labels}") == 0
    assert run(tmp_path / "out", model, f"labels:{labels}", more=("--threshold", "0.3")) == 2
    assert "threshold" in capsys.readouterr().err
    assert main(["label", "refine", str(tmp_path / "out"), "--refiner", "nano"]) == 1
    assert "'contours', not masks" in capsys.readouterr().err
