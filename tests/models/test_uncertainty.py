from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models.families import FAMILIES, any_family
from tiny import WIDTH, random_heads, save_tiny_heads, save_tiny_model

from maskwright.errors import ConfigError, InputError, WeightsError
from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.methods.automatic.generator import generate
from maskwright.models import hub
from maskwright.models.registry import heads_file, load, save
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import VALUES, UncertaintyHeads, mask_inputs, token_inputs


def one_by_one(heads: UncertaintyHeads, tokens: torch.Tensor, k: int) -> torch.Tensor:
    """Head k alone, layer by layer."""
    values = tokens
    for number, (weight, bias) in enumerate(zip(heads.weights, heads.biases, strict=True)):
        values = (values if number == 0 else values.relu()) @ weight[k] + bias[k]
    return values[:, 0].sigmoid()


def test_heads_together_give_what_each_gives_alone() -> None:
    heads, tokens = random_heads(24, "1"), torch.randn(7, 24)
    together = heads(tokens)
    assert together.shape == (7, 4)
    for k in range(4):
        torch.testing.assert_close(together[:, k], one_by_one(heads, tokens, k))


def test_calibration_is_linear_between_its_knots() -> None:
    heads = random_heads(24, "1")
    outputs = torch.tensor([[0.0, 0.3, 0.77, 1.0]])
    torch.testing.assert_close(heads.calibrated(outputs), outputs)
    knots = torch.linspace(0, 1, heads.calibration.shape[1])
    heads.calibration[1] = knots**2
    expected = float(np.interp(0.3, knots.numpy(), knots.numpy() ** 2))
    assert heads.calibrated(outputs)[0].tolist() == pytest.approx([0.0, expected, 0.77, 1.0])


def test_inputs_are_the_iou_token_and_the_masks_own() -> None:
    tokens = torch.arange(2 * 6 * 3).reshape(2, 6, 3).float()
    inputs = token_inputs(tokens, torch.tensor([[1, 2, 3], [0, 3, 1]]))
    assert inputs.shape == (2, 3, 9)
    for n, chosen in enumerate([[1, 2, 3], [0, 3, 1]]):
        for m, number in enumerate(chosen):
            assert inputs[n, m].tolist() == [*tokens[n, 0], *tokens[n, 1 + number], *tokens[n, 5]]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_how_good_each_mask_is(
    family: str, golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    segmenter = any_family(family, golden_root, tmp_path_factory)
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    plain = segmenter(image, points=[[[10, 10]], [[20, 30]]], multimask=True)
    assert plain.tokens is not None
    heads = random_heads(2 * plain.tokens.shape[2], segmenter.digest)
    asked = Segmenter(segmenter.model, name=family, heads=heads)
    for multimask in (False, True):
        masks = asked(
            image, points=[[[10, 10]], [[20, 30]]], boxes=[None, [5, 5, 30, 30]], multimask=multimask
        )
        assert set(masks.extras) == set(VALUES)
        assert masks.mask_token is not None
        assert masks.tokens is not None
        for n in range(2):
            for m in range(masks.iou.shape[1]):
                inputs = torch.cat([masks.tokens[n, 0], masks.tokens[n, 1 + masks.mask_token[n, m]]])
                expected = heads.values(inputs[None])
                for name in VALUES:
                    torch.testing.assert_close(masks.extras[name][n, m], expected[name][0])
        best = masks.best()
        assert best.extras["quality"].shape == (2, 1)
        assert torch.equal(
            best.extras["quality"][:, 0], masks.extras["quality"][range(2), masks.iou.argmax(1)]
        )


def test_heads_lie_beside_their_model(tmp_path: Path) -> None:
    save_tiny_model(tmp_path).rename(tmp_path / "mine.safetensors")
    digest = load(tmp_path / "mine.safetensors").digest
    heads = random_heads(24, digest)
    heads.save(tmp_path / "mine.heads.safetensors")
    segmenter = load(tmp_path / "mine.safetensors")
    assert segmenter.heads is not None
    assert segmenter.heads.config == heads.config
    for key, value in segmenter.heads.state_dict().items():
        assert torch.equal(value, heads.state_dict()[key])
    assert load(tmp_path / "mine.safetensors", heads=None).heads is None


def test_heads_of_another_model_are_refused(tmp_path: Path) -> None:
    segmenter = load(save_tiny_model(tmp_path))
    with pytest.raises(WeightsError, match=r"trained for small, mine, and not for other .*train heads"):
        Segmenter(segmenter.model, name="other", heads=random_heads(24, "another"))


def test_files_that_hold_no_heads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no uncertainty heads"):
        UncertaintyHeads.load(save_tiny_model(tmp_path))
    heads = random_heads(24, "1")
    heads.config = replace(heads.config, hidden=(16, 9))
    heads.save(tmp_path / "y.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        UncertaintyHeads.load(tmp_path / "y.safetensors")


def test_masks_without_tokens_have_no_known_uncertainty(tmp_path: Path) -> None:
    segmenter = load(save_tiny_model(tmp_path))
    masks = segmenter(np.zeros((32, 32, 3), np.uint8), points=[16, 16])
    heads = random_heads(24, segmenter.digest).bound_to(segmenter.digest, "nano")
    with pytest.raises(InputError, match="no tokens"):
        heads.annotate(replace(masks, tokens=None))


def test_heads_of_the_package_folders_and_decoders_on_a_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_tiny_model(tmp_path)
    heads = random_heads(2 * WIDTH, load(base).digest)
    heads.save(tmp_path / "folder" / "model.heads.safetensors")
    base.rename(tmp_path / "folder" / "model.safetensors")
    segmenter = load(tmp_path / "folder")
    assert segmenter.heads is not None
    decoder = save(segmenter, tmp_path / "decoder.safetensors", part="decoder")
    combined = load(decoder, base=tmp_path / "folder")
    assert combined.heads is not None
    assert combined.heads.digest() == segmenter.heads.digest()
    packaged = hub.NAMED["nano"]
    monkeypatch.setattr(hub, "PACKAGED", tmp_path)
    monkeypatch.setitem(hub.NAMED, "nano", replace(packaged, sha256=None))
    save(segmenter, tmp_path / "nano.safetensors")
    assert heads_file("nano") == tmp_path / "nano.heads.safetensors"
    assert load("nano").heads is not None
    monkeypatch.setenv("MASKWRIGHT_MODELS", str(tmp_path / "placed"))
    assert heads_file("sam-vit-b") is None
    placed = heads.save(tmp_path / "placed/sam-vit-b/sam_vit_b_01ec64.heads.safetensors")
    assert heads_file("sam-vit-b") == placed


def test_heads_are_saved_with_a_model_in_fewer_bits(tmp_path: Path) -> None:
    file = save_tiny_model(tmp_path)
    save_tiny_heads(file)
    segmenter = load(file, device="cpu")
    half = load(save(segmenter, tmp_path / "half.safetensors", dtype=torch.float16), device="cpu")
    assert half.digest != segmenter.digest
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    quality = [one(image, points=[30, 20]).quality for one in (segmenter, half)]
    assert quality[0] is not None
    torch.testing.assert_close(*quality, atol=0.02, rtol=0)
    assert segmenter(image, points=[30, 20])[:0].extras["quality"].shape == (0, 1)


def test_one_heads_module_serves_two_models(tmp_path: Path) -> None:
    first, second = (load(save_tiny_model(tmp_path), device="cpu") for _ in range(2))
    with torch.no_grad():
        next(second.model.parameters()).add_(1)
    second = Segmenter(second.model)
    heads = random_heads(2 * WIDTH, first.digest)
    heads.config = replace(heads.config, models=(("a", first.digest), ("b", second.digest)))
    asked = [Segmenter(one.model, heads=heads) for one in (first, second)]
    assert [one.heads and one.heads.model_name for one in asked] == ["a", "b"]
    assert heads.model_name is None


def test_published_heads_tell_the_quality_of_their_model(tmp_path: Path) -> None:
    digest = load(save_tiny_model(tmp_path), device="cpu").digest
    heads = random_heads(2 * WIDTH, digest)
    heads.config = replace(
        heads.config, kind="published", names=("iou_small", "iou_mine", "prompt_gap", "refined_iou")
    )
    segmenter = Segmenter(load(tmp_path / "tiny.safetensors", device="cpu").model, heads=heads)
    masks = segmenter(np.zeros((32, 32, 3), np.uint8), points=[16, 16])
    assert set(masks.extras) == {"quality", "prompt_gap"}
    values = heads.values(mask_inputs(masks)[:, 0, : 2 * WIDTH])
    torch.testing.assert_close(masks.extras["quality"][:, 0], values["iou_mine"])


def test_a_digest_changes_with_weights_and_calibration() -> None:
    heads, others = random_heads(24, "1"), random_heads(24, "1", seed=1)
    assert heads.digest() == random_heads(24, "1").digest() != others.digest()
    before = heads.digest()
    heads.calibration[3, 200] -= 0.001
    assert heads.digest() != before


def test_quality_is_kept_by_the_generator_and_may_be_asked_for(tmp_path: Path) -> None:
    file = save_tiny_model(tmp_path)
    save_tiny_heads(file)
    segmenter = load(file, device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    loose = AutomaticSettings(
        points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0
    )
    masks = generate(segmenter, image, loose)
    assert masks
    embedding = segmenter.embed(image)
    for mask in masks:
        answer = segmenter(embedding, points=mask.point, multimask=True)
        number = int((answer.iou[0] - mask.predicted_iou).abs().argmin())
        for name in VALUES:
            assert mask.extras[name] == pytest.approx(float(answer.extras[name][0, number]), abs=1e-5)
    least = float(np.median([mask.extras["quality"] for mask in masks]))
    kept = generate(segmenter, image, loose.model_copy(update={"min_quality": least}))
    assert len(kept) == sum(mask.extras["quality"] >= least for mask in masks)
    with pytest.raises(InputError, match="no uncertainty heads that tell the quality"):
        generate(load(file, heads=None), image, loose.model_copy(update={"min_quality": 0.5}))


def test_the_largest_model_has_nothing_to_gain_from_a_larger_one(tmp_path: Path) -> None:
    segmenter = load(save_tiny_model(tmp_path))
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    for largest, gains in (("mine", False), ("another", True)):
        heads = random_heads(64, segmenter.digest)
        heads.config = replace(heads.config, larger=(largest, "digest"))
        masks = Segmenter(segmenter.model, heads=heads)(image, points=[[[10, 10]]], multimask=True)
        assert bool(masks.extras["model_gap"].any()) is gains
        assert masks.extras["quality"].any()
    heads.save(tmp_path / "x.heads.safetensors")
    assert UncertaintyHeads.load(tmp_path / "x.heads.safetensors").config.larger == ("another", "digest")


def test_the_model_gap_is_about_one_larger_model() -> None:
    heads = random_heads(64, "1").bound_to("1", "mine")
    heads.check_larger("model_gap", "anything", "any")
    heads.config = replace(heads.config, larger=("large", "7"))
    heads.check_larger("model_gap", "7", "large")
    heads.check_larger("quality", "8", "third")
    with pytest.raises(ConfigError, match=r"from what large would gain, not third: .*--larger-by quality"):
        heads.check_larger("model_gap", "8", "third")
