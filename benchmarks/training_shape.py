"""Sizes of the benchmark of training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Sizes of a run.

    Args:
        encoder: what the image encoder is called.
        side: of the model's input.
        batch: photos of a step.
        size: height and width of the photos in the folder.
        masks: machine-made masks of each.
    """

    encoder: str
    side: int
    batch: int
    size: tuple[int, int]
    masks: int

    def __str__(self) -> str:
        return f"SAM-HQ {self.encoder}, {self.side} px"
