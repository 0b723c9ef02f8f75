"""ADE20K: the benchmark's class maps, and the full dataset's mask files, polygons and colour-coded maps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.miniatures import SIZE, label_map, photo, rectangle, save

from maskwright.data.dataset import SampleError
from maskwright.data.outlines import Patch, Shapes, outline
from maskwright.data.registry import build_dataset, open_dataset
from maskwright.errors import DatasetError, FileError
from maskwright.types import Sample

DOOR, WINDOW = rectangle(2, 2, 12, 12), rectangle(4, 4, 8, 8)
TREE = rectangle(8, 2, 30, 20)
FOLDER = "images/ADE/training/urban/street"


def entry(number: int, name: str, code: int, level: int, box: tuple[int, int, int, int]) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    return {
        "id": number,
        "name": name,
        "name_ndx": code,
        "parts": {"part_level": level, "ispartof": [], "hasparts": 3},
        "instance_mask": f"X/instance_{number:03d}_X.png",
        "polygon": {"x": [x0, x1, x1, x0], "y": [y0, y0, y1, y1], "click_date": []},
    }


def objects() -> list[dict[str, Any]]:
    """A door with a window, partly behind a tree; a wall wholly hidden; a bird drawn with a single click."""
    bird = entry(9, "bird", 6, 0, (1, 1, 2, 2)) | {"polygon": {"x": 1, "y": 1}}
    return [
        entry(0, "door", 774, 0, (2, 2, 12, 12)),
        entry(3, "window", 3050, 1, (4, 4, 8, 8)),
        entry(5, "tree", 2855, 0, (8, 2, 30, 20)),
        entry(7, "wall, Gemäuer", 312, 0, (9, 9, 11, 11)),
        bird,
    ]


def coded(*layers: tuple[np.ndarray[Any, Any], int, int]) -> np.ndarray[Any, Any]:
    """Colours for (mask, class, shade), later ones on top."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for mask, code, shade in layers:
        pixels[mask] = (code // 256 * 10, code % 256, shade)
    return pixels


@pytest.fixture
def full(tmp_path: Path) -> Path:
    folder = tmp_path / FOLDER
    save(folder / "X.jpg", photo())
    content = {"annotation": {"filename": "X.jpg", "object": objects()}}
    (folder / "X.json").write_bytes(json.dumps(content, ensure_ascii=False).encode("latin-1"))
    shades = {
        0: DOOR * np.uint8(255) - (DOOR & TREE) * np.uint8(127),
        3: WINDOW * np.uint8(255),
        5: TREE * np.uint8(255),
        7: rectangle(9, 9, 11, 11) * np.uint8(128),
        9: np.zeros(SIZE, np.uint8),
    }
    for number, values in shades.items():
        save(folder / f"X/instance_{number:03d}_X.png", values.astype(np.uint8))
    save(folder / "X_seg.png", coded((DOOR, 774, 100), (TREE, 2855, 200)))
    save(folder / "X_parts_1.png", coded((WINDOW, 3050, 255)))
    return tmp_path


def only(spec: str) -> Sample:
    (sample,) = open_dataset(spec)
    return sample


def test_mask_files_give_what_is_visible_or_all_of_it(full: Path) -> None:
    sample = only(f"ade20kfull:{full}")
    assert sample.ids == (0, 5)
    assert sample.categories == ("door", "tree")
    assert (sample.masks == np.stack([DOOR & ~TREE, TREE])).all()
    assert only(f"ade20kfull:{full}?parts=keep").ids == (0, 3, 5)
    assert only(f"ade20kfull:{full}?parts=only").categories == ("window",)
    hidden = only(f"ade20kfull:{full}?hidden=true")
    assert hidden.categories == ("door", "tree", "wall, Gemäuer")
    assert (hidden.masks[0] == DOOR).all()
    # The folder may be the inner one.
    assert only(f"ade20kfull:{full}/images/ADE").ids == (0, 5)


def test_polygons_go_on_behind_and_one_click_encloses_nothing(full: Path) -> None:
    sample = only(f"ade20kfull:{full}?masks=polygons&parts=keep")
    assert sample.ids == (0, 3, 5, 7)
    assert (sample.masks[:3] == np.stack([DOOR, WINDOW, TREE])).all()


def test_colour_coded_maps_give_objects_and_parts_with_names(full: Path) -> None:
    sample = only(f"ade20kfull:{full}?masks=seg&parts=keep")
    assert sample.categories == ("door", "tree", "window")
    assert sample.ids == (1, 2, 3)
    assert (sample.masks == np.stack([DOOR & ~TREE, TREE, WINDOW])).all()
    save(full / FOLDER / "X_seg.png", coded((DOOR, 9, 100), (TREE, 9, 200)))
    assert only(f"ade20kfull:{full}?masks=seg").categories == ("9", "9")
    with pytest.raises(DatasetError, match="hidden=true is for masks=instances"):
        open_dataset(f"ade20kfull:{full}?masks=seg&hidden=true")


@pytest.mark.parametrize(
    ("query", "change", "message"),
    [
        ("", {"instance_mask": "../../other.png"}, "object 0: .*may not leave"),
        ("", {"instance_mask": "X/none.png"}, r"none\.png does not exist"),
        ("", {"parts": None}, "without id, name or part_level"),
        ("", {"id": "first"}, "without id, name or part_level"),
        ("masks=polygons", {"polygon": {"x": [1, 2, 3], "y": [1]}}, "polygon of object 0"),
        ("masks=polygons", {"polygon": {"x": [1, 2, 1e9], "y": [1, 2, 3]}}, "polygon of object 0"),
        ("masks=polygons", {"polygon": []}, "polygon of object 0"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(
    full: Path, query: str, change: dict[str, Any], message: str
) -> None:
    first, *rest = objects()
    (full / FOLDER / "X.json").write_text(json.dumps({"annotation": {"object": [first | change, *rest]}}))
    with pytest.raises(FileError, match=message):
        only(f"ade20kfull:{full}?{query}")


def test_files_that_do_not_fit_are_named(full: Path) -> None:
    folder = full / FOLDER
    save(folder / "X/instance_000_X.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(SampleError, match=r"instance_000_X\.png: is 4×3, but X\.jpg is 32×24"):
        only(f"ade20kfull:{full}")
    save(folder / "X_seg.png", label_map())
    with pytest.raises(SampleError, match="no colour-coded map"):
        only(f"ade20kfull:{full}?masks=seg")
    (folder / "X.json").write_text("{}")
    with pytest.raises(SampleError, match="no list of objects"):
        only(f"ade20kfull:{full}")
    (folder / "X.json").rename(folder / "Y.json")
    problems = build_dataset(f"ade20kfull:{full}").unpaired
    assert [problem.code for problem in problems] == ["missing_mask", "missing_image"]


def test_the_benchmark_has_a_mask_a_class_or_a_connected_part(tmp_path: Path) -> None:
    for folder in ("training", "validation"):
        save(tmp_path / f"images/{folder}/a.jpg", photo())
        save(tmp_path / f"annotations/{folder}/a.png", label_map())
    for split in ("train", "val"):
        sample = only(f"ade20k:{tmp_path}?split={split}")
        assert sample.categories == (1, 2, 3)
        assert (sample.masks[0] == (label_map() == 1)).all()
    assert only(f"ade20k:{tmp_path}?components=true").categories == (1, 1, 2, 3)
    (tmp_path / "annotations/validation/a.png").unlink()
    with pytest.raises(DatasetError, match=r"a\.jpg: has no mask a\.png"):
        open_dataset(f"ade20k:{tmp_path}?split=val")


def test_the_real_samples_agree_in_all_three_forms(data_root: Path) -> None:
    spec = f"ade20kfull:{data_root}/samples/ADE20K_full"
    visible = open_dataset(spec)
    assert len(visible) == 3
    files, maps = visible[2], open_dataset(f"{spec}?masks=seg")[2]
    assert len(files.ids) == len(maps.ids) == 24
    rows = maps.masks[:, ::4, ::4]
    for mask, name in zip(files.masks[:, ::4, ::4], files.categories or (), strict=True):
        same = [row for row, other in zip(rows, maps.categories or (), strict=True) if other == name]
        assert max((mask & row).sum() / (mask | row).sum() for row in same) > 0.99
    whole = open_dataset(f"{spec}?hidden=true&parts=only")[2]
    drawn = open_dataset(f"{spec}?masks=polygons&parts=only")[2]
    assert whole.ids == drawn.ids
    overlaps = [(a & b).sum() / (a | b).sum() for a, b in zip(whole.masks, drawn.masks, strict=True)]
    assert np.mean(overlaps) > 0.97


@pytest.mark.parametrize("query", ["", "?parts=keep", "?masks=polygons&parts=only", "?masks=seg&parts=keep"])
def test_outlines_of_shapes_are_those_of_the_masks(full: Path, query: str) -> None:
    dataset = open_dataset(f"ade20kfull:{full}{query}")
    masks = Shapes(SIZE, [Patch.of(mask) for mask in dataset[0].masks])
    expected, found = (outline(shapes, thickness=1) for shapes in (masks, dataset.shapes(0)))
    assert expected.any()
    assert (found == expected).all()
