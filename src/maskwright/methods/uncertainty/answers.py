"""What a model answers to prompts: all of its masks with their tokens, and how good each really is.

Axes: N prompts, M masks (the single one, then the proposals), P tokens of a mask, C channels, h w low
resolution, K instances, H W image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.methods.automatic.filters import count_pixels
from maskwright.models.base import Decoded, MaskModel
from maskwright.models.mask_features import FEATURES
from maskwright.models.segmenter import Segmenter
from maskwright.models.selection import select
from maskwright.models.uncertainty import mask_inputs, token_inputs
from maskwright.types import BoolArray, Embedding, Geometry, Masks, Prompts

Values = npt.NDArray[np.float32]

PIXELS = 2**23
"""Logits at the image's size that are made at a time, 32 MB."""
OFFSET = 1.0
"""By how much the threshold moves for the stability, in logits (Kirillov et al. 2023, appendix B)."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers to N prompts.

    Args:
        low_res: (N, M, h, w) logits.
        scores: (N, M) IoUs as the model predicts them.
        tokens: (N, M, P, C): the IoU token, the mask's own token, and what else the family has.
        features: (N, M, F): `models.mask_features`.
        numbers: (N, M) int64, number of the mask token; 0 for the single mask, whichever token made it.
        geometry: of the image.
    """

    low_res: Tensor
    scores: Tensor
    tokens: Tensor
    features: Tensor
    numbers: Tensor
    geometry: Geometry


def answer(segmenter: Segmenter, embedding: Embedding, prompts: Prompts) -> Answers:
    """Ask for the single mask and for the proposals: in one pass, where the family's decoder gives both.

    The tokens of each mask are those of the pass that made it: nano improves its single mask in further
    passes. SAM-HQ as published has one proposal, the best with its HQ logits added.

    Raises:
        InputError: prompts that do not fit the image.
    """
    if type(segmenter.model).decode_once is not MaskModel.decode_once:
        parts = [segmenter.decode(embedding, prompts, multimask=several) for several in (False, True)]
        return _joined(*parts)
    decoded = segmenter.decode_all(embedding, prompts)
    return _joined(*(_chosen(decoded, embedding, several) for several in (False, True)))


def proposals(segmenter: Segmenter, embedding: Embedding, prompts: Prompts) -> Masks:
    """The proposals alone, which cost one pass."""
    return segmenter.decode(embedding, prompts, multimask=True)


def token_shape(model: MaskModel) -> tuple[int, int]:
    """(P, C) of the tokens that `answer` gives."""
    learned = model.output_tokens()
    assert learned.ndim == 2, learned.shape
    one = token_inputs(learned[None], torch.zeros(1, 1, dtype=torch.long, device=learned.device))
    return one.shape[-1] // learned.shape[1], learned.shape[1]


def _chosen(decoded: Decoded, embedding: Embedding, several: bool) -> Masks:
    low_res, scores, made_by = (part[0] for part in select(decoded, several, "sum"))
    return Masks(low_res, scores, embedding.geometry, decoded.tokens[0], mask_token=made_by)


def _joined(one: Masks, rest: Masks) -> Answers:
    assert one.tokens is not None
    assert rest.mask_token is not None
    read = torch.cat([mask_inputs(one), mask_inputs(rest)], dim=1)
    tokens, features = read[..., : -len(FEATURES)], read[..., -len(FEATURES) :]
    numbers = torch.cat([torch.zeros_like(rest.mask_token[:, :1]), rest.mask_token], dim=1)
    return Answers(
        torch.cat([one.low_res, rest.low_res], dim=1),
        torch.cat([one.iou, rest.iou], dim=1),
        tokens.unflatten(2, (-1, one.tokens.shape[-1])),
        features,
        numbers,
        one.geometry,
    )


class Truth:
    """The true masks of an image, with which predicted ones are compared at its full size.

    Args:
        masks: (K, H, W) bool.
        device: where they are compared.
    """

    def __init__(self, masks: BoolArray, device: torch.device) -> None:
        self._masks = torch.from_numpy(masks)
        self._device = device
        self.areas = count_pixels(self._masks)

    def measure(
        self, low_res_NMhw: Tensor, geometry: Geometry, owner_N: npt.NDArray[np.int64]
    ) -> tuple[Values, Values]:
        """Compare masks (logit > 0) with the true mask of the instance that each is of.

        Args:
            low_res_NMhw: logits.
            geometry: maps them to the image.
            owner_N: (N,) which instance.

        Returns:
            (N, M) IoU with the true mask, and (N, M) stability: the IoU of the mask's own versions at logits
            above +1 and above −1, 0 where both are empty.
        """
        prompts, masks = low_res_NMhw.shape[:2]
        flat, owners = low_res_NMhw.flatten(0, 1), np.repeat(owner_N, masks)
        iou, stability = (np.empty(len(flat), np.float32) for _ in range(2))
        # Padded logits are first brought to the model's own square, which may be the larger one.
        height, width = geometry.size
        at_once = max(1, PIXELS // max(height * width, geometry.side**2))
        for start in range(0, len(flat), at_once):
            part = slice(start, start + at_once)
            logits = geometry.to_image(flat[part].to(self._device).float())
            truth = self._masks[torch.from_numpy(owners[part])].to(self._device)
            predicted = logits > 0
            both, areas = count_pixels(predicted & truth), count_pixels(predicted)
            iou[part] = both / np.maximum(areas + self.areas[owners[part]] - both, 1)
            inner, outer = (count_pixels(logits > limit) for limit in (OFFSET, -OFFSET))
            stability[part] = np.divide(inner, outer, out=np.zeros(len(inner)), where=outer > 0)
        return iou.reshape(prompts, masks), stability.reshape(prompts, masks)
