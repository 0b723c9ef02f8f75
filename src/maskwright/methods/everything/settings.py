"""How fine an image is cut; apart from what cuts it, so that a command can show its flags at once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from maskwright.config import Settings
from maskwright.methods.settings import Fraction, Positive

Whole = Annotated[int, Field(ge=0)]


class CutSettings(Settings):
    """How fine an image is cut along its boundary map."""

    level: Fraction = 0.5
    """cut along the borders that are at least this strong: towards 0 into small parts, towards 1 into few"""
    threshold: Fraction | None = None
    """as published, without the tree's levels: what is not above this is a seed of the watershed"""
    segments: Positive | None = None
    """at most so many segments: over the weakest borders they become one"""
    min_area: Whole = 0
    """smaller segments, in pixels, join a neighbour over the weakest border"""
    rim: Whole = 0
    """pixels along the image's sides where the map is not believed; models trained on labels with a line
    around the image, as the published ones are, need about 1 % of the resolution"""
