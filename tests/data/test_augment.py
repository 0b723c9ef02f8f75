import numpy as np
import numpy.typing as npt
import pytest

from maskwright.data.augment import LUMA, color_jitter, paste_object
from maskwright.errors import InputError


def smooth_photo(height: int = 40, width: int = 50) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    channels = [80 + rows, 90 + columns, np.full_like(rows, 120)]
    return np.stack(channels, axis=2).astype(np.uint8)


def test_without_amounts_the_colours_stay() -> None:
    photo = smooth_photo()
    same = color_jitter(
        photo, np.random.default_rng(0), brightness=0, contrast=0, saturation=0, hue=0, gray=0
    )
    assert np.abs(same.astype(int) - photo).max() <= 1


def test_each_amount_changes_what_it_names() -> None:
    photo = smooth_photo()
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "gray": 0.0}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        hue = color_jitter(photo, rng, **(off | {"hue": 0.3})).astype(float)
        np.testing.assert_allclose(hue @ LUMA, photo @ LUMA, atol=1)
        contrast = color_jitter(photo, rng, **(off | {"contrast": 0.4})).astype(float)
        assert (contrast @ LUMA).mean() == pytest.approx((photo @ LUMA).mean(), abs=0.5)
        bright = color_jitter(photo, rng, **(off | {"brightness": 0.4})).astype(float)
        ratio = bright / photo
        assert 0.59 < ratio.mean() < 1.41
        assert ratio.std() < 0.01
        gray = color_jitter(photo, rng, **(off | {"gray": 1.0}))
        assert np.ptp(gray.astype(int), axis=2).max() <= 1
        saturated = color_jitter(photo, rng, **(off | {"saturation": 0.5})).astype(float)
        np.testing.assert_allclose(saturated @ LUMA, photo @ LUMA, atol=1)


def donor() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    mask = np.zeros((30, 30), bool)
    mask[5:25, 10:20] = True
    return np.full((30, 30, 3), (255, 0, 0), np.uint8), mask


def test_a_pasted_object_hides_what_is_beneath() -> None:
    photo, target = smooth_photo(), np.ones((2, 40, 50), bool)
    target[1, :, :25] = False
    before = photo.copy(), target.copy()
    for seed in range(20):
        image, masks, pasted = paste_object(photo, target, *donor(), np.random.default_rng(seed))
        assert masks.shape == (3, 40, 50)
        assert (masks[2] == pasted).all()
        assert pasted.any()
        assert not (masks[:2] & pasted).any()
        assert (masks[:2] == target & ~pasted).all()
        untouched = (image == photo).all(axis=2)
        assert not (untouched & pasted).any()
        # One pixel of blended rim at most lies outside the mask.
        assert (~untouched & ~pasted).sum() <= 200
        assert (image[pasted][:, 0] > 120).all()
    assert (photo == before[0]).all()
    assert (target == before[1]).all()


def test_a_pasted_object_has_the_extent_that_was_asked_for() -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    for seed in range(20):
        _, _, pasted = paste_object(
            photo, np.zeros((0, 200, 300), bool), *donor(), np.random.default_rng(seed), extent=(0.5, 0.5)
        )
        height, width = np.ptp(np.argwhere(pasted), axis=0) + 1
        # 100 × 50 pixels, unless the edge cuts it; its middle is always inside.
        assert 49 <= height <= 101
        assert 24 <= width <= 51


def test_pasting_into_a_label_map_gives_the_next_number() -> None:
    labels = np.repeat(np.arange(50, dtype=np.uint16)[None] // 10, 40, axis=0)
    _, changed, pasted = paste_object(smooth_photo(), labels, *donor(), np.random.default_rng(0))
    assert changed.dtype == np.uint16
    assert (changed[pasted] == 5).all()
    assert (changed[~pasted] == labels[~pasted]).all()


def test_pasting_nothing_is_refused_and_seeds_repeat() -> None:
    photo, mask = donor()
    target = np.zeros((0, 40, 50), bool)
    with pytest.raises(InputError, match="is empty"):
        paste_object(smooth_photo(), target, photo, np.zeros_like(mask), np.random.default_rng(0))
    one, other = (
        paste_object(smooth_photo(), target, photo, mask, np.random.default_rng(4)) for _ in range(2)
    )
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
