"""What is asked in each round, where clicks fall, and what the losses count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.interactive.scene import SIDE, make_world, sum_settings
from models.tiny import tiny
from torch import Tensor

from maskwright.methods.base import ItemKey
from maskwright.methods.interactive.config import InteractiveSettings
from maskwright.methods.interactive.items import Objects
from maskwright.methods.interactive.method import SUM
from maskwright.methods.interactive.rounds import Labels, interact, object_clicks, round_losses
from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch
from maskwright.models.registry import load
from maskwright.models.sam import SAM
from maskwright.models.task_prompts import add_task_prompts

LOW = 16


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


def objects(first: Any = "box", certainty: Tensor | None = None, machine: bool = True) -> Objects:
    """Two rectangles in the upper 48 rows of the frame: a photo of 48 x 64."""
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    masks[0, 8:40, 8:30] = True
    masks[1, 20:44, 36:60] = True
    boxes = torch.tensor([[8.0, 8, 30, 40], [36, 20, 60, 44]])
    return Objects(masks, certainty, boxes, (48, SIDE), first, machine, 2, 11)


class Asked:
    """A model that remembers what it was asked, and what it answered."""

    def __init__(self, model: MaskModel) -> None:
        self.model, self.prompts, self.answers = model, list[PromptBatch](), list[Decoded]()
        self.low_res, self.task_prompts = model.low_res, model.task_prompts

    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        decoded = self.model.decode(features, prompts)
        self.prompts.append(prompts)
        self.answers.append(decoded)
        return decoded


def play(model: MaskModel, photo: Objects, settings: InteractiveSettings) -> tuple[Asked, list[Any]]:
    asked = Asked(model)
    with torch.no_grad():
        features = model.encode(torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)))
        return asked, list(interact(asked, features, photo, settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("first", ["box", "click"])
@pytest.mark.parametrize("family", ["nano", "sam"])
def test_seven_rounds(world: Path, first: str, family: str) -> None:
    model = load(world / "nano.safetensors").model.train() if family == "nano" else tiny(SAM)
    add_task_prompts(model)
    asked, losses = play(model, objects(first), sum_settings(world, rounds=7))
    assert len(asked.prompts) == len(losses) == 7
    clicks = [0 if p.points is None else p.points.shape[2] for p in asked.prompts]
    start = 0 if first == "box" else 1
    assert clicks == [start, *range(start + 1, start + 6), start + 5]
    assert [p.task for p in asked.prompts] == [2, None, None, None, None, None, None]
    assert [p.boxes is not None for p in asked.prompts] == [first == "box"] * 7
    assert asked.prompts[0].masks is None
    for number in range(1, 7):
        before, prompts = asked.answers[number - 1], asked.prompts[number]
        logits = before.masks[0] if before.hq is None else (before.masks + before.hq)[0]
        ambiguous = number == 1 and first == "click"
        token = before.iou[0].argmax(dim=1).tolist() if ambiguous else [0, 0]
        assert prompts.masks is not None
        for k in range(2):
            assert torch.equal(prompts.masks[0, k], logits[k, token[k]])
        if number == 6:
            continue
        # The new click lies on an error of the answer, inside the photo, with the truth as its label.
        assert prompts.points is not None
        assert prompts.labels is not None
        labels = Labels.of(objects(), model.low_res, sum_settings(world))
        answer = labels.read(prompts.masks[0]) > 0
        for k in range(2):
            x, y = (int(v) for v in prompts.points[0, k, -1])
            assert y < 48
            truth = bool(labels.binary_Nhw[k, y, x])
            assert int(prompts.labels[0, k, -1]) == truth
            assert bool(answer[k, y, x]) != truth


def test_fewer_rounds(world: Path) -> None:
    model = load(world / "nano.safetensors").model.train()
    for rounds, expected in ((1, [1]), (2, [1, 2]), (3, [1, 2, 2])):
        asked, _ = play(model, objects("click"), sum_settings(world, rounds=rounds))
        assert [p.points.shape[2] for p in asked.prompts if p.points is not None] == expected


@pytest.mark.parametrize("loss_at", ["input", "masks"])
def test_no_click_falls_where_a_label_is_worth_nothing(world: Path, loss_at: str) -> None:
    certainty = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    certainty[:, :24] = 255
    model = load(world / "nano.safetensors").model.train()
    seen = []
    for seed in range(6):
        for use in (True, False):
            photo = replace(objects("click", certainty), seed=seed)
            chosen = sum_settings(world, use_uncertainty_clicks=use, loss_at=loss_at, rounds=5)
            asked, _ = play(model, photo, chosen)
            assert asked.prompts[-1].points is not None
            rows = asked.prompts[-1].points[..., 1]
            assert rows.max() < 48
            if use:
                assert rows.max() < 24
            seen.append(bool((rows >= 24).any()))
    assert any(seen)
    human = replace(objects("click", certainty), machine=False)
    asked, _ = play(model, human, sum_settings(world, use_uncertainty_clicks=False, loss_at=loss_at))
    assert asked.prompts[-1].points is not None
    assert asked.prompts[-1].points[..., 1].max() < 24  # what no human labelled is never clicked on


def test_a_mask_keeps_its_prompt_whatever_its_certainty(world: Path) -> None:
    nothing = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    model = load(world / "nano.safetensors").model.train()
    photo = objects("click", nothing)
    asked, losses = play(model, photo, sum_settings(world))
    points = asked.prompts[-1].points
    assert points is not None
    for k, mask in enumerate(photo.masks):
        for x, y in points[0, k].long().tolist():
            assert mask[y, x]
    assert all(float(one["focal"] + one["dice"]) == 0 for one in losses)


def test_a_right_answer_gets_one_more_click_on_the_object(world: Path) -> None:
    model = load(world / "nano.safetensors").model.train()
    photo = objects("box")
    labels = Labels.of(photo, LOW, sum_settings(world))

    class Right(Asked):
        def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
            decoded = super().decode(features, prompts)
            logits = torch.nn.functional.adaptive_avg_pool2d(photo.masks.float(), LOW) * 20 - 10
            return replace(decoded, masks=logits[None, :, None].repeat(1, 1, 4, 1, 1), hq=None)

    asked = Right(model)
    with torch.no_grad():
        list(interact(asked, model.encode(torch.zeros(1, 3, SIDE, SIDE)), photo, sum_settings(world)))  # type: ignore[arg-type]
    assert asked.prompts[-1].points is not None
    points, kinds = asked.prompts[-1].points[0].long(), asked.prompts[-1].labels
    assert kinds is not None
    for k in range(2):
        for (x, y), kind in zip(points[k].tolist(), kinds[0, k].tolist(), strict=True):
            assert bool(labels.binary_Nhw[k, y, x]) == bool(kind)


def test_thin_objects_can_be_clicked_on_at_the_decoders_resolution(world: Path) -> None:
    masks = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    masks[0, 10, 5:60] = True
    photo = replace(objects(), masks=masks, boxes=torch.tensor([[5.0, 10, 60, 11]]))
    labels = Labels.of(photo, LOW, sum_settings(world, loss_at="masks"))
    assert not labels.binary_Nhw.any()
    [[x, y]] = labels.places(object_clicks(labels, torch.Generator().manual_seed(0))).tolist()
    assert 4 <= x < 60
    assert abs(y - 9.5) < 0.1  # the middle of the row of cells


def test_a_mask_in_the_last_rows_of_a_photo_is_not_lost_at_the_decoders_resolution(world: Path) -> None:
    masks = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    masks[0, 48:50, 20:44] = True
    photo = replace(objects(), masks=masks, boxes=torch.tensor([[20.0, 48, 44, 50]]), size=(50, SIDE))
    labels = Labels.of(photo, LOW, sum_settings(world, loss_at="masks"))
    [[x, y]] = labels.places(object_clicks(labels, torch.Generator().manual_seed(0))).tolist()
    assert 20 <= x < 44
    assert 48 <= y < 50


def decoded(ambiguous: bool) -> Decoded:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(1, 2, 4, LOW, LOW, generator=generator)
    if ambiguous:
        masks[:, :, 2] = torch.nn.functional.adaptive_avg_pool2d(objects().masks.float(), LOW) * 6 - 3
    return Decoded(
        masks.requires_grad_(), torch.rand(1, 2, 4, requires_grad=True), torch.zeros(1, 2, 6, 8), None
    )


@pytest.mark.parametrize("ambiguous", [False, True])
def test_which_masks_and_scores_learn(world: Path, ambiguous: bool) -> None:
    output = decoded(ambiguous)
    chosen = sum_settings(world)
    losses = round_losses(output, Labels.of(objects(), LOW, chosen), chosen, ambiguous=ambiguous)
    assert float(losses["loss"].detach()) == pytest.approx(
        sum(float(losses[name].detach()) for name in ("focal", "dice", "iou_head"))
    )
    losses["loss"].backward()
    assert output.masks.grad is not None
    assert output.iou.grad is not None
    touched = output.masks.grad.flatten(3).any(dim=-1)[0]
    assert touched.tolist() == [[True, False, ambiguous, False]] * 2
    assert output.iou.grad.bool()[0].tolist() == [[True, *[ambiguous] * 3]] * 2
    # Nothing flows from the padding below the photo.
    assert not output.masks.grad[..., 13:, :].any()


def test_certainty_counts_only_where_it_is_asked_for(world: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    some = torch.randint(0, 256, (2, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    full = torch.full((2, SIDE, SIDE), 255, dtype=torch.uint8)
    on, off = sum_settings(world), sum_settings(world, use_uncertainty_loss=False)
    output = decoded(False)

    def value(photo: Objects, settings: InteractiveSettings) -> float:
        labels = Labels.of(photo, LOW, settings)
        return float(round_losses(output, labels, settings, ambiguous=False)["loss"].detach())

    plain = value(objects(), on)
    assert value(objects(certainty=full), on) == pytest.approx(plain)
    assert value(objects(certainty=some), off) == pytest.approx(plain)
    assert value(objects(certainty=some), on) < 0.9 * plain
    higher = value(objects(certainty=some), sum_settings(world, theta=0.9))
    assert higher != value(objects(certainty=some), on)


def test_both_resolutions_point_the_same_way(world: Path) -> None:
    gradients = []
    for loss_at in ("input", "masks"):
        output, chosen = decoded(False), sum_settings(world, loss_at=loss_at)
        round_losses(output, Labels.of(objects(), LOW, chosen), chosen, ambiguous=False)["loss"].backward()
        assert output.masks.grad is not None
        gradients.append(output.masks.grad.flatten())
    assert torch.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.9


@pytest.mark.parametrize("augment", ["none", "flip", "jitter"])
def test_items_of_photos_of_every_shape(world: Path, augment: str) -> None:
    data = SUM(sum_settings(world, augment=augment, scale=(0.5, 1.5))).training_data()
    assert len(data) == 8
    sizes = set()
    for index in range(8):
        item, again = data[ItemKey(index, 0, 5)], data[ItemKey(index, 0, 5)]
        photo = item.objects
        assert torch.equal(item.pixels, again.pixels)
        assert torch.equal(photo.masks, again.objects.masks)
        assert photo.seed == again.objects.seed
        height, width = photo.size
        assert not photo.masks[:, height:].any()
        assert not photo.masks[:, :, width:].any()
        assert (item.pixels[:, height + 1 :] == 0).all()
        assert (item.pixels[:, :, width + 1 :] == 0).all()
        assert photo.machine == (index >= 4)
        assert photo.task == (0 if photo.machine else 2)
        assert bool(len(photo.masks)) == (index != 7)
        for mask, box in zip(photo.masks, photo.boxes.tolist(), strict=True):
            rows, columns = np.nonzero(mask.numpy())
            tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.abs(np.array(box) - tight).max() <= 20
        if photo.machine and len(photo.masks):
            assert photo.certainty is not None
            assert photo.certainty.float().mean() > 128
            assert (photo.certainty < 200).any()  # between the label's outline and the refined one
        sizes.add(photo.size)
    assert len(sizes) > 2


def test_without_use_no_certainty_is_made(world: Path) -> None:
    chosen = sum_settings(world, use_uncertainty_loss=False, use_uncertainty_clicks=False)
    data = SUM(chosen).training_data()
    assert all(data[ItemKey(index, 0, 5)].objects.certainty is None for index in range(8))
