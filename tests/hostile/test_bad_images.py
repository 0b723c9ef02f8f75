"""Files made to harm or simply broken: each is refused by name and reason, with little memory."""

from __future__ import annotations

import io
import os
import random
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImages
from PIL import ImageFile

import maskwright
from maskwright.errors import ImageError
from maskwright.io.images import read_header, read_image

SOURCE = Path(maskwright.__file__).resolve().parents[1]
PHOTO = PILImages.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
FORMATS = {"x.png": "PNG", "x.jpg": "JPEG", "x.tif": "TIFF", "x.webp": "WEBP", "x.bmp": "BMP"}


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    PHOTO.save(buffer, format=kind)
    return buffer.getvalue()


def refuse(path: Path, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width: int, height: int, bits: int, colour: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def huge_tiff(width: int, height: int) -> bytes:
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 1),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
    ]
    tags += [(278, 4, height), (279, 4, 8)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + entries + bytes(4)


def many_page_tiff(pages: int) -> bytes:
    """Each page is a directory of its own over the same few pixels."""
    blocks, start, size = [], 16, 2 + 9 * 12 + 4
    for page in range(pages):
        tags = [(256, 2), (257, 2), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 2), (279, 4)]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        following = start + (page + 1) * size if page + 1 < pages else 0
        blocks.append(struct.pack("<H", len(tags)) + entries + struct.pack("<I", following))
    return b"II*\0" + struct.pack("<I", start) + bytes(8) + b"".join(blocks)


def huge_webp(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size
    return b"RIFF" + struct.pack("<I", len(body)) + body


def huge_bmp(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 62, 0, 0, 62)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 1, 0, 0, 0, 0, 2, 0)
        + bytes(8)
    )


def huge_jpeg(width: int, height: int) -> bytes:
    return re.sub(
        rb"\xff\xc0\0\x11\x08....",
        lambda found: found[0][:5] + struct.pack(">HH", height, width),
        encoded("JPEG"),
        flags=re.DOTALL,
    )


BOMBS = {
    "bits.png": huge_png(60_000, 60_000, 1, 0),
    "deep.png": huge_png(2**31 - 1, 2**31 - 1, 16, 6),
    "x.tif": huge_tiff(60_000, 60_000),
    "wide.tif": huge_tiff(2**32 - 1, 2**32 - 1),
    "x.webp": huge_webp(16_384, 16_383),
    "x.bmp": huge_bmp(60_000, 60_000),
    "x.jpg": huge_jpeg(65_500, 65_500),
}

MEASURE = """
import resource, sys
from maskwright.errors import ImageError
from maskwright.io.decode import open_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        with open_image(path) as image:
            image.load()
    except ImageError as error:
        print(error)
    else:
        sys.exit(f"{path} was read")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_are_refused_from_the_header(tmp_path: Path) -> None:
    for name, data in BOMBS.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "frames.tif").write_bytes(many_page_tiff(20_000))
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    assert len(paths) == len(BOMBS) + 1
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE, *paths],
        capture_output=True,
        env=environment,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *messages, grown = done.stdout.splitlines()
    assert int(grown) < 60, f"the refusals took {grown} MiB"
    for path, message in zip(paths, messages, strict=True):
        assert path in message
        assert "several pages" in message or "more than the limit" in message or "damaged" in message, message
    refused = sum("more than the limit of 100,000,000" in message for message in messages)
    assert refused >= len(BOMBS) - 2, messages


def test_the_limit_can_be_set_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    PHOTO.save(path)
    assert read_image(path, max_pixels=2400).size == (40, 60)
    with pytest.raises(ImageError, match="60×40 pixels, more than the limit of 2,399"):
        read_image(path, max_pixels=2399)
    # Pillow's own limit (179 million) is neither needed nor in the way.
    assert PILImages.MAX_IMAGE_PIXELS is not None
    path.write_bytes(huge_png(14_000, 14_000, 1, 0))
    assert read_header(path, max_pixels=200_000_000).size == (14_000, 14_000)


FOREIGN = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "Photoshop": b"8BPS\0\1" + bytes(40),
    "ICO": b"\0\0\1\0\1\0" + bytes(40),
    "FITS": b"SIMPLE  =                    T" + bytes(40),
    "GIF": b"GIF89a" + bytes(40),
    "AVIF or HEIC": b"\0\0\0\x1cftypheic" + bytes(40),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    "PDF": b"%PDF-1.4\n" + bytes(40),
    "web page": b"\n<!DOCTYPE html><html><body>404 Not Found",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "ZIP": b"PK\3\4" + bytes(40),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "no image of a known format": b"plain text",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_formats_are_refused_whatever_their_name(tmp_path: Path, kind: str) -> None:
    for name in ("photo.png", "photo.jpg", "photo.eps", "photo"):
        (tmp_path / name).write_bytes(FOREIGN[kind])
        refuse(tmp_path / name, kind)


@pytest.mark.parametrize("kind", FORMATS.values())
@pytest.mark.parametrize("name", FORMATS)
def test_mislabelled_images_are_refused_and_the_right_name_is_told(
    tmp_path: Path, name: str, kind: str
) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(kind))
    if FORMATS[name] == kind:
        assert read_image(path).size == (40, 60)
    else:
        refuse(path, r"mislabelled: a \w+ file named \.\w+; rename it to end in \.\w+")


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files_are_refused_wherever_they_are_cut(tmp_path: Path, name: str) -> None:
    data = encoded(FORMATS[name])
    path = tmp_path / name
    # The last few bytes hold no pixels in some formats (end markers, TIFF tags), so the cuts stop before.
    for length in [0, 1, 7, 20, *range(31, len(data) - 200, 97)]:
        path.write_bytes(data[:length])
        refuse(path, "cannot read")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
def test_truncated_compressed_tiffs_are_refused(
    tmp_path: Path, compression: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.tif"
    PHOTO.save(path, compression=compression)
    data = path.read_bytes()
    for length in range(8, len(data) - 300, 131):
        path.write_bytes(data[:length])
        refuse(path, "cannot read")
    capfd.readouterr()  # libtiff writes to the error stream by itself


def test_flipped_bits_in_a_png_are_found(tmp_path: Path) -> None:
    data = bytearray(encoded("PNG"))
    path = tmp_path / "x.png"
    for position in range(16, len(data) - 12, 61):
        data[position] ^= 4
        path.write_bytes(data)
        refuse(path, "cannot read")
        data[position] ^= 4


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    refuse(tmp_path / "folder.jpg", "is a folder")
    os.mkfifo(tmp_path / "pipe.png")
    refuse(tmp_path / "pipe.png", "not a regular file")
    (tmp_path / "photo.png").touch()
    refuse(tmp_path / "photo.png", "the file is empty")
    refuse(tmp_path / "foto.png", r"does not exist\. Did you mean 'photo\.png'\?")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    refuse(tmp_path / "loop.png", "cannot read")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read anything")
def test_permission_denied(tmp_path: Path) -> None:
    PHOTO.save(tmp_path / "x.png")
    (tmp_path / "x.png").chmod(0)
    refuse(tmp_path / "x.png", "permission denied")


def test_a_read_error_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    PHOTO.save(tmp_path / "x.png")
    monkeypatch.setattr(Path, "open", denied)
    refuse(tmp_path / "x.png", "permission denied")


def test_line_breaks_in_a_name_do_not_break_the_message(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.png"
    path.write_bytes(b"x")
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert r"a\nb.png" in str(caught.value)


def test_damage_is_never_filled_with_grey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PHOTO.save(tmp_path / "x.png")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    refuse(tmp_path / "x.png", "LOAD_TRUNCATED_IMAGES")


def test_tiles_larger_than_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((32, 32)), tile=(16, 16))
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages.first.tags
        tags["TileWidth"].overwrite(65_520)
        tags["TileLength"].overwrite(65_520)
    refuse(path, "tiles are far larger")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_missing_parts_of_a_float_tiff_are_not_filled_with_zeros(
    tmp_path: Path, compression: str | None
) -> None:
    values = np.random.default_rng(0).random((40, 60))
    path = tmp_path / "x.tif"
    for tag, value in (("StripByteCounts", 0), ("StripByteCounts", 100), ("StripOffsets", 10**6)):
        tifffile.imwrite(path, values, rowsperstrip=40, compression=compression)
        assert read_image(path).size == (40, 60)
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages.first.tags[tag].overwrite(value)
        refuse(path, "damaged or truncated")


@pytest.mark.parametrize("tag", ["ImageWidth", "ImageLength", "SamplesPerPixel"])
def test_float_tiffs_with_impossible_headers(tmp_path: Path, tag: str) -> None:
    path = tmp_path / "x.tif"
    for value in (40_000, 2**16 - 1):
        tifffile.imwrite(path, np.zeros((40, 60)))
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages.first.tags[tag].overwrite(value)
        refuse(path, "cannot read")


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(FORMATS)), st.integers(0, 2**32))
def test_random_damage_gives_an_image_or_our_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int
) -> None:
    rng = random.Random(seed)
    data = bytearray(encoded(FORMATS[name]))
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(min(len(data), rng.choice([64, 1024, len(data)])))] = rng.randrange(256)
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(data)
    try:
        image = read_image(path, max_pixels=1_000_000)
    except ImageError:
        return
    assert image.pixels.dtype == np.uint8
