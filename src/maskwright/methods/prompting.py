"""Prompts as people write them: points, boxes and mask files, in pixels or in percent of the image.

A `PromptSpec` does not know the image yet, so one serves a folder of images of different sizes; `to_prompts`
makes model prompts of it for one image. Points are pixel indices and boxes pixel edges, as in `data.prompts`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.errors import InputError
from maskwright.io.files import read_bytes
from maskwright.io.masks import read_mask
from maskwright.models.prompts import make_prompts
from maskwright.types import BoolArray, Geometry, Prompts

EXAMPLE = "--point 320,240, --box 100,50,400,300 or --point 50%,50%"


@dataclass(frozen=True)
class Coordinate:
    """A number of pixels, or a percentage of the image's width or height."""

    value: float
    percent: bool = False

    def pixels(self, length: int) -> float:
        """The coordinate along a side of `length` pixels."""
        return self.value / 100 * length if self.percent else self.value

    def __str__(self) -> str:
        return f"{self.value:g}%" if self.percent else f"{self.value:g}"


@dataclass(frozen=True)
class PromptSpec:
    """One prompt: what is given describes one object together.

    Args:
        points: (x, y) each.
        labels: one a point: 1 object, 0 background.
        box: (x0, y0, x1, y1), or None.
        mask: file of a rough mask of the image's size, or None.

    Raises:
        InputError: when it is empty, or labels do not fit.
    """

    points: tuple[tuple[Coordinate, Coordinate], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = None
    mask: Path | None = None

    def __post_init__(self) -> None:
        if not self.points and self.box is None and self.mask is None:
            raise InputError(f"no prompt was given: say what to segment, for example {EXAMPLE}.")
        if len(self.labels) != len(self.points):
            raise InputError(f"{len(self.labels)} labels were given for {len(self.points)} points.")
        if not set(self.labels) <= {0, 1}:
            raise InputError(f"labels are 1 (object) or 0 (background), not {list(self.labels)}.")

    def described(self) -> dict[str, Any]:
        """The prompt as a JSON value in the layout of a prompt file, and the checksum of its mask file.

        Raises:
            FileError: when the mask file cannot be read.
        """
        described: dict[str, Any] = {}
        if self.points:
            described["points"] = [[str(x), str(y)] for x, y in self.points]
            described["labels"] = list(self.labels)
        if self.box is not None:
            described["box"] = [str(part) for part in self.box]
        if self.mask is not None:
            described["mask"] = str(self.mask)
            described["mask_sha256"] = hashlib.sha256(read_bytes(self.mask)).hexdigest()
        return described


def parse_coordinate(value: str | float) -> Coordinate:
    """Read a number of pixels (320, "320") or a percentage ("50%").

    Raises:
        InputError: for anything else.
    """
    text = str(value).strip()
    number = text.removesuffix("%")
    try:
        parsed = float(number)
    except ValueError:
        parsed = math.nan
    if isinstance(value, bool) or not math.isfinite(parsed):
        raise InputError(
            f"{value!r} is not a coordinate: give pixels such as 320, or a percentage such as 50%."
        )
    return Coordinate(parsed, percent=number != text)


def parse_point(text: str) -> tuple[tuple[Coordinate, Coordinate], int]:
    """Read X,Y or X,Y,LABEL with label 1 (object, the default) or 0 (background).

    Raises:
        InputError: with an example.
    """
    parts = text.split(",")
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2].strip() not in ("0", "1")):
        raise InputError(
            f"point {text!r} is not X,Y or X,Y,0|1; for example 320,240 or 10,10,0 for background."
        )
    return (parse_coordinate(parts[0]), parse_coordinate(parts[1])), int(parts[2]) if len(parts) == 3 else 1


def parse_box(text: str) -> tuple[Coordinate, Coordinate, Coordinate, Coordinate]:
    """Read X0,Y0,X1,Y1: left, top, right, bottom.

    Raises:
        InputError: with an example.
    """
    parts = text.split(",")
    if len(parts) != 4:
        raise InputError(
            f"box {text!r} is not X0,Y0,X1,Y1 (left, top, right, bottom); for example 100,50,400,300."
        )
    x0, y0, x1, y1 = map(parse_coordinate, parts)
    return x0, y0, x1, y1


def from_flags(points: Sequence[str], box: str | None, mask: Path | None) -> PromptSpec:
    """One prompt of the command line's flags: all of them describe one object together.

    Raises:
        InputError: when none is given, or one cannot be read.
    """
    parsed = [parse_point(text) for text in points]
    return PromptSpec(
        points=tuple(point for point, _ in parsed),
        labels=tuple(label for _, label in parsed),
        box=None if box is None else parse_box(box),
        mask=mask,
    )


def to_prompts(specs: Sequence[PromptSpec], geometry: Geometry, low_res: int) -> Prompts:
    """Make the prompts of one image, in its own pixels.

    Args:
        specs: N prompts.
        geometry: of the image's embedding.
        low_res: side of the model's masks.

    Raises:
        InputError: for a point or box outside the image, or a mask of another size.
        MaskError: for a mask file that cannot be read.
    """
    height, width = geometry.size
    points = [[(x.pixels(width), y.pixels(height)) for x, y in spec.points] or None for spec in specs]
    sides = (width, height, width, height)
    boxes = [
        None if spec.box is None else [part.pixels(side) for part, side in zip(spec.box, sides, strict=True)]
        for spec in specs
    ]
    masks = [None if spec.mask is None else _rough_mask(spec.mask, geometry.size) for spec in specs]
    return make_prompts(
        geometry,
        low_res,
        points=_unless_all_none(points),
        labels=_unless_all_none([spec.labels or None for spec in specs]),
        boxes=_unless_all_none(boxes),
        masks=_unless_all_none(masks),
    )


def _rough_mask(path: Path, size: tuple[int, int]) -> BoolArray:
    mask = read_mask(path)
    if mask.shape != size:
        raise InputError(
            f"mask {path} is {mask.shape[1]} × {mask.shape[0]}, the image {size[1]} × {size[0]}."
        )
    if not mask.any():
        raise InputError(f"mask {path} is empty: its pixels that are not 0 are the object.")
    return mask


def _unless_all_none(rows: list[Any]) -> list[Any] | None:
    return None if all(row is None for row in rows) else rows
