"""What annotation tools load: names, shapes and values of the pair of graphs, run as the tools run them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from models.families import SAMS
from models.tiny import tiny
from tiny import photo

from maskwright.errors import InputError
from maskwright.export import annotators
from maskwright.export.annotators import export_annotator
from maskwright.models.mobile_sam import LightHQSAM
from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter
from maskwright.types import Geometry

runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")

DECODER = ["point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"]


@pytest.mark.parametrize("family", [SAM, SAMHQ, LightHQSAM])
def test_masks_as_the_tool_asks_for_them(
    family: type[SAM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(family)
    monkeypatch.setattr(annotators, "INPUT_SIDE", model.image_size)
    files = export_annotator(model, tmp_path, 'my "model"')
    assert [file.name for file in files] == ["encoder.onnx", "decoder.onnx", "config.yaml"]
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    encoder, decoder = (runtime.InferenceSession(str(file), options) for file in files[:2])
    maps = ["image_embeddings", *["interm_embeddings"] * family.has_hq]
    assert len(encoder.get_inputs()) == 1
    assert [entry.name for entry in encoder.get_outputs()] == maps
    assert [entry.name for entry in decoder.get_inputs()] == [*maps, *DECODER]
    # A photo as large as the tool makes it needs no resizing, and so must give our own masks.
    height, width = 42, 64
    image = photo(height, width)
    embedding, *early = encoder.run(None, {encoder.get_inputs()[0].name: image.astype(np.float32)})
    asked = dict(zip(maps[1:], [np.stack(early)] if early else [], strict=True))
    given = {
        "image_embeddings": embedding,
        **asked,
        "point_coords": np.array([[[20, 15], [0, 0]], [[40, 30], [0, 0]]], np.float32),
        "point_labels": np.array([[1, -1], [1, -1]], np.float32),
        "mask_input": np.zeros((1, 1, model.low_res, model.low_res), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
        "orig_im_size": np.array([height, width], np.float32),
    }
    masks, iou, low_res = decoder.run(None, given)
    ours = Segmenter(model)(image, points=[[[20, 15]], [[40, 30]]])
    assert masks.shape == (2, 1, height, width)
    assert np.abs(low_res - ours.low_res.numpy()).max() < 1e-3
    assert np.abs(iou - ours.iou.numpy()).max() < 1e-3
    assert np.abs(masks - ours.logits().numpy()).max() < 1e-3
    # Masks for a photo of twice the size, of which the encoder was given a smaller one.
    large = replace(ours, geometry=Geometry((2 * height, 2 * width), model.image_size))
    masks, *_ = decoder.run(None, given | {"orig_im_size": np.array(large.size, np.float32)})
    assert np.abs(masks - large.logits().numpy()).max() < 1e-3


def test_the_settings_file() -> None:
    lines = annotators.settings(tiny(SAMS["sam_hq"]), 'a "b"').splitlines()
    assert "type: sam_hq" in lines
    assert 'name: "a \\"b\\""' in lines
    assert {"max_width: 1024", "max_height: 682", "input_size: 1024"} < set(lines)
    assert annotators.settings(tiny(SAM), "x").startswith("type: segment_anything\n")


def test_what_tools_cannot_load_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a nano"):
        export_annotator(Nano(NanoConfig(image_size=64, depth=1)), tmp_path, "x")
    with pytest.raises(InputError, match="this model's input has 64"):
        export_annotator(tiny(SAM), tmp_path, "x")
