"""The mask refiner: what it is fed, what learns, what its file holds, and that it never encodes a photo."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.tiny import tiny
from PIL import Image as PILImages
from tiny import save_tiny_model

from maskwright.cli.main import main
from maskwright.data.prompts import tight_box
from maskwright.errors import ConfigError, InputError, WeightsError
from maskwright.io.label_shards import decode_probability, encode_probability, to_logits
from maskwright.methods.base import ItemKey, StepContext
from maskwright.methods.finetune.parts import PARTS, encode_frozen
from maskwright.methods.refine.config import RefinerSettings
from maskwright.methods.refine.items import inside_photo, make_pairs, stability, tight_boxes
from maskwright.methods.refine.method import RefinerTraining
from maskwright.methods.refine.refiner import (
    MaskRefiner,
    decoder_of,
    disagreement,
    own_features,
    save_refiner,
    soft_prompt,
)
from maskwright.models.registry import load, save
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter, select
from maskwright.training.loop import train
from maskwright.types import Masks, Prompts

FAMILIES = ("sam", "sam_hq", "sam2", "nano")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of 40 x 64 pixels with two bright squares each, and their label maps."""
    root = tmp_path_factory.mktemp("photos")
    for name in ("images", "labels"):
        (root / name).mkdir()
    rng = np.random.default_rng(0)
    for index in range(8):
        pixels = rng.integers(0, 60, (40, 64, 3), dtype=np.uint8)
        labels = np.zeros((40, 64), np.uint8)
        for k, left in enumerate((2, 34)):
            top, side = int(rng.integers(2, 14)), int(rng.integers(12, 24))
            labels[top : top + side, left : left + side] = k + 1
            pixels[top : top + side, left : left + side] = rng.integers(170, 250, 3)
        PILImages.fromarray(pixels).save(root / "images" / f"{index}.png")
        PILImages.fromarray(labels).save(root / "labels" / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small model with random weights of each family that needs no golden file."""
    folder = tmp_path_factory.mktemp("models")
    made = {family.family: save(tiny(family), folder / family.family) for family in (SAM, SAMHQ)}
    return {**made, "nano": save_tiny_model(folder)}


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, models: dict[str, Path]) -> Segmenter:
    if request.param == "sam2":
        golden = request.getfixturevalue("golden_root")
        return load(golden / "sam2.pt", image_size=256, device="cpu")
    return load(models[request.param], device="cpu")


def settings(photos: Path, model: Path, **changes: Any) -> RefinerSettings:
    """Settings under which a random model's masks pass."""
    values: dict[str, Any] = {
        "steps": 2,
        "batch_size": 3,
        "model": str(model),
        "data": (f"labels:{photos}",),
        "masks_per_image": 3,
        "val_images": 2,
        "val_share": 0.25,
        "min_iou": 0.0,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "max_area": 1.0,
        "device": "cpu",
    }
    return RefinerSettings.model_validate({**values, **changes})


def image(height: int = 40, width: int = 60) -> Any:
    return np.random.default_rng(3).integers(0, 255, (height, width, 3), dtype=np.uint8)


def click(x: float, y: float) -> Prompts:
    return Prompts(torch.tensor([[[x, y]]]), torch.ones(1, 1, dtype=torch.long))


def altered(base: Segmenter) -> MaskRefiner:
    """A refiner whose weights are not the base's."""
    model = decoder_of(base.model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return MaskRefiner(model, base)


# -- the soft mask ------------------------------------------------------------------------------------------


def test_soft_prompts_are_the_stored_probabilities_and_doing_it_again_changes_nothing() -> None:
    logits = 6 * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    soft = soft_prompt(logits)
    stored = torch.from_numpy(to_logits(decode_probability(encode_probability(logits))))
    assert torch.allclose(soft, stored, atol=1e-4)
    assert torch.equal(soft_prompt(soft), soft)
    assert torch.allclose(soft_prompt(stored), stored, atol=1e-4)
    assert float(soft_prompt(torch.tensor([80.0, -80.0])).abs().max()) == pytest.approx(math.log(509))


# -- in use -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 60), (60, 30), (64, 64)])
def test_refining_costs_one_decoder_pass_and_no_encoding(
    base: Segmenter, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    refiner = altered(base)
    embedding, prompts = base.embed(image(*size)), click(14, 12)
    masks = base.decode(embedding, prompts, multimask=True)
    calls = []
    decode = type(refiner.model).decode

    def counted(*given: Any) -> Any:
        calls.append(given[2].shape)
        return decode(*given)

    monkeypatch.setattr(type(refiner.model), "decode", counted)
    monkeypatch.setattr(type(base.model), "encode", lambda *_: pytest.fail("a photo was encoded again"))
    side, count = base.model.low_res, masks.low_res.shape[1]
    boxes = torch.tensor([[2.0, 3.0, 25.0, 28.0]]).repeat(count, 1)
    refined = refiner.refine(embedding, masks.low_res[0], boxes, torch.full((count, 2), 12.0))
    assert calls == [(1, count)]
    assert refined.shape == (count, side, side)
    assert bool(refined.isfinite().all())
    assert not hasattr(refiner.model, "vision_encoder")
    assert not any(name.startswith(PARTS[base.model.family].encoder) for name in refiner.model.state_dict())


def test_an_untrained_refiner_is_the_base_given_its_own_mask_back(base: Segmenter) -> None:
    embedding = base.embed(image())
    masks = base.decode(embedding, click(14, 12))
    logits, box, point = (
        masks.low_res[0],
        torch.tensor([[2.0, 3.0, 25.0, 28.0]]),
        torch.tensor([[14.0, 12.0]]),
    )
    refined = MaskRefiner(decoder_of(base.model), base).refine(embedding, logits, box, point)
    given = Prompts(point[None], torch.ones(1, 1, dtype=torch.long), box, soft_prompt(logits))
    if base.model.family == "sam2":
        net: Any = base.model.net
        net.config.mask_decoder_config.dynamic_multimask_via_stability = False
    base.model.train()  # nano then decodes in one pass
    again = base.decode(embedding, given)
    base.model.eval()
    assert torch.allclose(refined, again.low_res[0], atol=1e-5)


def test_masks_come_back_in_order_and_empty_ones_as_they_were(base: Segmenter) -> None:
    refiner = altered(base)
    embedding = base.embed(image())
    side = base.model.low_res
    low_res = torch.full((3, 1, side, side), -4.0)
    low_res[0, :, 2:9, 3:8] = 5
    low_res[2, :, 5:11, 1:6] = 5
    masks = Masks(low_res, torch.tensor([[0.1], [0.2], [0.3]]), embedding.geometry)
    points = torch.tensor([[[9.0, 9.0]], [[5.0, 5.0]], [[0.0, 0.0]]])
    prompts = Prompts(points, torch.tensor([[1], [1], [0]]), torch.tensor([[1.0, 1, 30, 30]] * 3))
    refined = refiner.refine_masks(embedding, masks, prompts)
    assert torch.equal(refined.low_res[1], low_res[1])
    assert torch.equal(refined.extras["unrefined_iou"], masks.iou)
    assert refined.iou[1] == masks.iou[1]
    assert refined.iou[0] != masks.iou[0]
    for n, own_click in ((0, torch.tensor([[9.0, 9.0]])), (2, None)):
        mask = masks.binary()[n, 0]
        if own_click is None:  # its only click is beside the object: the mask's innermost pixel
            from maskwright.data.prompts import center_point

            own_click = torch.from_numpy(center_point(mask))[None]
        one = refiner.refine(embedding, low_res[n], torch.from_numpy(tight_box(mask))[None], own_click)
        assert torch.allclose(one[0], refined.low_res[n, 0], atol=1e-5)
    uncertainty = disagreement(masks, refined)
    expected = (masks.logits().sigmoid() - refined.logits().sigmoid()).abs()
    assert torch.allclose(uncertainty, expected)
    assert float(uncertainty[1].max()) == 0


def test_the_chunk_makes_no_difference(base: Segmenter) -> None:
    refiner = altered(base)
    embedding, side = base.embed(image()), base.model.low_res
    logits = torch.randn(5, side, side, generator=torch.Generator().manual_seed(0))
    boxes, points = torch.tensor([[2.0, 3.0, 25.0, 28.0]]).repeat(5, 1), torch.full((5, 2), 12.0)
    at_once = refiner.refine(embedding, logits, boxes, points)
    chunk, base.chunk = base.chunk, 2
    in_parts = refiner.refine(embedding, logits, boxes, points)
    base.chunk = chunk
    assert torch.allclose(at_once, in_parts, atol=1e-5)
    assert refiner.refine(embedding, logits[:0], boxes[:0], points[:0]).shape == (0, side, side)


def test_what_does_not_fit_is_refused(models: dict[str, Path]) -> None:
    base = load(models["sam"], device="cpu")
    refiner, embedding, side = altered(base), base.embed(image()), base.model.low_res
    logits, box, point = torch.zeros(1, side, side), torch.tensor([[1.0, 1, 9, 9]]), torch.ones(1, 2)
    with pytest.raises(InputError, match="masks_logits must have shape"):
        refiner.refine(embedding, logits[:, 1:], box, point)
    with pytest.raises(InputError, match="an empty mask cannot be refined"):
        refiner.refine(embedding, logits, box * float("nan"), point)
    with pytest.raises(InputError, match=r"was made by tiny\.safetensors"):
        refiner.refine(load(models["nano"], device="cpu").embed(image()), logits, box, point)


# -- the file -----------------------------------------------------------------------------------------------


def test_the_file_holds_no_encoder_and_gives_the_same_masks(base: Segmenter, tmp_path: Path) -> None:
    refiner = altered(base)
    path = save_refiner(refiner.model, base.model, tmp_path / "refiner.safetensors")
    embedding, side = base.embed(image()), base.model.low_res
    given = (torch.randn(2, side, side), torch.tensor([[2.0, 3, 25, 28]] * 2), torch.full((2, 2), 12.0))
    again = MaskRefiner.load(tmp_path, base)
    expected = refiner.refine(embedding, *given)
    assert torch.allclose(again.refine(embedding, *given), expected, atol=0.05 * float(expected.abs().max()))
    assert again.signature.startswith("refiner:")
    learned = sum(p.numel() for n, p in refiner.model.named_parameters() if "position" not in n)
    assert path.stat().st_size < 2 * learned + 60_000
    with pytest.raises(WeightsError, match="holds only a refiner, not a whole model"):
        load(path)


def test_a_refiner_for_another_encoder_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    base = load(models["sam"], device="cpu")
    path = save_refiner(decoder_of(base.model), base.model, tmp_path / "r.safetensors")
    other = Segmenter(tiny(SAM, seed=1), "mine")
    with pytest.raises(WeightsError, match=r"r.safetensors: this refiner was made for another image encoder"):
        MaskRefiner.load(path, other)
    # Another decoder on the same encoder is no other encoder.
    with torch.no_grad():
        net: Any = base.model.net
        net.mask_decoder.iou_token.weight.add_(1)
    assert MaskRefiner.load(path, base).model is not base.model
    with pytest.raises(WeightsError, match="holds a whole model, not a refiner"):
        MaskRefiner.load(models["sam"], base)


def test_names_and_paths_that_lead_nowhere_say_what_to_do(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load(models["nano"], device="cpu")
    monkeypatch.setattr("maskwright.methods.refine.refiner.PACKAGED", tmp_path)
    with pytest.raises(InputError, match="train one with `maskwright train refiner --model nano"):
        MaskRefiner.load("nano", base)
    with pytest.raises(InputError, match=r"does not exist\. Did you mean 'nano'"):
        MaskRefiner.load("nanno", base)
    save_refiner(decoder_of(base.model), base.model, tmp_path / "nano_refiner.safetensors")
    assert MaskRefiner.load("nano", base).signature.startswith("nano_refiner:")


# -- training pairs -----------------------------------------------------------------------------------------


def step(method: RefinerTraining, count: int = 3) -> tuple[Any, Any]:
    data = method.training_data()
    batch = data.collate([data[ItemKey(index, 0, 1)] for index in range(count)])
    features = encode_frozen(method.model.base, batch.pixels)
    return batch, make_pairs(method.model.base, features, batch, method.settings)


@pytest.mark.parametrize("family", ["sam", "sam_hq", "nano"])
def test_pairs_are_the_best_of_the_bases_real_answers_with_their_box_and_click(
    photos: Path, models: dict[str, Path], family: str
) -> None:
    method = RefinerTraining(settings(photos, models[family], augment="none"))
    batch, pairs = step(method)
    base = method.segmenter
    assert float(pairs.kept) > 0
    for place in range(len(pairs.photos_A)):
        photo = int(pairs.photos_A[place])
        embedding = base.embed(PILImages.open(method.training.image_path(photo)))
        point = pairs.prompts.points[place, 0]
        answer = base.decode(embedding, click(*point[0].tolist()), multimask=True)
        truth = pairs.targets_ASS[place].numpy()
        full = torch.nn.functional.interpolate(answer.low_res, (64, 64), mode="bilinear")[0].numpy() > 0
        full[:, 40:] = False
        low = torch.nn.functional.adaptive_avg_pool2d(pairs.targets_ASS[place][None].float(), 16)[0] > 0.5
        low_masks = answer.low_res[0, :, :10] > 0
        union = (low_masks | low[:10]).sum(dim=(1, 2)).clamp(min=1)
        ious = (low_masks & low[:10]).sum(dim=(1, 2)) / union
        best = int(ious.argmax())
        assert float(pairs.input_iou_A[place]) == pytest.approx(float(ious[best]), abs=1e-6)
        assert torch.allclose(pairs.prompts.masks[place, 0], soft_prompt(answer.low_res[0, best]), atol=0.05)
        assert np.array_equal(pairs.prompts.boxes[place, 0].numpy(), tight_box(full[best]))
        assert truth[int(point[0, 1]), int(point[0, 0])]
        assert (pairs.weights_ASS[place, :40] == 1).all()
        assert (pairs.weights_ASS[place, 40:] == 0).all()
    assert torch.equal(inside_photo(batch.pixels)[0], pairs.weights_ASS[0] > 0)


def test_filters_leave_masks_out_and_nothing_is_learned_where_none_passes(
    photos: Path, models: dict[str, Path]
) -> None:
    method = RefinerTraining(settings(photos, models["nano"]))
    _, everything = step(method)
    limit = float(everything.input_iou_A.median())
    method.settings = settings(photos, models["nano"], min_iou=limit)
    _, half = step(method)
    assert 0 < len(half.photos_A) < len(everything.photos_A)
    assert float(half.input_iou_A.min()) >= limit
    for impossible in ({"min_iou": 1.0}, {"pred_iou_thresh": 2.0}, {"max_area": 0.0}):
        method.settings = settings(photos, models["nano"], **impossible)
        batch, none = step(method)
        assert float(none.kept) == 0
        losses = method.training_step(batch, StepContext(0, 1, torch.Generator()))
        assert float(losses["loss"].detach()) == 0
        method.model.zero_grad()
        losses["loss"].backward()
        gradients = [p.grad for p in method.model.refiner.parameters() if p.grad is not None]
        assert all(bool(g.isfinite().all()) and not g.any() for g in gradients)


def test_stability_and_boxes_by_hand() -> None:
    logits = torch.tensor([[[2.0, 0.5], [-0.5, -2.0]], [[-3.0, -3.0], [-3.0, -3.0]]])
    assert stability(logits, 1.0).tolist() == pytest.approx([1 / 3, 1.0])
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 0] = True
    assert tight_boxes(masks).tolist() == [[2, 1, 6, 3], [0, 4, 1, 5], [0, 0, 7, 5]]
    assert np.array_equal(tight_boxes(masks[:1])[0].numpy(), tight_box(masks[0].numpy()))


# -- training -----------------------------------------------------------------------------------------------


def test_only_prompt_encoder_and_decoder_learn_hq_layers_included(base: Segmenter) -> None:
    model = decoder_of(base.model)
    prompts = click(14, 12)
    embedding = base.embed(image())
    features = own_features(model, embedding.features)
    from maskwright.models.prompts import to_batch

    decoded = model.train().decode(features, to_batch(prompts, embedding.geometry, base.device))
    select(decoded, multimask=False, hq="sum")[0].sum().backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    hq = PARTS[base.model.family].hq
    assert touched
    for start in hq:
        assert any(name.startswith(start) for name in touched), start


def test_it_learns_evaluates_exports_and_resumes(
    photos: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    chosen = settings(photos, models["nano"], steps=60, evaluate_every=60, optimizer={"lr": 3e-3})
    method = RefinerTraining(chosen)
    before = {name: value.clone() for name, value in method.model.base.state_dict().items()}
    outcome = train(method, tmp_path / "run", quiet=True)
    assert outcome.model == tmp_path / "run/model/refiner.safetensors"
    assert all(torch.equal(value, before[name]) for name, value in method.model.base.state_dict().items())
    names = {
        "refined_boundary_iou", "input_boundary_iou", "refined_iou", "input_iou", "certain_accuracy",
        "certain_share", "calibration_error", "kept",
    }  # fmt: skip
    assert names <= set(outcome.metrics)
    assert outcome.metrics["input_iou"] == outcome.before["input_iou"]
    assert outcome.metrics["refined_iou"] > 2 * outcome.metrics["input_iou"]
    base = load(models["nano"], device="cpu")
    assert MaskRefiner.load(outcome.model, base).model.family == "nano"
    # Two photos are held out of eight; each of the others is encoded as it is and mirrored, and no more.
    assert method.cache is not None
    assert method.cache.computed <= 2 * 6 + 2
    checkpoint = tmp_path / "run/checkpoints/last.safetensors"
    assert "encoder" not in checkpoint.read_bytes()[:4000].decode("latin-1").replace("prompt_encoder", "")
    again = train(RefinerTraining(chosen), tmp_path / "run", quiet=True)
    assert again.step == 60


def test_the_command_trains_and_says_how_to_go_on(
    photos: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zeros = ("--min-iou", "0", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--max-area", "1")
    short = ("--steps", "1", "--batch-size", "1", "--masks-per-image", "2", "--val-share", "0.3")
    given = ("--model", str(models["nano"]), "--data", f"labels:{photos}", "--out", str(tmp_path / "run"))
    assert main(["train", "refiner", *given, *zeros, *short, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "--refine" in out
    assert "maskwright label refine" in out


def test_settings_that_cannot_work_are_refused(photos: Path, models: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="cache needs augment"):
        settings(photos, models["nano"], augment="jitter", cache="memory")
    with pytest.raises(ConfigError, match="no training data"):
        RefinerTraining(settings(photos, models["nano"], data=()))
    method = RefinerTraining(settings(photos, models["nano"], min_iou=1.0))
    with pytest.raises(ConfigError, match="passes the filters: lower --min-iou"):
        method.evaluate()
    assert RefinerTraining(settings(photos, models["nano"], val_share=0)).evaluate() == {}
