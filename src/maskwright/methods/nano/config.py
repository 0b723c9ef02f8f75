"""Settings of nano's training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from maskwright.config import Settings
from maskwright.methods.settings import Fraction, Positive, TrainSettings

Side = Annotated[int, Field(gt=0, multiple_of=16)]
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
    """datasets to evaluate on, as in `sources`; the mean of their box IoUs chooses the best checkpoint"""
    size: Literal["base", "small"] = "base"
    """how large the model is: nano, or nano-small"""
    init: Path | None = None
    """nano checkpoint to go on from, of any size; none: random weights"""
    sides: tuple[tuple[Annotated[int, Field(ge=0)], Side], ...] = ((0, 256),)
    """input side in pixels from an epoch on: [[0, 160], [10, 256]]; small first learns most per hour"""
    prediction_side: Side | None = None
    """input side of the finished model; none: the last one in training (a larger one often does better)"""
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

    @model_validator(mode="after")
    def _ascending(self) -> NanoSettings:
        starts = [start for start, _ in self.sides]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("sides must begin at epoch 0 and go on at later epochs")
        if not any(source.donor for source in self.sources):
            raise ValueError(
                "at least one source needs a donor weight: objects to paste must come from somewhere"
            )
        if self.photos_per_epoch % self.batch_size:
            raise ValueError("photos_per_epoch must be a multiple of batch_size: a batch has one input side")
        return self

    def side_at(self, epoch: int) -> int:
        """Input side of an epoch."""
        return [side for start, side in self.sides if start <= epoch][-1]

    @property
    def image_size(self) -> int:
        """Input side of the finished model."""
        return self.prediction_side or self.sides[-1][1]
