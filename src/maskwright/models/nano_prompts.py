"""Nano's prompts: as tokens, in SAM's way, and drawn as maps.

Axes: B images, N prompts, A = B·N, P points, T tokens, C channels, H W h w sizes, S input side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskwright.models.base import PromptBatch

RASTER_CHANNELS = 10
# Widths of the click bumps in the raster, as a share of the input side: click, object, region.
CLICK_SIGMAS = (0.02, 0.08, 0.25)


class FourierPosition(nn.Module):
    """SAM's random Fourier encoding of positions in [0, 1]², with the original's standard deviation of 1."""

    matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer(
            "matrix", torch.randn(2, channels // 2, generator=torch.Generator().manual_seed(0))
        )

    def forward(self, xy: Tensor) -> Tensor:
        """Encode (…, 2) positions as (…, C)."""
        angles = (2 * xy.float() - 1) @ self.matrix.float() * (2 * torch.pi)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """Encode the centres of a grid as (H, W, C)."""
        return self.forward(cell_centres(height, width, self.matrix))


def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
    """(H, W, 2) positions (x, y) in [0, 1] of the centres of a grid's cells."""
    rows = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) / height
    columns = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) / width
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


class NanoPrompts(nn.Module):
    """Prompts as tokens (SAM's point and corner embeddings) and as drawn maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.position = FourierPosition(width)
        # Rows: background click, object click, upper left and lower right corner, no point, no box (twice).
        self.kinds = nn.Parameter(0.5 * torch.randn(7, width))
        self.draw = nn.Sequential(
            nn.Conv2d(RASTER_CHANNELS, 32, 2, stride=2),
            nn.GELU(),
            nn.Conv2d(32, 64, 2, stride=2),
            nn.GELU(),
            nn.Conv2d(64, width, 1),
        )

    def forward(self, prompts: PromptBatch, side: int, low_res: int) -> tuple[Tensor, Tensor]:
        """Return tokens (B·N, T, C) and dense maps (B·N, C, low_res / 4, low_res / 4)."""
        raster = rasterise(prompts, side, low_res, like=self.kinds)
        tokens = torch.cat([self._points(prompts, side), self._boxes(prompts, side)], dim=1)
        return tokens, self.draw(raster)

    def _points(self, prompts: PromptBatch, side: int) -> Tensor:
        batch = prompts.shape[0] * prompts.shape[1]
        no_point = self.kinds[4].expand(batch, 1, -1)
        if prompts.points is None or prompts.labels is None:
            return no_point
        labels = prompts.labels.flatten(0, 1)[..., None]
        tokens = self.position((prompts.points.flatten(0, 1) + 0.5) / side)
        tokens = torch.where(labels == 1, tokens + self.kinds[1], tokens + self.kinds[0])
        tokens = torch.where(labels < 0, self.kinds[4], tokens)
        return torch.cat([tokens, no_point], dim=1)

    def _boxes(self, prompts: PromptBatch, side: int) -> Tensor:
        if prompts.boxes is None:
            return self.kinds[5:7].expand(prompts.shape[0] * prompts.shape[1], -1, -1)
        corners = prompts.boxes.flatten(0, 1).unflatten(-1, (2, 2))
        tokens = self.position((corners.nan_to_num() + 0.5) / side) + self.kinds[2:4]
        return torch.where(corners.isnan().any(dim=2, keepdim=True), self.kinds[5:7], tokens)


def rasterise(prompts: PromptBatch, side: int, low_res: int, like: Tensor) -> Tensor:
    """Draw prompts as maps (B·N, 10, low_res, low_res).

    Channels: box given, inside the box, distance from the box centre in half sides (x, y, clamped to ±2),
    positive clicks at three widths, negative clicks, previous mask, previous mask given.
    A box row of NaN and a label of -1 draw nothing.
    """
    batch = prompts.shape[0] * prompts.shape[1]
    xy = cell_centres(low_res, low_res, like)
    boxes = points = like.new_zeros(batch, 4, low_res, low_res)
    masks = boxes[:, :2]
    if prompts.boxes is not None:
        flat = prompts.boxes.flatten(0, 1)
        boxes = draw_boxes(flat.nan_to_num() / side, ~flat.isnan().any(dim=1), xy)
    if prompts.points is not None and prompts.labels is not None:
        points = draw_points(prompts.points.flatten(0, 1) / side, prompts.labels.flatten(0, 1), xy)
    if prompts.masks is not None:
        masks = draw_masks(prompts.masks.flatten(0, 1)[:, None])
    return torch.cat([boxes, points, masks], dim=1)


def draw_boxes(boxes_A4: Tensor, given_A: Tensor, xy_HW2: Tensor) -> Tensor:
    """The raster's channels (A, 4, H, W) of boxes in [0, 1], zeros where none is given."""
    low_res = xy_HW2.shape[0]
    boxes = boxes_A4[:, None, None]
    low, high = boxes[..., :2], boxes[..., 2:]
    # How much of a cell lies inside, per axis: exact coverage, so that corners keep sub-cell precision.
    half_cell = 0.5 / low_res
    overlap = torch.minimum(high, xy_HW2 + half_cell) - torch.maximum(low, xy_HW2 - half_cell)
    inside = (overlap.clamp(min=0) * low_res).prod(dim=-1)
    relative = ((xy_HW2 - (low + high) / 2) / ((high - low) / 2).clamp(min=1e-3)).clamp(-2, 2)
    maps = torch.stack([torch.ones_like(inside), inside, relative[..., 0], relative[..., 1]], dim=1)
    return maps * given_A[:, None, None, None]


def draw_points(points_AP2: Tensor, labels_AP: Tensor, xy_HW2: Tensor) -> Tensor:
    """The raster's channels (A, 4, H, W) of clicks in [0, 1]; labels other than 0 and 1 draw nothing."""
    distance = (points_AP2[:, :, None, None] - xy_HW2).square().sum(dim=-1)
    maps = []
    for sigma in CLICK_SIGMAS:
        bump = (-distance / (2 * sigma**2)).exp()
        maps.append((bump * (labels_AP == 1)[..., None, None]).amax(dim=1))
    bump = (-distance / (2 * CLICK_SIGMAS[1] ** 2)).exp()
    maps.append((bump * (labels_AP == 0)[..., None, None]).amax(dim=1))
    return torch.stack(maps, dim=1)


def draw_masks(logits_A1HW: Tensor) -> Tensor:
    """The raster's channels (A, 2, H, W) of previous masks."""
    return torch.cat([(logits_A1HW / 4).tanh(), torch.ones_like(logits_A1HW)], dim=1)
