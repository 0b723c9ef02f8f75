"""Slow, obvious versions of `maskwright.methods.automatic`: one click, one pixel, one pair at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.models.segmenter import Segmenter

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]


def box_iou(a: Box, b: Box, pixel: int = 0) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + pixel)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + pixel)
    area_a = (a[2] - a[0] + pixel) * (a[3] - a[1] + pixel)
    area_b = (b[2] - b[0] + pixel) * (b[3] - b[1] + pixel)
    if area_a + area_b == 0:
        return box_iou(a, b, pixel=1)
    return width * height / (area_a + area_b - width * height)


def suppress(boxes: Sequence[Box], scores: Sequence[float], threshold: float) -> list[int]:
    kept: list[int] = []
    for k in sorted(range(len(boxes)), key=lambda k: (-scores[k], k)):
        if all(box_iou(boxes[k], boxes[better]) <= threshold for better in kept):
            kept.append(k)
    return kept


def stability(logits: npt.NDArray[np.float32], offset: float) -> float:
    outer = sum(value > -offset for value in logits.ravel())
    return sum(value > offset for value in logits.ravel()) / outer if outer else 0.0


def inclusive_box(mask: Mask) -> Box:
    places = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    if not places:
        return 0, 0, 0, 0
    xs, ys = zip(*places, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def regions(mask: Mask) -> list[set[tuple[int, int]]]:
    """Pixels of each region, connected through edges and corners, in reading order."""
    left = {(y, x) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        region, border = {start}, [start]
        while border:
            y, x = border.pop()
            for neighbour in {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left:
                left.remove(neighbour)
                region.add(neighbour)
                border.append(neighbour)
        found.append(region)
    return found


def filled(mask: Mask, smallest: int) -> Mask:
    result = mask.copy()
    for region in regions(~mask):
        if len(region) < smallest:
            for place in region:
                result[place] = True
    return result


def clean(mask: Mask, smallest: int) -> Mask:
    result = filled(mask, smallest)
    islands = regions(result)
    largest = max((len(region) for region in islands), default=0)
    if largest < smallest:
        # All are small: one of the largest stays.
        islands.remove(next(region for region in islands if len(region) == largest)) if islands else None
    for region in islands:
        if len(region) < smallest:
            for place in region:
                result[place] = False
    return result


def crops(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[tuple[Box, int]]:
    height, width = size
    found: list[tuple[Box, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        number = 2**layer
        overlap = int(overlap_ratio * min(size) * 2 / number)
        crop_width = math.ceil((overlap * (number - 1) + width) / number)
        crop_height = math.ceil((overlap * (number - 1) + height) / number)
        for i in range(number):
            for j in range(number):
                x0, y0 = i * (crop_width - overlap), j * (crop_height - overlap)
                x1, y1 = min(x0 + crop_width, width), min(y0 + crop_height, height)
                if x1 > x0 and y1 > y0 and (x0, y0, x1, y1) not in [box for box, _ in found]:
                    found.append(((x0, y0, x1, y1), layer))
    return found


@dataclass(frozen=True, eq=False)
class Found:
    mask: Mask
    box: Box
    crop: Box
    point: tuple[float, float]
    predicted_iou: float
    stability: float


def generate(segmenter: Segmenter, pixels: npt.NDArray[np.uint8], settings: AutomaticSettings) -> list[Found]:
    """All of it but the cleaning of small regions."""
    size = pixels.shape[0], pixels.shape[1]
    everything: list[Found] = []
    for crop, layer in crops(size, settings.crop_n_layers, settings.crop_overlap_ratio):
        found = in_crop(segmenter, pixels, crop, layer, settings)
        boxes, scores = [one.box for one in found], [one.predicted_iou for one in found]
        everything += [found[k] for k in suppress(boxes, scores, settings.box_nms_thresh)]
    if settings.crop_n_layers:
        areas = [(one.crop[2] - one.crop[0]) * (one.crop[3] - one.crop[1]) for one in everything]
        boxes = [one.box for one in everything]
        kept = suppress(boxes, [1 / area for area in areas], settings.crop_nms_thresh)
        everything = [everything[k] for k in kept]
    return everything


def in_crop(
    segmenter: Segmenter,
    pixels: npt.NDArray[np.uint8],
    crop: Box,
    layer: int,
    settings: AutomaticSettings,
) -> list[Found]:
    x0, y0, x1, y1 = crop
    inside = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    embedding = segmenter.embed(inside)
    per_side = max(1, settings.points_per_side // settings.crop_n_points_downscale_factor**layer)
    found = []
    for row in range(per_side):
        for column in range(per_side):
            x = (column + 0.5) / per_side * (x1 - x0)
            y = (row + 0.5) / per_side * (y1 - y0)
            answer = segmenter(embedding, points=[x, y], multimask=True, hq=settings.hq)
            for logits, iou in zip(answer.logits()[0].numpy(), answer.iou[0].tolist(), strict=True):
                whole = np.zeros(pixels.shape[:2], bool)
                whole[y0:y1, x0:x1] = logits > 0
                stable = np.sum(logits > settings.stability_score_offset) / max(
                    1, np.sum(logits > -settings.stability_score_offset)
                )
                one = Found(whole, fast_box(whole), crop, (x + x0, y + y0), iou, float(stable))
                if passes(one, settings):
                    found.append(one)
    return found


def fast_box(mask: Mask) -> Box:
    ys, xs = np.nonzero(mask)
    return (int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())) if len(xs) else (0, 0, 0, 0)


def passes(one: Found, settings: AutomaticSettings) -> bool:
    height, width = one.mask.shape
    for edge, of_crop, of_image in zip(one.box, one.crop, (0, 0, width, height), strict=True):
        if abs(edge - of_crop) <= 20 and abs(edge - of_image) > 20:
            return False
    least = settings.thresholds("sam")
    return (
        one.predicted_iou > least.pred_iou
        and one.stability >= least.stability
        and 0 < one.mask.sum() <= settings.max_area * one.mask.size
    )
