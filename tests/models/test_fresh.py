"""Models with random weights: any size, the architecture asked for, and no file where none is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import save_tiny_model

from maskwright.errors import InputError
from maskwright.models.base import PromptBatch
from maskwright.models.fresh import fresh_model
from maskwright.models.hub import NAMED
from maskwright.models.registry import load, save

BOX = PromptBatch(boxes=torch.tensor([[[5.0, 5.0, 50.0, 50.0]]]))


def test_every_family_at_another_size(tmp_path: Path, golden_root: Path) -> None:
    for source in (
        *(golden_root / name for name in ("sam.pth", "sam_hq.pth", "sam2.pt")),
        save_tiny_model(tmp_path),
    ):
        heads = 2 if "sam" in source.name and "2" not in source.name else None
        model = fresh_model(source, num_heads=heads, image_size=96).eval()
        assert (model.image_size, model.low_res) == (96, 24)
        stored = load(source, num_heads=heads).model
        assert model.family == stored.family
        again = load(save(model, tmp_path / "fresh.safetensors")).model
        with torch.no_grad():
            masks, same = (m.decode(m.encode(torch.ones(1, 3, 96, 96)), BOX).masks for m in (model, again))
        assert masks.shape == (1, 1, 4, 24, 24)
        assert torch.equal(masks, same)
        assert float(masks.std()) > 1e-3


@pytest.mark.parametrize("name", ["sam-vit-b", "sam-vit-l", "sam-vit-h", "sam-hq-vit-b", "sam-hq-vit-l", "sam-hq-vit-h"])  # noqa: E501  # fmt: skip
def test_published_sams_need_no_file(name: str) -> None:
    with torch.device("meta"):
        model = fresh_model(name)
    twice = "net.prompt_encoder.shared_embedding.positional_embedding"
    numbers = sum(value.numel() for key, value in model.state_dict().items() if key != twice)
    assert numbers == NAMED[name].parameters
    assert (model.family, model.image_size) == (NAMED[name].family, 1024)


@pytest.mark.parametrize("side", [100, 32, 0, -64])
def test_sizes_that_patches_do_not_divide_are_refused(side: int) -> None:
    with pytest.raises(InputError, match="multiple of 32"):
        fresh_model("sam-vit-b", image_size=side)
