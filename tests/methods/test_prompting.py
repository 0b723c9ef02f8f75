"""Prompts as people write them: flags, percentages, prompt files, and their errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import FileError, InputError
from maskwright.io.masks import write_mask
from maskwright.methods.prompt_file import PromptBook, for_every_image, read_prompt_folder, read_prompts
from maskwright.methods.prompting import (
    PromptSpec,
    from_flags,
    parse_box,
    parse_coordinate,
    parse_point,
    to_prompts,
)
from maskwright.types import Geometry

WIDE = Geometry((50, 200), 64)


@given(st.floats(-1e6, 1e6), st.booleans())
def test_coordinates_are_read_as_they_are_written(value: float, percent: bool) -> None:
    written = f"{value!r}{'%' if percent else ''}"
    assert parse_coordinate(written).pixels(200) == pytest.approx(2 * value if percent else value)


@pytest.mark.parametrize("text", ["", "x", "1,2", "nan", "inf", "1e999", "%", "5%%"])
def test_other_words_are_no_coordinates(text: str) -> None:
    with pytest.raises(InputError, match="is not a coordinate"):
        parse_coordinate(text)


def test_points_carry_their_label_and_default_to_the_object() -> None:
    assert parse_point("3,4")[1] == 1
    assert parse_point("3, 4, 0")[1] == 0
    for wrong in ("3", "3,4,2", "3,4,1,1"):
        with pytest.raises(InputError, match="for example 320,240"):
            parse_point(wrong)


def test_boxes_have_four_numbers() -> None:
    assert [str(part) for part in parse_box("1,2.5,50%,9")] == ["1", "2.5", "50%", "9"]
    with pytest.raises(InputError, match="left, top, right, bottom"):
        parse_box("1,2,3")


def test_flags_make_one_prompt_that_fits_images_of_any_size(tmp_path: Path) -> None:
    mask = np.zeros((50, 200), np.bool_)
    mask[10:40, 20:180] = True
    write_mask(tmp_path / "m.png", mask)
    spec = from_flags(["50%,50%", "3,4,0"], "10%,10%,90%,40", tmp_path / "m.png")
    prompts = to_prompts([spec], WIDE, 16)
    assert prompts.points is not None
    assert prompts.points.tolist() == [[[100, 25], [3, 4]]]
    assert prompts.labels is not None
    assert prompts.labels.tolist() == [[1, 0]]
    assert prompts.boxes is not None
    assert prompts.boxes.tolist() == [pytest.approx([20, 5, 180, 40])]
    assert prompts.masks is not None
    assert prompts.masks.shape == (1, 16, 16)
    assert prompts.masks[0, 1, 8] > 5 > -5 > prompts.masks[0, 12, 8]


def test_prompts_of_different_kinds_stand_side_by_side() -> None:
    specs = [
        from_flags(["1,2"], None, None),
        from_flags([], "1,2,3,4", None),
        from_flags(["1,2", "3,4,0"], None, None),
    ]
    prompts = to_prompts(specs, WIDE, 16)
    assert prompts.labels is not None
    assert prompts.labels.tolist() == [[1, -1], [-1, -1], [1, 0]]
    assert prompts.boxes is not None
    assert torch.isnan(prompts.boxes).any(dim=1).tolist() == [True, False, True]


def test_no_prompt_is_an_error_with_an_example() -> None:
    with pytest.raises(InputError, match=r"for example --point 320,240"):
        from_flags([], None, None)


@pytest.mark.parametrize(
    ("points", "box", "message"),
    [
        (["900,20"], None, "far outside the image of 200 × 50"),
        ([], "30,30,10,40", "is empty"),
        ([], "300,10,400,20", "lies outside the image"),
    ],
)
def test_prompts_outside_the_image_are_refused(points: list[str], box: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_prompts([from_flags(points, box, None)], WIDE, 16)


def test_masks_of_another_size_and_empty_ones_are_refused(tmp_path: Path) -> None:
    for mask, message in (
        (np.ones((5, 5), np.bool_), "is 5 × 5, the image 200 × 50"),
        (np.zeros((50, 200), np.bool_), "is empty"),
    ):
        write_mask(tmp_path / "m.png", mask)
        with pytest.raises(InputError, match=message):
            to_prompts([PromptSpec(mask=tmp_path / "m.png")], WIDE, 16)


def book(folder: Path, content: Any) -> PromptBook:
    (folder / "p.json").write_text(json.dumps(content))
    return read_prompts(folder / "p.json")


def test_a_prompt_file_names_images_and_all_others(tmp_path: Path) -> None:
    pages = book(
        tmp_path,
        {
            "a/x.jpg": [{"box": [1, 2, 3, 4]}, {"points": [[1, "50%"]], "mask": "rough.png"}],
            "*": [{"points": [[5, 6]]}],
        },
    )
    pages.check(["a/x.jpg", "b.jpg"])
    box, point = pages.of("a/x.jpg")
    assert box.box is not None
    assert point.labels == (1,)
    assert point.mask == tmp_path / "rough.png"
    assert [str(part) for part in pages.of("b.jpg")[0].points[0]] == ["5", "6"]


def test_a_list_of_prompts_is_for_every_image(tmp_path: Path) -> None:
    pages = book(tmp_path, [{"box": [1, 2, 3, 4]}])
    assert pages.described() == for_every_image(from_flags([], "1,2,3,4", None)).described()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (5, "must hold a list of prompts"),
        ({}, "must hold a list of prompts"),
        ({"a": []}, "'a' must be a list with at least one prompt"),
        ([7], "prompt 0 of '\\*': a prompt is an object"),
        ([{"boxes": [1, 2, 3, 4]}], r"unknown key 'boxes'\. Did you mean 'box'\?"),
        ([{"box": [1, 2, 3]}], "list of 4 coordinates"),
        ([{"box": [1, 2, True, 4]}], "True is not a coordinate"),
        ([{"points": [[1, 2]], "labels": [3]}], "labels are 1"),
        ([{"points": [[1, 2]], "labels": [1, 1]}], "2 labels were given for 1 points"),
        ([{"points": 4}], "points must be a list"),
        ([{"mask": 3}], "mask must be the path"),
        ([{}], "no prompt was given"),
    ],
)
def test_prompt_files_of_another_layout_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(FileError, match=message):
        book(tmp_path, content)


def test_prompts_must_match_the_images(tmp_path: Path) -> None:
    pages = book(tmp_path, {"cat.jpg": [{"box": [1, 2, 3, 4]}]})
    with pytest.raises(InputError, match=r"no such image\. Did you mean 'cats\.jpg'"):
        pages.check(["cats.jpg"])
    with pytest.raises(InputError, match=r"1 images have no prompts: dog\.jpg"):
        pages.check(["cat.jpg", "dog.jpg"])


def clicked(folder: Path, content: Any, name: str = "a.jpg") -> tuple[PromptSpec, ...]:
    path = (folder / name).with_suffix(".json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return read_prompt_folder(folder, [name]).of(name)


def test_clicks_of_a_file_are_on_one_object_and_a_box_is_around_it(tmp_path: Path) -> None:
    (both,) = clicked(tmp_path, {"clicked_points": [[1.5, 2], [3, 4]], "boxes": [[0, 1, 5, 6]]}, "b/a.x.jpg")
    assert (tmp_path / "b/a.x.json").exists()
    assert [(str(x), str(y)) for x, y in both.points] == [("1.5", "2"), ("3", "4")]
    assert both.labels == (1, 1)
    assert both.box is not None
    (labelled,) = clicked(tmp_path, {"clicked_points": [[1, 2], [3, 4]], "labels": [1, 0]})
    assert (labelled.labels, labelled.box) == ((1, 0), None)


def test_boxes_without_clicks_are_an_object_each(tmp_path: Path) -> None:
    specs = clicked(tmp_path, {"clicked_points": [], "boxes": [[0, 1, 5, 6], [2, 2, 9, 9.5]]})
    assert [str(spec.box[3]) for spec in specs if spec.box] == ["6", "9.5"]
    assert not any(spec.points for spec in specs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[1, 2]], r"a\.json: a file is an object with clicked_points, labels, boxes"),
        ({}, "no prompt was given"),
        ({"clicked_points": [], "boxes": []}, "no prompt was given"),
        ({"click_points": [[1, 2]]}, r"unknown key 'click_points'\. Did you mean 'clicked_points'\?"),
        ({"clicked_points": [[1, 2]], "labels": [1, 0]}, "2 labels were given for 1 points"),
        ({"boxes": [[1, 2, 3, 4]], "labels": [1]}, "1 labels were given for 0 points"),
        ({"clicked_points": [[1, 2, 3]]}, "list of 2 coordinates"),
        ({"boxes": [1, 2, 3, 4]}, "list of 4 coordinates, not 1"),
        ({"clicked_points": [[1, 2]], "boxes": [[1, 2, 3, 4]] * 2}, "at most one box comes with them, not 2"),
    ],
)
def test_files_of_clicks_of_another_layout_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(FileError, match=message):
        clicked(tmp_path, content)


def test_every_image_needs_its_file_of_clicks(tmp_path: Path) -> None:
    clicked(tmp_path, {"clicked_points": [[1, 2]]}, "cat.jpg")
    with pytest.raises(InputError, match=r"1 of 2 images have no prompts: dogs/dog\.jpg\. Add files such as"):
        read_prompt_folder(tmp_path, ["cat.jpg", "dogs/dog.jpg"])
