"""Settings of nano's training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from maskwright.config import Settings
from maskwright.methods.settings import Fraction, Positive, TrainSettings
from maskwright.models.nano import NanoConfig

Share = Annotated[float, Field(gt=0)]


class Source(Settings):
    """One dataset of the mixture."""

    data: str
    """dataset as `kind:FOLDER?option=value`, the folder below `root`"""
    weight: Share
    """how often photos come from it, relative to the other sources"""
    donor: Annotated[float, Field(ge=0)] = 0.0
    """how often objects to paste come from it, relative to the other sources"""


class NanoSettings(TrainSettings):
    """Training nano from nothing, or going on from an earlier nano at another size."""

    root: Path
    """folder that holds the datasets"""
    sources: tuple[Source, ...]
    """the training data"""
    validation: tuple[str, ...] = ()
    """datasets to evaluate on, as in `sources`; the mean over them of the box IoU chooses the best checkpoint"""
    init: Path | None = None
    """nano checkpoint to go on from; none: random weights"""
    image_size: Annotated[int, Field(gt=0, multiple_of=16)] = 256
    """input side in pixels"""
    segments: Positive = 5
    """masks learned from each photo"""
    photos_per_epoch: Positive = 4000
    """photos drawn from the mixture and called an epoch"""
    longest_side: Positive = 640
    """larger photos are shrunk to this when they are loaded"""
    second_round: Fraction = 0.3
    """share of the steps that learn from a corrective click and the previous mask"""
    edge_weight: Annotated[float, Field(ge=0)] = 0.5
    """weight of the auxiliary loss on outlines"""

    def model_config_for(self, base: NanoConfig) -> NanoConfig:
        """The architecture at this run's input side."""
        return NanoConfig(**{**vars(base), "image_size": self.image_size})
