"""nano-boundary: nano's encoder under another head, and the file in the package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import photo, save_tiny_model

from maskwright.errors import InputError, WeightsError
from maskwright.io.weights import read_weights
from maskwright.models import nano
from maskwright.models.boundary_files import load_boundary, save_boundary, start_model
from maskwright.models.nano_boundary import LARGEST, NanoBoundary, NanoBoundaryConfig

TINY = NanoBoundaryConfig(stem=4, fine=4, middle=8, coarse=16, depth=1, heads=2, width=8, detail=4, head=4)


def test_logits_are_at_stride_two() -> None:
    model = NanoBoundary(TINY).eval()
    assert model(torch.randn(2, 3, 48, 80)).shape == (2, 1, 24, 40)


def test_training_starts_from_the_encoder_of_a_nano(tmp_path: Path) -> None:
    file = save_tiny_model(tmp_path)
    model = start_model(file)
    assert isinstance(model, NanoBoundary)
    stored = read_weights(file).tensors
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, stored[f"encoder.{name}"].float())
    other = start_model(file, from_scratch=True)
    assert isinstance(other, NanoBoundary)
    assert not torch.equal(model.encoder.stem.weight, other.encoder.stem.weight)


def test_a_file_gives_the_same_model(tmp_path: Path) -> None:
    model = NanoBoundary(TINY).eval()
    detector = load_boundary(save_boundary(model, tmp_path / "mine.safetensors", resolution=None))
    assert detector.model.config_dict() == model.config_dict()
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(detector.model(pixels), model(pixels))
    assert detector(photo(33, 50)).shape == (33, 50)
    # As a prompted model it is refused by name.
    from maskwright.models.registry import load

    with pytest.raises(InputError, match="boundary"):
        load(tmp_path / "mine.safetensors")


def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = save_boundary(NanoBoundary(TINY), tmp_path / "mine.safetensors", resolution=None)
    header = read_weights(file).metadata
    header["config"] = json.dumps(json.loads(header["config"]) | {"depth": 2})
    save_file(load_file(file), file, header)
    with pytest.raises(WeightsError, match=r"mine\.safetensors"):
        load_boundary(file)


def test_large_photos_are_brought_down_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = save_boundary(NanoBoundary(TINY), tmp_path / "mine.safetensors", resolution=None)
    detector, seen = load_boundary(file, device="cpu"), []
    forward = detector.model.forward

    def spy(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(pixels.shape[-2:]))
        return forward(pixels)

    monkeypatch.setattr(detector.model, "forward", spy)
    large = photo(40, 2 * LARGEST)
    assert detector(large).shape == (40, 2 * LARGEST)
    assert detector(large, resolution="native").shape == (40, 2 * LARGEST)
    assert seen == [(32, LARGEST), (48, 2 * LARGEST)]


def test_attention_is_the_same_to_learn_from_and_to_use() -> None:
    parts = torch.randn(3, 1, 2, 40, 8)
    used = nano.attend(*parts)
    learned = nano.attend(*parts.clone().requires_grad_())
    torch.testing.assert_close(used, learned.detach(), atol=1e-5, rtol=1e-5)


def test_the_model_in_the_package_outlines_a_disc() -> None:
    rows, columns = np.mgrid[:120, :160]
    distance = np.hypot(rows - 60, columns - 80)
    image = np.where((distance < 35)[..., None], (200, 120, 40), (40, 60, 90)).astype(np.uint8)
    boundary = load_boundary("nano-boundary", device="cpu")(image)
    assert boundary[np.abs(distance - 35) < 2].mean() > 0.5
    assert boundary[np.abs(distance - 35) > 8].mean() < 0.1
