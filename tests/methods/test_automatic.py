"""The automatic generator: equal to the released one, to its slow twin, and steady on any image and model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import skimage.data
import torch
from methods.colours import Colours, picture
from models.golden import golden
from reference import automatic as reference
from torch import Tensor

import maskwright
from maskwright.config import build_settings
from maskwright.errors import ConfigError, InputError
from maskwright.io import images
from maskwright.io.rle import RLE
from maskwright.methods.automatic import generator, held
from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.methods.automatic.generator import AutomaticMask, generate
from maskwright.methods.automatic.regions import clean
from maskwright.models.segmenter import Segmenter
from maskwright.types import ByteArray, Geometry

# Everything that is found, but for what is not a mask.
OPEN = AutomaticSettings(points_per_side=4, pred_iou_thresh=-9, stability_score_thresh=0, box_nms_thresh=1)
LOOSE = AutomaticSettings(
    points_per_side=12,
    pred_iou_thresh=0.5,
    stability_score_thresh=0.8,
    crop_n_layers=2,
    crop_n_points_downscale_factor=2,
)


@pytest.fixture(scope="module")
def sam(golden_root: Path) -> Segmenter:
    return maskwright.load(golden_root / "sam.pth", num_heads=2, device="cpu")


@pytest.fixture(scope="module")
def photo(golden_root: Path) -> ByteArray:
    image: ByteArray = golden(golden_root, "sam")["image"].numpy()
    return image


@pytest.fixture(scope="module")
def released(golden_root: Path) -> Any:
    return json.loads((golden_root / "sam_amg.json").read_text(encoding="utf-8"))


def same(a: AutomaticMask, b: AutomaticMask) -> bool:
    """Equal in all but the last digits of scores and logits."""
    exact = ("rle", "point", "box", "crop_box", "area")
    return (
        all(getattr(a, name) == getattr(b, name) for name in exact)
        and abs(a.predicted_iou - b.predicted_iou) < 1e-5
        and abs(a.stability - b.stability) < 1e-3
        and bool(torch.allclose(a.low_res, b.low_res, atol=1e-4))
    )


@pytest.mark.parametrize("name", ["all", "plain", "crops", "small_regions"])
def test_equals_the_released_generator(sam: Segmenter, photo: ByteArray, released: Any, name: str) -> None:
    values = {key: value for key, value in released[name]["settings"].items() if key != "output_mode"}
    found = generate(sam, photo, AutomaticSettings(**values))
    assert len(found) == len(released[name]["masks"])
    for mask, expected in zip(found, released[name]["masks"], strict=True):
        differs = mask.rle.decode() ^ RLE.from_coco(expected["segmentation"]).decode()
        ties = int(np.count_nonzero(differs))
        if ties:  # only where rounding decides on which side of the threshold a pixel is
            geometry = Geometry((mask.crop_box[3], mask.crop_box[2]), sam.model.image_size)
            x, y, width, height = mask.crop_box
            logits = geometry.to_image(mask.low_res[None])[0].abs().numpy()
            assert logits[differs[y : y + height, x : x + width]].max() < 1e-6 * logits.max()
            assert ties <= 1
        assert list(mask.box) == expected["bbox"]
        assert [list(mask.point)] == expected["point_coords"]
        assert list(mask.crop_box) == expected["crop_box"]
        assert abs(mask.area - expected["area"]) <= ties
        assert mask.predicted_iou == pytest.approx(expected["predicted_iou"], abs=1e-4)
        assert mask.stability == pytest.approx(expected["stability_score"], abs=1e-4)


def test_equals_its_slow_twin_with_crops() -> None:
    pixels = picture()
    segmenter = Segmenter(Colours())
    found, expected = generate(segmenter, pixels, LOOSE), reference.generate(segmenter, pixels, LOOSE)
    assert len(found) > 5
    assert len({mask.crop_box for mask in found}) > 2
    for mask, slow in zip(found, expected, strict=True):
        assert np.array_equal(mask.rle.decode(), slow.mask)
        assert mask.point == pytest.approx(slow.point)
        assert mask.predicted_iou == pytest.approx(slow.predicted_iou)
        assert mask.stability == pytest.approx(slow.stability)
        x, y, width, height = mask.box
        assert (x, y, x + width, y + height) == slow.box


def test_every_point_is_asked_whatever_the_batch(sam: Segmenter, photo: ByteArray) -> None:
    found = generate(sam, photo, OPEN.model_copy(update={"points_per_side": 8, "points_per_batch": 7}))
    assert len(found) == 8 * 8 * 3
    assert len({mask.point for mask in found}) == 64


@pytest.mark.parametrize("size", [7, 1000])
def test_the_batch_makes_no_difference(size: int) -> None:
    model = Colours()
    segmenter = Segmenter(model)
    expected = generate(segmenter, picture(), LOOSE)
    model.decoded.clear()
    found = generate(segmenter, picture(), LOOSE.model_copy(update={"points_per_batch": size}))
    assert all(map(same, found, expected))
    assert len(found) == len(expected)
    assert max(model.decoded) == min(size, segmenter.at_once)


def test_low_res_is_the_mask_in_its_crops_frame() -> None:
    segmenter = Segmenter(Colours())
    pixels = picture()
    for mask in generate(segmenter, pixels, LOOSE):
        assert mask.low_res.shape == (96, 96)
        assert mask.low_res.dtype == torch.float32
        x, y, width, height = mask.crop_box
        geometry = Geometry((height, width), 96, "pad")
        again = np.zeros((160, 240), bool)
        again[y : y + height, x : x + width] = geometry.to_image(mask.low_res[None])[0].numpy() > 0
        assert np.array_equal(mask.rle.decode(), again)
        assert mask.area == again.sum()
        assert again[int(mask.point[1]), int(mask.point[0])]


def test_one_mask_keeps_no_other_in_memory() -> None:
    found = generate(Segmenter(Colours()), picture(), OPEN)
    assert all(mask.low_res.untyped_storage().nbytes() == 96 * 96 * 4 for mask in found)


def test_each_crop_is_embedded_once_and_the_file_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.png"
    images.write_png(path, picture())
    read = Mock(wraps=images.read_image)
    monkeypatch.setattr(images, "read_image", read)
    model = Colours()
    from_file = generate(Segmenter(model), path, LOOSE)
    assert model.embedded == 1 + 4 + 16
    assert sum(model.decoded) == 12**2 + 4 * 6**2 + 16 * 3**2
    assert read.call_count == 1
    from_pixels = generate(Segmenter(Colours()), picture(), LOOSE)
    assert all(map(same, from_file, from_pixels))
    assert len(from_file) == len(from_pixels)


def test_few_masks_are_at_full_size_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    to_image = Geometry.to_image

    def counted(self: Geometry, low_res: Tensor) -> Tensor:
        sizes.append(len(low_res))
        return to_image(self, low_res)

    monkeypatch.setattr(Geometry, "to_image", counted)
    everything = generate(Segmenter(Colours()), picture(), OPEN)
    monkeypatch.setattr(generator, "CPU_PIXELS", 2 * 160 * 240 + 1)
    sizes.clear()
    bounded = generate(Segmenter(Colours()), picture(), OPEN)
    assert max(sizes) == 2
    assert all(map(same, everything, bounded))
    assert len(bounded) == 48
    # What the predicted IoU refuses is never made as large as the image.
    sizes.clear()
    assert generate(Segmenter(Colours()), picture(), OPEN.model_copy(update={"pred_iou_thresh": 2.0})) == []
    assert sizes == []


def test_equal_scores_keep_the_order_of_the_clicks() -> None:
    segmenter = Segmenter(Colours(tied=True))
    settings = OPEN.model_copy(update={"points_per_side": 6})
    found = generate(segmenter, picture(), settings)
    clicks = [(mask.point[1], mask.point[0]) for mask in found]
    assert clicks == sorted(clicks)
    assert all(map(same, found, generate(segmenter, picture(), settings)))


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 50), (50, 1), (2, 3), (3, 2), (7, 200), (300, 40), (64, 64)], ids=str
)
def test_images_of_any_shape(shape: tuple[int, int]) -> None:
    settings = OPEN.model_copy(update={"crop_n_layers": 2, "crop_n_points_downscale_factor": 9})
    found = generate(Segmenter(Colours(32)), picture(*shape), settings)
    assert found
    for mask in found:
        assert mask.rle.size == shape
        assert mask.area == mask.rle.decode().sum() > 0
        x, y, width, height = mask.box
        assert 0 <= x <= x + width < shape[1]
        assert 0 <= y <= y + height < shape[0]


def test_grey_is_colour_with_equal_channels() -> None:
    grey = picture()[..., 0].copy()
    colour = np.repeat(grey[..., None], 3, axis=2)
    found, expected = (generate(Segmenter(Colours()), pixels, LOOSE) for pixels in (grey, colour))
    assert len(found) == len(expected) > 0
    assert all(map(same, found, expected))


@pytest.mark.parametrize(
    ("name", "hq", "each"),
    [("sam.pth", "sum", 3), ("sam_hq.pth", "sum", 1), ("sam_hq.pth", "only", 1), ("sam_hq.pth", "off", 3),
     ("sam2.pt", "sum", 3)],
)  # fmt: skip
def test_every_family(golden_root: Path, photo: ByteArray, name: str, hq: str, each: int) -> None:
    heads = None if name == "sam2.pt" else 2
    segmenter = maskwright.load(golden_root / name, num_heads=heads, device="cpu")
    found = generate(segmenter, photo[:150, :120], OPEN.model_copy(update={"hq": hq}))
    empty = 16 * each - len(found)
    assert empty == 0 if name == "sam.pth" else empty < 16 * each
    assert max(sum(a.point == b.point for b in found) for a in found) == each
    scores = [mask.predicted_iou for mask in found]
    assert scores == sorted(scores, reverse=True)


def test_hq_modes_differ(golden_root: Path, photo: ByteArray) -> None:
    segmenter = maskwright.load(golden_root / "sam_hq.pth", num_heads=2, device="cpu")
    ask = OPEN.model_copy(update={"points_per_side": 1})
    added, alone = (generate(segmenter, photo, ask.model_copy(update={"hq": hq})) for hq in ("sum", "only"))
    assert added[0].predicted_iou == pytest.approx(alone[0].predicted_iou)
    assert added[0].rle != alone[0].rle


def test_nano() -> None:
    found = generate(maskwright.load("nano", device="cpu"), picture(96, 144), OPEN)
    assert max(sum(a.point == b.point for b in found) for a in found) == 3


def test_hq_alone_needs_a_model_with_it() -> None:
    with pytest.raises(InputError, match="HQ token"):
        generate(Segmenter(Colours()), picture(), OPEN.model_copy(update={"hq": "only"}))


def test_too_large_masks_are_left_out() -> None:
    segmenter = Segmenter(Colours())
    everything = generate(segmenter, picture(), OPEN)
    share = 0.5
    kept = generate(segmenter, picture(), OPEN.model_copy(update={"max_area": share}))
    small = [mask for mask in everything if mask.area <= share * 160 * 240]
    assert 0 < len(small) < len(everything)
    assert all(map(same, kept, small))
    assert len(kept) == len(small)


def test_a_mask_of_the_whole_image_stays_by_default() -> None:
    even = np.full((40, 60, 3), 90, np.uint8)
    found = generate(Segmenter(Colours()), even, AutomaticSettings(points_per_side=2, pred_iou_thresh=0))
    assert [mask.area for mask in found] == [2400]
    assert found[0].box == (0, 0, 59, 39)


def test_cleaned_masks_have_their_own_numbers() -> None:
    smallest = 400
    segmenter = Segmenter(Colours())
    raw = {(mask.point, mask.predicted_iou): mask for mask in generate(segmenter, picture(), LOOSE)}
    cleaned = generate(segmenter, picture(), LOOSE.model_copy(update={"min_mask_region_area": smallest}))
    before = [raw[mask.point, mask.predicted_iou] for mask in cleaned]
    unchanged = [mask.rle == old.rle for mask, old in zip(cleaned, before, strict=True)]
    assert unchanged == sorted(unchanged, reverse=True)
    assert 0 < sum(unchanged) < len(unchanged)
    for mask, old in zip(cleaned, before, strict=True):
        assert np.array_equal(mask.rle.decode(), clean(old.rle.decode(), smallest))
        assert mask.area == mask.rle.area
        assert torch.equal(mask.low_res, old.low_res)


@pytest.mark.parametrize(
    ("key", "value"),
    [("points_per_side", 0), ("points_per_batch", 0), ("stability_score_thresh", 1.5), ("box_nms_thresh", -1),
     ("crop_overlap_ratio", 1.0), ("crop_n_layers", -1), ("max_area", 0), ("hq", "some"), ("points", 3)],
)  # fmt: skip
def test_settings_are_checked(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        build_settings(AutomaticSettings, {key: value}, "settings")


def test_thresholds_that_are_not_given_suit_the_family() -> None:
    usual = AutomaticSettings()
    assert [vars(usual.thresholds(family)) for family in ("sam", "sam_hq", "sam2")] == [
        {"pred_iou": 0.88, "stability": 0.95},
        {"pred_iou": 0.88, "stability": 0.95},
        {"pred_iou": 0.8, "stability": 0.95},
    ]
    assert usual.thresholds("nano").pred_iou < 0.88
    given = AutomaticSettings(pred_iou_thresh=0.0).for_family("nano")
    assert (given.pred_iou_thresh, given.stability_score_thresh) == (0.0, usual.thresholds("nano").stability)


def test_nano_finds_objects_of_a_photo_with_the_usual_settings() -> None:
    nano = maskwright.load("nano", device="cpu")
    assert generate(nano, skimage.data.coffee(), AutomaticSettings(points_per_side=6))


def test_what_was_won_in_speed_is_counted(
    sam: Segmenter, photo: ByteArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass a click, masks drawn where needed only, and the image projected once a batch."""
    model: Any = sam.model
    transform, draw = Mock(wraps=model._transform), Mock(wraps=model._draw)
    monkeypatch.setattr(model, "_transform", transform)
    monkeypatch.setattr(model, "_draw", draw)
    scores = [mask.predicted_iou for mask in generate(sam, photo, OPEN)]
    settings = OPEN.model_copy(update={"pred_iou_thresh": float(np.quantile(scores, 0.8))})
    transform.reset_mock()
    draw.reset_mock()
    projection = model.net.mask_decoder.transformer.layers[0].cross_attn_token_to_image.k_proj
    calls: list[int] = []
    hook = projection.register_forward_hook(lambda _, given, __: calls.append(given[0].numel()))
    found = generate(sam, photo, settings)
    hook.remove()
    assert sum(call.args[1].shape[1] for call in transform.call_args_list) == 16
    assert sum(len(call.args[1]) for call in draw.call_args_list) == len({mask.point for mask in found}) < 16
    cells = model.net.config.prompt_encoder_config.image_embedding_size**2
    assert calls == [cells * projection.in_features]


def test_masks_that_are_let_go_and_stay_after_all_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = generate(Segmenter(Colours()), picture(), OPEN)
    best = generator._best
    answers = iter([lambda found, settings: [], best])  # as if nothing stayed at first
    monkeypatch.setattr(generator, "CPU_CELLS", 0)
    monkeypatch.setattr(generator, "_best", lambda *given: next(answers)(*given))
    again = Mock(wraps=generator._again)
    monkeypatch.setattr(generator, "_again", again)
    found = generate(Segmenter(Colours()), picture(), OPEN)
    assert len(again.call_args.args[2]) == len(found) == len(expected) > 0
    again.assert_called_once()
    assert all(map(same, found, expected))


def test_little_memory_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places of logits are used again, from crop to crop, too; few clicks are asked twice."""
    changes = {"points_per_side": 8, "points_per_batch": 7, "box_nms_thresh": 0.7, "crop_n_layers": 1}
    settings = OPEN.model_copy(update=changes)
    segmenter = Segmenter(Colours())
    expected = generate(segmenter, picture(), settings)
    again = Mock(wraps=generator._again)
    monkeypatch.setattr(generator, "_again", again)
    monkeypatch.setattr(generator, "CPU_CELLS", 2 * segmenter.model.low_res**2)
    monkeypatch.setattr(held, "PIECE_CELLS", 3 * segmenter.model.low_res**2)
    found = generate(segmenter, picture(), settings)
    assert len(found) == len(expected) > 5
    assert all(map(same, found, expected))
    assert sum(len(call.args[2]) for call in again.call_args_list) < len(found) / 2
