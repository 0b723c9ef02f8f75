"""Which objects of a dataset are asked for, and with what; apart from what asks, so that help is instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PromptKind = Literal["box", "point"]
ClickKind = Literal["center", "edge"]
Choice = Literal["single", "oracle"]


@dataclass(frozen=True)
class Selection:
    """Which objects of a dataset are asked for.

    Args:
        min_area: smallest share of the image an object may cover.
        max_area: largest share.
        per_image: at most this many objects of one image, drawn at random; None takes all.
        seed: of that draw; an image's draw depends on nothing but the seed and its place in the dataset.
        limit: at most this many images, spread evenly over the dataset; None takes all.
    """

    min_area: float = 0.005
    max_area: float = 0.6
    per_image: int | None = 2
    seed: int = 0
    limit: int | None = None
