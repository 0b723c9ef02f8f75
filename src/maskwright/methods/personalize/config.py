"""Settings of personalisation."""

from __future__ import annotations

from typing import Literal

from maskwright.choices import GuidanceMode, HQMode
from maskwright.config import Settings
from maskwright.methods.settings import Positive

MethodName = Literal["persam", "persam-f", "parts", "match"]
ReferenceMode = Literal["mean", "nearest"]


class PersonalizeSettings(Settings):
    """How an object is learned from its references."""

    method: MethodName = "persam"
    """persam (no training), persam-f (weights of the mask scales fitted on the references), parts (the
    object's parts are looked for as well, and the mask most like the references is taken), or match (the
    same, among the masks of a grid of clicks, too)"""
    guidance: GuidanceMode = "official"
    """persam, parts: how the decoder is told where to look, as in PerSAM's release (official) or by a bias of
    its attention"""
    hq: HQMode = "sum"
    """logits of models with an HQ token: added to SAM's (sum), alone (only) or left out (off)"""
    raw_features: bool = False
    """compare features as they are, as PerSAM does, and not by how they differ from the middle between the
    object and its surroundings in the references"""
    references: ReferenceMode = "mean"
    """several references: their mean, or in each image the one that is found best (nearest)"""
    parts: Positive = 5
    """parts, match: the most parts into which the object is cut; 1 up to this are tried"""
