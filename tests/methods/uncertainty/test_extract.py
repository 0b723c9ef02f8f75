"""The rows of an image: right tokens, true IoUs, and the same whatever is asked together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.uncertainty.scenes import NAME, photo, sample, squares
from models.families import FAMILIES, any_family
from models.test_golden_sam2 import PROMPTS, assert_close, prompt
from safetensors.torch import load_file

from maskwright.errors import ConfigError
from maskwright.methods.automatic.filters import measure
from maskwright.methods.uncertainty import answers as module
from maskwright.methods.uncertainty.answers import Truth, answer, token_shape
from maskwright.methods.uncertainty.extract import extract
from maskwright.methods.uncertainty.instances import clicks
from maskwright.methods.uncertainty.interview import ExtractSettings
from maskwright.methods.uncertainty.rows import TokenRows
from maskwright.metrics.regions import iou
from maskwright.models.base import Features
from maskwright.models.prompts import make_prompts
from maskwright.models.registry import load
from maskwright.models.segmenter import Segmenter
from maskwright.types import Geometry, Image, Sample

PLAIN = ExtractSettings(points=2, augment=False)


@pytest.fixture(scope="module", params=FAMILIES)
def segmenter(
    request: pytest.FixtureRequest, golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Segmenter:
    return any_family(request.param, golden_root, tmp_path_factory)


def of(rows: TokenRows, **wanted: str | int) -> list[int]:
    """Rows with these values."""
    chosen = np.ones(len(rows), bool)
    for name, value in wanted.items():
        chosen &= rows.columns[name] == value
    return np.flatnonzero(chosen).tolist()


@pytest.mark.parametrize("name", PROMPTS)
def test_tokens_are_the_references_each_with_its_mask(golden_root: Path, name: str) -> None:
    golden = load_file(golden_root / "sam2.safetensors")
    segmenter = load(golden_root / "sam2.pt", device="cpu")
    image = Image(golden["image"].numpy())
    embedding = segmenter.embed(image)
    found = answer(segmenter, embedding, make_prompts(embedding.geometry, 64, **prompt(name, *image.size)))
    assert found.numbers.tolist() == [[0, 1, 2, 3]]
    for mask in range(4):
        mode, place = ("single", 0) if mask == 0 else ("multi", mask - 1)
        assert_close(found.tokens[0, mask, 0], golden[f"{name}.{mode}.iou_token"][0])
        assert_close(found.tokens[0, mask, 1], golden[f"{name}.{mode}.mask_tokens"][0, mask])
        assert_close(found.low_res[0, mask], golden[f"{name}.{mode}.low_res"][place])
        assert_close(found.scores[0, mask], golden[f"{name}.{mode}.iou"][place])


def test_every_row_is_what_the_segmenter_answers_to_that_prompt_alone(segmenter: Segmenter) -> None:
    given = sample()
    rows = extract(NAME, "g", given, [segmenter], PLAIN)
    points = clicks(given.masks[1:], given.ids[1:], NAME, 0, 2)
    truth = given.masks[2]
    asked: dict[tuple[str, int], dict[str, Any]] = {
        ("center", 0): {"points": points[1, :1][None]},
        ("point", 1): {"points": points[1, 2:][None]},
        ("box", 0): {"boxes": [[10, 2, 16, 8]]},
        ("refined", 0): {"points": points[1][None]},
    }
    for (kind, number), prompts in asked.items():
        for several in (False, True):
            masks = segmenter(given.image, **prompts, multimask=several)
            assert masks.mask_token is not None
            assert masks.tokens is not None
            binary, logits = masks.binary()[0], masks.logits()[0]
            true = iou(binary, np.broadcast_to(truth, binary.shape))
            numbers = masks.mask_token[0].tolist() if several else [0]
            for place, token in enumerate(numbers):
                [row] = of(rows, instance=12, prompt=kind, prompt_number=number, mask=token)
                value = {name: column[row] for name, column in rows.columns.items()}
                assert value["iou"] == pytest.approx(true[place], abs=2e-3)
                assert value["sam_score"] == pytest.approx(float(masks.iou[0, place]), abs=1e-4)
                assert value["stability"] == pytest.approx(measure(logits, 1.0).stability[place], abs=2e-3)
                assert value["selected"] == (several and place == int(masks.iou[0].argmax()))
                own = masks.tokens[0, 1 + int(masks.mask_token[0, place])]
                assert np.allclose(rows.tokens[row, 0], masks.tokens[0, 0], atol=1e-3)
                assert np.allclose(rows.tokens[row, 1], own, atol=1e-3)
    assert rows.tokens.shape[1:] == token_shape(segmenter.model)
    assert len(rows) == 3 * 5 * (2 if segmenter.model.family in ("sam_hq", "mobile_sam_hq") else 4)


def test_the_columns_of_a_prompt_agree_with_its_rows(
    golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    segmenter = any_family("sam2", golden_root, tmp_path_factory)
    rows = extract(NAME, "video", sample(2), [segmenter], PLAIN)
    columns, name = rows.columns, segmenter.name
    assert set(columns["image"]) == {NAME}
    assert set(columns["group"]) == {"video"}
    assert set(columns["instance"]) == {11, 12}
    assert columns["area"] == pytest.approx(36 / (40 * 64))
    for instance in (11, 12):
        refined = of(rows, instance=instance, prompt="refined")
        for kind, number in (("center", 0), ("point", 0), ("point", 1), ("box", 0), ("refined", 0)):
            here = of(rows, instance=instance, prompt=kind, prompt_number=number)
            ious = columns["iou"][here]
            assert columns["mask"][here].tolist() == [0, 1, 2, 3]
            assert columns["best"][here].tolist() == [False, *(np.arange(3) == ious[1:].argmax())]
            assert columns["selected"][here].sum() == 1
            expected = {
                "single_iou": ious[0],
                "best_iou": ious[1:].max(),
                "selected_iou": ious[columns["selected"][here]][0],
                "refined_iou": columns["iou"][refined][0],
                "refined_best_iou": columns["iou"][refined][1:].max(),
            }
            for column, value in expected.items():
                assert columns[column][here] == pytest.approx(value), column
            for column in ("single_iou", "best_iou", "selected_iou"):
                assert np.array_equal(columns[f"{column}@{name}"][here], columns[column][here])
    assert np.isnan(columns["h_all"]).all()
    assert np.isnan(columns["h_theta"]).all()
    assert not np.isnan(columns["h_prompt"]).any()


def test_an_instance_has_the_same_rows_with_many_others_and_alone(
    golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    segmenter = any_family("nano", golden_root, tmp_path_factory)
    masks = squares(11)  # more than are asked about together
    settings = ExtractSettings(points=2)
    together = extract(NAME, "g", Sample(photo(), masks, tuple(range(11)), "x"), [segmenter], settings)
    alone = extract(NAME, "g", Sample(photo(), masks[9:10], (9,), "x"), [segmenter], settings)
    here = of(together, instance=9)
    assert len(here) == len(alone)
    assert np.allclose(together.tokens[here], alone.tokens, atol=1e-4)
    for name, values in alone.columns.items():
        if values.dtype.kind == "f":
            assert np.allclose(together.columns[name][here], values, atol=1e-4, equal_nan=True), name
        else:
            assert np.array_equal(together.columns[name][here], values), name


def test_a_photo_is_encoded_once_an_augmentation(
    golden_root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = any_family("nano", golden_root, tmp_path_factory)
    encoded = []
    real = segmenter.model.encode

    def counting(pixels: torch.Tensor) -> Features:
        encoded.append(len(pixels))
        return real(pixels)

    monkeypatch.setattr(segmenter.model, "encode", counting)
    extract(NAME, "g", sample(4), [segmenter], ExtractSettings(points=1))
    assert encoded == [1] * 5


@pytest.mark.parametrize(
    "kinds", [("center",), ("point",), ("box",), ("box", "refined"), ("point", "center")]
)
def test_prompts_that_are_not_asked_leave_their_columns_empty(
    golden_root: Path, tmp_path_factory: pytest.TempPathFactory, kinds: tuple[str, ...]
) -> None:
    segmenter = any_family("nano", golden_root, tmp_path_factory)
    rows = extract(NAME, "g", sample(1), [segmenter], ExtractSettings(kinds, points=2))  # type: ignore[arg-type]
    assert set(rows.columns["prompt"]) == set(kinds)
    defined = {name for name in ("h_all", "h_prompt", "h_task", "h_augmentation", "refined_iou")
               if not np.isnan(rows.columns[name]).any()}  # fmt: skip
    expected = {"h_task", "h_augmentation"} if "center" in kinds else set()
    expected |= {"h_all", "h_prompt"} if {"center", "point"} <= set(kinds) else set()
    assert defined == expected | ({"refined_iou"} if "refined" in kinds else set())


def test_an_image_without_instances_has_no_rows(segmenter: Segmenter) -> None:
    rows = extract(NAME, "g", sample(0), [segmenter], PLAIN)
    assert rows.tokens.shape == (0, *token_shape(segmenter.model))
    assert len(rows.table([segmenter.name])) == 0


def test_masks_of_a_large_photo_are_compared_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth(squares(3), torch.device("cpu"))
    logits = torch.randn(6, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    given = (logits, Geometry((40, 64), 64), np.array([0, 0, 1, 1, 2, 2]))
    whole = truth.measure(*given)
    monkeypatch.setattr(module, "PIXELS", 1)
    assert all(np.array_equal(one, other) for one, other in zip(truth.measure(*given), whole, strict=True))


def test_models_that_do_not_go_together_are_refused(
    golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nano, sam = (any_family(name, golden_root, tmp_path_factory) for name in ("nano", "sam"))
    with pytest.raises(ConfigError, match=r"different numbers of tokens .*extract each family by itself"):
        extract(NAME, "g", sample(1), [nano, sam], PLAIN)
    with pytest.raises(ConfigError, match="same name"):
        extract(NAME, "g", sample(1), [nano, nano], PLAIN)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 random point"):
        ExtractSettings(points=0)
    with pytest.raises(ConfigError, match="each kind of prompt once"):
        ExtractSettings(("box", "box"))
