"""Fine-tuning: what learns, what items look like, what the losses are, and that it learns at golden size."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImages

from maskwright.errors import ConfigError, DatasetError, InputError
from maskwright.methods.base import ItemKey, StepContext
from maskwright.methods.finetune.cache import EmbeddingCache
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.finetune.items import Batch, FinetuneData, Frame
from maskwright.methods.finetune.loss import Targets, decoder_losses, refined_logits
from maskwright.methods.finetune.method import Finetune
from maskwright.methods.finetune.parts import encode_frozen, encoder_signature, learning_groups
from maskwright.methods.settings import OptimizerSettings
from maskwright.models.base import Decoded, MaskModel, PromptBatch
from maskwright.models.hq_layers import add_hq_layers
from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.registry import load, save
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter
from maskwright.training.loop import train

SIDE = 64


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of two bright squares each on a dark ground, with label maps."""
    root = tmp_path_factory.mktemp("photos")
    for name in ("images", "labels"):
        (root / name).mkdir()
    rng = np.random.default_rng(0)
    for index in range(8):
        pixels = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
        labels = np.zeros((48, 64), np.uint8)
        for k, left in enumerate((2, 34)):
            top, side = int(rng.integers(2, 20)), int(rng.integers(10, 24))
            labels[top : top + side, left : left + side] = k + 1
            pixels[top : top + side, left : left + side] = rng.integers(170, 250, 3)
        PILImages.fromarray(pixels).save(root / "images" / f"{index}.png")
        PILImages.fromarray(labels).save(root / "labels" / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small nano with random weights."""
    torch.manual_seed(0)
    config = NanoConfig(SIDE, 8, 8, 16, 16, 1, 2, 16, 2, 32, 8)
    return save(Nano(config), tmp_path_factory.mktemp("nano") / "nano.safetensors")


@pytest.fixture(scope="module")
def sam() -> SAM:
    """A tiny SAM with random weights, built from transformers' own settings."""
    vision = {
        "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": SIDE, "patch_size": 16, "window_size": 2, "global_attn_indexes": [1], "mlp_dim": 32,
        "num_pos_feats": 8,
    }  # fmt: skip
    config = {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 16, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4},  # noqa: E501
        "mask_decoder_config": {
            "hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
        },
    }  # fmt: skip
    torch.manual_seed(0)
    return SAM.from_config(config)


def settings(photos: Path, **changes: Any) -> FinetuneSettings:
    values: dict[str, Any] = {
        "steps": 2,
        "batch_size": 3,
        "data": (f"labels:{photos}",),
        "masks_per_image": 3,
        "loss_points": 128,
        "val_images": 2,
        "device": "cpu",
    }
    return FinetuneSettings.model_validate({**values, **changes})


def data(photos: Path, **changes: Any) -> FinetuneData:
    method = settings(photos, **changes)
    from maskwright.data.registry import open_dataset

    frame = Frame(SIDE, 16, "pad", (123.0, 116.0, 103.0), (58.0, 57.0, 57.0))
    return FinetuneData(open_dataset(method.data[0]), method, frame)


# -- which parameters learn ---------------------------------------------------------------------------------


def names(model: MaskModel, train: str, rate: float = 0.5) -> set[str]:
    groups = learning_groups(model, train, rate)  # type: ignore[arg-type]
    found = [name for group in groups for name in group.parameters]
    assert len(found) == len(set(found))
    return set(found)


def test_hq_layers_are_the_only_ones_that_learn_and_as_many_as_published(sam: SAM) -> None:
    model = add_hq_layers(sam)
    learning = names(model, "hq")
    assert learning == {n for n, _ in model.named_parameters()} - {n for n, _ in sam.named_parameters()}
    # The counts of the paper's ViT-B: C = 256, vit_dim = 768 (derived in closed form).
    width, vit, named = 16, 16, dict(model.named_parameters())
    eighth, quarter = width // 8, width // 4
    mlp = 2 * (width * width + width) + width * eighth + eighth
    compress = vit * width * 4 + width + 2 * width + width * eighth * 4 + eighth
    upscale = width * quarter * 4 + quarter + 2 * quarter + quarter * eighth * 4 + eighth
    maps = eighth * quarter * 9 + quarter + 2 * quarter + quarter * eighth * 9 + eighth
    assert sum(named[name].numel() for name in learning) == width + mlp + compress + upscale + maps


def test_decoder_and_all(sam: SAM, nano: Path) -> None:
    for model in (sam, add_hq_layers(sam), load(nano).model):
        decoder, everything = names(model, "decoder"), names(model, "all")
        assert decoder < everything
        assert not any("positional" in name or "vision_encoder" in name for name in decoder)
        rest = {n for n, _ in model.named_parameters()} - everything
        assert all("positional_embedding" in name for name in rest)
    scales = {group.name: group.lr_scale for group in learning_groups(sam, "all", 0.25)}
    assert scales["encoder"] == 0.25
    assert scales["decoder"] == 1.0
    with pytest.raises(ConfigError, match="a sam has no HQ layers"):
        names(sam, "hq")


def test_fresh_hq_layers_add_nothing_at_first(sam: SAM) -> None:
    model = add_hq_layers(sam)
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    asked = {"boxes": [5, 5, 30, 30]}
    summed, off = (Segmenter(model)(image, **asked, hq=hq).low_res for hq in ("sum", "off"))
    assert torch.equal(summed, off)
    assert torch.equal(model.state_dict()["net.vision_encoder.pos_embed"], sam.net.vision_encoder.pos_embed)
    with pytest.raises(InputError, match="not to a sam_hq"):
        add_hq_layers(model)


# -- items --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["box", "jittered_box", "click", "points", "mask"])
@pytest.mark.parametrize("augment", ["jitter", "flip", "none"])
def test_items_are_repeatable_and_prompts_lie_on_their_objects(
    photos: Path, prompt: str, augment: str
) -> None:
    source = data(photos, prompts=(prompt,), augment=augment)
    for index in range(4):
        key = ItemKey(index, 0, 1)
        item, again = source[key], source[key]
        assert torch.equal(item.pixels, again.pixels)
        assert torch.equal(item.masks, again.masks)
        assert item.valid
        assert item.pixels.shape == (3, SIDE, SIDE)
        assert item.masks.shape == (3, SIDE, SIDE)
        prompts = item.prompts
        if prompts.points is not None:
            assert prompts.points.shape == (3, 10 if prompt == "points" else 1, 2)
            for mask, points in zip(item.masks, prompts.points.long(), strict=True):
                assert mask[points[:, 1], points[:, 0]].all()
        if prompts.boxes is not None:
            assert prompts.boxes.shape == (3, 4)
            slack = 0 if prompt == "box" else 20
            for mask, box in zip(item.masks, prompts.boxes, strict=True):
                rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
                tight = torch.cat([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                assert (box - tight).abs().max() <= slack
        if prompts.masks is not None:
            assert prompts.masks.shape == (3, 16, 16)
            assert set(prompts.masks.unique().tolist()) <= {-10.0, 10.0}


def test_photo_and_masks_move_together_and_outside_is_zero(photos: Path) -> None:
    for augment in ("jitter", "flip", "none"):
        source = data(photos, augment=augment, color=False, scale=(0.5, 1.0))
        for index in range(8):
            item = source[ItemKey(index, 3, 1)]
            bright = item.pixels.mean(dim=0)
            union = item.masks.any(dim=0)
            assert bright[union].mean() > 0.5
            assert (item.pixels[:, -1, :] == 0).all()  # a 48 x 64 photo leaves the last rows empty


def test_without_augmentation_the_pixels_are_those_of_inference(photos: Path, sam: SAM) -> None:
    from maskwright.io.images import read_image
    from maskwright.models.preprocess import preprocess

    source = data(photos, augment="none")
    source.frame = Frame.of(sam)
    for index in range(3):
        expected, _ = preprocess(read_image(source.source(index)), sam)
        assert (source[ItemKey(index, 0, 1)].pixels - expected).abs().max() < 0.05


def test_epochs_and_seeds_differ(photos: Path) -> None:
    source = data(photos)
    items = [source[ItemKey(0, epoch, seed)].pixels for epoch in (0, 1) for seed in (1, 2)]
    assert all(not torch.equal(a, b) for i, a in enumerate(items) for b in items[:i])


def test_groups_hold_the_photos_of_one_kind(photos: Path) -> None:
    source = data(photos)
    items = [source[ItemKey(index, 0, 1)] for index in range(8)]
    batch = source.collate(items)
    assert isinstance(batch, Batch)
    assert sorted(int(i) for index, _ in batch.groups for i in index) == list(range(8))
    for index, prompts in batch.groups:
        assert len({items[int(i)].kind for i in index}) == 1
        assert prompts.shape == (len(index), 3)
    assert batch.to("cpu").pixels.shape == (8, 3, SIDE, SIDE)


def test_a_photo_without_objects_counts_nothing(photos: Path, nano: Path) -> None:
    source = data(photos, min_area=0.9)
    items = [source[ItemKey(index, 0, 1)] for index in range(2)]
    assert not any(item.valid for item in items)
    with pytest.raises(DatasetError, match=r"none of the first 8 photos.*min_area"):
        source.check()
    method = Finetune(settings(photos, model=str(nano)))
    losses = method.training_step(source.collate(items), StepContext(0, 1, torch.Generator().manual_seed(0)))
    assert float(losses["loss"].detach()) == 0
    losses["loss"].backward()
    gradients = [p.grad for p in method.model.parameters() if p.grad is not None]
    assert all(bool(g.isfinite().all()) and not g.any() for g in gradients)


# -- loss ---------------------------------------------------------------------------------------------------


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def decoded(hq_maps: int | None) -> tuple[Decoded, Targets]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(2, 1, 4, 16, 16, generator=generator, requires_grad=True)
    hq = (
        None
        if hq_maps is None
        else torch.randn(2, 1, hq_maps, 16, 16, generator=generator, requires_grad=True)
    )
    truth = torch.zeros(2, 32, 32)
    truth[:, 8:20, 8:20] = 1
    iou = torch.rand(2, 1, 4, generator=generator, requires_grad=True)
    return Decoded(masks, iou, torch.zeros(2, 1, 6, 8), hq), Targets(truth, None, torch.tensor([True, True]))


def test_the_published_loss_touches_the_hq_logits_alone() -> None:
    output, targets = decoded(1)
    losses = decoder_losses(
        output, targets, hq_only=True, points=64, generator=torch.Generator().manual_seed(1)
    )
    assert set(losses) == {"hq", "loss"}
    losses["loss"].backward()
    assert output.hq is not None
    assert output.hq.grad is not None
    assert output.masks.grad is None
    assert output.iou.grad is None


@pytest.mark.parametrize("hq_maps", [None, 1, 4])
def test_otherwise_every_output_learns_and_of_the_ambiguous_masks_only_the_best(hq_maps: int | None) -> None:
    output, targets = decoded(hq_maps)
    with torch.no_grad():
        output.masks[:, :, 2] = (
            20 * (torch.nn.functional.adaptive_avg_pool2d(targets.masks_ASS, 16) - 0.5)[:, None]
        )
        if hq_maps == 4:
            output.hq[:, :, 2] = 0  # type: ignore[index]
    losses = decoder_losses(
        output, targets, hq_only=False, points=64, generator=torch.Generator().manual_seed(1)
    )
    losses["loss"].backward()
    touched = output.masks.grad.flatten(3).any(dim=-1)[:, 0]  # type: ignore[union-attr]
    assert touched.tolist() == [[True, False, True, False]] * 2
    assert output.iou.grad is not None
    refined = refined_logits(output)
    assert (refined is None) == (hq_maps is None)
    if refined is not None:
        assert refined.shape[2] == hq_maps


def test_pixels_nobody_labelled_do_not_count() -> None:
    output, targets = decoded(1)
    weights = torch.zeros(2, 32, 32)
    ignored = Targets(targets.masks_ASS, weights, targets.valid_A)
    losses = decoder_losses(
        output, ignored, hq_only=True, points=64, generator=torch.Generator().manual_seed(1)
    )
    losses["loss"].backward()
    assert output.hq is not None
    assert output.hq.grad is not None
    assert not output.hq.grad.any()


# -- cache --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_embeddings_are_computed_once_and_never_reused_for_another_model(
    tmp_path: Path, sam: SAM, place: str
) -> None:
    model = add_hq_layers(sam)
    folder = tmp_path / "embeddings" if place == "disk" else None
    cache = EmbeddingCache(encoder_signature(model), folder)
    pixels = torch.randn(3, 3, SIDE, SIDE)
    encode = lambda part: encode_frozen(model, part)  # noqa: E731
    first, second = cache.features(pixels, encode), cache.features(pixels.flip(0), encode)
    assert cache.computed == 3
    assert torch.equal(first.image, second.image.flip(0))
    assert first.early is not None
    assert second.early is not None
    assert torch.equal(first.early, second.early.flip(0))
    assert torch.allclose(first.image, model.encode(pixels).image, atol=1e-5)
    cache.features(pixels + 1e-3, encode)
    assert cache.computed == 6
    with torch.no_grad():
        model.net.vision_encoder.pos_embed.add_(0.1)
    other = EmbeddingCache(encoder_signature(model), folder)
    assert not torch.equal(other.features(pixels, encode).image, first.image)
    if folder is not None:
        for path in folder.iterdir():
            path.write_bytes(b"damaged")
        again = EmbeddingCache(encoder_signature(model), folder)
        again.features(pixels, encode)
        assert again.computed == 3


def test_cached_training_is_the_same_training(tmp_path: Path, photos: Path, sam: SAM) -> None:
    path = str(save(sam, tmp_path / "sam.safetensors"))
    shared = {"model": path, "train": "hq", "augment": "flip", "batch_size": 1, "steps": 4, "val_share": 0.0}
    plain = Finetune(settings(photos, **shared, cache="off"))
    cached = Finetune(settings(photos, **shared, cache="disk"), tmp_path / "embeddings")
    usual = Finetune(settings(photos, **shared))
    for name, method in (("plain", plain), ("cached", cached), ("usual", usual)):
        train(method, tmp_path / name, quiet=True)
    assert plain.cache is None
    assert usual.cache is not None
    assert usual.cache.kept
    ours = plain.model.state_dict()
    for theirs in (cached.model.state_dict(), usual.model.state_dict()):
        assert all(torch.allclose(value, theirs[name], atol=1e-6) for name, value in ours.items())
    assert any((tmp_path / "embeddings").iterdir())


def test_a_quarter_of_the_memory_stays_free(monkeypatch: pytest.MonkeyPatch, sam: SAM) -> None:
    cache = EmbeddingCache("some model", None)
    pixels = torch.randn(1, 3, SIDE, SIDE)
    encode = lambda part: encode_frozen(sam, part)  # noqa: E731
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=100, available=20))
    first = cache.features(pixels, encode)
    assert not cache.kept
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=100, available=30))
    assert torch.equal(cache.features(pixels, encode).image, first.image)
    assert len(cache.kept) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cache": "memory", "train": "all", "augment": "none"}, "cache needs"),
        ({"cache": "memory", "train": "hq", "augment": "jitter"}, "cache needs"),
        ({"scale": (2.0, 0.5)}, "scale is"),
        ({"prompts": ()}, "at least one"),
    ],
)
def test_contradictions_are_refused(photos: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(photos, **changes)


# -- training -----------------------------------------------------------------------------------------------


def test_no_data_is_an_error(nano: Path) -> None:
    with pytest.raises(ConfigError, match=r"no training data.*--data"):
        Finetune(FinetuneSettings(steps=1, model=str(nano)))


def test_validation_photos_are_not_trained_on(photos: Path, nano: Path) -> None:
    method = Finetune(settings(photos, model=str(nano), val_share=0.25))
    assert method.validation is not None
    ours = {str(method.training.image_path(i)) for i in range(len(method.training))}
    held = {str(method.validation.image_path(i)) for i in range(len(method.validation))}
    assert len(held) == 2
    assert not ours & held
    given = Finetune(settings(photos, model=str(nano), val=(f"labels:{photos}",)))
    assert given.validation is not None
    assert len(given.training) == len(given.validation) == 8


def test_nano_learns_and_what_is_exported_loads(tmp_path: Path, photos: Path, nano: Path) -> None:
    chosen = settings(
        photos,
        model=str(nano),
        steps=40,
        evaluate_every=40,
        batch_size=4,
        prompts=("box",),
        augment="flip",
        val=(f"labels:{photos}",),
        val_images=4,
        optimizer=OptimizerSettings(lr=5e-3),
        encoder_rate=1.0,
    )
    outcome = train(Finetune(chosen), tmp_path / "run", quiet=True)
    assert outcome.metrics["miou"] > outcome.before["miou"] + 0.2
    assert set(outcome.metrics) == {"miou", "boundary_iou", "click_miou", "click_boundary_iou"}
    assert outcome.model is not None
    segmenter = load(outcome.model)
    again = Finetune(chosen)
    again.model.load_state_dict(segmenter.model.state_dict())
    assert again.evaluate()["miou"] == pytest.approx(outcome.metrics["miou"], abs=1e-6)


def test_a_plain_sam_becomes_a_sam_hq_whose_hq_logits_learn(tmp_path: Path, photos: Path, sam: SAM) -> None:
    path = str(save(sam, tmp_path / "sam.safetensors"))
    chosen = settings(
        photos, model=path, train="hq", steps=24, prompts=("box",), augment="none", cache="memory",
        batch_size=4, val_share=0.0, optimizer=OptimizerSettings(name="adam", lr=1e-2), log_every=1,
    )  # fmt: skip
    method = Finetune(chosen)
    outcome = train(method, tmp_path / "run", quiet=True)
    assert method.cache is not None
    assert method.cache.computed == 8
    rows = (tmp_path / "run/log.jsonl").read_text().splitlines()
    import json

    losses = [json.loads(row)["loss"] for row in rows]
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])
    assert outcome.model is not None
    trained = load(outcome.model).model
    assert trained.family == "sam_hq"
    for name, value in sam.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value), name


def test_the_golden_sam_hq_trains_in_its_decoder(tmp_path: Path, photos: Path, golden_root: Path) -> None:
    chosen = settings(
        photos, model=str(golden_root / "sam_hq.pth"), num_heads=2, train="decoder", steps=1, batch_size=1,
        masks_per_image=2, val_share=0.0, prompts=("points",),
    )  # fmt: skip
    method = Finetune(chosen)
    before = {name: value.clone() for name, value in method.model.state_dict().items()}
    outcome = train(method, tmp_path, quiet=True)
    assert outcome.model is not None
    changed = {n for n, value in method.model.state_dict().items() if not torch.equal(value, before[n])}
    assert any("mask_decoder" in name for name in changed)
    assert not any("vision_encoder" in name for name in changed)


def test_sam2_decoder_trains(photos: Path, golden_root: Path) -> None:
    path = str(golden_root / "sam2.pt")
    model = load(path, image_size=256).model
    learning = names(model, "decoder")
    assert not any("conv_s" in name or "no_memory" in name for name in learning)
    prompts = PromptBatch(boxes=torch.tensor([[[20.0, 20.0, 90.0, 90.0]]]))
    output = model.decode(encode_frozen(model, torch.randn(1, 3, 256, 256)), prompts)
    targets = Targets(torch.ones(1, 256, 256), None, torch.tensor([True]))
    losses = decoder_losses(output, targets, hq_only=False, points=64, generator=torch.Generator())
    losses["loss"].backward()
    assert set(losses) == {"mask", "iou_head", "loss"}
