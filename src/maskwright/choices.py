"""Words between which settings and calls choose; apart from what they choose, so that help is instant."""

from __future__ import annotations

from typing import Literal

HQMode = Literal["sum", "only", "off"]
"""Logits of a model with an HQ token: SAM's with the token's added, the token's alone, SAM's alone."""

GuidanceMode = Literal["official", "bias"]
"""How a decoder is told where to look; see `models.guidance`."""

HeadsKind = Literal["published", "selected"]
"""What uncertainty heads are asked; see `models.uncertainty.HeadsConfig`."""
