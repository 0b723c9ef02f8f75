"""One labelled image: its parts agree, it is made from masks, and it survives as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from export.scene import LABELS, MASKS, RICH, same

from maskwright.errors import InputError, MaskError
from maskwright.export.labelled import LabelledImage
from maskwright.io.records import RecordWriter, read_records
from maskwright.io.rle import encode_all
from maskwright.types import Geometry, Masks


def test_records_for_resuming(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "done.jsonl") as writer:
        for label in LABELS:
            writer.append(label.to_record())
    back = [LabelledImage.from_record(record) for record in read_records(tmp_path / "done.jsonl")]
    assert all(same(a, b) for a, b in zip(LABELS, back, strict=True))
    for broken in ({}, {"height": "x"}, RICH.to_record() | {"scores": 5}, RICH.to_record() | {"extra": 5}):
        with pytest.raises(InputError, match="lacks or misuses"):
            LabelledImage.from_record(broken)
    with pytest.raises(MaskError):
        LabelledImage.from_record(RICH.to_record() | {"masks": ["?"]})


def test_labels_of_a_model_output() -> None:
    low_res = torch.full((2, 3, 16, 16), -5.0)
    low_res[0, 2, 4:8] = 5
    iou = torch.tensor([[0.1, 0.2, 0.9], [0.5, 0.25, 0.125]])
    masks = Masks(low_res, iou, Geometry((24, 32), 64), extras={"trust": iou / 2})
    label = LabelledImage.from_masks("x.jpg", masks, ["cat", "dog"])
    assert (label.height, label.width) == (24, 32)
    assert list(label.scores or ()) == pytest.approx([0.9, 0.5])
    assert list(label.extra["trust"]) == pytest.approx([0.45, 0.25])
    assert (label.masks[0].decode() == masks.binary()[0, 2]).all()
    assert label.masks[1].area == 0
    assert label.names == ("cat", "dog")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": (1.0,)}, "1 scores for 3 masks"),
        ({"categories": ("a",)}, "1 categories for 3 masks"),
        ({"extra": {"trust": ()}}, "0 trust for 3 masks"),
        ({"scores": (1.0, 2.0, float("nan"))}, "not a finite number"),
        ({"height": 8}, r"a mask is \(9, 12\), the image \(8, 12\)"),
    ],
)
def test_labels_that_do_not_agree_are_refused(changes: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"path": "x.jpg", "height": 9, "width": 12, "masks": encode_all(MASKS)} | changes
    with pytest.raises(InputError, match=message):
        LabelledImage(**fields)
