"""Task prompts: nothing at first, then what they are added to, in every family; saved, loaded and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.golden import prompts as golden_prompts
from models.tiny import tiny
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from maskwright import load, save
from maskwright.cli.main import main
from maskwright.data.tasks import TASKS
from maskwright.errors import ConfigError, InputError, WeightsError
from maskwright.io.weights import write_safetensors
from maskwright.models.base import Decoded, MaskModel, PromptBatch
from maskwright.models.hq_layers import add_hq_layers
from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.registry import read
from maskwright.models.sam import SAM
from maskwright.models.sam2 import SAM2
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter
from maskwright.models.task_prompts import add_task_prompts

BOTH = ("embedding", "tokens")
SIDE = 64
GOLDEN = {"sam.pth": 2, "sam_hq.pth": 2, "sam2.pt": 8}


def tiny_nano() -> Nano:
    torch.manual_seed(0)
    sizes = {"image_size": SIDE, "stem": 8, "fine": 8, "middle": 16, "coarse": 32, "width": 32, "detail": 8}
    return Nano(NanoConfig(**sizes, depth=1, heads=2, decoder_heads=2, mlp=32)).eval()


def tiny_sam2() -> SAM2:
    """Hiera with as few blocks as can be."""
    torch.manual_seed(0)
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [SIDE, SIDE],
        "window_positional_embedding_background_size": [4, 4],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[SIDE // stride] * 2 for stride in (4, 8, 16)],
        "fpn_hidden_size": 32,
    }
    prompt = {"hidden_size": 32, "image_size": SIDE}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
        "dynamic_multimask_via_stability": False,
    }
    config = {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": decoder}
    return SAM2.from_config(config).eval()


FAMILIES: dict[str, Callable[[], MaskModel]] = {
    "sam": lambda: tiny(SAM),
    "sam_hq": lambda: tiny(SAMHQ),
    "sam2": tiny_sam2,
    "nano": tiny_nano,
}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> MaskModel:
    return FAMILIES[request.param]()


def ask(model: MaskModel, **changes: Any) -> Decoded:
    """Two images with three boxes each; the same every time."""
    rng = torch.Generator().manual_seed(1)
    corners = (torch.rand(2, 3, 2, 2, generator=rng) * SIDE).sort(dim=2).values.flatten(2)
    with torch.no_grad():
        features = model.encode(torch.randn(2, 3, SIDE, SIDE, generator=rng))
        return model.decode(features, replace(PromptBatch(boxes=corners), **changes))


def a_mask() -> Tensor:
    return torch.randn(2, 3, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(2))


def fill(model: MaskModel) -> None:
    """Give every vector its own values, as training would."""
    assert model.task_prompts is not None
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for vectors in model.task_prompts.parameters():
            vectors.normal_(generator=rng)


def assert_equal(one: Decoded, other: Decoded) -> None:
    for name, value in vars(one).items():
        expected = getattr(other, name)
        assert (value is None and expected is None) or torch.equal(value, expected), name


@pytest.mark.parametrize("kinds", [("embedding",), ("tokens",), BOTH])
@pytest.mark.parametrize("masked", [False, True], ids=["box", "box and mask"])
def test_fresh_ones_change_no_bit(model: MaskModel, kinds: tuple[str, ...], masked: bool) -> None:
    masks = a_mask() if masked else None
    before = ask(model, masks=masks)
    add_task_prompts(model, kinds)
    tasks: list[Any] = [None, *TASKS.values(), torch.tensor([[0, 1, 2], [3, 2, 1]])]
    for task in tasks:
        assert_equal(ask(model, masks=masks, task=task), before)


@pytest.mark.parametrize("name", GOLDEN)
def test_fresh_ones_change_no_bit_of_the_reference_models(golden_root: Path, name: str) -> None:
    segmenter = load(golden_root / name, num_heads=GOLDEN[name], device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)
    embedding = segmenter.embed(image)
    given = golden_prompts(120, 200)
    before = {prompt: segmenter(embedding, **values).low_res for prompt, values in given.items()}
    add_task_prompts(segmenter.model, BOTH)
    for task in (None, *TASKS):
        for prompt, values in given.items():
            after = segmenter(embedding, **values, task=task)
            assert torch.equal(after.low_res, before[prompt]), (task, prompt)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("masked", [False, True], ids=["box", "box and mask"])
def test_each_task_counts_once_it_is_learned(model: MaskModel, kind: str, masked: bool) -> None:
    masks = a_mask() if masked else None
    before = ask(model, masks=masks)
    add_task_prompts(model, (kind,))
    fill(model)
    assert_equal(ask(model, masks=masks), before)
    answers = [ask(model, masks=masks, task=task) for task in TASKS.values()]
    for i, answer in enumerate(answers):
        for other in (before, *answers[:i]):
            assert not torch.allclose(answer.masks, other.masks)
            if answer.hq is not None and other.hq is not None:
                assert not torch.allclose(answer.hq, other.hq)


def test_a_task_for_each_prompt_is_the_same_as_one_after_the_other(model: MaskModel) -> None:
    add_task_prompts(model, BOTH)
    fill(model)
    tasks = torch.tensor([[0, 1, 2], [3, 2, 1]])
    together = ask(model, task=tasks)
    for number in TASKS.values():
        alone = ask(model, task=number)
        torch.testing.assert_close(together.masks[tasks == number], alone.masks[tasks == number])
        torch.testing.assert_close(together.iou[tasks == number], alone.iou[tasks == number])


def test_tokens_are_added_to_the_tokens_that_make_masks_and_to_no_other(model: MaskModel) -> None:
    add_task_prompts(model, ("tokens",))
    fill(model)
    tokens_TC, (changed_1TC, dense) = (
        model.output_tokens(),
        model.with_task(PromptBatch(boxes=torch.zeros(1, 1, 4), task=2), torch.zeros(1, 32, 1, 1)),
    )
    first = model.first_mask_token
    assert not dense.any()
    assert torch.equal(changed_1TC[0, :first], tokens_TC[:first])
    assert (changed_1TC[0, first:] != tokens_TC[first:]).all()
    assert len(tokens_TC) - first == (5 if model.family in ("sam_hq", "nano") else 4)


def test_training_reaches_the_vectors_of_the_task_alone(model: MaskModel) -> None:
    add_task_prompts(model, BOTH)
    assert model.task_prompts is not None
    model.train()
    features = model.encode(torch.randn(1, 3, SIDE, SIDE))
    boxes = torch.tensor([[[5.0, 5, 40, 40], [20.0, 9, 60, 50]]])
    decoded = model.decode(features, PromptBatch(boxes=boxes, task=torch.tensor([[1, 3]])))
    total = decoded.masks.square().sum() + (0 if decoded.hq is None else decoded.hq.square().sum())
    total.backward()
    for name, vectors in model.task_prompts.named_parameters():
        assert vectors.grad is not None
        assert bool(vectors.grad.any()) == name.endswith((".salient", ".part")), name


def test_task_zero_can_be_kept_at_zero(model: MaskModel) -> None:
    before = ask(model)
    add_task_prompts(model, BOTH, zero_frozen=True)
    fill(model)
    assert_equal(ask(model, task=0), before)
    assert not torch.allclose(ask(model, task=1).masks, before.masks)
    assert not any("unlabeled" in name for name, _ in model.named_parameters())
    with pytest.raises(InputError, match="zero_frozen=True"):
        add_task_prompts(model, BOTH)


def test_more_kinds_can_be_added_and_present_ones_stay(model: MaskModel) -> None:
    add_task_prompts(model)
    fill(model)
    before = ask(model, task=2)
    add_task_prompts(model, ("embedding",))
    assert_equal(ask(model, task=2), before)
    add_task_prompts(model, BOTH)
    assert_equal(ask(model, task=2), before)
    assert any(name.endswith("tokens.part") for name, _ in model.named_parameters())


@pytest.mark.parametrize("kinds", [("token",), ()])
def test_other_kinds_are_refused(kinds: tuple[str, ...]) -> None:
    model = tiny(SAM)
    with pytest.raises(InputError, match="embedding, tokens"):
        add_task_prompts(model, kinds)
    assert model.task_prompts is None


def test_a_sam_keeps_its_tasks_when_it_gets_hq_layers() -> None:
    model = tiny(SAM)
    add_task_prompts(model, BOTH)
    fill(model)
    made = add_hq_layers(model)
    assert made.task_prompts is not None
    assert model.task_prompts is not None
    for name, vectors in model.task_prompts.named_parameters():
        carried = made.task_prompts.get_parameter(name).detach()
        if vectors.ndim == 2:
            assert not carried[-1].any()
            carried = carried[:-1]
        assert torch.equal(carried, vectors)


class TestCheckpoints:
    @pytest.mark.parametrize("frozen", [False, True])
    @pytest.mark.parametrize("kinds", [("tokens",), BOTH])
    def test_they_are_saved_and_loaded(
        self, model: MaskModel, tmp_path: Path, kinds: tuple[str, ...], frozen: bool
    ) -> None:
        add_task_prompts(model, kinds, zero_frozen=frozen)
        fill(model)
        again = load(save(model, tmp_path / "m.safetensors"), device="cpu").model
        assert again.task_prompts is not None
        assert model.task_prompts is not None
        assert again.task_prompts.settings == model.task_prompts.settings
        assert_equal(ask(again, task=1), ask(model, task=1))

    def test_keys_stay_strict(self, tmp_path: Path) -> None:
        model = tiny_nano()
        plain = json.loads(metadata(save(model, tmp_path / "plain.safetensors"))["config"])
        assert "task_prompts" not in plain
        add_task_prompts(model)
        path = save(model, tmp_path / "m.safetensors")
        tensors, about = load_file(path), metadata(path)
        unsaid = about | {"config": json.dumps(plain)}
        write_safetensors(tmp_path / "unsaid.safetensors", tensors, unsaid)
        with pytest.raises(WeightsError, match=r"left over 4 \(task_prompts.embedding.entity"):
            load(tmp_path / "unsaid.safetensors", device="cpu")
        tensors.pop("task_prompts.embedding.part")
        write_safetensors(tmp_path / "missing.safetensors", tensors, about)
        with pytest.raises(WeightsError, match=r"missing 1 \(task_prompts.embedding.part\)"):
            load(tmp_path / "missing.safetensors", device="cpu")

    @pytest.mark.parametrize(
        "value",
        [
            {"kinds": ["embedding"]},
            {"kinds": "embedding", "zero_frozen": False},
            {"kinds": ["x"], "zero_frozen": False},
            {"kinds": [["embedding"]], "zero_frozen": False},
            {"kinds": ["embedding"], "zero_frozen": 1},
            {"kinds": ["embedding"], "zero_frozen": False, "_target_": "os.system"},
            7,
        ],
    )
    def test_a_wrong_description_is_refused(self, tmp_path: Path, value: object) -> None:
        model = tiny_nano()
        path = save(model, tmp_path / "m.safetensors")
        about = metadata(path)
        about["config"] = json.dumps(json.loads(about["config"]) | {"task_prompts": value})
        write_safetensors(path, load_file(path), about)
        with pytest.raises(WeightsError, match=r"m\.safetensors: refused, .*"):
            load(path, device="cpu")

    def test_a_transformers_folder_cannot_hold_them(self, tmp_path: Path, capsys: Any) -> None:
        model = tiny(SAM)
        plain = load(save(model, tmp_path / "plain.safetensors"), device="cpu").model
        add_task_prompts(model, BOTH)
        fill(model)
        path = save(model, tmp_path / "tasks.safetensors")
        assert main(["models", "info", str(path)]) == 0
        assert "prompts of the kinds embedding, tokens" in capsys.readouterr().out
        assert main(["models", "convert", str(path), str(tmp_path / "out")]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert "has task prompts, which a transformers folder cannot hold" in told
        assert not (tmp_path / "out").exists()
        assert main(["models", "convert", str(path), str(tmp_path / "out"), "--drop-task-prompts"]) == 0
        assert_equal(ask(load(tmp_path / "out", device="cpu").model), ask(plain))

    def test_a_decoder_does_not_go_on_a_base_with_them(self, golden_root: Path, tmp_path: Path) -> None:
        segmenter = load(golden_root / "sam.pth", num_heads=2, device="cpu")
        add_task_prompts(segmenter.model)
        base = save(segmenter, tmp_path / "base.safetensors")
        with pytest.raises(InputError, match="its base has task prompts"):
            read(golden_root / "sam_hq_decoder_epoch.pth", base=base)


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        about: dict[str, str] = file.metadata()
    return about


class TestSegmenter:
    IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)

    def test_tasks_by_name_and_number(self, model: MaskModel) -> None:
        add_task_prompts(model)
        fill(model)
        segmenter = Segmenter(model)
        embedding = segmenter.embed(self.IMAGE)
        named = [segmenter(embedding, boxes=[5, 5, 30, 30], task=task).low_res for task in TASKS]
        for number, low_res in enumerate(named):
            assert torch.equal(segmenter(embedding, boxes=[5, 5, 30, 30], task=number).low_res, low_res)
        assert not torch.allclose(named[1], named[2])
        several = segmenter([self.IMAGE, embedding], boxes=[[5, 5, 30, 30]] * 2, task="part")
        assert torch.equal(several[0].low_res, named[3])
        assert torch.equal(several[1].low_res, named[3])
        empty = segmenter(embedding, boxes=[], task="part")
        assert len(empty) == 0

    def test_without_a_task_it_is_unlabeled_and_none_for_a_mask_given_back(self) -> None:
        model = tiny(SAM)
        plain = Segmenter(tiny(SAM))
        add_task_prompts(model)
        fill(model)
        segmenter = Segmenter(model)
        embedding = segmenter.embed(self.IMAGE)
        box: dict[str, Any] = {"boxes": [5, 5, 30, 30]}
        first = segmenter(embedding, **box)
        assert torch.equal(first.low_res, segmenter(embedding, **box, task="unlabeled").low_res)
        again = segmenter(embedding, **box, masks=first.low_res[:, 0])
        expected = plain(self.IMAGE, **box, masks=first.low_res[:, 0])
        assert torch.equal(again.low_res, expected.low_res)
        told = segmenter(embedding, **box, masks=first.low_res[:, 0], task="salient")
        assert not torch.allclose(told.low_res, expected.low_res)

    def test_nano_is_told_its_task_before_the_refinement_alone(self) -> None:
        model = tiny_nano()
        add_task_prompts(model)
        fill(model)
        boxes = torch.tensor([[[5.0, 5, 40, 40]]])
        with torch.no_grad():
            features = model.encode(torch.randn(1, 3, SIDE, SIDE))
            decoded = model.decode_once(features, PromptBatch(boxes=boxes, task=1))
            for _ in range(model.config.refinements):
                assert decoded.hq is not None
                logits = (decoded.masks + decoded.hq)[:, :, 0].clamp(-16, 16)
                decoded = model.decode_once(features, PromptBatch(boxes=boxes, masks=logits))
            refined = model.decode(features, PromptBatch(boxes=boxes, task=1))
        torch.testing.assert_close(refined.masks[:, :, 0], decoded.masks[:, :, 0])

    def test_what_cannot_be_asked_is_refused(self) -> None:
        segmenter = Segmenter(tiny(SAM), name="plain")
        with pytest.raises(InputError, match=r"plain has no task prompts.*'salient'"):
            segmenter(self.IMAGE, points=[5, 5], task="salient")
        embedding = segmenter.embed(self.IMAGE)
        add_task_prompts(segmenter.model)
        unknown: Any = "saliency"
        with pytest.raises(ConfigError, match="Did you mean 'salient'"):
            segmenter(embedding, points=[5, 5], task=unknown)
        with pytest.raises(ConfigError, match="unknown task 4"):
            segmenter(embedding, points=[5, 5], task=4)
        with pytest.raises(TypeError, match="Did you mean 'task'"):
            segmenter(embedding, points=[5, 5], tasks="salient")
