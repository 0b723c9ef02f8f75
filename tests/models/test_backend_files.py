"""Exported models among other things: beside names, older exports and other weights, and where they fail."""

from __future__ import annotations

import gc
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import photo, save_tiny_boundary, save_tiny_heads, save_tiny_model

from maskwright.errors import InputError
from maskwright.methods.everything.settings import CutSettings
from maskwright.models.boundary_files import load_boundary
from maskwright.models.digests import weights_digest, whole_digest
from maskwright.models.hub import local_file
from maskwright.models.registry import load, save
from maskwright.models.sessions import open_graph
from maskwright.models.uncertainty import ENDING
from maskwright.models.write_graphs import export_model
from maskwright.report.everything import BoundaryFinder

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture
def nano(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a tiny nano; what is kept goes to a folder of the test's own."""
    monkeypatch.setenv("MASKWRIGHT_MODELS", str(tmp_path / "kept"))
    return save_tiny_model(tmp_path)


def test_a_name_means_the_model_although_an_export_is_called_so(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if local_file("nano") is None:
        pytest.skip("the packaged model is not there")
    monkeypatch.chdir(tmp_path)
    other = load(nano, device="cpu").model
    export_model(other, tmp_path / "nano")
    assert load("nano", device="cpu").digest != other.digest()
    assert load("nano", backend="onnx").digest != other.digest()
    assert load("./nano", backend="onnx", heads=None).digest == other.digest()


def test_an_export_takes_the_place_of_another_and_its_heads(nano: Path, tmp_path: Path) -> None:
    model, out = load(nano, device="cpu").model, tmp_path / "out"
    export_model(model, out)
    save_tiny_heads(nano, out / f"model{ENDING}")
    export_model(model, out)
    assert load(out, backend="onnx").heads is None


def test_graphs_are_kept_for_all_numbers_of_a_model(nano: Path, tmp_path: Path) -> None:
    model = load(nano, device="cpu").model
    before, sample = whole_digest(model), weights_digest(model)
    image = photo(45, 60)
    ours = load(nano, backend="onnx", heads=None)(image, points=[12, 9]).low_res
    with torch.no_grad():
        for parameter in model.parameters():
            flat = parameter.flatten().clone()
            flat[16:] *= 1.5  # behind what the short digest looks at
            parameter.copy_(flat.view_as(parameter))
    save(model, nano)
    assert weights_digest(model) == sample
    assert whole_digest(model) != before
    changed = load(nano, backend="onnx", heads=None)(image, points=[12, 9]).low_res
    assert not torch.allclose(ours, changed)
    assert len(list((tmp_path / "kept" / "exported").iterdir())) == 2


def test_a_graph_that_fails_says_so(nano: Path, tmp_path: Path) -> None:
    export_model(load(nano, device="cpu").model, tmp_path / "out")
    graph = open_graph(tmp_path / "out" / "encoder.onnx", "onnx")
    with pytest.raises(InputError, match="ONNX Runtime failed while it ran the model"):
        graph(torch.zeros(7))


def test_a_signal_is_handled_after_models_in_openvino_have_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    line = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "relu", line[:1], line[1:])
    path = tmp_path / "relu.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    first, second = open_graph(path, "openvino"), open_graph(path, "openvino")
    assert first(torch.tensor([-1.0, 2.0]))[0].equal(second(torch.tensor([-3.0, 2.0]))[0])
    del first  # in the order in which a stack for signals of each would be taken away from under the process
    gc.collect()
    del second
    gc.collect()
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == [signal.SIGUSR1]


def test_a_graph_without_memory_is_asked_for_less(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = load(nano, backend="onnx", heads=None)
    expected = segmenter(photo(45, 60), boxes=[[5, 6, 40, 35]] * 4).low_res
    decoder: Any = segmenter.model._decoder
    session = decoder._session
    rows = []

    class Small:
        def run(self, names: object, given: dict[str, Any]) -> Any:
            rows.append(len(given["point_coords"]))
            if rows[-1] > 1:
                raise TypeError("[ONNXRuntimeError] Failed to allocate memory for requested buffer")
            return session.run(names, given)

    monkeypatch.setattr(decoder, "_session", Small())
    assert torch.allclose(segmenter(photo(45, 60), boxes=[[5, 6, 40, 35]] * 4).low_res, expected, atol=1e-4)
    assert rows[:2] == [4, 2]


def test_an_exported_model_stays_on_the_cpu(nano: Path, tmp_path: Path) -> None:
    segmenter = load(nano, backend="onnx", heads=None)
    detector = load_boundary(save_tiny_boundary(tmp_path / "boundary"), backend="onnx")
    for exported in (segmenter, detector):
        assert exported.to("cpu") is exported
        with pytest.raises(InputError, match="the onnx backend computes on the CPU, not on 'cuda'"):
            exported.to("cuda")


def test_runs_record_what_computes(nano: Path, tmp_path: Path) -> None:
    assert load(nano, device="cpu").arithmetic == {}
    assert load(nano, backend="onnx").arithmetic == {"arithmetic": "onnx"}
    export_model(load(nano, device="cpu").model, tmp_path / "out", precision="int8")
    assert load(tmp_path / "out", backend="onnx", heads=None).arithmetic == {"arithmetic": "onnx int8"}
    file = save_tiny_boundary(tmp_path / "boundary")
    usual, other = (load_boundary(file, device="cpu", backend=backend) for backend in ("torch", "onnx"))
    other_run = BoundaryFinder(other, CutSettings()).described()
    assert BoundaryFinder(usual, CutSettings()).described() == {
        key: value for key, value in other_run.items() if key != "arithmetic"
    }
    other.dtype = usual.dtype = torch.bfloat16
    assert usual.arithmetic == {"arithmetic": "torch bfloat16"}
