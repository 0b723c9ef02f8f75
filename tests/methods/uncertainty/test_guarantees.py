"""Records of promises: saved, read strictly, applied."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maskwright.errors import ConfigError
from maskwright.methods.uncertainty.conformal import cover_margin, keep_threshold, lower_bound
from maskwright.methods.uncertainty.guarantees import (
    CoverMargin,
    KeepThreshold,
    LowerBound,
    Origin,
    guarantee_from_json,
)
from maskwright.methods.uncertainty.margins import cover_need

ORIGIN = Origin(model="0123", data="davis2017:FOLDER", prompt="center")


def records() -> list[KeepThreshold | LowerBound | CoverMargin]:
    rng = np.random.default_rng(0)
    quality, iou = rng.random(100), rng.random(100)
    truths = rng.random((100, 8, 9)) < 0.5
    needs = [cover_need(mask, truth) for mask, truth in zip(truths[::-1], truths, strict=True)]
    return [
        keep_threshold(quality, 1 - iou, 0.1, loss_name="1 - IoU", origin=ORIGIN),
        keep_threshold(quality, 1 - iou, 0.6, risk="selective", delta=0.5, origin=ORIGIN),
        lower_bound(quality, iou, 0.1, [number // 2 for number in range(100)], origin=ORIGIN),
        cover_margin(needs, 0.1, origin=ORIGIN),
        cover_margin(needs, 0.2, cover="pixels", origin=ORIGIN),
    ]


def test_a_saved_record_is_the_same() -> None:
    for record in records():
        value = json.loads(json.dumps(record.to_json(), allow_nan=False))
        again = guarantee_from_json(value, "guarantee.json")
        assert again == record
        assert type(again) is type(record)
        assert again.origin == ORIGIN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "promise"}, "its kind must be one of keep, lower-bound, cover"),
        ({"kind": ["keep"]}, "its kind must be one of"),
        ({"alpha": "0.1"}, "alpha: .*valid number"),
        ({"alpha": 1.5}, "alpha: .*less than 1"),
        ({"treshold": 0.5}, "unknown key 'treshold'. Did you mean 'threshold'"),
        ({"images": 0}, "images: "),
        ({"threshold": float("nan")}, "threshold: "),
        ({"origin": {"modell": "x"}}, "unknown key 'origin.modell'"),
    ],
)
def test_refuses_a_record_that_was_tampered_with(change: dict[str, object], message: str) -> None:
    value = records()[0].to_json()
    with pytest.raises(ConfigError, match=message) as caught:
        guarantee_from_json(value | change, "guarantee.json")
    assert str(caught.value).startswith("guarantee.json: ")


@pytest.mark.parametrize("value", [None, [], "keep", {}])
def test_refuses_what_is_no_record(value: object) -> None:
    with pytest.raises(ConfigError, match="no guarantee"):
        guarantee_from_json(value, "guarantee.json")


def test_a_missing_key_is_named() -> None:
    value = records()[2].to_json()
    del value["offset"]
    with pytest.raises(ConfigError, match="offset: "):
        guarantee_from_json(value, "guarantee.json")


def test_records_are_applied() -> None:
    keep = KeepThreshold(
        alpha=0.1, images=10, masks=10, risk="marginal", loss="1 - IoU", delta=None, threshold=0.5
    )
    assert keep.keeps([0.4, 0.5, 0.6]).tolist() == [False, True, True]
    assert keep.measured([0.4, 0.5, 0.6], [1, 0.5, 0.1]) == pytest.approx(0.2)
    assert keep.measured([0.4, 0.5, 0.6], [1, 0.5, 0.1], ["a", "a", "b"]) == pytest.approx(0.175)
    selective = keep.model_copy(update={"risk": "selective"})
    assert selective.measured([0.4, 0.5, 0.6], [1, 0.5, 0.1]) == pytest.approx(0.3)
    assert selective.measured([0.4, 0.5, 0.6], [1, 0.5, 0.1], ["a", "a", "b"]) == pytest.approx(0.35 / 1.5)
    bound = LowerBound(alpha=0.1, images=10, masks=10, offset=0.2)
    assert bound.bound([0.1, 0.9]).tolist() == pytest.approx([0, 0.7])
    assert bound.measured([0.1, 0.9], [0.0, 0.5]) == 0.5
    cover = CoverMargin(alpha=0.1, images=10, masks=10, cover="object", margin=1.0)
    mask = np.zeros((5, 5), np.bool_)
    mask[2, 2] = True
    assert cover.apply(mask).sum() == 5
