"""Training pairs: what the base really answers, and which of it is refined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.refine.scene import click, settings
from PIL import Image as PILImages

from maskwright.data.prompts import tight_box
from maskwright.methods.base import ItemKey, StepContext
from maskwright.methods.refine.items import inside_photo, make_pairs, prompt_boxes, stability
from maskwright.methods.refine.method import RefinerTraining
from maskwright.methods.refine.refiner import soft_prompt


def step(method: RefinerTraining, count: int = 3) -> tuple[Any, Any]:
    data = method.training_data()
    batch = data.collate([data[ItemKey(index, 0, 1)] for index in range(count)])
    features = method.model.base.backbone(batch.pixels)
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
    assert prompt_boxes(masks).tolist() == [[2, 1, 6, 3], [0, 4, 1, 5], [0, 0, 1, 1]]
    assert np.array_equal(prompt_boxes(masks[:1])[0].numpy(), tight_box(masks[0].numpy()))
