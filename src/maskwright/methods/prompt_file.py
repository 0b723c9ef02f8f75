"""Prompt files: JSON that says what to segment in which image.

Either a list of prompts, which holds for every image, or an object from image names (relative to the folder
that all images share, with forward slashes) to lists of prompts; the name "*" stands for every image that is
not named itself:

    {
      "kitchen/cup.jpg": [
        {"box": [100, 50, 400, 300]},
        {"points": [[320, 240], ["10%", "10%"]], "labels": [1, 0]}
      ],
      "*": [{"points": [["50%", "50%"]]}]
    }

Each prompt has one or several of `points` (with `labels`, 1 object, 0 background; all 1 when left out), `box`
(left, top, right, bottom) and `mask` (an image file, relative to the prompt file). A number is pixels, a
string with % is a share of the image's width or height. Every prompt gives its own mask.

Or a folder with a file for each image, FOLDER/kitchen/cup.json for kitchen/cup.jpg, as PerSAM-HQ reads them:

    {"clicked_points": [[320, 240], [10, 10]], "labels": [1, 0], "boxes": [[100, 50, 400, 300]]}

All clicks of a file are on one object, and a box beside them is around it; without clicks, each box is an
object of its own. Labels may be left out as above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from maskwright.errors import FileError, InputError, suggestion
from maskwright.io.files import read_json, shown
from maskwright.methods.prompting import Coordinate, PromptSpec, parse_coordinate

EVERY_IMAGE = "*"
_KEYS = ("points", "labels", "box", "mask")
_CLICK_KEYS = ("clicked_points", "labels", "boxes")
_NAMED = 5


@dataclass(frozen=True)
class PromptBook:
    """The prompts of many images, by name; "*" is for those not named."""

    pages: Mapping[str, tuple[PromptSpec, ...]]

    def of(self, name: str) -> tuple[PromptSpec, ...]:
        """The prompts of one image."""
        return self.pages.get(name) or self.pages[EVERY_IMAGE]

    def check(self, names: Sequence[str]) -> None:
        """Refuse prompts for images that are not there, and images without prompts.

        Raises:
            InputError: naming them.
        """
        for name in self.pages:
            if name != EVERY_IMAGE and name not in names:
                raise InputError(
                    f"there are prompts for {name!r}, but no such image.{suggestion(name, names)}"
                )
        bare = [name for name in names if name not in self.pages]
        if bare and EVERY_IMAGE not in self.pages:
            raise InputError(
                f'{len(bare)} images have no prompts: {_some(bare)}. Add them, or "*" for every other image.'
            )

    def described(self) -> dict[str, Any]:
        """The book as a JSON value; see `PromptSpec.described`."""
        return {name: [spec.described() for spec in specs] for name, specs in sorted(self.pages.items())}


def for_every_image(spec: PromptSpec) -> PromptBook:
    """One prompt for whatever image comes."""
    return PromptBook({EVERY_IMAGE: (spec,)})


def read_prompts(path: Path) -> PromptBook:
    """Read a prompt file.

    Raises:
        FileError: when it cannot be read, or has another layout; says where.
    """
    content = read_json(path)
    pages = {EVERY_IMAGE: content} if isinstance(content, list) else content
    if not isinstance(pages, dict) or not pages:
        raise FileError(f"{path} must hold a list of prompts, or an object from image names to such lists.")
    return PromptBook({name: _page(path, name, page) for name, page in pages.items()})


def read_prompt_folder(folder: Path, names: Sequence[str]) -> PromptBook:
    """Read the clicks and boxes of each image from a file of its own.

    Args:
        folder: of the files, named as the images; others in it are left alone.
        names: of the images, relative to the folder that all share.

    Raises:
        InputError: naming the images that have no file.
        FileError: a file cannot be read, or has another layout; says where.
    """
    places = {name: folder / PurePosixPath(name).with_suffix(".json") for name in names}
    bare = [name for name, path in places.items() if not path.is_file()]
    if bare:
        raise InputError(
            f"{len(bare)} of {len(names)} images have no prompts: {_some(bare)}. Add files such as "
            f"{shown(places[bare[0]])}, or name only images that have one."
        )
    return PromptBook({name: _clicked(path) for name, path in places.items()})


def _clicked(path: Path) -> tuple[PromptSpec, ...]:
    """The prompts of one image, from its own file."""
    content = read_json(path)
    try:
        entry = _entry("file", content, _CLICK_KEYS)
        clicks = {
            "points": entry.get("clicked_points", []),
            **{name: value for name, value in entry.items() if name == "labels"},
        }
        boxes = _list("boxes", entry.get("boxes", []))
        if clicks["points"] and len(boxes) > 1:
            raise InputError(
                f"clicks are on one object, so at most one box comes with them, not {len(boxes)}: to segment "
                "several objects of an image by clicks, write one prompt file for all images."
            )
        if clicks["points"] or not boxes:
            return (_spec(path, clicks | ({"box": boxes[0]} if boxes else {})),)
        return tuple(_spec(path, clicks | {"box": box}) for box in boxes)
    except InputError as error:
        raise FileError(f"{shown(path)}: {error}") from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _page(path: Path, name: str, page: Any) -> tuple[PromptSpec, ...]:  # noqa: ANN401
    if not isinstance(page, list) or not page:
        raise FileError(f"{path}: the prompts of {name!r} must be a list with at least one prompt.")
    specs = []
    for number, entry in enumerate(page):
        try:
            specs.append(_spec(path, entry))
        except InputError as error:
            raise FileError(f"{path}: prompt {number} of {name!r}: {error}") from error
    return tuple(specs)


def _spec(path: Path, entry: Any) -> PromptSpec:  # noqa: ANN401
    entry = _entry("prompt", entry, _KEYS)
    points = [_numbers("point", point, 2) for point in _list("points", entry.get("points", []))]
    labels = _list("labels", entry.get("labels", [1] * len(points)))
    if not all(type(label) is int for label in labels):
        raise InputError(f"labels are 1 (object) or 0 (background), not {labels!r}.")
    box = None if entry.get("box") is None else _numbers("box", entry["box"], 4)
    mask = entry.get("mask")
    if mask is not None and not isinstance(mask, str):
        raise InputError(f"mask must be the path of an image file, not {mask!r}.")
    return PromptSpec(
        points=tuple((x, y) for x, y in points),
        labels=tuple(labels),
        box=None if box is None else (box[0], box[1], box[2], box[3]),
        mask=None if mask is None else path.parent / mask,
    )


def _entry(what: str, value: Any, keys: Sequence[str]) -> dict[str, Any]:  # noqa: ANN401
    """A JSON object that has no other keys than these."""
    if not isinstance(value, dict):
        raise InputError(f"a {what} is an object with {', '.join(keys)}, not {value!r}.")
    for key in value:
        if key not in keys:
            raise InputError(f"unknown key {key!r}.{suggestion(key, keys)} A {what} has {', '.join(keys)}.")
    return value


def _list(name: str, value: Any) -> list[Any]:  # noqa: ANN401
    if not isinstance(value, list):
        raise InputError(f"{name} must be a list, not {value!r}.")
    return value


def _numbers(name: str, value: Any, count: int) -> list[Coordinate]:  # noqa: ANN401
    if not isinstance(value, list) or len(value) != count:
        raise InputError(f"a {name} is a list of {count} coordinates, not {value!r}.")
    return [parse_coordinate(part) for part in value]
