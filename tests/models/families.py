"""A small model of every family, for what must hold for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from models.tiny import tiny
from tiny import save_tiny_model

import maskwright
from maskwright.models.mobile_sam import LightHQSAM, MobileSAM
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter

SAMS: dict[str, type[SAM]] = {
    "sam": SAM,
    "sam_hq": SAMHQ,
    "mobile_sam": MobileSAM,
    "mobile_sam_hq": LightHQSAM,
}
FAMILIES = [*SAMS, "nano", "sam2"]


def any_family(family: str, golden_root: Path, folders: pytest.TempPathFactory) -> Segmenter:
    """A model with random weights; of SAM 2 the golden one."""
    if family == "sam2":
        return maskwright.load(golden_root / "sam2.pt", device="cpu")
    if family == "nano":
        return maskwright.load(save_tiny_model(folders.mktemp("nano")), device="cpu")
    return Segmenter(tiny(SAMS[family]))
