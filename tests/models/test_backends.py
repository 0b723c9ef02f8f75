"""Models in other runtimes give what they give in PyTorch: every family, every kind of prompt."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.families import FAMILIES, any_family
from tiny import photo, save_tiny_boundary, save_tiny_heads, save_tiny_model, tiny_boundary

from maskwright.errors import InputError, MaskwrightError, WeightsError
from maskwright.methods.refine.refiner import MaskRefiner
from maskwright.models import sessions, write_graphs
from maskwright.models.base import PromptBatch
from maskwright.models.boundary import BoundaryModel
from maskwright.models.boundary_detector import BoundaryDetector
from maskwright.models.boundary_files import load_boundary
from maskwright.models.exported import open_exported, open_exported_boundary
from maskwright.models.graphs import prompt_rows
from maskwright.models.nano_boundary import NanoBoundary, NanoBoundaryConfig
from maskwright.models.registry import load
from maskwright.models.segmenter import Segmenter
from maskwright.models.task_prompts import add_task_prompts
from maskwright.models.uncertainty import ENDING
from maskwright.models.write_graphs import export_boundary, export_model
from maskwright.types import Masks

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

CLOSE = 1e-3
PROMPTS: dict[str, dict[str, Any]] = {
    "points": {"points": [[[10, 12], [30, 20]], [[30, 40], [5, 5]]], "labels": [[1, 0], [1, 1]]},
    "one point": {"points": [12, 9], "labels": 1},
    "boxes": {"boxes": [[5, 6, 40, 35], [0, 0, 20, 20], [10, 10, 50, 40]]},
    "ragged": {"points": [[[10, 12]], None], "labels": [[1], None], "boxes": [None, [5, 6, 40, 35]]},
}


@pytest.fixture(scope="module", params=FAMILIES)
def written(
    request: pytest.FixtureRequest, golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Segmenter, Path]:
    """A tiny model of a family, and the folder of its export."""
    segmenter = any_family(request.param, golden_root, tmp_path_factory)
    folder = tmp_path_factory.mktemp("export")
    files = export_model(segmenter.model, folder)
    assert {file.name for file in files} == {"encoder.onnx", "decoder.onnx", "model.json"}
    assert {file.name for file in folder.iterdir()} == {file.name for file in files}
    check_graphs(files[:2])
    return segmenter, folder


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def pair(request: pytest.FixtureRequest, written: tuple[Segmenter, Path]) -> tuple[Segmenter, Segmenter]:
    """A tiny model of a family, and its export in a runtime."""
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="the extra openvino is not installed")
    segmenter, folder = written
    return segmenter, Segmenter(open_exported(folder, request.param, torch.float32), segmenter.name)


def check_graphs(files: list[Path]) -> None:
    """The graphs are valid, need no other file, and no operation that a runtime would have to bring."""
    for file in files:
        stored = onnx.load(str(file), load_external_data=False)
        onnx.checker.check_model(stored)
        assert not sessions.external_names(stored)
        assert not [node for node in stored.graph.node if node.domain not in ("", "ai.onnx")]


def same(ours: Masks, theirs: Masks) -> None:
    """All that a segmenter gives, within the bound; masks relative to how large logits are."""
    assert ours.tokens is not None
    assert theirs.tokens is not None
    scale = max(1.0, float(ours.low_res.abs().max()))
    assert (ours.low_res - theirs.low_res).abs().max() < CLOSE * scale
    assert (ours.iou - theirs.iou).abs().max() < CLOSE
    assert (ours.tokens - theirs.tokens).abs().max() < CLOSE
    assert ours.mask_token is not None
    assert theirs.mask_token is not None
    assert (ours.mask_token == theirs.mask_token).all()


def test_every_prompt_gives_the_same_masks(pair: tuple[Segmenter, Segmenter]) -> None:
    ours, theirs = pair
    images = [photo(45, 60), photo(60, 33, seed=1)]
    # Two images at once, and one mask prompt with and without a box beside it.
    embeddings = ours.embed(images), theirs.embed(images)
    low_res = ours.model.low_res
    rough = torch.randn(2, low_res, low_res, generator=torch.Generator().manual_seed(0)).numpy()
    masks = {"masks": rough, "boxes": [[5, 6, 30, 35], None]}
    for name, prompts in {**PROMPTS, "masks": masks}.items():
        for multimask in (False, True):
            for one, other in zip(*embeddings, strict=True):
                if name == "ragged" and multimask:
                    continue
                same(ours(one, **prompts, multimask=multimask), theirs(other, **prompts, multimask=multimask))


def test_prompts_of_several_images_at_once(pair: tuple[Segmenter, Segmenter]) -> None:
    """Which training and the memory of videos ask for; B images with N prompts each are one call."""
    ours, theirs = (segmenter.model for segmenter in pair)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(3, 3, ours.image_size, ours.image_size, generator=generator)
    boxes = torch.rand(3, 2, 4, generator=generator) * 20 + torch.tensor([0.0, 0.0, 25.0, 25.0])
    with torch.no_grad():
        expected = ours.decode(ours.encode(pixels), PromptBatch(boxes=boxes))
        found = theirs.decode(theirs.encode(pixels), PromptBatch(boxes=boxes))
    for name in ("masks", "iou", "tokens"):
        one, other = getattr(expected, name), getattr(found, name)
        assert one.shape == other.shape
        assert (one - other).abs().max() < CLOSE * max(1.0, float(one.abs().max()))


def test_modes_of_the_hq_token(pair: tuple[Segmenter, Segmenter]) -> None:
    ours, theirs = pair
    image = photo(45, 60)
    for hq in ("off", "only") if ours.model.has_hq else ("off",):
        same(ours(image, points=[12, 9], hq=hq), theirs(image, points=[12, 9], hq=hq))


def test_embeddings_are_exchanged(pair: tuple[Segmenter, Segmenter]) -> None:
    ours, theirs = pair
    embedding = ours.embed(photo(45, 60))
    same(ours(embedding, boxes=[5, 6, 40, 35]), theirs(embedding, boxes=[5, 6, 40, 35]))


def test_no_prompts_give_no_masks(pair: tuple[Segmenter, Segmenter]) -> None:
    assert len(pair[1](photo(45, 60), boxes=[])) == 0


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny nano with heads."""
    file = save_tiny_model(tmp_path_factory.mktemp("nano"))
    save_tiny_heads(file)
    return file


@pytest.fixture(scope="module")
def exported(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the graphs of the tiny nano; not to be changed."""
    folder = tmp_path_factory.mktemp("exported")
    export_model(load(nano, device="cpu", heads=None).model, folder)
    return folder


def test_a_model_is_exported_once(nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_MODELS", str(tmp_path))
    ours = load(nano, device="cpu")
    theirs = load(nano, backend="onnx")
    assert theirs.signature == ours.signature
    assert len(list((tmp_path / "exported").iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(write_graphs, "export_model", None)
        load(nano, backend="onnx")
    found, expected = (one(photo(45, 60), boxes=[5, 6, 40, 35]) for one in (theirs, ours))
    same(expected, found)
    assert found.quality is not None
    assert expected.extras.keys() == found.extras.keys()
    for name, value in expected.extras.items():
        assert torch.allclose(value, found.extras[name], atol=CLOSE)


def test_what_another_process_has_exported_meanwhile_is_used(
    nano: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_MODELS", str(tmp_path))

    def slower(_: Any, folder: Path) -> None:
        shutil.copytree(exported, folder)
        shutil.copytree(exported, tmp_path / "exported" / folder.name)

    monkeypatch.setattr(write_graphs, "export_model", slower)
    load(nano, backend="onnx", heads=None)
    assert len(list((tmp_path / "exported").iterdir())) == 1

    def killed(_: Any, folder: Path) -> None:
        shutil.copytree(exported, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(write_graphs, "export_model", killed)
    shutil.rmtree(tmp_path / "exported")
    with pytest.raises(KeyboardInterrupt):
        load(nano, backend="onnx", heads=None)
    assert not list((tmp_path / "exported").iterdir())


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_lower_precisions(nano: Path, exported: Path, tmp_path: Path, precision: Any) -> None:
    ours = load(nano, device="cpu", heads=None)
    files = export_model(ours.model, tmp_path, precision=precision)
    assert files[0].stat().st_size < (exported / "encoder.onnx").stat().st_size
    theirs = load(tmp_path, backend="onnx", heads=None)
    prompt = {"boxes": [5, 6, 40, 35]}
    found, expected = theirs(photo(45, 60), **prompt), ours(photo(45, 60), **prompt)
    difference = (found.low_res - expected.low_res).abs().max()
    assert 0 < difference < 0.2 * expected.low_res.abs().max()


def test_float16_is_rounded_alike_for_both_runtimes(tmp_path: Path) -> None:
    """Only large weights are: OpenVINO's own rounding, of the positions of prompts too, moves outlines."""
    ours = load("nano-small", device="cpu", heads=None)

    def rounded(runtime: Any) -> torch.Tensor:
        export_model(ours.model, tmp_path / runtime, runtime=runtime, precision="float16")
        theirs = load(tmp_path / runtime, backend=runtime, heads=None)
        return theirs(photo(45, 60), boxes=[5, 6, 40, 35]).low_res

    assert torch.allclose(rounded("onnx"), rounded("openvino"), atol=CLOSE)


def test_large_weights_lie_in_one_file_beside_the_graph(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_graphs, "FILE_LIMIT", 1000)
    ours = load(nano, device="cpu", heads=None)
    export_model(ours.model, tmp_path)
    names = ["decoder.onnx", "decoder.onnx.data", "encoder.onnx", "encoder.onnx.data", "model.json"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    theirs = load(tmp_path, backend="onnx", heads=None)
    same(ours(photo(45, 60), points=[12, 9]), theirs(photo(45, 60), points=[12, 9]))
    (tmp_path / "encoder.onnx.data").rename(tmp_path / "elsewhere")
    (tmp_path / "encoder.onnx.data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="no plain file"):
        load(tmp_path, backend="onnx")
    (tmp_path / "encoder.onnx.data").unlink()
    (tmp_path / "encoder.onnx.data").hardlink_to(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="no plain file"):
        load(tmp_path, backend="onnx")


def test_files_outside_the_folder_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(bytes(16))
    (tmp_path / "in").mkdir()
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4])
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    node = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
    graph = onnx.helper.make_graph([node], "g", [value], [value])
    file = tmp_path / "in" / "encoder.onnx"
    file.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(WeightsError, match=r"\.\./secret"):
        sessions.open_graph(file, "onnx")
    file.write_bytes(b"no graph at all")
    with pytest.raises(WeightsError, match="not a readable ONNX file"):
        sessions.open_graph(file, "onnx")


def boundary_models() -> list[BoundaryModel]:
    torch.manual_seed(0)
    sizes = NanoBoundaryConfig(stem=8, fine=8, middle=16, coarse=32, depth=1, heads=2, width=16, detail=8)
    return [tiny_boundary(), NanoBoundary(sizes).eval()]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("model", boundary_models(), ids=lambda model: model.family)
def test_boundary_models_of_any_size(model: BoundaryModel, backend: Any, tmp_path: Path) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra openvino is not installed")
    export_boundary(model, tmp_path, resolution=None, keep_aspect=False, runtime=backend)
    made, told = open_exported_boundary(tmp_path, backend, torch.float32)
    assert told.resolution is None
    images = [photo(70, 100), photo(70, 100, seed=2), photo(130, 50)]
    ours, theirs = BoundaryDetector(model)(images), BoundaryDetector(made)(images)
    assert all(np.abs(one - other).max() < CLOSE for one, other in zip(ours, theirs, strict=True))
    assert BoundaryDetector(made).signature == BoundaryDetector(model).signature


def test_boundary_models_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_MODELS", str(tmp_path / "kept"))
    file = save_tiny_boundary(tmp_path / "b.safetensors", resolution=64, keep_aspect=True)
    ours, theirs = load_boundary(file, device="cpu"), load_boundary(file, backend="onnx")
    assert (theirs.resolution, theirs.keep_aspect) == (64, True)
    assert np.abs(ours(photo(70, 100)) - theirs(photo(70, 100))).max() < CLOSE
    folder = next(path.parent for path in (tmp_path / "kept").rglob("model.json"))
    with pytest.raises(InputError, match="takes no prompts"):
        load(folder, backend="onnx")
    with pytest.raises(InputError, match="holds an exported model"):
        load_boundary(folder)


def test_what_a_graph_cannot_do_is_refused(nano: Path, exported: Path, tmp_path: Path) -> None:
    segmenter = load(exported, backend="onnx", heads=None)
    with pytest.raises(InputError, match="no task prompts"):
        segmenter(photo(45, 60), points=[12, 9], task="part")
    with pytest.raises(InputError, match="has no weights, which"):
        segmenter.model.output_tokens()
    for wrong in (exported, exported / "encoder.onnx"):
        with pytest.raises(InputError, match="the model it was made of"):
            load(wrong)
    with pytest.raises(InputError, match="computes on the CPU"):
        load(nano, backend="onnx", device="cuda")
    with pytest.raises(InputError, match="computes in float32"):
        load(nano, backend="onnx", dtype="bfloat16")
    with pytest.raises(InputError, match="backend 'tensorrt' is unknown"):
        load(nano, backend="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="image_size cannot be chosen"):
        load(exported, backend="onnx", image_size=96)
    with pytest.raises(InputError, match="has no weights, which"):
        MaskRefiner.load("nano", segmenter)
    model = load(nano, device="cpu", heads=None).model
    add_task_prompts(model)
    with pytest.raises(InputError, match="task prompts"):
        export_model(model, tmp_path)


def test_a_damaged_description_is_refused(exported: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"image_size": "wide"}))
    with pytest.raises(WeightsError, match="image_size"):
        load(tmp_path, backend="onnx")
    file.write_text(json.dumps(content | {"runtime": "openvino"}))
    with pytest.raises(InputError, match="was exported for openvino"):
        load(tmp_path, backend="onnx")
    # Another model's graphs.
    file.write_text(json.dumps(content | {"image_size": 96}))
    with pytest.raises(WeightsError, match=r"this is not the encoder that model\.json"):
        load(tmp_path, backend="onnx")
    file.write_text(json.dumps(content))
    (tmp_path / "decoder.onnx").unlink()
    with pytest.raises(MaskwrightError, match=r"decoder\.onnx"):
        load(tmp_path, backend="onnx")
    shutil.copy(tmp_path / "encoder.onnx", tmp_path / "decoder.onnx")
    with pytest.raises(WeightsError, match="this is not the decoder"):
        load(tmp_path, backend="onnx")


def test_a_missing_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, backend in (("onnxruntime", "onnx"), ("openvino", "openvino")):
        monkeypatch.setitem(sys.modules, module, None)
        # Before a model of that name is looked for.
        with pytest.raises(InputError, match=rf"pip install 'maskwright\[{backend}\]'"):
            load("not-there", backend=backend)  # type: ignore[arg-type]


def test_openvino(nano: Path, exported: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    ours = load(nano, device="cpu", heads=None)
    export_model(ours.model, tmp_path / "own", runtime="openvino")
    assert (tmp_path / "own" / "encoder.bin").is_file()
    image, box = photo(45, 60), [5, 6, 30, 35]
    exact = ours(image, boxes=box)
    same(exact, load(tmp_path / "own", backend="openvino", heads=None)(image, boxes=box))
    rough = load(exported, backend="openvino", dtype="bfloat16", heads=None)(image, boxes=box)
    assert (rough.low_res - exact.low_res).abs().max() < 0.1 * exact.low_res.abs().max()
    with pytest.raises(InputError, match="int8 is written for ONNX Runtime"):
        export_model(ours.model, tmp_path / "own", runtime="openvino", precision="int8")


def test_heads_go_with_an_exported_folder(nano: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    save_tiny_heads(nano, tmp_path / f"model{ENDING}")
    assert load(tmp_path, backend="onnx")(photo(45, 60), points=[12, 9]).quality is not None


def test_rows_of_prompts_are_those_of_the_family() -> None:
    points, labels = torch.ones(1, 2, 1, 2), torch.ones(1, 2, 1, dtype=torch.long)
    boxes = torch.tensor([1.0, 2, 3, 4]).expand(1, 2, 4)
    expected = {
        "sam": ([1, -1], [2, 3], [1, 2, 3]),
        "sam2": ([1, -1], [-1, 2, 3], [1, -1, 2, 3]),
        "nano": ([1, -1, 4, 5], [-1, 2, 3], [1, -1, 2, 3]),
    }
    batches = (PromptBatch(points, labels), PromptBatch(boxes=boxes), PromptBatch(points, labels, boxes))
    for family, rows in expected.items():
        for batch, row in zip(batches, rows, strict=True):
            coords, found = prompt_rows(family, batch)
            assert found.tolist() == [row, row]
            assert coords.shape == (2, len(row), 2)
