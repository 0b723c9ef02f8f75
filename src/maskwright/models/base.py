"""What every model family gives: an encoder run once per image, and a decoder run per prompt.

Axes: B images, N prompts, P points, M mask tokens, T tokens, C D channels, H W h w sizes, S input side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from maskwright.models.digests import weights_digest
from maskwright.models.guidance import Guidance
from maskwright.models.packed import for_prediction
from maskwright.models.task_prompts import TaskPrompts
from maskwright.models.two_way import Memo
from maskwright.types import Resize


@dataclass(frozen=True, eq=False)
class Features:
    """The encoder's output for B images, all that a decoder needs.

    Args:
        image: (B, C, h, w) the image embedding.
        early: (B, h, w, D) SAM-HQ's early map (first global-attention block), or None.
        high_res: further maps, finest first, (B, C_i, h_i, w_i); SAM 2 and nano have them.
        memo: what a decoder makes of B = 1 image for all prompts without a mask, kept for the length of one
            call, in which neither weights nor task change; None keeps nothing.
    """

    image: Tensor
    early: Tensor | None = None
    high_res: tuple[Tensor, ...] = ()
    memo: Memo | None = None

    def __len__(self) -> int:
        return len(self.image)

    def map(self, fn: Any) -> Features:  # noqa: ANN401
        """Apply a function to every tensor (moving devices, slicing the batch, expanding)."""
        early = None if self.early is None else fn(self.early)
        return Features(fn(self.image), early, tuple(fn(level) for level in self.high_res))


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """N prompts of equal structure for each of B images, in pixels of the model's S × S input.

    Args:
        points: (B, N, P, 2), or None; labels: (B, N, P) in {1, 0, -1}; -1 is SAM's "not a point".
        boxes: (B, N, 4), or None.
        masks: (B, N, low_res, low_res) logits, or None.
        task: number of the task (`data.tasks`), of all prompts or (B, N) of each; None adds no task prompt.
        guidance: PerSAM's, of all B · N prompts in turn; None leaves the decoder as it is.
        embedded: one prompt of each of B images as the decoder reads it, in place of points, boxes and masks:
            tokens (B, T, C) and a dense map (B or 1, C, h or 1, w or 1). Graphs for export have it so.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    task: int | Tensor | None = None
    guidance: Guidance | None = None
    embedded: tuple[Tensor, Tensor] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(B, N)."""
        if self.embedded is not None:
            return self.embedded[0].shape[0], 1
        part = next(part for part in (self.points, self.boxes, self.masks) if part is not None)
        return part.shape[0], part.shape[1]

    def map(self, fn: Callable[[Tensor], Tensor]) -> PromptBatch:
        """Apply a function to every tensor, as `Features.map`."""
        parts = vars(self).items()
        changed: dict[str, Any] = {name: fn(part) for name, part in parts if isinstance(part, Tensor)}
        return replace(self, **changed)


@dataclass(frozen=True, eq=False)
class Sketch:
    """What a decoder says of prompts of one image before it draws a mask.

    Args:
        iou: (1, N, M) predicted IoU of each mask.
        draw: gives the whole answer for some of the N prompts, (K,) by number: K ambiguous masks; mask 0 is
            whatever costs least.
    """

    iou: Tensor
    draw: Callable[[Tensor], Decoded]


@dataclass(frozen=True, eq=False)
class Decoded:
    """The decoder's raw output; choosing among it is `selection.select`.

    Args:
        masks: (B, N, M, h, w) logits of every mask token: 0 the single mask, 1… the ambiguous ones.
        iou: (B, N, M) predicted IoU of each.
        tokens: (B, N, T, C) output tokens: IoU token, mask tokens, then family-specific ones (HQ token).
        hq: (B, N, 1 or M, h, w) logits of the HQ token, or None for families without.
        replaced: (B, N, M) int64, the mask token that each mask is of, where one took another's place; None:
            mask m is that of token m.
    """

    masks: Tensor
    iou: Tensor
    tokens: Tensor
    hq: Tensor | None = None
    replaced: Tensor | None = None

    @property
    def mask_token(self) -> Tensor:
        """(B, N, M) int64: the number of the mask token that each mask is of."""
        if self.replaced is not None:
            return self.replaced
        return torch.arange(self.iou.shape[2], device=self.iou.device).expand_as(self.iou)

    def parts(self) -> tuple[Tensor, ...]:
        """Masks, scores, tokens, mask tokens, and the HQ token's masks if there are any."""
        always = (self.masks, self.iou, self.tokens, self.mask_token)
        return always if self.hq is None else (*always, self.hq)

    @classmethod
    def of_parts(
        cls, masks: Tensor, iou: Tensor, tokens: Tensor, mask_token: Tensor, hq: Tensor | None = None
    ) -> Decoded:
        """What `parts` took apart."""
        return cls(masks, iou, tokens, hq, mask_token)

    @classmethod
    def of_groups(cls, groups: Sequence[Decoded]) -> Decoded:
        """The answers to groups of prompts of the same images and structure, one after the other."""
        if len(groups) == 1:
            return groups[0]
        columns = zip(*(group.parts() for group in groups), strict=True)
        return cls.of_parts(*(torch.cat(column, dim=1) for column in columns))

    def of_prompts(self, rows_K: Tensor) -> Decoded:
        """The answers to some prompts, by number."""
        parts = (self.masks, self.iou, self.tokens, self.hq, self.replaced)
        return Decoded(*(None if part is None else part[:, rows_K] for part in parts))  # type: ignore[arg-type]


def per_prompt(map_BCHW: Tensor, count: int) -> Tensor:
    """Repeat each image's map for its prompts: (B, C, H, W) → (B·count, C, H, W)."""
    if count == 1:
        return map_BCHW
    # In training not: the sums of gradients would be rounded otherwise than those of several images.
    if len(map_BCHW) == 1 and for_prediction(map_BCHW):
        return map_BCHW.expand(count, -1, -1, -1)
    return map_BCHW.repeat_interleave(count, dim=0)


class MaskModel(nn.Module, ABC):
    """A promptable segmentation model of one family.

    Attributes:
        family: name in the registry, one of `registry.FAMILIES`.
        has_hq: whether there is an HQ token.
        image_size: side S of the square input in pixels.
        low_res: side of the decoder's masks.
        resize: how images are brought to the square.
        pixel_mean, pixel_std: RGB normalisation on the 0…255 scale.
        first_mask_token: place among the output tokens of the first that makes a mask; all later ones do.
        task_prompts: see `models.task_prompts.add_task_prompts`.
        backend: what runs it, torch or another runtime in some precision.
        cpu_cells: of all low-resolution masks of the prompts that a CPU decodes at once, by default four of
            SAM: the maps of more leave its caches, and their memory is asked of the system anew each time.
    """

    family: ClassVar[str]
    has_hq: ClassVar[bool] = False
    resize: Resize = "pad"
    image_size: int
    low_res: int
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    first_mask_token: ClassVar[int] = 1
    backend: str = "torch"
    cpu_cells: ClassVar[int] = 2**18

    def __init__(self) -> None:
        super().__init__()
        self.task_prompts: TaskPrompts | None = None

    @abstractmethod
    def encode(self, pixels_B3SS: Tensor) -> Features:
        """Encode normalised, resized and padded images (B, 3, S, S)."""

    def backbone(self, pixels_B3SS: Tensor) -> Features:
        """What the image encoder alone makes of them: constant while it is frozen, whatever else learns."""
        return self.encode(pixels_B3SS)

    def fuse(self, features: Features) -> Features:
        """Add what the decoder's layers make of the backbone's features once an image; few models need it."""
        return features

    @abstractmethod
    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        """Decode N prompts of each of B images."""

    def decode_once(self, features: Features, prompts: PromptBatch) -> Decoded:
        """Decode in one pass: enough for the ambiguous masks where the single one takes several."""
        return self.decode(features, prompts)

    def sketch(self, features: Features, prompts: PromptBatch) -> Sketch:
        """Decode prompts of one image as `decode_once`, drawing only the masks that are then asked for."""
        decoded = self.decode_once(features, prompts)
        return Sketch(decoded.iou, decoded.of_prompts)

    def network(self, features: Features, prompts: PromptBatch) -> Decoded:
        """One pass of the network, before anything is made of its masks: what an exported decoder holds."""
        return self.decode_once(features, prompts)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    def digest(self) -> str:
        """A short hash of the weights, by which embeddings and heads know their model."""
        return weights_digest(self)

    @abstractmethod
    def output_tokens(self) -> Tensor:
        """(T, C) the learned tokens with which the decoder asks, before those of the prompts."""

    def with_task(self, prompts: PromptBatch, dense_ACHW: Tensor) -> tuple[Tensor, Tensor]:
        """The output tokens, (T, C) or (A or 1, T, C), and the dense embedding, as the task changes them."""
        if prompts.task is None:
            return self.output_tokens(), dense_ACHW
        assert self.task_prompts is not None, "the model has no task prompts"
        assert isinstance(prompts.task, int) or prompts.task.shape == prompts.shape, prompts.task
        added: tuple[Tensor, Tensor] = self.task_prompts(prompts.task, self.output_tokens(), dense_ACHW)
        return added

    @abstractmethod
    def config_dict(self) -> dict[str, Any]:
        """The JSON-serialisable settings from which `models.registry` builds the same architecture again."""
