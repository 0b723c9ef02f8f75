"""From prompts as people write them to checked `Prompts`, and from those to a model's input frame.

Axes: N prompts, P points of one prompt, H W image, h w low resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.errors import InputError
from maskwright.models.base import PromptBatch
from maskwright.types import Geometry, Prompts

# A binary mask becomes logits of ± this, about what SAM itself gives for a sure pixel.
MASK_LOGIT = 10.0
# Points may lie outside by this share of the longest side (clicks at an edge, jittered prompts); beyond it,
# something else is meant: swapped coordinates, or those of another image size.
OUTSIDE_SHARE = 0.1

_AnyArray = npt.NDArray[Any]
_SHAPES = {
    "points": "(2,) for one click, (P, 2) for one prompt, (N, P, 2) or a list of N such for several",
    "labels": "(P,) for one prompt, (N, P) or a list of N such for several",
    "boxes": "(4,) for one prompt or (N, 4) for several",
    "masks": "(H, W) for one prompt or (N, H, W) for several",
}


def make_prompts(
    geometry: Geometry,
    low_res: int,
    *,
    points: Any = None,  # noqa: ANN401
    labels: Any = None,  # noqa: ANN401
    boxes: Any = None,  # noqa: ANN401
    masks: Any = None,  # noqa: ANN401
) -> Prompts:
    """Build the prompts of one image from arrays, tensors or nested lists in its own pixel coordinates.

    Each kind is given for one prompt or as a sequence of N; in a sequence, prompts may have different numbers
    of points, and None means that this prompt has nothing of this kind.

    Args:
        geometry: the image's.
        low_res: side of the model's low-resolution masks.
        points: (2,) for a single click, (P, 2), (N, P, 2) or ragged, as (x, y).
        labels: shaped as the points: 1 for the object (the default), 0 for background, -1 for no point.
        boxes: (4,) or (N, 4), as (x0, y0, x1, y1).
        masks: bool at the image's size (H, W) or (N, H, W), which become logits of ±10, less on their
            boundaries; or float logits at (low_res, low_res), such as an earlier `Masks.low_res`.

    Raises:
        InputError: shapes that do not fit, values that are not finite, empty boxes, points far outside.
    """
    parts: dict[str, Tensor | None] = {}
    if _depth(points) == 1 and points is not None and not _all_none(points):
        # One bare click, the first thing one tries: points=[x, y], labels=1.
        points, labels = [points], [labels] if labels is not None and _depth(labels) == 0 else labels
    clicks, kinds = _entries("points", points, 2), _entries("labels", labels, 1)
    parts["points"], parts["labels"] = _points(clicks, kinds)
    parts["boxes"] = _boxes(_entries("boxes", boxes, 1))
    parts["masks"] = _masks(_entries("masks", masks, 2), geometry, low_res)
    prompts = Prompts(**parts)
    check_prompts(prompts, geometry, low_res)
    return prompts


def check_prompts(prompts: Prompts, geometry: Geometry, low_res: int) -> None:
    """Refuse prompts that cannot be meant for this image and model.

    Raises:
        InputError: naming the prompt and the value.
    """
    if prompts.points is not None and prompts.labels is not None:
        _check_points(prompts.points, prompts.labels, geometry.size)
    if prompts.boxes is not None:
        _check_boxes(prompts.boxes, geometry.size)
    if prompts.masks is not None and tuple(prompts.masks.shape[1:]) != (low_res, low_res):
        raise InputError(
            f"mask prompts must be logits of shape ({low_res}, {low_res}) for this model, "
            f"not {tuple(prompts.masks.shape[1:])}."
        )


def to_batch(
    prompts: Prompts, geometry: Geometry, device: torch.device, task: int | None = None
) -> PromptBatch:
    """The prompts of one image in the model's input frame, as a batch of one image, all of one task."""
    points, labels, boxes = prompts.points, prompts.labels, prompts.boxes
    if points is not None:
        points = geometry.to_input(points.float())[None].to(device)
    if boxes is not None:
        boxes = geometry.to_input(boxes.float().view(-1, 2, 2)).flatten(1)[None].to(device)
    return PromptBatch(
        points,
        None if labels is None else labels[None].to(device),
        boxes,
        None if prompts.masks is None else prompts.masks.float()[None].to(device),
        task,
    )


def _entries(name: str, value: Any, depth: int) -> list[_AnyArray | None] | None:  # noqa: ANN401
    """One array per prompt; `depth` is the number of axes that one prompt's value has."""
    if value is None:
        return None
    found = _depth(value)
    if _all_none(value):
        entries = list(value)
    elif found == depth:
        entries = [value]
    elif found == depth + 1:
        entries = list(value)
    else:
        raise InputError(f"{name} must have shape {_SHAPES[name]}; {found} axes were given.")
    return [
        None if entry is None else _array(f"{name} of prompt {i}", entry) for i, entry in enumerate(entries)
    ]


def _all_none(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Sequence) and all(entry is None for entry in value)


def _depth(value: Any) -> int:  # noqa: ANN401
    if isinstance(value, np.ndarray | Tensor):
        return value.ndim
    if isinstance(value, Sequence) and not isinstance(value, str):
        return 1 + max((_depth(entry) for entry in value if entry is not None), default=0)
    return 0


def _array(name: str, value: Any) -> _AnyArray:  # noqa: ANN401
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name}: rows of different lengths.") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} must be numbers, not {array.dtype}.")
    return array


def _points(
    points: list[_AnyArray | None] | None, labels: list[_AnyArray | None] | None
) -> tuple[Tensor | None, Tensor | None]:
    if points is None:
        if labels is not None:
            raise InputError("labels were given without points.")
        return None, None
    labels = [None] * len(points) if labels is None else labels
    if len(labels) != len(points):
        raise InputError(f"points are given for {len(points)} prompts but labels for {len(labels)}.")
    most = max((len(entry) for entry in points if entry is not None), default=0)
    filled = torch.zeros(len(points), most, 2)
    kinds = torch.full((len(points), most), -1)
    for i, (entry, label) in enumerate(zip(points, labels, strict=True)):
        if entry is None:
            if label is not None:
                raise InputError(f"labels of prompt {i} were given without points.")
            continue
        if entry.ndim != 2 or (entry.shape[1] != 2 and len(entry)):
            raise InputError(f"points of prompt {i} must have shape (P, 2) as (x, y), not {entry.shape}.")
        filled[i, : len(entry)] = torch.tensor(entry.reshape(-1, 2), dtype=torch.float32)
        kinds[i, : len(entry)] = 1 if label is None else _labels(i, label, len(entry))
    return filled, kinds


def _labels(prompt: int, label: _AnyArray, count: int) -> Tensor:
    if label.shape != (count,):
        raise InputError(
            f"labels of prompt {prompt} must have shape ({count},) as its points, not {label.shape}."
        )
    if not np.isin(label, (-1, 0, 1)).all():
        raise InputError(
            f"labels of prompt {prompt} are 1 (object), 0 (background) or -1 (no point), "
            f"not {label.tolist()}."
        )
    return torch.tensor(label.astype(np.int64))


def _boxes(boxes: list[_AnyArray | None] | None) -> Tensor | None:
    if boxes is None:
        return None
    filled = torch.full((len(boxes), 4), torch.nan)
    for i, box in enumerate(boxes):
        if box is None:
            continue
        if box.shape != (4,):
            raise InputError(f"box of prompt {i} must have shape (4,) as (x0, y0, x1, y1), not {box.shape}.")
        if not np.isfinite(box).all():
            raise InputError(
                f"box of prompt {i} is not finite: {box.tolist()}; give None where there is no box."
            )
        filled[i] = torch.tensor(box, dtype=torch.float32)
    return filled


def _masks(masks: list[_AnyArray | None] | None, geometry: Geometry, low_res: int) -> Tensor | None:
    if masks is None:
        return None
    filled = torch.full((len(masks), low_res, low_res), torch.nan)
    for i, mask in enumerate(masks):
        if mask is None:
            continue
        if mask.dtype == np.bool_ and mask.shape == geometry.size:
            inside = geometry.to_low_res(torch.tensor(mask, dtype=torch.float32)[None], low_res)[0]
            filled[i] = (2 * inside - 1) * MASK_LOGIT
        elif mask.dtype.kind == "f" and mask.shape == (low_res, low_res):
            if not np.isfinite(mask).all():
                raise InputError(f"mask of prompt {i} has values that are not finite; use None for no mask.")
            filled[i] = torch.tensor(mask, dtype=torch.float32)
        else:
            raise InputError(
                f"mask of prompt {i} must be bool at the image's size {geometry.size} or float logits "
                f"of shape ({low_res}, {low_res}), not {mask.shape} ({mask.dtype})."
            )
    return filled


def _check_points(points: Tensor, labels: Tensor, size: tuple[int, int]) -> None:
    height, width = size
    margin = OUTSIDE_SHARE * max(size)
    x, y = points.unbind(-1)
    # Written so that NaN is outside.
    inside = (x >= -margin) & (x <= width + margin) & (y >= -margin) & (y <= height + margin)
    for prompt, point in ((labels >= 0) & ~inside).nonzero().tolist():
        where = points[prompt, point].tolist()
        outside = f"lies far outside the image of {width} × {height}"
        what = outside if np.isfinite(where).all() else "is not finite"
        raise InputError(
            f"point {point} of prompt {prompt}, {_pair(where)}, {what}; points are (x, y) in pixels."
        )


def _check_boxes(boxes: Tensor, size: tuple[int, int]) -> None:
    height, width = size
    x0, y0, x1, y1 = boxes.unbind(1)
    absent = boxes.isnan().all(dim=1)
    ordered = boxes.isfinite().all(dim=1) & (x1 > x0) & (y1 > y0)
    for prompt in (~ordered & ~absent).nonzero().flatten().tolist():
        raise InputError(
            f"box of prompt {prompt}, {_pair(boxes[prompt].tolist())}, is empty or not finite: "
            "boxes are (x0, y0, x1, y1) with x1 > x0 and y1 > y0."
        )
    overlaps = (x0 < width) & (y0 < height) & (x1 > 0) & (y1 > 0)
    for prompt in (~overlaps & ~absent).nonzero().flatten().tolist():
        raise InputError(
            f"box of prompt {prompt}, {_pair(boxes[prompt].tolist())}, lies outside the image of "
            f"{width} × {height}; boxes are (x0, y0, x1, y1) in pixels."
        )


def _pair(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def check_per_image(given: Mapping[str, Any], count: int) -> None:
    """Refuse prompts of several images that are no lists of that length.

    Raises:
        InputError: naming the kind.
    """
    for name, value in given.items():
        if value is not None and (not hasattr(value, "__len__") or len(value) != count):
            has = len(value) if hasattr(value, "__len__") else "no list"
            raise InputError(f"{name}: {count} images need a list with one entry per image, not {has}.")
