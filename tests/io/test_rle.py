"""Run-length encodings: exact round trips, agreement with pycocotools, and every malformed one refused."""

from __future__ import annotations

import json
import random
import resource
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from maskwright.errors import MaskError
from maskwright.io.rle import RLE, decode_all, encode_all
from maskwright.types import BoolArray

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def unpack(rle: RLE) -> Any:
    """Unpack by pycocotools."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools has not followed NumPy 2 yet
        return coco.decode(rle.to_coco())


def slow_runs(mask: BoolArray) -> list[int]:
    runs, value = [0], False
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@settings(deadline=None, max_examples=60)
@given(MASKS)
def test_round_trips_are_exact(mask: BoolArray) -> None:
    rle = RLE.encode(mask)
    assert (rle.decode() == mask).all()
    assert rle.runs().tolist() == slow_runs(mask)
    assert RLE.from_runs(slow_runs(mask), mask.shape) == rle
    for compressed in (True, False):
        record = json.loads(json.dumps(rle.to_coco(compressed)))
        assert RLE.from_coco(record) == rle
    assert RLE.from_coco({"size": mask.shape, "counts": rle.counts.encode()}) == rle


@settings(deadline=None, max_examples=60)
@given(MASKS)
def test_area_and_box_agree_with_the_pixels(mask: BoolArray) -> None:
    rle = RLE.encode(mask)
    assert rle.area == mask.sum()
    ys, xs = np.nonzero(mask)
    expected = (0, 0, 0, 0)
    if len(xs):
        expected = (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1)
    assert rle.box == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 6))
def test_runs_of_no_pixels_are_legal_anywhere(runs: list[int], height: int) -> None:
    runs.append(-sum(runs) % height or height)
    size = (height, sum(runs) // height)
    rle = RLE.from_runs(runs, size)
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T
    assert (rle.decode() == values).all()
    assert rle.runs().tolist() == runs
    ys, xs = np.nonzero(values)
    assert rle.box == ((xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1) if len(xs) else (0, 0, 0, 0))


def test_large_masks() -> None:
    mask = np.zeros((3000, 2000), np.bool_)
    mask[10:2990, 100:1900] = np.random.default_rng(0).random((2980, 1800)) > 0.99
    rle = RLE.encode(mask)
    assert (rle.decode() == mask).all()
    assert rle.area == mask.sum()
    assert rle.box == (100, 10, 1800, 2980)


def test_stacks() -> None:
    masks = np.random.default_rng(0).random((3, 5, 7)) > 0.5
    rles = encode_all(masks)
    assert (decode_all(rles, (5, 7)) == masks).all()
    assert decode_all([], (5, 7)).shape == (0, 5, 7)
    with pytest.raises(MaskError, match=r"\(5, 7\) is among masks of size \(7, 5\)"):
        decode_all(rles, (7, 5))


MALFORMED: list[tuple[Any, str]] = [
    (None, "this is None"),
    ([1, 2], "this is list"),
    ({"size": [2, 2]}, "has 'size' and 'counts'"),
    ({"size": [2], "counts": [4]}, r"\[height, width\]"),
    ({"size": [2, 2.0], "counts": [4]}, r"\[height, width\]"),
    ({"size": ["2", 2], "counts": [4]}, r"\[height, width\]"),
    ({"size": [2, True], "counts": [2]}, r"\[height, width\]"),
    ({"size": 4, "counts": [4]}, r"\[height, width\]"),
    ({"size": [0, 4], "counts": []}, "does not exist"),
    ({"size": [-2, -2], "counts": [4]}, "does not exist"),
    ({"size": [10**9, 10**9], "counts": [10**18]}, "beyond the limit"),
    ({"size": [10**30, 10**30], "counts": "0"}, "beyond the limit"),
    ({"size": [2, 2], "counts": []}, "cover 0 pixels"),
    ({"size": [2, 2], "counts": [3]}, "cover 3 pixels, but a mask of 2×2 has 4"),
    ({"size": [2, 2], "counts": [3, 2]}, "cover 5 pixels"),
    ({"size": [2, 2], "counts": [5, -1]}, "cannot be negative"),
    ({"size": [2, 2], "counts": [2.0, 2]}, "whole numbers, and one is 2.0"),
    ({"size": [2, 2], "counts": [True, 3]}, "whole numbers, and one is True"),
    ({"size": [2, 2], "counts": ["4"]}, "whole numbers"),
    ({"size": [2, 2], "counts": [None]}, "whole numbers"),
    ({"size": [2, 2], "counts": [float("nan")]}, "whole numbers"),
    ({"size": [2, 2], "counts": [10**40]}, "longer than any mask"),
    ({"size": [2, 2], "counts": [2**62, 2**62, 2**62, 2**62, 4]}, "cover"),
    ({"size": [2, 2], "counts": 4}, "text or a list"),
    ({"size": [2, 2], "counts": ""}, "characters"),
    ({"size": [2, 2], "counts": "hello world"}, "characters"),
    ({"size": [2, 2], "counts": "4é"}, "characters"),
    ({"size": [2, 2], "counts": "4\0"}, "characters"),
    ({"size": [2, 2], "counts": "4\ud800"}, "characters"),
    ({"size": [2, 2], "counts": b"\xff\xfe"}, "characters"),
    ({"size": [2, 2], "counts": "P"}, "cut off"),
    ({"size": [2, 2], "counts": "P" * 20 + "0"}, "number that is too large"),
    ({"size": [2, 2], "counts": "0" * 1000}, "too many"),
    ({"size": [2, 2], "counts": "5"}, "cover 5 pixels"),
    ({"size": [2, 2], "counts": "O5"}, "cannot be negative"),
]


@pytest.mark.parametrize(("record", "message"), MALFORMED)
def test_malformed_encodings_are_refused(record: Any, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        RLE.from_coco(record)


@settings(deadline=None, max_examples=60)
@given(
    st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=40),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_any_text_is_refused_or_decodes_as_pycocotools_does(text: str, height: int, width: int) -> None:
    try:
        rle = RLE((height, width), text)
    except MaskError:
        return
    assert (rle.decode() == unpack(rle)).all()
    assert rle.area == coco.area({"size": [height, width], "counts": text})


def test_damaged_real_encodings_never_crash() -> None:
    rng = random.Random(0)
    good = RLE.encode(np.random.default_rng(0).random((40, 30)) > 0.6).counts
    refused = 0
    for _ in range(2000):
        characters = list(good)
        for _ in range(rng.randint(1, 3)):
            characters[rng.randrange(len(characters))] = chr(rng.randrange(48, 112))
        try:
            assert RLE((40, 30), "".join(characters)).decode().shape == (40, 30)
        except MaskError:
            refused += 1
    assert refused > 1500


def test_a_huge_declared_size_allocates_nothing() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in ([10**9, 10**9], [1, 10**12], [2**31, 2**31]):
        with pytest.raises(MaskError, match="beyond the limit"):
            RLE.from_coco({"size": size, "counts": [size[0] * size[1]]})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


def test_real_coco_results_round_trip(data_root: Path) -> None:
    path = data_root / "samples/coco_results/instances_val2014_fakesegm100_results.json"
    records = json.loads(path.read_text())
    assert len(records) > 100
    for record in records:
        segmentation = record["segmentation"]
        rle = RLE.from_coco(segmentation)
        assert rle.to_coco() == segmentation
        assert rle.area == coco.area(segmentation)
        assert rle.box == tuple(coco.toBbox(segmentation).astype(int))
        assert (rle.decode() == unpack(rle)).all()
        assert RLE.encode(rle.decode()) == rle
