from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.label_sets import Made, disc, made, make_label_set, sigmoid, write_lines
from data.miniatures import photo, save

from maskwright.data.area import AreaFilter, scaled_area
from maskwright.data.check import check_dataset
from maskwright.data.registry import open_dataset
from maskwright.data.soft_maps import Place, SoftMask, maps_of
from maskwright.data.transforms import resize_matrix, shrink, warp_maps
from maskwright.errors import ConfigError, DatasetError, FileError
from maskwright.io.label_shards import read_masks, write_masks
from maskwright.types import FloatArray, Maps, Resize

WIDE, TALL = (40, 60), (70, 30)

# Of a photo whose longer side is 60, the disc of radius 3 in a frame of 16 has about 116,000 pixels at 1024.
TWO: dict[str, list[Made]] = {
    "a.png": [
        made(WIDE, disc(5, 5, 3), disc(5.6, 5, 3.3)),
        made(WIDE, disc(10, 4, 2), disc(10, 4, 2, 0.5)),
    ],
    "b.png": [made(TALL, disc(3, 8, 3), disc(3, 8, 2))],
}


def exact_uncertainty(entry: Made) -> FloatArray:
    difference: FloatArray = sigmoid(entry.logits()) - sigmoid(entry.logits(refined=True))
    return np.abs(difference)


def test_masks_soft_masks_and_uncertainties(tmp_path: Path) -> None:
    dataset = open_dataset(f"labelled:{make_label_set(tmp_path, TWO)}")
    assert len(dataset) == 2
    for sample, entries in zip(dataset, TWO.values(), strict=True):
        assert sample.ids == tuple(range(len(entries)))
        assert isinstance(sample.soft, Maps)
        assert isinstance(sample.uncertainty, Maps)
        assert sample.soft.shape == sample.uncertainty.shape == sample.masks.shape
        for k, entry in enumerate(entries):
            assert (sample.masks[k] == (entry.logits() > 0)).all()
            assert np.abs(sample.soft[k] - sigmoid(entry.logits())).max() < 0.01
            assert np.abs(sample.uncertainty[k] - exact_uncertainty(entry)).max() < 0.02
            assert sample.uncertainty[k].max() > 0.2
            assert ((sample.soft[k] > 0.5) == sample.masks[k]).mean() > 0.998


@pytest.mark.parametrize("resize", ["pad", "stretch"])
@pytest.mark.parametrize("crop", [None, (20, 5, 30, 20), (0, 0, 60, 1), (59, 39, 1, 1)])
def test_maps_lie_where_the_model_saw_them(
    tmp_path: Path, resize: Resize, crop: tuple[int, int, int, int] | None
) -> None:
    low = np.full((16, 16), -5, np.float32)
    low[:8] = 5
    entry = made(WIDE, low, -low, crop, resize)
    root = make_label_set(tmp_path, {"a.png": [entry]})
    (sample,) = open_dataset(f"labelled:{root}?min_ratio=0&min_refine_ratio=0&max_ratio=1")
    assert sample.soft is not None
    assert sample.uncertainty is not None
    assert np.abs(sample.soft[0] - sigmoid(entry.logits())).max() < 0.02
    assert np.abs(sample.uncertainty[0] - exact_uncertainty(entry)).max() < 0.02
    x, y, width, height = entry.crop
    outside = np.ones(WIDE, bool)
    outside[y : y + height, x : x + width] = False
    assert not sample.uncertainty[0][outside].any()
    assert not sample.soft[0][outside].any()


@pytest.mark.parametrize("target", ["label", "refined"])
@pytest.mark.parametrize("resize", ["pad", "stretch"])
@pytest.mark.parametrize("blocks", [(1, 4), (3, 5), (60, 61)])
def test_means_over_blocks_are_those_of_the_maps(
    tmp_path: Path, resize: Resize, blocks: tuple[int, int], target: str
) -> None:
    """Of an outline that is sharp, and of doubts that are a thin line along it."""
    sharp, other = disc(5, 5, 3, 6.0), disc(5.3, 5, 3.2, 6.0)
    root = make_label_set(tmp_path, {"a.png": [made((203, 299), sharp, other, None, resize)]})
    spec = f"labelled:{root}?min_ratio=0&min_refine_ratio=0&max_ratio=1&target={target}"
    (sample,) = open_dataset(spec)
    for maps in (sample.soft, sample.uncertainty):
        assert isinstance(maps, Maps)
        found, exact = maps.at(0, blocks), shrink(maps[0], blocks)
        assert found.shape == exact.shape
        assert np.abs(found - exact).max() < 0.1
        assert found.sum() == pytest.approx(exact.sum(), rel=0.04)
        matrix = resize_matrix((203, 299), (50, 60))
        moved = [warp_maps(each, [0], matrix, (50, 60)) for each in (maps, maps[:])]
        assert np.abs(moved[0] - moved[1]).max() < 0.02


def test_means_over_blocks_of_a_crop_are_exact(tmp_path: Path) -> None:
    half = made(WIDE, disc(5, 5, 3), None, (20, 5, 31, 20))
    root = make_label_set(tmp_path, {"a.png": [half]}, refined=False)
    (sample,) = open_dataset(f"labelled:{root}?min_ratio=0&max_ratio=1")
    assert isinstance(sample.soft, Maps)
    assert (sample.soft.at(0, (4, 3)) == shrink(sample.soft[0], (4, 3))).all()


def test_a_mask_that_was_not_refined_has_as_many_zeros_as_blocks() -> None:
    low = np.full((16, 16), 200, np.uint8)
    masks = [SoftMask(Place((40, 61), (0, 0, 61, 40), 64, "pad"), low, None)]
    for kind in ("uncertainty", "indecision", "best"):
        found = maps_of(masks, (40, 61), kind).at(0, (3, 4))
        assert found.shape == (14, 16)
        assert found.any() == (kind == "best")
    # One of three rows and one of four columns of the last blocks are in the photo.
    assert found[-1, -1] == pytest.approx(found[0, 0] / 12, rel=1e-5)


def test_the_uncertainty_is_zero_for_small_masks(tmp_path: Path) -> None:
    entries = TWO["a.png"]
    root = make_label_set(tmp_path, {"a.png": entries})
    smallest = min(entry.row("", 0).area for entry in entries)
    ratio = scaled_area(smallest, 60, 40) / 100
    (sample,) = open_dataset(f"labelled:{root}?min_refine_ratio={ratio + 1}")
    assert sample.uncertainty is not None
    assert [bool(u.any()) for u in sample.uncertainty] == [True, False]
    (sample,) = open_dataset(f"labelled:{root}?min_refine_ratio={ratio}")
    assert sample.uncertainty is not None
    assert [bool(u.any()) for u in sample.uncertainty] == [True, True]


@pytest.mark.parametrize("target", ["label", "refined"])
def test_a_mask_that_should_be_refined_and_is_not_is_no_certain_one(tmp_path: Path, target: str) -> None:
    root = make_label_set(tmp_path, {"a.png": [*TWO["a.png"], made(WIDE, disc(4, 9, 2))]})
    with pytest.raises(FileError, match=r"mask 2 of a\.png has no refined form.*label refine .*--overwrite"):
        open_dataset(f"labelled:{root}?target={target}")[0]


@pytest.mark.parametrize("target", ["label", "refined"])
def test_photos_whose_refinement_failed_are_no_items(tmp_path: Path, target: str) -> None:
    spec = f"labelled:{make_label_set(tmp_path, TWO, shard_images=1)}?target={target}"
    path = tmp_path / "set/refined_ledger.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[0]["failures"] = [{"image": "a.png", "reason": "it has changed"}]
    write_lines(path, records)
    assert [found.name for found in paths(spec)] == ["b.png"]
    records[1]["failures"] = [{"image": "b.png", "reason": "it has changed"}]
    write_lines(path, records)
    with pytest.raises(DatasetError, match=r"every photo failed to be refined.*--retry-failed"):
        open_dataset(spec)


def test_a_set_that_was_not_refined_has_no_uncertainty(tmp_path: Path) -> None:
    root = make_label_set(tmp_path, TWO, refined=False)
    sample = open_dataset(f"labelled:{root}")[0]
    assert sample.uncertainty is None
    assert sample.soft is not None
    with pytest.raises(DatasetError, match="label refine"):
        open_dataset(f"labelled:{root}?target=refined")


def test_refined_masks_take_the_place_of_those_they_were_made_of(tmp_path: Path) -> None:
    entries = TWO["a.png"]
    root = make_label_set(tmp_path, {"a.png": entries})
    (sample,) = open_dataset(f"labelled:{root}?target=refined")
    assert sample.uncertainty is not None
    assert sample.soft is not None
    for k, entry in enumerate(entries):
        logits = entry.logits(refined=True)
        assert ((logits > 0) == sample.masks[k]).mean() > 0.998
        assert np.abs(sample.soft[k] - sigmoid(logits)).max() < 0.01
        # How undecided the refiner is.
        expected = 1 - np.abs(2 * sigmoid(logits) - 1)
        assert np.abs(sample.uncertainty[k] - expected).max() < 0.02
    # Those too small to be refined stay as they were.
    (sample,) = open_dataset(f"labelled:{root}?target=refined&min_refine_ratio=5000")
    assert (sample.masks[0] == (entries[0].logits() > 0)).all()


def test_area_filters_follow_the_published_formula(tmp_path: Path) -> None:
    assert scaled_area(300, 1500, 1024) == pytest.approx(300 * (1024 / 1500) ** 2)
    keep = AreaFilter(min_ratio=100)
    assert keep.keeps(10_000, 1024, 768)
    assert not keep.keeps(9_999, 1024, 768)
    assert keep.keeps(2_500, 300, 512)
    assert not keep.keeps(2_499, 300, 512)
    assert AreaFilter(0).keeps(95, 10, 10)
    assert not AreaFilter(0).keeps(96, 10, 10)
    assert AreaFilter().refines(10_000, 1024, 1024)
    assert not AreaFilter().refines(9_999, 1024, 1024)
    with pytest.raises(ConfigError, match="max_ratio must be a number from 0"):
        AreaFilter(max_ratio=-1)
    root = make_label_set(tmp_path, TWO)
    areas = [entry.row("", 0).area for entry in TWO["a.png"]]
    ratio = scaled_area(areas[1], 60, 40) / 100
    dataset = open_dataset(f"labelled:{root}?min_ratio={ratio + 1}")
    assert dataset[0].ids == (0,)
    assert open_dataset(f"labelled:{root}?max_ratio={areas[0] / 2400 - 0.001}")[0].ids == (1,)
    none = open_dataset(f"labelled:{root}?min_ratio=1e6")[0]
    assert none.masks.shape == (0, *WIDE)
    assert none.uncertainty is not None
    assert none.uncertainty[[]].shape == none.uncertainty[:].shape == (0, *WIDE)
    with pytest.raises(DatasetError, match="must be a number from 0"):
        open_dataset(f"labelled:{root}?min_ratio=many")


def test_photos_without_masks_are_items_and_failed_ones_are_none(tmp_path: Path) -> None:
    photos = {**TWO, "empty.png": [], "bad.png": []}
    root = make_label_set(
        tmp_path, photos, sizes={"empty.png": WIDE, "bad.png": TALL}, failures={"bad.png": "it is cut off"}
    )
    dataset = open_dataset(f"labelled:{root}")
    assert [dataset.image_path(k).name for k in range(len(dataset))] == ["a.png", "b.png", "empty.png"]
    assert dataset[2].masks.shape == (0, *WIDE)


def test_a_run_that_is_not_finished_is_refused_or_taken_in_part(tmp_path: Path) -> None:
    photos = {f"{k}.png": [TWO["a.png"][0]] for k in range(6)}
    root = make_label_set(tmp_path, photos, unlabelled=[2], unrefined=[1])
    with pytest.raises(DatasetError, match=r"2 of 3 shards are labelled.*label masks.*partial=true"):
        open_dataset(f"labelled:{root}")
    assert [dataset.name for dataset in map(Path.absolute, paths(f"labelled:{root}?partial=true"))] == [
        "0.png",
        "1.png",
    ]
    (root / "refined.json").unlink()
    assert len(paths(f"labelled:{root}?partial=true")) == 4


def paths(spec: str) -> list[Path]:
    dataset = open_dataset(spec)
    return [dataset.image_path(index) for index in range(len(dataset))]


def test_a_refined_shard_of_masks_that_were_made_anew_does_not_count(tmp_path: Path) -> None:
    root = make_label_set(tmp_path, TWO)
    records = [json.loads(line) for line in (root / "ledger.jsonl").read_text().splitlines()]
    write_lines(root / "ledger.jsonl", [{**record, "sha256": "new"} for record in records])
    with pytest.raises(DatasetError, match="0 of 1 shards are refined"):
        open_dataset(f"labelled:{root}")


def test_photos_that_have_moved_are_found_by_their_names(tmp_path: Path) -> None:
    root = make_label_set(tmp_path, TWO)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="images=FOLDER"):
        open_dataset(f"labelled:{root}")
    assert open_dataset(f"labelled:{root}?images={tmp_path / 'elsewhere'}")[1].image.size == TALL
    assert open_dataset(f"labelled:{root}?images=../elsewhere")[1].image.size == TALL


def test_a_photo_that_has_changed_is_refused(tmp_path: Path) -> None:
    dataset = open_dataset(f"labelled:{make_label_set(tmp_path, TWO)}")
    save(tmp_path / "photos/a.png", photo(0, (41, 60)))
    with pytest.raises(FileError, match=r"labelled at 60×40, and .*a\.png is 60×41"):
        dataset[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rle": b"\x01nonsense"}, r"00000\.parquet\[a\.png, mask 0\].*run-length"),
        ({"rle": b"5"}, r"00000\.parquet\[a\.png, mask 0\]"),
        ({"prob": b"nonsense"}, r"00000\.parquet\[a\.png, mask 0\].*damaged"),
        ({"crop_x": 7, "crop_w": 58}, r"00000\.parquet: mask 0 of a\.png lies at no place"),
        ({"side": 0}, "lies at no place"),
        ({"resize": "squash"}, "lies at no place"),
    ],
)
def test_bad_rows_are_refused_by_file_photo_and_mask(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    root = make_label_set(tmp_path, TWO, **change)
    with pytest.raises(FileError, match=message):
        open_dataset(f"labelled:{root}?min_ratio=0")[0]
    assert not check_dataset(f"labelled:{root}?min_ratio=0").ok


def test_a_map_cut_off_inside_a_sound_shard_is_refused(tmp_path: Path) -> None:
    root = make_label_set(tmp_path, TWO)
    path = root / "masks/00000.parquet"
    rows = read_masks(path)
    write_masks(path, [replace(rows[0], prob=rows[0].prob[:-20]), *rows[1:]])
    with pytest.raises(FileError, match=r"mask 0\]: it is damaged"):
        open_dataset(f"labelled:{root}")[0]


def test_damaged_and_missing_shards_are_refused_by_name_and_listed_by_the_check(tmp_path: Path) -> None:
    root = make_label_set(tmp_path, TWO, shard_images=1)
    path = root / "masks/00000.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    (root / "refined/00001.parquet").unlink()
    dataset = open_dataset(f"labelled:{root}")
    with pytest.raises(FileError, match=r"masks/00000\.parquet: it is damaged"):
        dataset[0]
    with pytest.raises(FileError, match=r"refined/00001\.parquet does not exist"):
        dataset[1]
    report = check_dataset(f"labelled:{root}")
    assert len(report.errors) == 2
    assert not report.ok


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"format": "other"}, "is not of a labelled set"),
        ({"version": 3}, "reads versions 1 and 2"),
        ({"kind": "boundaries"}, "not masks"),
        ({"files": "sa1b"}, "open it as sa1b:"),
        ({"shard_images": None}, "'shard_images' is missing"),
    ],
)
def test_another_kind_of_set_is_refused(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    root = make_label_set(tmp_path, TWO)
    whole = {**json.loads((root / "set.json").read_text()), **record}
    (root / "set.json").write_text(json.dumps({k: v for k, v in whole.items() if v is not None}))
    with pytest.raises(DatasetError, match=message):
        open_dataset(f"labelled:{root}")


def test_a_line_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    root = make_label_set(tmp_path, TWO)
    write_lines(root / "plan.jsonl", [{"path": "x"}])
    with pytest.raises(DatasetError, match=r"plan\.jsonl: 'name' is missing"):
        open_dataset(f"labelled:{root}")


def test_a_check_counts_masks_and_folds_split_by_photo(tmp_path: Path) -> None:
    root = make_label_set(tmp_path, TWO)
    report = check_dataset(f"labelled:{root}")
    assert report.ok
    assert (report.items, report.images, report.masks) == (2, 2, 3)
    assert len(open_dataset(f"labelled:{root}?fold=1/2")) == 1


def test_maps_are_indexed_like_arrays(tmp_path: Path) -> None:
    place = Place(WIDE, (0, 0, 60, 40), 64, "pad")
    rng = np.random.default_rng(0)
    masks = [SoftMask(place, rng.integers(0, 256, (16, 16), dtype=np.uint8), None) for _ in range(5)]
    maps = maps_of(masks, WIDE, "probability")
    whole = np.asarray(maps)
    assert whole.shape == maps.shape
    assert whole.dtype == maps.dtype == np.float32
    for index in (2, -1, [3, 1], slice(1, 4), slice(None, None, -2), np.array([4]), np.arange(5) > 2, []):
        empty_list = isinstance(index, list) and not index
        expected = whole[:0] if empty_list else whole[index]
        assert np.array_equal(maps[index], expected)
    assert np.array_equal(np.stack(list(maps)), whole)
    assert len(maps) == 5
    for wrong in (5, [0, 7]):
        with pytest.raises(IndexError):
            maps[wrong]
    copy = pickle.loads(pickle.dumps(maps))
    assert np.array_equal(copy[1], whole[1])
    assert np.asarray(maps, np.float64).dtype == np.float64


def test_enlarging_agrees_with_a_models_own_masks() -> None:
    # What is lost is half a step of 8 bits: far less than enlarging the probabilities would lose.
    entry = made((50, 80), disc(6, 4, 3.3, 4.0))
    exact = sigmoid(entry.logits())
    row = entry.row("a", 0)
    values = np.rint(sigmoid(entry.label) * 255).astype(np.uint8)
    ours = Place((50, 80), (0, 0, 80, 50), row.side, row.resize).to_image(values)
    probabilities = made((50, 80), sigmoid(entry.label)).logits()
    assert np.abs(ours - exact).max() < 0.02
    assert np.abs(probabilities - exact).max() > 5 * np.abs(ours - exact).max()
