"""Label Studio's tasks and its encoding of brush strokes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from export.scene import MASKS, RICH
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from maskwright.export.brush import encode_brush
from maskwright.export.labelled import LabelledImage
from maskwright.export.labels import write_labels
from maskwright.io.lossy import LossyConversionWarning
from maskwright.io.rle import encode_all
from maskwright.types import BoolArray


def decode_brush(data: list[int], size: tuple[int, int]) -> BoolArray:
    """Label Studio's decoder, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in data)
    position = 0

    def read(width: int) -> int:
        nonlocal position
        position += width
        return int(bits[position - width : position], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated, count = read(1), read(sizes[read(2)]) + 1
        values += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    assert len(bits) - position < 8
    pixels = np.array(values).reshape(*size, 4)
    assert (pixels == pixels[..., :1]).all()
    return np.asarray(pixels[..., 3] == 255)


@settings(deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_brush_encoding_is_exact(mask: BoolArray) -> None:
    data = encode_brush(mask)
    assert all(0 <= byte <= 255 for byte in data)
    assert (decode_brush(data, mask.shape) == mask).all()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 63, 64, 65, 16_383, 16_384, 16_385, 32_768, 50_000])
def test_long_runs_of_the_brush_encoding(width: int) -> None:
    mask = np.zeros((3, width), np.bool_)
    mask[1] = True
    assert (decode_brush(encode_brush(mask), (3, width)) == mask).all()
    assert len(encode_brush(mask)) < 100


def test_label_studio(tmp_path: Path) -> None:
    odd = LabelledImage("ü b/x#1.jpg", 9, 12, encode_all(MASKS[:1]), (0.5,), ("a<b",))
    with pytest.warns(LossyConversionWarning, match="trust"):
        write_labels([RICH, odd], tmp_path / "tasks.json", format="labelstudio")
    first, second = json.loads((tmp_path / "tasks.json").read_text())
    assert second["data"]["image"] == "/data/local-files/?d=%C3%BC%20b/x%231.jpg"
    regions = first["predictions"][0]["result"]
    assert [region["value"]["brushlabels"] for region in regions] == [['dog: "big"'], ["cat"], ["cat"]]
    assert [region["score"] for region in regions] == [0.9, 0.5, 0.25]
    for region, mask in zip(regions, MASKS, strict=True):
        size = (region["original_height"], region["original_width"])
        assert (decode_brush(region["value"]["rle"], size) == mask).all()
    setup = ET.parse(tmp_path / "tasks.xml").getroot()
    assert {label.get("value") for label in setup.iter("Label")} == {"cat", 'dog: "big"', "a<b"}
    brush, image = setup.find("BrushLabels"), setup.find("Image")
    assert brush is not None
    assert image is not None
    assert (brush.get("name"), brush.get("toName")) == (regions[0]["from_name"], regions[0]["to_name"])
    assert image.get("value") == "$image"
