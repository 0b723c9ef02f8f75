"""`maskwright data convert`: thresholds, names, damage, and carrying on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from maskwright.cli.main import main
from maskwright.data.convert import binarize
from maskwright.io.masks import read_mask


def convert(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    target = tmp_path / "result.json"
    code = main(["data", "convert", *arguments, "--out", str(tmp_path / "out"), "--json", str(target)])
    return code, json.loads(target.read_text())


def two_levels(low: float, high: float, dtype: Any) -> Any:
    values = np.full((20, 30), low, dtype)
    values[5:15, 10:20] = high
    return values


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Three pages of different sizes: 8 bits from 0, 16 bits with a ground, fractions."""
    path = tmp_path / "scan.tif"
    with tifffile.TiffWriter(path) as writer:
        for page in (
            two_levels(0, 1, np.uint8),
            two_levels(900, 40000, np.uint16)[:, :25],
            two_levels(-0.5, 0.25, np.float32),
        ):
            writer.write(page, photometric="minisblack", compression="zlib")
    return path


def test_what_is_above_zero_is_the_object(stack: Path, tmp_path: Path) -> None:
    code, result = convert(tmp_path, str(stack))
    assert (code, result["n"]) == (0, 3)
    assert [row["file"] for row in result["masks"]] == [f"scan.tif.{number:04d}.png" for number in range(3)]
    assert [row["share"] for row in result["masks"]] == [
        pytest.approx(1 / 6, abs=1e-6),
        1,
        pytest.approx(1 / 6, abs=1e-6),
    ]
    assert result["masks"][1]["size"] == [20, 25]
    assert np.array_equal(read_mask(tmp_path / "out/scan.tif.0000.png"), two_levels(0, 1, np.bool_))


def test_otsu_finds_a_threshold_for_each_page(stack: Path, tmp_path: Path) -> None:
    code, result = convert(tmp_path, str(stack), "--threshold", "otsu")
    assert code == 0
    for row in result["masks"]:
        width = row["size"][1]
        expected = two_levels(0, 1, np.bool_)[:, :width]
        assert np.array_equal(read_mask(tmp_path / "out" / row["file"]), expected)
    assert 900 <= result["masks"][1]["threshold"] < 40000


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.uint32, np.int64, np.float64])
def test_otsu_takes_every_type(dtype: Any) -> None:
    mask, _ = binarize(two_levels(0, 1, dtype), "otsu")
    assert np.array_equal(mask, two_levels(0, 1, np.bool_))


def test_otsu_of_an_even_page_is_no_object_and_nan_never_is() -> None:
    assert not binarize(np.full((4, 5), 7, np.uint16), "otsu")[0].any()
    values = two_levels(0, 1, np.float32)
    values[0, 0] = np.nan
    for threshold in ("otsu", 0.5):
        mask, _ = binarize(values, threshold)
        assert not mask[0, 0]
        assert mask.sum() == 100
    assert not binarize(np.full((2, 2), np.nan), "otsu")[0].any()


def test_only_what_is_not_done_is_done(stack: Path, tmp_path: Path) -> None:
    convert(tmp_path, str(stack))
    gone, kept = (tmp_path / f"out/scan.tif.{number:04d}.png" for number in (0, 1))
    gone.unlink()
    before = kept.stat().st_mtime_ns
    code, result = convert(tmp_path, str(stack))
    assert (code, result["n"]) == (0, 3)
    assert gone.is_file()
    assert kept.stat().st_mtime_ns == before
    convert(tmp_path, str(stack), "--threshold", "1000")
    assert kept.stat().st_mtime_ns != before
    assert not read_mask(gone).any()


def test_masks_made_otherwise_do_not_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.ones((40, 50, 7), np.uint8), photometric="minisblack")
    assert convert(tmp_path, str(path))[1]["n"] == 40
    assert "--pages last" in capsys.readouterr().out
    assert convert(tmp_path, str(path), "--pages", "last")[1]["n"] == 7
    assert len(list((tmp_path / "out").glob("*.png"))) == 7


def test_a_bad_page_and_a_bad_file_are_named_and_the_others_go_on(
    stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tifffile.TiffFile(stack) as file:
        start = file.pages[1].dataoffsets[0]
    data = bytearray(stack.read_bytes())
    data[start : start + 10] = b"\xff" * 10
    stack.write_bytes(data)
    (tmp_path / "a.tif").write_bytes(b"nothing")
    code, result = convert(tmp_path, str(tmp_path / "a.tif"), str(stack))
    assert code == 1
    assert [Path(failure["item"]).name for failure in result["failures"]] == ["a.tif", "scan.tif, page 1"]
    assert [row["page"] for row in result["masks"]] == [0, 2]
    # Once the file is whole, the same command does the rest.
    tifffile.imwrite(tmp_path / "a.tif", two_levels(0, 1, np.uint8))
    code, result = convert(tmp_path, str(tmp_path / "a.tif"))
    assert (code, result["n"]) == (0, 1)


@pytest.mark.parametrize("text", ["nan", "half", "inf"])
def test_a_threshold_is_a_number_or_otsu(stack: Path, tmp_path: Path, text: str) -> None:
    code, result = convert(tmp_path, str(stack), "--threshold", text)
    assert code == 2
    assert "otsu" in result["error"]
