"""Masks, prompts and uncertainty drawn on photos, and pictures set side by side.

Axes: K masks, N prompts, P points of a prompt, H W size of the image. Coordinates are (x, y) in pixels
of the image; every function returns a new uint8 RGB array and leaves its arguments alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError
from maskwright.io.rle import RLE
from maskwright.report.canvas import scaled
from maskwright.report.palette import WHITE, colour
from maskwright.report.sheet import side_by_side as side_by_side
from maskwright.report.strokes import MANY, Look, draw_box, draw_masks, draw_point
from maskwright.report.text import Area, Chips
from maskwright.types import BoolArray, ByteArray, FloatArray, Image, check_shape


class Packed(Sequence[ByteArray]):
    """Masks that stay packed until each is drawn: hundreds of them would take gigabytes.

    Args:
        masks: of one image.
    """

    def __init__(self, masks: Sequence[RLE]) -> None:
        self._masks = masks

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401
        return self._masks[index].decode().view(np.uint8)

    def scaled(self, given: tuple[int, int], size: tuple[int, int]) -> Packed:
        """The masks of an image whose height and width are `given`, brought to the display's `size`.

        Raises:
            InputError: one is not of the given size.
        """
        for mask in self._masks:
            if mask.size != given:
                raise InputError(f"masks must be as large as the image, {given}, not {mask.size}.")
        if size == given:
            return self
        return Packed([RLE.encode(_scaled_mask(mask.decode(), size).view(np.bool_)) for mask in self._masks])


def draw(
    image: Image | ByteArray,
    masks: npt.ArrayLike | Packed,
    *,
    points: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    boxes: npt.ArrayLike | None = None,
    scores: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    doubted: npt.ArrayLike | None = None,
    min_side: int = 0,
    max_side: int | None = None,
) -> ByteArray:
    """Draw masks (fill and outline), prompts and scores on a photo.

    Args:
        image: the photo, (H, W, 3) uint8.
        masks: (K, H, W) or (H, W) bool, or `Packed`; K may be 0. Mask k and prompt k have the same colour.
        points: (N, P, 2), or (P, 2) for one prompt.
        labels: (N, P) or (P,): 1 object (a plus), 0 background (a minus), -1 not drawn; all 1 when left out.
        boxes: (N, 4) or (4,); a row with NaN is not drawn.
        scores: (K,), written beside each mask; NaN is left out.
        names: K words, written before the score.
        doubted: (K,) bool; the score of such a mask has a question mark, and its words are on white.
        min_side: enlarge smaller photos until their longest side has this many pixels.
        max_side: shrink larger photos to this longest side.

    Returns:
        (H', W', 3) uint8; H' and W' are the image's unless `min_side` or `max_side` changed them.

    Raises:
        InputError: for arrays whose shapes do not fit.
    """
    pixels = image.pixels if isinstance(image, Image) else np.asarray(image)
    check_shape("image", pixels, ("H", "W", 3))
    scale = _display_scale(pixels.shape[:2], min_side, max_side)
    picture = scaled(pixels, scale)
    size = picture.shape[0], picture.shape[1]
    shown: Sequence[ByteArray]
    if isinstance(masks, Packed):
        shown = masks.scaled((pixels.shape[0], pixels.shape[1]), size)
    else:
        shown = [_scaled_mask(mask, size) for mask in _mask_stack(masks, pixels.shape[:2])]
    look = Look.of(picture, len(shown))

    draw_masks(picture, shown, look)
    drawn_boxes = _rows("boxes", boxes, 4) * scale
    for index, box in enumerate(drawn_boxes):
        if (whole := _whole(box)) is not None:
            draw_box(picture, whole, colour(index), look)
    for x, y, is_object in _points(points, labels):
        draw_point(picture, x * scale, y * scale, is_object, look)
    doubts = [False] * len(shown) if doubted is None else np.asarray(doubted, np.bool_).tolist()
    words = _words(scores, names, doubts, len(shown))
    _draw_words(picture, shown, drawn_boxes, words, doubts, look)
    return picture


def heat(uncertainty: npt.ArrayLike, image: Image | ByteArray | None = None) -> ByteArray:
    """Colour an uncertainty map: black certain, through purple and orange, to pale yellow undecided.

    Args:
        uncertainty: (H, W) in [0, 1]; NaN (unknown) becomes grey.
        image: a photo of the same size; given, its grey version shows through where the map is certain.

    Returns:
        (H, W, 3) uint8 RGB (the "inferno" map, even in lightness for every kind of colour vision).

    Raises:
        InputError: for a wrong shape, or values outside [0, 1].
    """
    values = np.asarray(uncertainty, np.float32)
    check_shape("uncertainty", values, ("H", "W"))
    unknown = np.isnan(values)
    known = np.where(unknown, 0, values)
    if known.size and (known.min() < 0 or known.max() > 1):
        raise InputError(f"uncertainty must lie in [0, 1], not [{known.min():.3g}, {known.max():.3g}].")
    levels = np.rint(known * 255).astype(np.uint8)
    coloured = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    picture: ByteArray = np.asarray(cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB), np.uint8)
    if image is not None:
        pixels = image.pixels if isinstance(image, Image) else np.asarray(image)
        check_shape("image", pixels, (*values.shape, 3))
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
        # The square root lets faint doubts show; half the light keeps the photo behind the map.
        share = np.sqrt(known)[..., None]
        blend: FloatArray = (1 - share) * 0.55 * grey + share * picture
        picture = np.rint(blend).astype(np.uint8)
    picture[unknown] = 128
    return picture


def _mask_stack(masks: npt.ArrayLike, size: tuple[int, ...]) -> BoolArray:
    given = np.asarray(masks)
    stack: BoolArray = given[None] if given.ndim == 2 else given
    if stack.size == 0:
        stack = np.zeros((0, *size), np.bool_)
    check_shape("masks", stack, ("K", *size))
    return stack.astype(np.bool_, copy=False)


def _display_scale(size: tuple[int, ...], min_side: int, max_side: int | None) -> float:
    side = max(size)
    if max_side is not None and side > max_side:
        return max_side / side
    return max(1.0, min_side / side)


def _scaled_mask(mask: BoolArray, size: tuple[int, int]) -> ByteArray:
    """Bring one mask to the display size as 0 or 1; a mask that is not empty never vanishes."""
    values: ByteArray = np.ascontiguousarray(mask).view(np.uint8)
    height, width = size
    if mask.shape == size:
        return values
    if max(size) > max(mask.shape):
        larger: ByteArray = np.asarray(
            cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8
        )
        return larger
    cover = cv2.resize(values * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA)
    kept: BoolArray = np.asarray(cover) >= 128
    if not kept.any() and mask.any():
        # Thinner than a display pixel: show every pixel it touches.
        rows, columns = np.nonzero(mask)
        kept[rows * height // mask.shape[0], columns * width // mask.shape[1]] = True
    return kept.view(np.uint8)


def _words(
    scores: npt.ArrayLike | None, names: Sequence[str] | None, doubts: Sequence[bool], count: int
) -> list[str]:
    values = (
        [float("nan")] * count if scores is None else [float(value) for value in np.asarray(scores).ravel()]
    )
    for what, given in (("scores", values), ("names", names), ("doubted", doubts)):
        if given is not None and len(given) != count:
            raise InputError(f"{len(given)} {what} were given for {count} masks.")
    numbers = [
        "" if np.isnan(value) else f"{value:.2f}" + "?" * doubt
        for value, doubt in zip(values, doubts, strict=True)
    ]
    return [f"{name} {number}".strip() for name, number in zip(names or [""] * count, numbers, strict=True)]


def _draw_words(
    picture: ByteArray,
    masks: Sequence[ByteArray],
    boxes: FloatArray,
    words: Sequence[str],
    doubts: Sequence[bool],
    look: Look,
) -> None:
    if len(masks) > MANY:
        return
    chips = Chips(picture, look.letters)
    for index, (mask, text) in enumerate(zip(masks, words, strict=True)):
        area = _whole(boxes[index]) if index < len(boxes) else None
        if area is None and mask.any():
            x, y, width, height = cv2.boundingRect(mask)
            area = x, y, x + width, y + height
        if text and area is not None:
            chips.put(text, area, WHITE if doubts[index] else colour(index))


def _whole(box: FloatArray) -> Area | None:
    """The box in whole pixels, or None where it is not given."""
    if not np.isfinite(box).all():
        return None
    x0, y0, x1, y1 = (round(value) for value in box.tolist())
    return x0, y0, x1, y1


def _rows(name: str, values: npt.ArrayLike | None, width: int) -> FloatArray:
    rows = (
        np.zeros((0, width), np.float32) if values is None else np.atleast_2d(np.asarray(values, np.float32))
    )
    check_shape(name, rows, ("N", width))
    return rows


def _points(
    points: npt.ArrayLike | None, labels: npt.ArrayLike | None
) -> Iterator[tuple[float, float, bool]]:
    if points is None:
        return
    values: npt.NDArray[Any] = np.asarray(points, np.float32)
    kinds = np.ones(values.shape[:-1], np.int64) if labels is None else np.asarray(labels)
    check_shape("labels", kinds, values.shape[:-1])
    check_shape("points", values.reshape(-1, values.shape[-1]), ("P", 2))
    for (x, y), kind in zip(values.reshape(-1, 2).tolist(), kinds.ravel().tolist(), strict=True):
        if kind >= 0:
            yield x, y, kind == 1
