"""TIFF stacks page by page: every kind of page, every order of axes, and every kind of damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image as PILImages

from maskwright.errors import ImageError
from maskwright.io.masks import read_label_map
from maskwright.io.stacks import read_pages

RNG = np.random.default_rng(0)
GREY = (RNG.random((20, 30)) * 255).astype(np.uint8)
COLOURS = (RNG.random((12, 10, 3)) * 255).astype(np.uint8)


def pages(path: Path, axis: Any = "first") -> list[npt.NDArray[Any]]:
    found = list(read_pages(path, axis))
    assert [number for number, _ in found] == list(range(len(found)))
    bad = [page for _, page in found if isinstance(page, ImageError)]
    assert not bad, bad
    return [page for _, page in found if not isinstance(page, ImageError)]


def write_uneven(path: Path) -> list[npt.NDArray[Any]]:
    """Pages of many types and sizes, each compressed in its own way."""
    content: list[tuple[npt.NDArray[Any], str | None]] = [
        (GREY, None),
        ((RNG.random((25, 10)) * 65535).astype(np.uint16), "zlib"),
        (RNG.random((7, 40)).astype(np.float32), "lzw"),
        (RNG.random((9, 9)), "zstd"),
        (RNG.random((11, 13)) > 0.5, None),
        ((RNG.random((5, 6)) * 90).astype(np.int16) - 45, "packbits"),
        ((RNG.random((5, 6)) * 2**31).astype(np.uint32), None),
    ]
    with tifffile.TiffWriter(path) as writer:
        for values, compression in content:
            writer.write(values, compression=compression, photometric="minisblack")
    return [values for values, _ in content]


def test_pages_of_any_kind_and_size(tmp_path: Path) -> None:
    content = write_uneven(tmp_path / "x.tif")
    for found, expected in zip(pages(tmp_path / "x.tif"), content, strict=True):
        assert np.array_equal(found, expected)


def test_colour_becomes_grey(tmp_path: Path) -> None:
    grey = np.repeat(GREY[..., None], 3, axis=2)
    alpha = np.concatenate([grey, np.full((20, 30, 1), 7, np.uint8)], axis=2)
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        for values in (COLOURS, grey, alpha):
            writer.write(values, photometric="rgb")
        writer.write(np.moveaxis(COLOURS, 2, 0), photometric="rgb", planarconfig="separate")
    colour, same, without, planes = pages(tmp_path / "x.tif")
    assert np.allclose(colour, COLOURS @ [0.299, 0.587, 0.114])
    assert np.array_equal(planes, colour)
    assert np.array_equal(same, GREY)
    assert np.array_equal(without, GREY)


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("height", [2, 40])
def test_many_channels_are_pages(tmp_path: Path, planes: Any, height: int) -> None:
    stack = (RNG.random((height, 50, 7)) * 255).astype(np.uint8)
    stored = stack if planes == "contig" else np.moveaxis(stack, 2, 0)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="minisblack", planarconfig=planes)
    found = pages(tmp_path / "x.tif")
    assert len(found) == 7
    assert np.array_equal(np.stack(found, axis=2), stack)


def test_a_stack_with_its_pages_last(tmp_path: Path) -> None:
    stack = (RNG.random((40, 50, 7)) * 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", stack, photometric="minisblack")
    assert [page.shape for page in pages(tmp_path / "x.tif")] == [(50, 7)] * 40
    assert np.array_equal(np.stack(pages(tmp_path / "x.tif", "last"), axis=2), stack)
    write_uneven(tmp_path / "y.tif")
    with pytest.raises(ImageError, match="differ"):
        pages(tmp_path / "y.tif", "last")


def test_imagej_stacks_and_big_tiff(tmp_path: Path) -> None:
    stack = (RNG.random((3, 2, 40, 50)) * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", stack, imagej=True)
    tifffile.imwrite(tmp_path / "y.tif", stack, bigtiff=True, photometric="minisblack")
    for name in "xy":
        assert np.array_equal(np.stack(pages(tmp_path / f"{name}.tif")), stack.reshape(6, 40, 50))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pages_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    """As single images are turned, which tifffile does not do."""
    tifffile.imwrite(tmp_path / "x.tif", GREY, extratags=[(274, "H", 1, orientation, True)])
    assert np.array_equal(pages(tmp_path / "x.tif")[0], read_label_map(tmp_path / "x.tif"))


def test_previews_are_no_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(GREY, photometric="minisblack")
        writer.write(GREY[::2, ::2], photometric="minisblack", subfiletype=1)
        writer.write(GREY + np.uint8(1), photometric="minisblack")
    assert [page.shape for page in pages(tmp_path / "x.tif")] == [(20, 30), (20, 30)]


def test_a_damaged_page_is_named_and_the_others_follow(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    write_uneven(path)
    with tifffile.TiffFile(path) as file:
        start = file.pages[2].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    found = dict(read_pages(path))
    assert [number for number, page in found.items() if isinstance(page, ImageError)] == [2]
    assert "page 2" in str(found[2])
    assert len(found) == 7


def test_a_truncated_file_says_that_pages_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    write_uneven(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    found = list(read_pages(path))
    assert not isinstance(found[0][1], ImageError)
    assert isinstance(found[-1][1], ImageError)
    assert "list of pages is broken" in str(found[-1][1])


def test_what_is_no_stack_is_refused(tmp_path: Path) -> None:
    PILImages.fromarray(GREY).save(tmp_path / "x.png")
    (tmp_path / "y.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    (tmp_path / "z.tif").write_bytes(b"")
    for name in ("x.png", "y.tif", "z.tif", "no.tif"):
        with pytest.raises(ImageError, match=name):
            list(read_pages(tmp_path / name))


def test_complex_numbers_and_huge_pages_are_bad_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(GREY, photometric="minisblack")
        writer.write(GREY.astype(np.complex64), photometric="minisblack")
    found = dict(read_pages(tmp_path / "x.tif"))
    assert isinstance(found[1], ImageError)
    assert "complex64" in str(found[1])
