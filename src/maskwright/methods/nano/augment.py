"""From a photo to a training item: crop, paste an object, choose segments, draw prompts, distort colours.

Axes: K segments, P points, S input side, h = S / 4 side of the targets. Prompts are in pixels of the
S × S input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.data.augment import color_jitter, paste_object
from maskwright.data.prompts import center_point, random_points, tight_box
from maskwright.data.transforms import (
    compose,
    flip_matrix,
    random_resized_crop_matrix,
    resize_matrix,
    warp_image,
    warp_labels,
)
from maskwright.methods.nano.pool import Photo
from maskwright.types import BoolArray, ByteArray, FloatArray

POINTS = 3
SMALLEST, LARGEST = 0.003, 0.8  # a segment's share of the visible photo
FEWEST_PIXELS = 24
UNKNOWN_EDGE = 255
PADDING = (124, 116, 104)  # the mean colour: zero after normalisation, as padding is at prediction
WHOLE_SHARE = 0.3
PASTE_SHARE = 0.45
# How often each kind of prompt is drawn: tight box, jittered box, one click, several clicks, box and click.
PROMPT_SHARES = {"box": 0.30, "loose": 0.20, "click": 0.30, "clicks": 0.10, "both": 0.10}


@dataclass(frozen=True, eq=False)
class DrawnPrompt:
    """One prompt in fixed shape: points (3, 2), labels (3,) with -1 for no point, box (4,), NaN for none."""

    points: FloatArray
    labels: npt.NDArray[np.int64]
    box: FloatArray


@dataclass(frozen=True, eq=False)
class Item:
    """One training item.

    Args:
        pixels: (S, S, 3) uint8.
        targets: (K, h, h) uint8, share of the object in each cell, 0 to 255.
        trusted: (h, h) uint8, 1 where the loss counts: on the photo, and not where its labels are doubtful.
        edges: (h, h) uint8, 254 on outlines, 0 elsewhere, 255 where unknown.
        points, labels, boxes: the prompts, (K, 3, 2), (K, 3), (K, 4), as in `DrawnPrompt`.
    """

    pixels: ByteArray
    targets: ByteArray
    trusted: ByteArray
    edges: ByteArray
    points: FloatArray
    labels: npt.NDArray[np.int64]
    boxes: FloatArray


@dataclass(frozen=True, eq=False)
class View:
    """A photo as seen through a crop, all S × S: pixels, labels, where the photo is and where labels hold."""

    pixels: ByteArray
    labels: npt.NDArray[np.int32]
    inside: BoolArray
    trusted: BoolArray


def make_item(photo: Photo, donor: Photo, rng: np.random.Generator, side: int, segments: int) -> Item | None:
    """Make one item, or None when the crop shows no segment of a usable size."""
    view = crop(photo, rng, side)
    if rng.random() < PASTE_SHARE:
        view = paste(view, donor, rng)
    chosen = choose_segments(view, rng, segments)
    if not chosen:
        return None
    masks = [view.labels == label for label in chosen]
    prompts = [draw_prompt(mask, rng) for mask in masks]
    pixels = color_jitter(view.pixels, rng, hue=0.05)
    pixels[~view.inside] = PADDING
    low = side // 4
    unknown = np.full((low, low), UNKNOWN_EDGE, np.uint8)
    return Item(
        pixels,
        np.stack([cell_shares(mask, low) for mask in masks]),
        (cell_shares(view.trusted, low) > 127).astype(np.uint8),
        outlines(view, low) if photo.partition else unknown,
        np.stack([prompt.points for prompt in prompts]),
        np.stack([prompt.labels for prompt in prompts]),
        np.stack([prompt.box for prompt in prompts]),
    )


def crop(photo: Photo, rng: np.random.Generator, side: int) -> View:
    """See the photo whole, as at prediction, or through a random window, stretched, turned and mirrored."""
    size, out = photo.pixels.shape[:2], (side, side)
    if rng.random() < WHOLE_SHARE:
        scale = side / max(size)
        matrix = resize_matrix(size, (round(size[0] * scale), round(size[1] * scale)))
        matrix = compose(flip_matrix(size), matrix) if rng.random() < 0.5 else matrix
    else:
        degrees = 15.0 if rng.random() < 0.4 else 0.0
        matrix = random_resized_crop_matrix(size, out, rng, scale=(0.12, 1.1), degrees=degrees)
    labels = photo.maps[rng.integers(len(photo.maps))]
    inside = warp_labels(np.ones(size, np.uint8), matrix, out) > 0
    trusted = inside
    if photo.trusted is not None:
        trusted = warp_labels(photo.trusted.view(np.uint8), matrix, out) > 0
    return View(warp_image(photo.pixels, matrix, out), warp_labels(labels, matrix, out), inside, trusted)


def paste(view: View, donor: Photo, rng: np.random.Generator) -> View:
    """Paste one segment of another photo over the view; its outline is known to the pixel."""
    labels = donor.maps[rng.integers(len(donor.maps))]
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    usable = np.flatnonzero(counts > 0.01 * labels.size)
    if not len(usable):
        return view
    mask = labels == rng.choice(usable)
    pixels, merged, pasted = paste_object(
        view.pixels, view.labels, donor.pixels, mask, rng, extent=(0.15, 0.8)
    )
    return replace(
        view, pixels=pixels, labels=merged, inside=view.inside | pasted, trusted=view.trusted | pasted
    )


def choose_segments(view: View, rng: np.random.Generator, segments: int) -> list[int]:
    """Choose segments of usable size; with too few of them, some come twice (with other prompts)."""
    counts = np.bincount(view.labels.ravel(), weights=view.trusted.ravel())
    counts[0] = 0
    visible = float(view.trusted.sum())
    usable = np.flatnonzero((counts > max(SMALLEST * visible, FEWEST_PIXELS)) & (counts < LARGEST * visible))
    if not len(usable):
        return []
    chosen = rng.permutation(usable)[:segments].tolist()
    return [*chosen, *rng.choice(usable, segments - len(chosen)).tolist()]


def draw_prompt(mask: BoolArray, rng: np.random.Generator) -> DrawnPrompt:
    """Draw one prompt of a random kind."""
    points = np.zeros((POINTS, 2), np.float32)
    labels = np.full(POINTS, -1, np.int64)
    box = np.full(4, np.nan, np.float32)
    kind = rng.choice(list(PROMPT_SHARES), p=list(PROMPT_SHARES.values()))
    if kind in ("box", "loose", "both"):
        box = tight_box(mask)
        if kind == "loose" or (kind == "both" and rng.random() < 0.5):
            box = loosen(box, mask.shape[0], rng)
    if kind in ("click", "clicks", "both"):
        points[0] = center_point(mask) if rng.random() < 0.6 else random_points(mask, rng)[0]
        labels[0] = 1
    if kind == "clicks":
        nearby = cv2.dilate(mask.view(np.uint8), np.ones((31, 31), np.uint8)).astype(bool) & ~mask
        for index in range(1, POINTS):
            labels[index] = int(rng.random() < 0.5 or not nearby.any())
            points[index] = random_points(mask if labels[index] else nearby, rng)[0]
    return DrawnPrompt(points, labels, box)


def loosen(box: FloatArray, side: int, rng: np.random.Generator) -> FloatArray:
    """Move each side of a box by N(0, 10 %) of its length, at most a quarter (no 20 px cap needed)."""
    lengths = np.tile(box[2:] - box[:2], 2)
    moved = box + np.clip(rng.normal(0, 0.1, 4), -0.25, 0.25) * lengths
    return np.clip(moved, 0, side).astype(np.float32)


def cell_shares(mask: BoolArray, low: int) -> ByteArray:
    """Share of the mask in each cell of a low × low grid, as bytes."""
    shares: ByteArray = cv2.resize(
        mask.view(np.uint8) * np.uint8(255), (low, low), interpolation=cv2.INTER_AREA
    )
    return shares


def outlines(view: View, low: int) -> ByteArray:
    """Cells that an outline between segments crosses; unknown next to what is not trusted."""
    labels = view.labels
    edges = np.zeros(labels.shape, bool)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    cells = np.where(cell_shares(edges, low) > 0, 254, 0).astype(np.uint8)
    doubtful = cv2.dilate((~view.trusted).view(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    cells[cell_shares(doubtful, low) > 0] = UNKNOWN_EDGE
    return cells
