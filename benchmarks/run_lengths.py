"""Run lengths of masks.

COCO's run lengths, packed, unpacked, measured and combined, beside pycocotools, whose loops are in C. Masks
are arrays as models and image files give them, row by row; pycocotools wants them column by column, and
makes them so rather by a copy. Where it gets an array of its own order, the row says "column by column".
From torch's tensors there is also Meta's way, by torch's own operations. The texts and numbers must be the
same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from inputs import blobs, objects, predicted
from peers import stand_in
from pycocotools import mask as coco
from sides import OURS, Comparison

from maskwright.io.rle import RLE, decode_all, encode_all
from maskwright.io.rle_sets import areas, ious, merge
from maskwright.types import BoolArray

PEER = "pycocotools"
GOAL = {PEER: 1.0}


def comparisons(quick: bool) -> Iterator[Comparison]:
    """Single masks, then many."""
    sizes = {"60 × 100": (60, 100)} if quick else {"480p": (480, 854), "1080p": (1080, 1920)}
    for name, size in sizes.items():
        [mask], source = objects(size, 1)
        yield from single(mask, f"1 mask, {name}, {source}")
    count, size = (4, (60, 100)) if quick else (64, (1024, 1024))
    many = blobs(size, count)
    yield from batch(many, f"{count} blobs, {size[0]} × {size[1]}")


def single(mask: BoolArray, name: str) -> Iterator[Comparison]:
    """One (H, W) mask."""
    packed = RLE.encode(mask)
    record = as_coco(packed)
    yield encoding(f"pack {name}", mask[None])
    ordered = np.asfortranarray(mask)
    yield Comparison(
        name=f"pack {name}, column by column",
        sides={OURS: lambda: [RLE.encode(ordered)], PEER: lambda: [coco.encode(ordered.view(np.uint8))]},
        check=same_text,
        goals=GOAL,
        moved=mask.nbytes,
    )
    yield Comparison(
        name=f"unpack {name}",
        sides={OURS: packed.decode, PEER: lambda: coco.decode(record)},
        check=same_numbers,
        goals=GOAL,
        moved=mask.nbytes,
    )


def batch(masks: BoolArray, name: str) -> Iterator[Comparison]:
    """(K, H, W) masks."""
    yield encoding(f"pack {name}", masks)
    yield from_tensors(f"pack {name}, from a tensor", torch.from_numpy(masks))
    packed = list(encode_all(masks))
    records = [as_coco(each) for each in packed]
    size = packed[0].size
    yield Comparison(
        name=f"unpack {name}",
        sides={OURS: lambda: decode_all(packed, size), PEER: lambda: coco.decode(records)},
        check=lambda outputs: same_numbers({**outputs, PEER: outputs[PEER].transpose(2, 0, 1)}),
        goals=GOAL,
        moved=masks.nbytes,
    )
    yield Comparison(
        name=f"areas of {name}",
        sides={OURS: lambda: areas(packed), PEER: lambda: coco.area(records)},
        check=same_numbers,
        goals=GOAL,
    )
    guesses = list(encode_all(predicted(masks)))
    others = [as_coco(each) for each in guesses]
    yield Comparison(
        name=f"IoU of each two of {name}",
        sides={
            OURS: lambda: ious(guesses, packed),
            PEER: lambda: coco.iou(others, records, [0] * len(packed)),
        },
        check=same_numbers,
        goals=GOAL,
    )
    yield Comparison(
        name=f"union of {name}",
        sides={OURS: lambda: [merge(packed)], PEER: lambda: [coco.merge(records)]},
        check=same_text,
        goals=GOAL,
    )


def encoding(name: str, masks: BoolArray) -> Comparison:
    """Pack (K, H, W) masks that lie row by row."""

    def theirs() -> list[dict[str, Any]]:
        return [coco.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]

    return Comparison(
        name=name,
        sides={OURS: lambda: encode_all(masks), PEER: theirs},
        check=same_text,
        goals=GOAL,
        moved=masks.nbytes,
    )


def from_tensors(name: str, masks_KHW: torch.Tensor) -> Comparison:
    """Pack a tensor of masks; Meta's functions are those of its generator of masks."""
    stand_in()
    from segment_anything.utils.amg import coco_encode_rle, mask_to_rle_pytorch

    def theirs() -> list[dict[str, Any]]:
        stacked: list[dict[str, Any]] = coco.encode(
            np.asfortranarray(masks_KHW.permute(1, 2, 0).byte().numpy())
        )
        return stacked

    return Comparison(
        name=name,
        sides={
            OURS: lambda: encode_all(masks_KHW.numpy()),
            PEER: theirs,
            "segment-anything-py": lambda: [coco_encode_rle(rle) for rle in mask_to_rle_pytorch(masks_KHW)],
        },
        check=same_text,
        goals={PEER: 1.0, "segment-anything-py": 1.0},
        moved=masks_KHW.numel(),
    )


def as_coco(packed: RLE) -> dict[str, Any]:
    """A record as pycocotools has it."""
    return {"size": list(packed.size), "counts": packed.counts.encode()}


def same_text(outputs: dict[str, Any]) -> str:
    """Each side's texts are ours."""
    ours = [each.counts for each in outputs.pop(OURS)]
    for name, theirs in outputs.items():
        assert ours == [text(each["counts"]) for each in theirs], name
    return "identical"


def text(counts: str | bytes) -> str:
    """Counts as text."""
    return counts if isinstance(counts, str) else counts.decode()


def same_numbers(outputs: dict[str, Any]) -> str:
    """Arrays of equal numbers."""
    np.testing.assert_array_equal(outputs[OURS], outputs[PEER])
    return "identical"
