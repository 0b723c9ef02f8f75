"""A plain NumPy and SciPy version of the BSDS500 benchmark: what `metrics` must equal, slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


def thin(mask: Mask) -> Mask:
    """Guo and Hall's thinning, all pixels of a sub-iteration at once."""
    mask = mask.copy()
    while True:
        before = mask.copy()
        for second in (False, True):
            padded = np.pad(mask, 1)
            height, width = mask.shape
            shifts = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]
            near = [padded[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in shifts]
            x = [mask, *near, near[0]]
            steps = np.sum([~x[2 * k - 1] & (x[2 * k] | x[2 * k + 1]) for k in range(1, 5)], axis=0)
            n1 = np.sum([x[2 * k - 1] | x[2 * k] for k in range(1, 5)], axis=0)
            n2 = np.sum([x[2 * k] | x[2 * k + 1] for k in range(1, 5)], axis=0)
            fewest = np.minimum(n1, n2)
            kept = (x[6] | x[7] | ~x[4]) & x[5] if second else (x[2] | x[3] | ~x[8]) & x[1]
            mask = mask & ~((steps == 1) & (fewest >= 2) & (fewest <= 3) & ~kept)
        if (mask == before).all():
            return mask


def match(predicted: Mask, target: Mask, radius: float) -> tuple[Mask, Mask, int]:
    """The pixels that are paired, and what the pairing costs, in hundredths of a pixel."""
    ours, theirs = np.argwhere(predicted), np.argwhere(target)
    matched, matched_targets = np.zeros_like(predicted), np.zeros_like(target)
    outlier = math.ceil(100 * 100 * radius)
    if not len(ours) or not len(theirs):
        return matched, matched_targets, outlier * len(ours)
    near = cKDTree(ours).sparse_distance_matrix(cKDTree(theirs), radius, output_type="coo_matrix")
    count = len(ours)
    distance = np.hypot(*(ours[near.row] - theirs[near.col]).T)
    # One more everywhere, for a sparse matrix has no zeros; each row can go to a column of its own.
    weights = np.concatenate([np.rint(100 * distance), np.full(count, outlier)]) + 1
    rows = np.concatenate([near.row, np.arange(count)])
    columns = np.concatenate([near.col, len(theirs) + np.arange(count)])
    graph = coo_array((weights, (rows, columns)), (count, len(theirs) + count)).tocsr()
    row, column = min_weight_full_bipartite_matching(graph)
    paired = column < len(theirs)
    matched[tuple(ours[row[paired]].T)] = True
    matched_targets[tuple(theirs[column[paired]].T)] = True
    return matched, matched_targets, int(graph[row, column].sum()) - count


def counts(probability: Array, targets: Sequence[Mask], thresholds: Array, max_dist: float) -> Array:
    """(T, 4): matched and all true pixels, matched and all predicted ones."""
    radius = max_dist * math.hypot(*probability.shape)
    rows = []
    for threshold in thresholds:
        lines = thin(probability >= threshold)
        found, recalled = np.zeros_like(lines), 0
        for target in targets:
            matched, matched_targets, _ = match(lines, target, radius)
            found |= matched
            recalled += int(matched_targets.sum())
        rows.append(
            (recalled, sum(int(target.sum()) for target in targets), int(found.sum()), int(lines.sum()))
        )
    return np.array(rows)


def suppress(probability: Array) -> Array:
    """Pixel by pixel."""
    edges = triangle(probability.astype(float), 1)
    smooth = triangle(edges, 4)
    by_y, by_x = gradient(smooth, 0), gradient(smooth, 1)
    by_xx, by_xy, by_yy = gradient(by_x, 1), gradient(by_x, 0), gradient(by_y, 0)
    height, width = edges.shape
    result = np.zeros_like(edges)
    for y in range(height):
        for x in range(width):
            slope = by_yy[y, x] * (-1 if by_xy[y, x] > 0 else 1) / (by_xx[y, x] + 1e-5)
            angle = math.atan(slope) % math.pi
            value = edges[y, x]
            for side in (-1, 1):
                if 1.01 * edges[y, x] < bilinear(
                    edges, y + side * math.sin(angle), x + side * math.cos(angle)
                ):
                    value = 0.0
            for place, length in ((y, height), (x, width)):
                rim = min(5, length // 2)
                if rim:
                    value *= min(1.0, min(place, length - 1 - place) / rim)
            result[y, x] = value
    return result


def triangle(values: Array, radius: int) -> Array:
    weights = np.array([radius + 1 - abs(k) for k in range(-radius, radius + 1)]) / (radius + 1) ** 2
    for axis in (0, 1):
        moved = np.moveaxis(values, axis, 0)
        padded = np.pad(moved, ((radius, radius), (0, 0)), mode="symmetric")
        moved = sum(weight * padded[k : k + len(moved)] for k, weight in enumerate(weights))
        values = np.moveaxis(moved, 0, axis)
    return values


def gradient(values: Array, axis: int) -> Array:
    moved = np.moveaxis(values, axis, 0)
    last = len(moved) - 1
    rows = [
        (moved[min(k + 1, last)] - moved[max(k - 1, 0)]) / max(min(k + 1, last) - max(k - 1, 0), 1)
        for k in range(last + 1)
    ]
    return np.moveaxis(np.array(rows), 0, axis)


def bilinear(values: Array, y: float, x: float) -> float:
    y, x = (min(max(place, 0.0), side - 1.0) for place, side in zip((y, x), values.shape, strict=True))
    top, left = int(y), int(x)
    total = 0.0
    for b, down in ((top, 1 - (y - top)), (top + 1, y - top)):
        for a, across in ((left, 1 - (x - left)), (left + 1, x - left)):
            if down and across:
                total += down * across * values[b, a]
    return total


def covering(labels: Array, target: Array) -> float:
    total = 0.0
    for region in np.unique(target):
        inside = target == region
        ious = [(inside & (labels == k)).sum() / (inside | (labels == k)).sum() for k in np.unique(labels)]
        total += inside.sum() * max(ious)
    return total / target.size


def rand_index(labels: Array, target: Array) -> float:
    a, b = labels.ravel(), target.ravel()
    agree = [(a[i] == a[j]) == (b[i] == b[j]) for i in range(len(a)) for j in range(i)]
    return float(np.mean(agree)) if agree else 1.0


def variation_of_information(labels: Array, target: Array) -> float:
    total = 0.0
    for one in np.unique(labels):
        for other in np.unique(target):
            ours, theirs = labels == one, target == other
            both = (ours & theirs).sum()
            if both:
                share = both / labels.size
                total -= share * (math.log2(both / ours.sum()) + math.log2(both / theirs.sum()))
    return total
