"""Boundary models: SegFormer against transformers' own, files of every layout, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as PILImages
from tiny import save_tiny_transformers
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil
from transformers.models.segformer.modeling_segformer import SegformerForSemanticSegmentation

from maskwright.models.boundary_files import load_boundary


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.array(PILImages.fromarray(small).resize((width, height)))


@pytest.mark.parametrize(("size", "resolution"), [((90, 130), 64), ((50, 40), 96), ((64, 64), 64)])
def test_probabilities_are_those_of_transformers_and_its_processor(
    size: tuple[int, int], resolution: int, tmp_path: Path
) -> None:
    save_tiny_transformers(tmp_path)
    theirs = SegformerForSemanticSegmentation.from_pretrained(tmp_path).eval()
    processor = SegformerImageProcessorPil(size={"height": resolution, "width": resolution})
    image = photo(*size)
    with torch.no_grad():
        logits = theirs(**processor(PILImages.fromarray(image), return_tensors="pt")).logits
    expected = F.interpolate(logits, size, mode="bicubic").sigmoid()[0, 0].numpy()
    found = load_boundary(tmp_path, device="cpu")(image, resolution=resolution)
    assert found.shape == size
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert expected.std() > 0.05
