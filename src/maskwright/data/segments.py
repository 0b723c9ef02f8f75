"""From a map of numbers to one mask per number or connected part.

H, W size; K masks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np

from maskwright.io.masks import LabelMap
from maskwright.types import BoolArray

MAX_STACK = 2_000_000_000
"""As many pixels may the masks of one photo have together, a byte each."""

FEW = 16
"""Up to so many labels, comparing the whole map with each is the quickest way to split it."""


def present_labels(labels: LabelMap) -> list[int]:
    """The numbers that occur in a label map, ascending."""
    # Counting is several times faster than sorting, as long as the numbers are small and positive.
    if labels.size and labels.min() >= 0 and labels.max() < 1 << 20:
        present = np.flatnonzero(np.bincount(labels.ravel()))
    else:
        present = np.unique(labels)
    return [int(label) for label in present]


def split_labels(labels: LabelMap, leave_out: Collection[int] = ()) -> tuple[BoolArray, tuple[int, ...]]:
    """Split an (H, W) label map into (K, H, W) masks and their K labels, ascending."""
    ids = tuple(label for label in present_labels(labels) if label not in leave_out)
    masks = np.zeros((len(ids), labels.size), bool)
    if len(ids) <= FEW:
        for mask, label in zip(masks, ids, strict=True):
            np.equal(labels.ravel(), label, out=mask)
    else:
        # Writing each pixel once is far cheaper than comparing the whole map with each of many labels.
        known, flat = np.asarray(ids), labels.ravel()
        rows = np.searchsorted(known, flat).clip(max=len(ids) - 1)
        inside = np.flatnonzero(known[rows] == flat)
        masks[rows[inside], inside] = True
    return masks.reshape(len(ids), *labels.shape), ids


def split_parts(masks: BoolArray, ids: Sequence[int]) -> tuple[BoolArray, tuple[int, ...]]:
    """Split disjoint (K, H, W) masks into their connected parts (8 neighbours).

    Returns:
        The parts, mask by mask, and for each the id of the mask it came from.
    """
    numbers = np.zeros(masks.shape[1:], np.int32)
    owners: list[int] = []
    for mask, label in zip(masks, ids, strict=True):
        count, parts = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        np.add(parts, len(owners), out=numbers, where=mask)
        owners += [label] * (count - 1)
    return split_labels(numbers, leave_out=(0,))[0], tuple(owners)
