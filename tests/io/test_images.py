"""Every kind of image that is read, and what becomes of it."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PILImages
from PIL import ImageOps

from maskwright.errors import ImageError
from maskwright.io.files import write_bytes
from maskwright.io.images import read_header, read_image, stretch, write_png

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
ORIENTATION = 274


def read(path: Path, **options: Any) -> npt.NDArray[np.uint8]:
    image = read_image(path, **options)
    assert image.source == str(path)
    header = read_header(path, **options)
    assert header.size == image.size
    return image.pixels


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "webp", "PNG", "tiff"])
def test_lossless_formats_are_read_exactly(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    options: dict[str, Any] = {"lossless": True, "exact": True} if ending == "webp" else {}
    PILImages.fromarray(COLOUR).save(path, **options)
    assert (read(path) == COLOUR).all()
    assert read_header(path).format.lower()[:3] == ending.lower()[:3]


def test_a_file_without_a_known_extension_is_told_by_content(tmp_path: Path) -> None:
    PILImages.fromarray(COLOUR).save(tmp_path / "x.download", format="PNG")
    assert (read(tmp_path / "x.download") == COLOUR).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_every_exif_orientation(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = PILImages.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"x.{ending}"
    PILImages.fromarray(COLOUR).save(path, exif=exif)
    with PILImages.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    pixels = read(path)
    assert (pixels == expected).all()
    assert pixels.shape == ((12, 20, 3) if orientation < 5 else (20, 12, 3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_deep_grey_and_of_layouts_pillow_does_not_know(
    tmp_path: Path, orientation: int
) -> None:
    reference = tmp_path / "r.tif"
    exif = PILImages.Exif()
    exif[ORIENTATION] = orientation
    PILImages.fromarray(GREY).save(reference, exif=exif)
    tag = [(ORIENTATION, 3, 1, orientation, True)]
    for dtype in (np.uint16, np.float64):
        tifffile.imwrite(tmp_path / "x.tif", GREY.astype(dtype), extratags=tag)
        assert (read(tmp_path / "x.tif") == stretch(read(reference)[..., 0])[..., None]).all()


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    exif = PILImages.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / "x.png"
    PILImages.fromarray(COLOUR).save(path)
    data, block = path.read_bytes(), exif.tobytes()[6:]
    late = b"eXIf" + block
    chunk = len(block).to_bytes(4, "big") + late + zlib.crc32(late).to_bytes(4, "big")
    path.write_bytes(data[:-12] + chunk + data[-12:])
    assert (read(path) == np.rot90(COLOUR, -1)).all()


@pytest.mark.parametrize("orientation", [0, 9, 6000])
def test_an_orientation_that_does_not_exist_means_upright(tmp_path: Path, orientation: int) -> None:
    exif = PILImages.Exif()
    exif[ORIENTATION] = orientation
    PILImages.fromarray(COLOUR).save(tmp_path / "x.png", exif=exif)
    assert (read(tmp_path / "x.png") == COLOUR).all()


def test_grey_and_one_bit(tmp_path: Path) -> None:
    PILImages.fromarray(GREY).save(tmp_path / "l.png")
    assert (read(tmp_path / "l.png") == GREY[..., None]).all()
    bits = GREY > 127
    for ending in ("png", "tif", "bmp"):
        PILImages.fromarray(bits).save(tmp_path / f"1.{ending}")
        assert (read(tmp_path / f"1.{ending}") == bits[..., None] * 255).all()


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    alpha = np.zeros(GREY.shape, np.uint8)
    alpha[:, :5], alpha[:, 5:10] = 255, 128
    expected = np.full_like(COLOUR, 255)
    expected[:, :5] = COLOUR[:, :5]
    for ending in ("png", "tif"):
        path = tmp_path / f"rgba.{ending}"
        PILImages.fromarray(np.dstack([COLOUR, alpha])).save(path)
        pixels = read(path)
        half = COLOUR[:, 5:10] * (128 / 255) + 255 * (127 / 255)
        assert (pixels[:, :5] == expected[:, :5]).all()
        assert (pixels[:, 10:] == 255).all()
        assert np.abs(pixels[:, 5:10] - half).max() <= 1
    PILImages.fromarray(np.dstack([GREY, alpha])).save(tmp_path / "la.png")
    pixels = read(tmp_path / "la.png")
    assert (pixels[:, :5] == GREY[:, :5, None]).all()
    assert (pixels[:, 10:] == 255).all()


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    indices = PILImages.fromarray(np.tile(np.arange(20, dtype=np.uint8) % 3, (12, 1)), mode="P")
    indices.putpalette([200, 10, 20, 0, 150, 30, 5, 6, 250])
    expected = np.array([[200, 10, 20], [0, 150, 30], [5, 6, 250]], np.uint8)[np.asarray(indices)]
    indices.save(tmp_path / "p.png")
    indices.save(tmp_path / "p.tif")
    assert (read(tmp_path / "p.png") == expected).all()
    assert (read(tmp_path / "p.tif") == expected).all()
    indices.save(tmp_path / "t.png", transparency=1)
    indices.save(tmp_path / "b.png", transparency=bytes([255, 0, 255]))
    expected[np.asarray(indices) == 1] = 255
    assert (read(tmp_path / "t.png") == expected).all()
    assert (read(tmp_path / "b.png") == expected).all()


def test_a_transparent_colour_of_a_png_without_palette(tmp_path: Path) -> None:
    PILImages.fromarray(COLOUR).save(tmp_path / "x.png", transparency=tuple(COLOUR[0, 0].tolist()))
    expected = COLOUR.copy()
    expected[0, 0] = 255
    assert (read(tmp_path / "x.png") == expected).all()


def test_cmyk(tmp_path: Path) -> None:
    red = PILImages.new("CMYK", (8, 8), (0, 255, 255, 0))
    red.save(tmp_path / "x.tif")
    assert (read(tmp_path / "x.tif") == [255, 0, 0]).all()
    red.save(tmp_path / "x.jpg", quality=95)
    assert np.abs(read(tmp_path / "x.jpg").astype(int) - [255, 0, 0]).max() <= 4


def test_sixteen_bit_colour_is_full_range(tmp_path: Path) -> None:
    deep = COLOUR.astype(np.uint16) * 257
    for compression in (None, "zlib"):
        tifffile.imwrite(tmp_path / "x.tif", deep, photometric="rgb", compression=compression)
        assert (read(tmp_path / "x.tif") == COLOUR).all()


@pytest.mark.parametrize(
    "dtype", ["uint16", "int16", "uint32", "int32", "float32", "float64", ">u2", "float16"]
)
def test_deep_grey_is_stretched(tmp_path: Path, dtype: str) -> None:
    values = np.linspace(200, 4000, 100 * 100).reshape(100, 100)
    values[3, 3] = 30_000  # a hot pixel
    values[90, 90] = 0
    tifffile.imwrite(tmp_path / "x.tif", values.astype(dtype))
    pixels = read(tmp_path / "x.tif")
    assert (pixels == pixels[..., :1]).all()
    expected = ((values - 203.8) / (3996.2 - 203.8)).clip(0, 1) * 255
    assert np.abs(pixels[..., 0] - expected).max() <= 1.5


def test_sixteen_bit_grey_png(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    PILImages.fromarray(values).save(tmp_path / "x.png")
    expected = (values / 65535 - 0.001) / 0.998
    assert np.abs(read(tmp_path / "x.png")[..., 0] - expected.clip(0, 1) * 255).max() <= 1


def test_the_largest_unsigned_values_stay_the_brightest(tmp_path: Path) -> None:
    values = np.array([[0, 2**31 - 1, 2**31, 2**32 - 1]], np.uint32)
    tifffile.imwrite(tmp_path / "x.tif", values)
    assert read(tmp_path / "x.tif")[0, :, 0].tolist() == [0, 127, 128, 255]


def test_float_images_with_gaps(tmp_path: Path) -> None:
    values = np.array([[np.nan, 0.0, 1.0, np.inf, -np.inf]], np.float32)
    tifffile.imwrite(tmp_path / "x.tif", values)
    assert read(tmp_path / "x.tif")[0, :, 0].tolist() == [0, 0, 255, 255, 0]
    tifffile.imwrite(tmp_path / "x.tif", np.full((4, 4), np.nan, np.float32))
    assert (read(tmp_path / "x.tif") == 0).all()


def test_float_colour(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", (COLOUR / 255).astype(np.float32), photometric="rgb")
    assert (read(tmp_path / "x.tif") == COLOUR).all()
    tifffile.imwrite(
        tmp_path / "p.tif",
        (COLOUR / 255).astype(np.float32).transpose(2, 0, 1),
        photometric="rgb",
        planarconfig="separate",
    )
    assert (read(tmp_path / "p.tif") == COLOUR).all()
    tifffile.imwrite(tmp_path / "x.tif", COLOUR.astype(np.float32), photometric="rgb")
    with pytest.raises(ImageError, match="beyond 0 to 1"):
        read(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8), np.complex64), "complex64"),
        (np.zeros((8, 8, 5), np.float32), "shape"),
        (np.zeros((8, 8, 4), np.float32), "shape"),
    ],
)
def test_layouts_without_a_meaning_are_refused(tmp_path: Path, array: npt.NDArray[Any], message: str) -> None:
    options: dict[str, Any] = (
        {"photometric": "minisblack", "planarconfig": "contig"} if array.ndim == 3 else {}
    )
    tifffile.imwrite(tmp_path / "x.tif", array, **options)
    with pytest.raises(ImageError, match=message):
        read(tmp_path / "x.tif")


def test_lab_is_refused(tmp_path: Path) -> None:
    PILImages.new("LAB", (4, 4)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="pixel layout LAB"):
        read(tmp_path / "x.tif")


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
def test_extreme_shapes(tmp_path: Path, shape: tuple[int, int], ending: str) -> None:
    PILImages.fromarray(np.full(shape, 200, np.uint8)).save(tmp_path / f"x.{ending}")
    assert (read(tmp_path / f"x.{ending}") == 200).all()


def test_several_pages_need_a_choice(tmp_path: Path) -> None:
    pages = [PILImages.fromarray(np.full((5, 6, 3), value, np.uint8)) for value in (10, 20, 30)]
    for ending in ("tif", "png", "webp"):
        path = tmp_path / f"x.{ending}"
        pages[0].save(path, save_all=True, append_images=pages[1:], lossless=True)
        with pytest.raises(ImageError, match="several pages or frames"):
            read(path)
        assert [read(path, page=page)[0, 0, 0] for page in range(3)] == [10, 20, 30]
        with pytest.raises(ImageError):
            read(path, page=3)
    tifffile.imwrite(tmp_path / "d.tif", np.arange(2 * 12.0).reshape(2, 3, 4), photometric="minisblack")
    with pytest.raises(ImageError, match="several pages or frames"):
        read(tmp_path / "d.tif")
    assert read(tmp_path / "d.tif", page=1).shape == (3, 4, 3)


def test_previews_in_a_tiff_do_not_count(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(COLOUR, photometric="rgb")
        file.write(COLOUR[::2, ::2], photometric="rgb", subfiletype=1)
    assert (read(tmp_path / "x.tif") == COLOUR).all()


def test_a_photo_with_a_second_picture_inside_gives_the_first(tmp_path: Path) -> None:
    first, second = PILImages.new("RGB", (8, 8), (200, 0, 0)), PILImages.new("RGB", (8, 8), (0, 0, 200))
    first.save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[second])
    assert read(tmp_path / "x.jpg")[0, 0, 0] > 190


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4]))))
def test_png_round_trip(tmp_path_factory: pytest.TempPathFactory, pixels: npt.NDArray[np.uint8]) -> None:
    path = tmp_path_factory.mktemp("png") / "x.png"
    write_png(path, pixels)
    with PILImages.open(path) as image:
        assert (np.asarray(image) == pixels).all()
    if pixels.shape[2] == 3:
        assert (read(path) == pixels).all()


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        st.sampled_from([np.uint16, np.float32, np.float64, np.int32]),
        hnp.array_shapes(min_dims=2, max_dims=2),
    )
)
def test_stretch_keeps_the_order_of_values(values: npt.NDArray[Any]) -> None:
    with np.errstate(over="ignore"):
        result = stretch(values)
    finite = np.isfinite(values)
    order = np.argsort(values[finite])
    assert (np.diff(result[finite][order].astype(int)) >= 0).all()


def test_all_sample_photos_are_read(data_root: Path) -> None:
    folders = ("samples/photos", "samples/sa1b_images", "samples/cascadepsp", "samples/penn_fudan")
    paths = [path for folder in folders for path in sorted((data_root / folder).iterdir())]
    assert len(paths) > 10
    for path in paths[:6]:
        with PILImages.open(path) as image:
            assert (read(path) == np.asarray(image.convert("RGB"))).all()
    sizes = {path.name: read_header(path).size for path in paths}
    assert sizes["truck.jpg"] == (1200, 1800)


def test_reading_a_file_again_after_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    write_png(path, GREY)
    read(path)
    write_bytes(path, b"")
    with pytest.raises(ImageError, match=r"x\.png: the file is empty"):
        read(path)
