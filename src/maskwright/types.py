"""The values that travel through Maskwright: frozen, checked once when made.

Axes in names: B images, N prompts of one image, P points of one prompt, M masks of one prompt,
K instances of a sample, T tokens, C channels, H W size. Coordinates are (x, y) in pixels of the
original image, boxes are (x0, y0, x1, y1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.choices import HQMode as HQMode
from maskwright.errors import InputError

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

Resize = Literal["pad", "stretch"]


def check_shape(name: str, array: Any, expected: Sequence[int | str]) -> None:  # noqa: ANN401
    """Refuse an array whose shape does not match; a string stands for any length.

    Raises:
        InputError: with the expected and the actual shape.
    """
    shape = tuple(array.shape)
    fits = len(shape) == len(expected) and all(
        isinstance(want, str) or want == have for want, have in zip(expected, shape, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join(str(axis) for axis in expected) + ")"
        raise InputError(f"{name} must have shape {wanted}, not {shape} ({array.dtype}).")


@dataclass(frozen=True, eq=False)
class Image:
    """An RGB photo: `pixels` is uint8 (H, W, 3); `source` names where it came from, for messages."""

    pixels: ByteArray
    source: str = "<array>"

    def __post_init__(self) -> None:
        check_shape(f"image {self.source}", self.pixels, ("H", "W", 3))
        if self.pixels.dtype != np.uint8:
            raise InputError(
                f"image {self.source} must be uint8, not {self.pixels.dtype}; see io.images.read_image."
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class Geometry:
    """How an image of `size` (H, W) maps to a model's square input of side `side` and back.

    `pad`: the longest side becomes `side`, the rest is padded right and bottom (SAM, SAM-HQ).
    `stretch`: both sides become `side` (SAM 2).
    """

    size: tuple[int, int]
    side: int
    resize: Resize = "pad"

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the resized image inside the square."""
        if self.resize == "stretch":
            return self.side, self.side
        height, width = self.size
        scale = self.side / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def to_input(self, points: Tensor) -> Tensor:
        """Map (…, 2) points (x, y) of the original image into the model's input."""
        (height, width), (new_height, new_width) = self.size, self.input_size
        return points * points.new_tensor([new_width / width, new_height / height])

    def in_input(self, low_res: Tensor) -> Tensor:
        """Resize (A, h, w) logits of the padded square to the model's input and cut the image out."""
        if self.resize == "stretch":
            return low_res
        square = F.interpolate(low_res[None], (self.side, self.side), mode="bilinear", align_corners=False)
        return square[0, :, : self.input_size[0], : self.input_size[1]]

    def to_image(self, low_res: Tensor) -> Tensor:
        """Resize (A, h, w) logits of the padded square to the original size (A, H, W), bilinear."""
        inside = self.in_input(low_res)[None]
        return F.interpolate(inside, self.size, mode="bilinear", align_corners=False)[0]

    def to_low_res(self, masks: Tensor, low_res: int) -> Tensor:
        """Resize (A, H, W) maps of the original image into the padded square (A, low_res, low_res)."""
        square = F.interpolate(masks[None], self.input_size, mode="bilinear", align_corners=False)
        pad = (0, self.side - self.input_size[1], 0, self.side - self.input_size[0])
        square = F.pad(square, pad)
        return F.interpolate(
            square, (low_res, low_res), mode="bilinear", antialias=True, align_corners=False
        )[0]


@dataclass(frozen=True, eq=False)
class Prompts:
    """N prompts for one image, in its own pixel coordinates; a prompt may have several kinds at once.

    Args:
        points: (N, P, 2) float32, or None.
        labels: (N, P) int64: 1 object, 0 background, -1 no point here (ragged prompts are filled with -1).
        boxes: (N, 4) float32 (x0, y0, x1, y1), or None; a row of NaN means this prompt has no box.
        masks: (N, h, w) float32 logits in the model's low-resolution frame, or None; a NaN map means none.

    Raises:
        InputError: for shapes that do not fit, unknown labels, or a prompt with nothing in it.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        if self.points is not None:
            check_shape("points", self.points, ("N", "P", 2))
            if self.labels is None:
                raise InputError("points come with labels: 1 for the object, 0 for background.")
            check_shape("labels", self.labels, tuple(self.points.shape[:2]))
            if not bool(((self.labels >= -1) & (self.labels <= 1)).all()):
                raise InputError("labels are 1 (object), 0 (background) or -1 (no point).")
        elif self.labels is not None:
            raise InputError("labels were given without points.")
        if self.boxes is not None:
            check_shape("boxes", self.boxes, ("N", 4))
        if self.masks is not None:
            check_shape("masks", self.masks, ("N", "h", "w"))
        counts = {len(part) for part in (self.points, self.boxes, self.masks) if part is not None}
        if len(counts) != 1:
            raise InputError(
                "no prompt was given: pass points, boxes or masks."
                if not counts
                else f"points, boxes and masks must hold the same number of prompts, not {sorted(counts)}."
            )
        if not bool(self._kinds.any(dim=1).all()):
            empty = (~self._kinds.any(dim=1)).nonzero().flatten().tolist()
            raise InputError(f"prompts {empty} are empty: each needs a point, a box or a mask.")

    def __len__(self) -> int:
        part = next(part for part in (self.points, self.boxes, self.masks) if part is not None)
        return len(part)

    @cached_property
    def _kinds(self) -> Tensor:
        """(N, 3) bool: has points, has a box, has a mask."""
        kinds = torch.zeros(len(self), 3, dtype=torch.bool)
        if self.labels is not None:
            kinds[:, 0] = (self.labels >= 0).any(dim=1).cpu()
        if self.boxes is not None:
            kinds[:, 1] = ~self.boxes.isnan().any(dim=1).cpu()
        if self.masks is not None:
            kinds[:, 2] = ~self.masks.isnan().flatten(1).any(dim=1).cpu()
        return kinds

    def groups(self) -> list[tuple[Tensor, Prompts]]:
        """Split into (indices, prompts) of equal structure, so that each group decodes as one batch.

        Prompts with different numbers of points, or with and without a box, need different token
        counts; padding them would change the numbers, so they are grouped instead. No group holds
        NaN rows or -1 labels.
        """
        counts = torch.zeros(len(self), dtype=torch.long)
        if self.labels is not None:
            counts = (self.labels >= 0).sum(dim=1).cpu()
        keys = torch.cat([counts[:, None], self._kinds[:, 1:].long()], dim=1)
        result = []
        for key in torch.unique(keys, dim=0):
            index = (keys == key).all(dim=1).nonzero().flatten()
            result.append((index, self._take(index, int(key[0]), bool(key[1]), bool(key[2]))))
        return result

    def _take(self, index: Tensor, points: int, box: bool, mask: bool) -> Prompts:
        kept_points = kept_labels = None
        if points:
            assert self.points is not None
            assert self.labels is not None
            labels = self.labels[index]
            # A stable sort moves the real points to the front without changing their order.
            order = (labels < 0).long().sort(dim=1, stable=True).indices[:, :points]
            kept_labels = labels.gather(1, order)
            kept_points = self.points[index].gather(1, order[..., None].expand(-1, -1, 2))
        return Prompts(
            points=kept_points,
            labels=kept_labels,
            boxes=self.boxes[index] if box and self.boxes is not None else None,
            masks=self.masks[index] if mask and self.masks is not None else None,
        )


@dataclass(frozen=True, eq=False)
class Embedding:
    """What a model's encoder made of one image; encode once, then ask as often as you like.

    Args:
        features: a `models.base.Features` of batch size one.
        geometry: how the image maps to the model's input.
        model: signature of the model (name and weights), so that an embedding is never decoded by another.
        source: where the image came from.
    """

    features: Any
    geometry: Geometry
    model: str
    source: str = "<array>"


@dataclass(frozen=True, eq=False)
class Masks:
    """The masks of one image: N prompts, M masks each.

    Args:
        low_res: (N, M, h, w) float32 logits in the model's padded square; positive is object.
        iou: (N, M) float32, the model's own estimate of each mask's IoU.
        geometry: maps the logits to the image.
        tokens: (N, T, C) float32, the decoder's output tokens (IoU token first), or None.
        extras: further rows, one a mask, each (N, M), such as the expected "quality" (`models.uncertainty`).
        mask_token: (N, M) int64, which of the mask tokens each mask is of, or None.
    """

    low_res: Tensor
    iou: Tensor
    geometry: Geometry
    tokens: Tensor | None = None
    source: str = "<array>"
    extras: dict[str, Tensor] = field(default_factory=dict)
    mask_token: Tensor | None = None

    def __post_init__(self) -> None:
        check_shape("low_res", self.low_res, ("N", "M", "h", "w"))
        check_shape("iou", self.iou, tuple(self.low_res.shape[:2]))
        for name, value in self.extras.items():
            check_shape(name, value, tuple(self.iou.shape))
        if self.mask_token is not None:
            check_shape("mask_token", self.mask_token, tuple(self.iou.shape))

    def __len__(self) -> int:
        return len(self.low_res)

    def __getitem__(self, index: int | slice | Tensor) -> Masks:
        """The masks of some prompts."""
        rows = slice(index, index + 1 or None) if isinstance(index, int) else index
        return self._of_masks(lambda part: part[rows], None if self.tokens is None else self.tokens[rows])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.geometry.size

    @property
    def quality(self) -> Tensor | None:
        """(N, M) expected IoU of each mask, calibrated; None of a model without uncertainty heads."""
        return self.extras.get("quality")

    def best(self) -> Masks:
        """Keep for each prompt the mask with the highest predicted IoU: M becomes 1."""
        pick = self.iou.argmax(dim=1)
        rows = torch.arange(len(self), device=pick.device)
        return self._of_masks(lambda part: part[rows, pick][:, None], self.tokens)

    def _of_masks(self, take: Callable[[Tensor], Tensor], tokens: Tensor | None) -> Masks:
        """Some of the masks, with all that is known of each."""
        extras = {name: take(value) for name, value in self.extras.items()}
        made_by = None if self.mask_token is None else take(self.mask_token)
        return Masks(take(self.low_res), take(self.iou), self.geometry, tokens, self.source, extras, made_by)

    def logits(self) -> Tensor:
        """(N, M, H, W) float32 logits at the image's size."""
        flat = self.low_res.flatten(0, 1).float()
        if not len(flat):
            return flat.new_zeros(*self.low_res.shape[:2], *self.size)
        return self.geometry.to_image(flat).view(*self.low_res.shape[:2], *self.size)

    def probabilities(self) -> Tensor:
        """(N, M, H, W) float32 probability that a pixel belongs to the object."""
        return self.logits().sigmoid()

    def binary(self, threshold: float = 0.0) -> BoolArray:
        """(N, M, H, W) bool masks: logits above `threshold`."""
        binary: BoolArray = (self.logits() > threshold).cpu().numpy()
        return binary

    def uncertainty(self) -> Tensor:
        """(N, M, H, W) float32 entropy of the mask probability in bits: 0 certain, 1 undecided."""
        probability = self.probabilities().clamp(1e-6, 1 - 1e-6)
        return -(probability * probability.log2() + (1 - probability) * (1 - probability).log2())

    def areas(self) -> npt.NDArray[np.int64]:
        """(N, M) number of object pixels."""
        areas: npt.NDArray[np.int64] = np.count_nonzero(self.binary(), axis=(2, 3))
        return areas

    def boxes(self) -> FloatArray:
        """(N, M, 4) tight boxes (x0, y0, x1, y1), x1 and y1 exclusive; zeros for an empty mask."""
        binary = self.binary()
        columns: BoolArray = np.any(binary, axis=2)
        rows: BoolArray = np.any(binary, axis=3)
        first_x, first_y = columns.argmax(axis=2), rows.argmax(axis=2)
        last_x = columns.shape[2] - columns[:, :, ::-1].argmax(axis=2)
        last_y = rows.shape[2] - rows[:, :, ::-1].argmax(axis=2)
        boxes = np.stack([first_x, first_y, last_x, last_y], axis=-1).astype(np.float32)
        boxes[~columns.any(axis=2)] = 0
        return boxes


@dataclass(frozen=True, eq=False)
class Maps:
    """K float32 maps of one photo, array-like and read-only, each made only when it is asked for.

    Hundreds of maps at a photo's full size would take gigabytes, and training looks at a few of them, mostly
    at a smaller size. Indexed as an array is along its first axis: a number gives (H, W); a list, a slice or
    an array of numbers or of truth values gives (k, H, W). `numpy.asarray` makes them all.

    Args:
        shape: (K, H, W).
        make: gives the map of a number from 0 to K - 1, or its means over blocks, float32; see `at`.
    """

    shape: tuple[int, int, int]
    make: Callable[[int, tuple[int, int]], FloatArray]

    dtype = np.dtype(np.float32)
    ndim = 3

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | Sequence[int] | npt.NDArray[Any]) -> FloatArray:
        chosen = index if isinstance(index, slice) else np.asarray(index, None if np.size(index) else np.intp)
        rows = np.arange(len(self))[chosen]
        if rows.ndim == 0:
            return self.at(int(rows))
        maps = np.empty((len(rows), *self.shape[1:]), np.float32)
        for place, row in enumerate(rows):
            maps[place] = self.at(int(row))
        return maps

    def at(self, index: int, blocks: tuple[int, int] = (1, 1)) -> FloatArray:
        """A map, or its means over blocks of so many rows and columns, as `data.transforms.shrink`."""
        return self.make(index, blocks)

    def __iter__(self) -> Iterator[FloatArray]:
        return map(self.at, range(len(self)))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:].astype(dtype or np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated image, as every dataset reader gives it.

    Args:
        image: the photo.
        masks: (K, H, W) bool, one per instance or segment; they may overlap; K may be 0.
        ids: K identifiers as the dataset has them (label values, annotation ids).
        source: file (and annotator) it came from, for messages.
        categories: K class names or numbers, or None.
        soft: (K, H, W) float32 probabilities of machine-made masks, an array or `Maps`, or None.
        uncertainty: (K, H, W) float32 in [0, 1], 1 where a label must not be trusted, likewise, or None.
        partition: True when the masks together label every pixel, so that their outlines are all the edges.
    """

    image: Image
    masks: BoolArray
    ids: tuple[int, ...]
    source: str
    categories: tuple[str | int, ...] | None = None
    soft: FloatArray | Maps | None = None
    uncertainty: FloatArray | Maps | None = None
    partition: bool = False

    def __post_init__(self) -> None:
        shape = (len(self.ids), *self.image.size)
        check_shape(f"masks of {self.source}", self.masks, shape)
        if self.masks.dtype != np.bool_:
            raise InputError(f"masks of {self.source} must be bool, not {self.masks.dtype}.")
        if self.categories is not None and len(self.categories) != len(self.ids):
            raise InputError(f"{self.source}: {len(self.categories)} categories for {len(self.ids)} masks.")
        for name, value in (("soft", self.soft), ("uncertainty", self.uncertainty)):
            if value is not None:
                check_shape(f"{name} of {self.source}", value, shape)
