"""SegFormer against transformers' own, and the detector around a boundary model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as PILImages
from tiny import photo, save_tiny_transformers, tiny_boundary
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil
from transformers.models.segformer.modeling_segformer import SegformerForSemanticSegmentation

from maskwright.errors import ImageError, InputError, WeightsError
from maskwright.models.boundary import family_class, normalise
from maskwright.models.boundary_detector import BoundaryDetector
from maskwright.models.boundary_files import load_boundary
from maskwright.models.segformer import SIZES, SegFormer

PARAMETERS = {"b0": 3.7, "b1": 13.7, "b2": 27.3, "b3": 47.2, "b4": 64.0, "b5": 84.6}


@pytest.mark.parametrize("size", SIZES)
def test_the_sizes_are_the_published_ones(size: str) -> None:
    with torch.device("meta"):
        model = SegFormer.from_config(SIZES[size])
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == PARAMETERS[size]
    assert (model.multiple, model.cell, model.smallest) == (4, 32, 32)


def test_probabilities_are_those_of_transformers_and_its_processor(tmp_path: Path) -> None:
    save_tiny_transformers(tmp_path)
    theirs = SegformerForSemanticSegmentation.from_pretrained(tmp_path).eval()
    detector = load_boundary(tmp_path, device="cpu")
    for size, resolution in (((90, 130), 64), ((50, 40), 96), ((64, 64), 64), ((70, 60), 100)):
        processor = SegformerImageProcessorPil(size={"height": resolution, "width": resolution})
        image = photo(*size)
        with torch.no_grad():
            logits = theirs(**processor(PILImages.fromarray(image), return_tensors="pt")).logits
        expected = F.interpolate(logits, size, mode="bicubic").sigmoid()[0, 0].numpy()
        found = detector(image, resolution=resolution)
        assert found.shape == size
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=3e-6)
        assert expected.std() > 0.05


def test_training_is_that_of_transformers() -> None:
    """Logits, what batch norms measure and gradients, with dropout off."""
    ours, reference = tiny_boundary(), tiny_boundary()
    x = normalise(torch.from_numpy(np.stack([photo(64, 96), photo(64, 96, 1)])))
    outputs = []
    for model in (ours, reference):
        model.train()
        model.net.segformer.eval()
        model.net.decode_head.dropout.eval()
        logits = model(x) if model is ours else reference.net(x).logits
        logits.square().mean().backward()
        outputs.append(logits.detach())
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    for (name, one), other in zip(ours.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)
    for measured, expected in zip(ours.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(measured, expected)


def test_odd_sizes_are_padded_and_stay_in_place() -> None:
    """A native side that is no multiple of four must not stretch the logits over the added pixels."""
    detector = BoundaryDetector(tiny_boundary())
    image = photo(77, 131)
    padded = np.pad(image, ((0, 3), (0, 1), (0, 0)), mode="reflect")
    np.testing.assert_allclose(detector(image), detector(padded)[:77, :131], atol=1e-5)
    assert detector(photo(5, 3)).shape == (5, 3)
    assert detector(photo(77, 131), resolution=30, keep_aspect=True).shape == (77, 131)


def test_photos_beyond_a_native_models_largest_side_are_brought_down_to_it() -> None:
    model, image = tiny_boundary(), photo(90, 141)
    native = BoundaryDetector(model)(image)
    model.largest = 96
    detector = BoundaryDetector(model)
    np.testing.assert_array_equal(detector(image), detector(image, resolution=96, keep_aspect=True))
    np.testing.assert_array_equal(detector(image, resolution="native"), native)
    np.testing.assert_array_equal(detector(image[:60, :90]), detector(image[:60, :90], resolution="native"))


def test_several_images_are_as_one_by_one() -> None:
    detector = BoundaryDetector(tiny_boundary(), image_batch=2, resolution=64)
    images = [photo(50, 70), photo(64, 64, 1), photo(50, 70, 2), photo(33, 90, 3)]
    for options in ({}, {"resolution": None}, {"keep_aspect": True}):
        together = detector(images, **options)
        for one, other in zip(images, together, strict=True):
            np.testing.assert_allclose(detector(one, **options), other, atol=1e-5)
    assert detector([]) == []
    assert "resolution=64" in repr(detector)
    assert detector.signature.startswith("segformer:")


def test_what_an_image_may_be(tmp_path: Path) -> None:
    detector = BoundaryDetector(tiny_boundary(), resolution=64)
    image = photo(40, 60)
    expected = detector(image)
    exif = PILImages.Exif()
    exif[274] = 6
    PILImages.fromarray(np.rot90(image)).save(tmp_path / "turned.png", exif=exif)
    deep = image[..., 0].astype(np.uint16) * 257
    PILImages.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(detector(tmp_path / "turned.png"), expected)
    np.testing.assert_array_equal(detector(PILImages.fromarray(image)), expected)
    assert detector(tmp_path / "deep.png").shape == (40, 60)
    grey = detector(image[..., 0])
    np.testing.assert_array_equal(grey, detector(np.repeat(image[..., :1], 3, axis=2)))
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        detector([image, tmp_path / "bad.png"])


def test_mixed_precision_is_close_and_gives_float32() -> None:
    model, image = tiny_boundary(), photo(64, 64)
    exact = BoundaryDetector(model)(image)
    rough = BoundaryDetector(model, dtype=torch.bfloat16)(image)
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).mean() < 0.02


def test_impossible_sizes_are_refused() -> None:
    detector = BoundaryDetector(tiny_boundary())
    with pytest.raises(InputError, match="resolution must be at least 1, not 0"):
        detector(photo(8, 8), resolution=0)
    with pytest.raises(InputError, match="tile must be at least 1, not -1"):
        detector(photo(8, 8), tile=-1)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(
        WeightsError, match=r"x: unknown family 'yolo' of boundary models; known are segformer"
    ):
        family_class("yolo", "x")


@pytest.mark.filterwarnings("error")
def test_a_read_only_photo_goes_through_in_tiles() -> None:
    image = photo(100, 130)
    detector = BoundaryDetector(tiny_boundary())
    expected = detector(image, tile=64)
    image.flags.writeable = False
    np.testing.assert_array_equal(detector(image, tile=64), expected)
