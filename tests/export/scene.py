"""Labelled images that the tests of all formats write."""

from __future__ import annotations

import numpy as np

from maskwright.export.labelled import LabelledImage
from maskwright.io.rle import encode_all

MASKS = np.zeros((3, 9, 12), np.bool_)
MASKS[0, 1:4, 1:5] = True
MASKS[1, 5:8, 2:11] = True
MASKS[1, 6, 4] = False  # a hole
MASKS[2, 0, 0] = MASKS[2, 8, 8:] = True  # two parts
PLAIN = LabelledImage("b/x.jpg", 9, 12, encode_all(MASKS[[0, 2]]), categories=("cat", 'dog: "big"'))
RICH = LabelledImage(
    "a/x.jpg",
    9,
    12,
    encode_all(MASKS),
    (0.9, 0.5, 0.25),
    ('dog: "big"', "cat", "cat"),
    {"trust": (1, None, "low")},
)
EMPTY = LabelledImage("x.png", 4, 5)
LABELS = [RICH, PLAIN, EMPTY]


def same(a: LabelledImage, b: LabelledImage) -> bool:
    fields = ("path", "height", "width", "masks", "scores", "names")
    return all(getattr(a, name) == getattr(b, name) for name in fields) and dict(a.extra) == dict(b.extra)
