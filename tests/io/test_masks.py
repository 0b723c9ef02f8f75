"""Mask and label files: exact round trips, every kind of PNG, clear refusals; label maps and masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PILImages

from maskwright.errors import FileError, ImageError, MaskError
from maskwright.io.images import read_image
from maskwright.io.lossy import LossyConversionWarning
from maskwright.io.masks import (
    labels_to_masks,
    labels_to_rles,
    masks_to_labels,
    read_label_map,
    read_mask,
    read_mask_stack,
    write_label_map,
    write_mask,
    write_mask_stack,
)
from maskwright.types import BoolArray

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
MASKS = hnp.arrays(np.bool_, SHAPES)
REUSED = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
BLOB = np.zeros((6, 8), np.bool_)
BLOB[2:4, 3:7] = True


@REUSED
@given(MASKS, st.sampled_from(["png", "tif"]))
def test_masks_round_trip(tmp_path: Path, mask: BoolArray, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    write_mask(path, mask)
    assert (read_mask(path) == mask).all()


@REUSED
@given(st.data(), st.sampled_from([1, 255, 256, 65_535, 65_536, 2**31 - 1]))
def test_label_maps_round_trip(tmp_path: Path, data: Any, top: int) -> None:
    labels = data.draw(hnp.arrays(np.int32, SHAPES, elements=st.integers(0, top)))
    labels[0, 0] = top
    for ending in ("png", "tif"):
        path = tmp_path / f"x.{ending}"
        if top > 65_535 and ending == "png":
            with pytest.raises(MaskError, match=f"up to 65535, and the largest is {top}; name the file .tif"):
                write_label_map(path, labels)
            continue
        write_label_map(path, labels)
        assert (read_label_map(path) == labels).all()
        assert read_label_map(path).dtype == np.int32
        assert path.stat().st_size < 2000


def test_negative_labels_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="label -1"):
        write_label_map(tmp_path / "x.tif", np.array([[-1]]))
    with pytest.raises(FileError):
        write_mask(tmp_path / "no" / "x.png", BLOB)


def save(path: Path, values: npt.NDArray[Any], mode: str | None = None) -> Path:
    image = PILImages.fromarray(values)
    image.convert(mode).save(path) if mode else image.save(path)
    return path


def test_every_kind_of_binary_png(tmp_path: Path) -> None:
    grey = BLOB.astype(np.uint8)
    palette = PILImages.fromarray(grey, mode="P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    palette.save(tmp_path / "palette.png")
    colour = grey[..., None] * np.array([128, 0, 0], np.uint8)
    paths = [
        tmp_path / "palette.png",
        save(tmp_path / "01.png", grey),
        save(tmp_path / "0255.png", grey * 255),
        save(tmp_path / "07.png", grey * 7),
        save(tmp_path / "bits.png", BLOB),
        save(tmp_path / "deep.png", grey.astype(np.uint16) * 65_535),
        save(tmp_path / "rgb.png", np.repeat(grey[..., None] * 255, 3, axis=2)),
        save(tmp_path / "one.png", colour),
        save(tmp_path / "rgba.png", np.dstack([colour, np.full(grey.shape, 255, np.uint8)])),
        save(tmp_path / "la.png", np.dstack([grey * 255, np.full(grey.shape, 255, np.uint8)])),
        save(tmp_path / "x.bmp", grey * 255),
        save(tmp_path / "x.tif", grey * 255),
    ]
    tifffile.imwrite(tmp_path / "float.tif", grey.astype(np.float64))
    for path in [*paths, tmp_path / "float.tif"]:
        assert (read_mask(path) == BLOB).all(), path.name


def test_a_jpeg_mask_is_cut_in_the_middle(tmp_path: Path) -> None:
    big = np.kron(BLOB, np.ones((8, 8), np.bool_))
    path = save(tmp_path / "x.jpg", big.astype(np.uint8) * 255)
    assert (read_mask(path) == big).mean() > 0.99
    with pytest.raises(MaskError, match=r"x\.jpg is a JPEG, which does not keep numbers exactly"):
        read_label_map(path)


def test_masks_that_are_not_binary_need_a_threshold(tmp_path: Path) -> None:
    soft = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    path = save(tmp_path / "x.png", soft)
    with pytest.raises(MaskError, match=r"x\.png has 48 different values .* give a threshold"):
        read_mask(path)
    assert (read_mask(path, threshold=127) == (soft > 127)).all()
    assert not read_mask(save(tmp_path / "black.png", soft * 0)).any()
    assert read_mask(save(tmp_path / "white.png", soft * 0 + 255)).all()


def test_colours_and_transparency_are_refused(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path = save(tmp_path / "x.png", colours)
    with pytest.raises(MaskError, match="several colours"):
        read_mask(path)
    with pytest.raises(MaskError, match="colours, not label numbers"):
        read_label_map(path)
    path = save(tmp_path / "a.png", np.dstack([BLOB, BLOB, BLOB, BLOB]).astype(np.uint8) * 255)
    with pytest.raises(MaskError, match="transparent parts"):
        read_mask(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.5, 1]], np.float32), "fractions"),
        (np.array([[np.nan, 1]], np.float32), "fractions"),
        (np.array([[-1, 1]], np.int16), "labels from -1"),
        (np.array([[2**32 - 1, 1]], np.uint32), "labels from 1 to 4294967295"),
        (np.array([[1j, 1]], np.complex64), "complex64"),
    ],
)
def test_numbers_that_are_no_labels(tmp_path: Path, values: npt.NDArray[Any], message: str) -> None:
    tifffile.imwrite(tmp_path / "x.tif", values)
    with pytest.raises((MaskError, ImageError), match=message):
        read_label_map(tmp_path / "x.tif")


def test_palette_label_maps_give_indices(tmp_path: Path) -> None:
    labels = np.tile(np.arange(8, dtype=np.uint8), (6, 1))
    image = PILImages.fromarray(labels, mode="P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 24).tolist())
    image.save(tmp_path / "x.png")
    assert (read_label_map(tmp_path / "x.png") == labels).all()


def test_masks_are_turned_as_photos_are(tmp_path: Path) -> None:
    exif = PILImages.Exif()
    exif[274] = 6
    PILImages.fromarray(BLOB.astype(np.uint8)).save(tmp_path / "x.png", exif=exif)
    assert (read_mask(tmp_path / "x.png") == np.rot90(BLOB, -1)).all()
    assert (read_label_map(tmp_path / "x.png") == np.rot90(BLOB, -1)).all()


@REUSED
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_stacks_of_overlapping_masks_round_trip(tmp_path: Path, masks: BoolArray) -> None:
    write_mask_stack(tmp_path / "x.tif", masks)
    assert (read_mask_stack(tmp_path / "x.tif") == masks).all()
    assert (read_mask(tmp_path / "x.tif", page=0) == masks[0]).all()


def test_stacks_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="at least one mask"):
        write_mask_stack(tmp_path / "x.tif", np.zeros((0, 3, 4), np.bool_))
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(np.zeros((3, 4), np.uint8))
        file.write(np.zeros((4, 3), np.uint8))
    with pytest.raises(MaskError, match="differ in size"):
        read_mask_stack(tmp_path / "x.tif")
    tifffile.imwrite(
        tmp_path / "v.tif", np.arange(24, dtype=np.uint8).reshape(2, 3, 4), photometric="minisblack"
    )
    with pytest.raises(MaskError, match="more than two values"):
        read_mask_stack(tmp_path / "v.tif")
    write_mask(tmp_path / "x.png", BLOB)
    with pytest.raises(MaskError, match="is a PNG"):
        read_mask_stack(tmp_path / "x.png")


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 5)))
def test_label_maps_and_masks_convert_exactly(labels: npt.NDArray[np.int32]) -> None:
    masks, ids = labels_to_masks(labels)
    assert ids == tuple(sorted(set(labels.reshape(-1).tolist()) - {0}))
    for mask, label in zip(masks, ids, strict=True):
        assert (mask == (labels == label)).all()
    back = masks_to_labels(masks)
    assert (np.array((0, *ids))[back] == labels).all()
    rles, same_ids = labels_to_rles(labels)
    assert same_ids == ids
    assert all((rle.decode() == mask).all() for rle, mask in zip(rles, masks, strict=True))


def test_ignored_labels_are_left_out() -> None:
    labels = np.array([[0, 1], [255, 3]])
    assert labels_to_masks(labels, ignore=(0, 255))[1] == (1, 3)
    assert labels_to_rles(labels, ignore=())[1] == (0, 1, 3, 255)


def test_overlap_warns_and_keeps_the_smaller_mask() -> None:
    whole = np.ones((4, 4), np.bool_)
    part = np.zeros((4, 4), np.bool_)
    part[1:3, 1:3] = True
    for masks, part_label in ((np.stack([whole, part]), 2), (np.stack([part, whole]), 1)):
        with pytest.warns(LossyConversionWarning, match="loses 4 of their pixels"):
            labels = masks_to_labels(masks)
        assert ((labels == part_label) == part).all()
    with pytest.warns(LossyConversionWarning, match="1 masks vanish"):
        masks_to_labels(np.stack([part, part]))


def test_too_many_masks_for_memory() -> None:
    labels = np.arange(300 * 400).reshape(300, 400)
    with pytest.raises(MaskError, match="use labels_to_rles"):
        labels_to_masks(labels)


def test_real_label_maps_round_trip(data_root: Path, tmp_path: Path) -> None:
    for path in sorted((data_root / "DSB2018/labels").iterdir())[:5]:
        labels = read_label_map(path)
        rles, ids = labels_to_rles(labels)
        assert len(ids) == len(np.unique(labels)) - 1
        masks, same_ids = labels_to_masks(labels)
        assert same_ids == ids
        assert all((rle.decode() == mask).all() for rle, mask in zip(rles, masks, strict=True))
        write_label_map(tmp_path / "x.png", labels)
        assert (read_label_map(tmp_path / "x.png") == labels).all()


def test_real_binary_and_palette_masks(data_root: Path) -> None:
    davis = next((data_root / "DAVIS2016/Annotations").rglob("*.png"))
    assert 0 < read_mask(davis).mean() < 1
    several = next((data_root / "samples/davis2017_multi/masks").rglob("*.png"))
    assert 1 <= read_label_map(several).max() < 20
    [perseg, *_] = sorted((data_root / "PerSeg/Annotations").rglob("*.png"))
    assert 0 < read_mask(perseg).mean() < 1


def test_bytes_inside_another_file_are_read_and_refused_under_the_name_given(tmp_path: Path) -> None:
    write_label_map(tmp_path / "a.png", np.array([[0, 300]]))
    data = (tmp_path / "a.png").read_bytes()
    assert read_label_map("shard[3]", data=data).tolist() == [[0, 300]]
    assert read_image("shard[3]", data=data).source == "shard[3]"
    for bad in (data[:40], b"", b"text"):
        with pytest.raises(ImageError, match=r"shard\[3\]"):
            read_image("shard[3]", data=bad)
