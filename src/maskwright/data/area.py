"""Which machine-made masks are large enough to learn from, and which to ask the refiner about.

A mask's area is compared at the scale the model sees: the longer side of the crop it was found in at 1024
pixels. SUM (Liu et al. 2024) gives the thresholds in hundreds of such pixels: `min_ratio` 100 keeps masks of
at least 10,000 pixels, about 1 % of the square. They are sizes, not shares of a mixture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from maskwright.errors import ConfigError

SIDE = 1024
UNIT = 100


def scaled_area(area: float, crop_w: int, crop_h: int) -> float:
    """A mask's pixels when the longer side of its crop is scaled to 1024: A' = A (1024 / max(w, h))²."""
    return area * (SIDE / max(crop_w, crop_h)) ** 2


@dataclass(frozen=True)
class AreaFilter:
    """The published filters; the defaults are those of SUM's released code.

    Args:
        min_ratio: a mask is kept when A' is at least 100 times this.
        min_refine_ratio: a mask has an uncertainty when A' is at least 100 times this; smaller ones are
            trusted, for at low resolution the refiner sees little of them.
        max_ratio: a mask is kept when it covers at most this share of its crop.

    Raises:
        ConfigError: for a value below 0, or no number.
    """

    min_ratio: float = 1.0
    min_refine_ratio: float = 100.0
    max_ratio: float = 0.95

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be a number from 0, not {value}.")

    def keeps(self, area: float, crop_w: int, crop_h: int) -> bool:
        """Whether a mask of `area` pixels, found in a crop of that size, is trained on."""
        large = scaled_area(area, crop_w, crop_h) >= UNIT * self.min_ratio
        return large and area / (crop_w * crop_h) <= self.max_ratio

    def refines(self, area: float, crop_w: int, crop_h: int) -> bool:
        """Whether the refined map of such a mask counts."""
        return scaled_area(area, crop_w, crop_h) >= UNIT * self.min_refine_ratio
