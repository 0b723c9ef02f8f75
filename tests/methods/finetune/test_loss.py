"""Which outputs the losses touch."""

from __future__ import annotations

import pytest
import torch

from maskwright.methods.finetune.loss import Targets, decoder_losses, refined_logits
from maskwright.models.base import Decoded


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
        output, targets, hq_only=True, points=64, generators=[torch.Generator().manual_seed(1)]
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
        output, targets, hq_only=False, points=64, generators=[torch.Generator().manual_seed(1)]
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
        output, ignored, hq_only=True, points=64, generators=[torch.Generator().manual_seed(1)]
    )
    losses["loss"].backward()
    assert output.hq is not None
    assert output.hq.grad is not None
    assert not output.hq.grad.any()
