"""SAM 2's memory: the golden file loads to the last key, and tracks are exact, apart and bounded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from methods.video.clips import SIZE, photo, scene
from safetensors.torch import load_file, save_file
from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

from maskwright.errors import WeightsError
from maskwright.methods.video.follow import Following
from maskwright.methods.video.memory import SAM2Memory, _Remembered
from maskwright.methods.video.tracker import split
from maskwright.models.registry import load
from maskwright.models.sam2_video import SAM2Video, load_video, memory_config
from maskwright.models.segmenter import Segmenter
from maskwright.types import Image


@pytest.fixture(scope="module")
def model(golden_root: Path) -> SAM2Video:
    return load_video(golden_root / "sam2.pt", device="cpu")


def test_every_key_of_the_original_file_has_its_place(golden_root: Path, model: SAM2Video) -> None:
    original = torch.load(golden_root / "sam2.pt", weights_only=True)["model"]
    count = sum(value.numel() for value in original.values())
    twice = model.net.prompt_encoder.shared_embedding.positional_embedding.numel()
    assert sum(value.numel() for value in model.state_dict().values()) == count + twice
    down = "memory_encoder.mask_downsampler"
    state = model.net.state_dict()
    assert torch.equal(state[f"{down}.layers.3.layer_norm.bias"], original[f"{down}.encoder.10.bias"])
    assert torch.equal(state["object_pointer_proj.layers.0.weight"], original["obj_ptr_proj.layers.1.weight"])
    assert torch.equal(
        state["memory_encoder.memory_fuser.layers.0.scale"], original["memory_encoder.fuser.layers.0.gamma"]
    )


def test_on_one_image_it_is_the_image_model(golden_root: Path, model: SAM2Video) -> None:
    golden = load_file(golden_root / "sam2.safetensors")
    image = Image(golden["image"].numpy())
    box = [20.0, 30.0, 150.0, 120.0]
    ours, theirs = (
        segmenter(image, boxes=box)
        for segmenter in (Segmenter(model), load(golden_root / "sam2.pt", device="cpu"))
    )
    assert torch.equal(ours.low_res, theirs.low_res)


def test_a_changed_file_is_refused(golden_root: Path, tmp_path: Path) -> None:
    whole = torch.load(golden_root / "sam2.pt", weights_only=True)["model"]
    for change, match in (
        ({"memory_attention.norm.bias": None}, "missing 1 .*memory_attention.layer_norm.bias"),
        ({"memory_attention.extra": torch.zeros(1)}, "left over 1 .*memory_attention.extra"),
        ({"maskmem_tpos_enc": None}, "incomplete"),
    ):
        tensors = {key: value.clone() for key, value in (whole | change).items() if value is not None}
        save_file(tensors, tmp_path / "x.safetensors")
        with pytest.raises(WeightsError, match=match):
            load_video(tmp_path / "x.safetensors", device="cpu")


def test_sam_2_0_has_no_occlusion_embedding_and_no_pointer_times(golden_root: Path, tmp_path: Path) -> None:
    whole = torch.load(golden_root / "sam2.pt", weights_only=True)["model"]
    newer = ("no_obj_embed_spatial", "obj_ptr_tpos_proj")
    save_file({k: v.clone() for k, v in whole.items() if not k.startswith(newer)}, tmp_path / "x.safetensors")
    tracker = SAM2Memory(load_video(tmp_path / "x.safetensors", device="cpu"))
    track = tracker.start(photo(scene(0)), split(scene(0), [1]))
    assert np.isfinite(track.step(photo(scene(1)), split(scene(0), [1]))).all()


def test_sizes_of_the_published_model_are_read_off_its_tensors() -> None:
    config = Sam2VideoConfig()
    with torch.device("meta"):
        state = Sam2VideoModel(config).state_dict()
    for name, size in memory_config(state, 1024).items():
        assert getattr(config, name) == size, name


def test_other_models_are_refused(golden_root: Path) -> None:
    for name in ("sam.pth", "nano"):
        with pytest.raises(WeightsError, match="no original SAM 2 file"):
            load_video(golden_root / name if "." in name else name, device="cpu")


def test_a_transformers_folder_is_read(model: SAM2Video, tmp_path: Path) -> None:
    model.net.save_pretrained(tmp_path / "hub")
    again = load_video(tmp_path / "hub", device="cpu")
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    config = json.loads((tmp_path / "hub/config.json").read_text())
    (tmp_path / "hub/config.json").write_text(json.dumps(config | {"num_maskmem": 3}))
    with pytest.raises(WeightsError, match="num_maskmem is 3"):
        load_video(tmp_path / "hub", device="cpu")


def run(model: SAM2Video, ids: list[int], count: int = 5) -> list[np.ndarray]:
    track = SAM2Memory(model).start(photo(scene(0)), split(scene(0), ids))
    return [track.step(photo(scene(number)), split(scene(0), ids)) for number in range(1, count)]


def test_objects_do_not_influence_each_other(model: SAM2Video) -> None:
    together = run(model, [1, 2])
    for place, number in enumerate((1, 2)):
        for both, alone in zip(together, run(model, [number]), strict=True):
            assert both.shape == (2, *SIZE)
            assert np.allclose(both[place], alone[0], atol=1e-3)


def test_masks_depend_on_the_memory(model: SAM2Video) -> None:
    """The same frame after another history gives other masks."""
    later = run(model, [1])[-1]
    first = SAM2Memory(model).start(photo(scene(0)), split(scene(3), [2]))
    assert not np.allclose(later, first.step(photo(scene(4)), split(scene(0), [1])), atol=1e-3)


def test_forgetting_changes_nothing(model: SAM2Video, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 20
    bounded = run(model, [1], count)
    monkeypatch.setattr(_Remembered, "_forget", lambda self: None)
    for ours, theirs in zip(bounded, run(model, [1], count), strict=True):
        assert np.array_equal(ours, theirs)


def test_memory_does_not_grow_with_the_video(model: SAM2Video) -> None:
    following = Following(SAM2Memory(model))
    for number in range(20):
        labels = scene(number % 8)
        following.step(photo(labels), labels if number == 0 else None)
    track = following._tracks[0][1]
    assert isinstance(track, _Remembered)
    assert len(track.session.processed_frames) == 0
    for outputs in track.session.output_dict_per_obj.values():
        assert len(outputs["non_cond_frame_outputs"]) <= 16
        assert all("high_res_masks" not in kept for kept in outputs["non_cond_frame_outputs"].values())
