"""Running graphs by ONNX Runtime or OpenVINO on the CPU, as functions from tensors to tensors."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from maskwright.errors import InputError, WeightsError
from maskwright.io.files import require_file, shown

Backend = Literal["torch", "onnx", "openvino"]
DESCRIPTION = "model.json"
"""Of an exported model, beside its graphs (`models.exported`)."""
BACKENDS: tuple[Backend, ...] = get_args(Backend)
# OpenVINO's names of the arithmetic; unless told otherwise it takes what is fastest, not what is exact.
_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
_ERRORS_ONLY = 3  # of ONNX Runtime's own log
_MODULES = {"onnx": "onnxruntime", "openvino": "openvino"}
_OPENING = threading.Lock()


class Graph(Protocol):
    """A graph that is ready to be run, by any number of threads.

    Args:
        inputs: their names, and how long each axis must be; None: any length.
    """

    inputs: dict[str, tuple[int | None, ...]]

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """All outputs of CPU tensors, which come in the graph's order."""


def is_exported(path: str | Path) -> bool:
    """Whether this is a folder that `maskwright export` wrote."""
    return (Path(path).expanduser() / DESCRIPTION).is_file()


def needs(module: str, extra: str) -> Any:  # noqa: ANN401
    """Import an optional library.

    Raises:
        InputError: it is not installed; with the extra that brings it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"this needs the package {module}, which is not installed: pip install 'maskwright[{extra}]'."
        ) from error


def check_backend(backend: Backend, device: str, dtype: torch.dtype) -> None:
    """Refuse what a runtime cannot do here, before anything is read.

    Raises:
        InputError: an unknown runtime, one that is not installed, a device other than the CPU, or an
            arithmetic that it does not have.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} is unknown: use {', '.join(BACKENDS)}.")
    check_device(backend, device)
    if backend == "onnx" and dtype != torch.float32:
        raise InputError(
            f"the onnx backend computes in float32, not in {dtype}: leave dtype out. For a smaller model, "
            "write one with `maskwright export onnx --precision float16` or `int8`."
        )
    needs_runtime(backend)


def check_device(backend: str, device: str | torch.device) -> None:
    """Refuse a device on which a runtime does not compute.

    Raises:
        InputError: any but the CPU for any but torch.
    """
    if backend != "torch" and str(device) not in ("auto", "cpu"):
        raise InputError(
            f"the {backend} backend computes on the CPU, not on '{device}': use backend 'torch'."
        )


def needs_runtime(backend: Backend) -> None:
    """Import what writes and runs graphs for a runtime.

    Raises:
        InputError: it is not installed; with the extra that brings it.
    """
    for module in ("onnx", _MODULES[backend]):
        needs(module, backend)


def open_graph(path: Path, backend: Backend, dtype: torch.dtype = torch.float32) -> Graph:
    """Open an .onnx file, or, with OpenVINO, an .xml file as well.

    Raises:
        InputError: the runtime is not installed.
        WeightsError: the file is missing or damaged, or asks for files that are not beside it.
    """
    if path.suffix == ".onnx":
        _check_external(path, backend)
    opened = OnnxGraph if backend == "onnx" else OpenVinoGraph
    try:
        return opened(path, dtype)
    except InputError:
        raise
    except Exception as error:  # each runtime has its own errors for a bad file
        line = " ".join(str(error).split())[:200]
        raise WeightsError(f"{shown(path)}: {backend} cannot open this graph ({line}).") from error


class OnnxGraph:
    """A graph in ONNX Runtime."""

    def __init__(self, path: Path, dtype: torch.dtype = torch.float32) -> None:
        assert dtype == torch.float32
        runtime = needs("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = _ERRORS_ONLY
        self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = {
            entry.name: tuple(size if isinstance(size, int) else None for size in entry.shape)
            for entry in self._session.get_inputs()
        }

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Run the graph."""
        arrays = (value.contiguous().numpy() for value in inputs)
        given = dict(zip(self.inputs, arrays, strict=True))
        with _naming_failures("ONNX Runtime"):
            made = self._session.run(None, given)
        return [torch.from_numpy(value) for value in made]


class OpenVinoGraph:
    """A graph in OpenVINO, with a request for each thread that runs it."""

    def __init__(self, path: Path, dtype: torch.dtype = torch.float32) -> None:
        core = openvino_core()
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[dtype],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._compiled = core.compile_model(core.read_model(path), "CPU", settings)
        self.inputs = {
            entry.get_node().get_friendly_name(): tuple(
                size.get_length() if size.is_static else None for size in entry.get_partial_shape()
            )
            for entry in self._compiled.inputs
        }
        self._local = threading.local()

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Run the graph."""
        given = [value.contiguous().numpy() for value in inputs]
        with _naming_failures("OpenVINO"):
            request = getattr(self._local, "request", None)
            if request is None:
                request = self._local.request = self._compiled.create_infer_request()
            made = request.infer(given)
        # Copies, because the request's memory is written again by the next call.
        return [torch.from_numpy(np.array(value)) for value in made.values()]


def openvino_core() -> Any:  # noqa: ANN401
    """OpenVINO itself, one for as long as the process lives, whichever threads ask.

    Each gives its thread a stack for signals and takes it away when it goes. Of two, the first to go leaves
    the thread with a stack that is no more, and the next signal, a Ctrl-C say, ends the process.
    """
    with _OPENING:
        return _core()


@cache
def _core() -> Any:  # noqa: ANN401
    return needs("openvino", "openvino").Core()


@contextmanager
def _naming_failures(runtime: str) -> Iterator[None]:
    """Make a runtime's own errors those that callers know.

    Raises:
        MemoryError: it could not get the memory, so that less may be asked for at once.
        InputError: anything else.
    """
    try:
        yield
    except Exception as error:  # each runtime has its own
        line = " ".join(str(error).split())[:200]
        if isinstance(error, MemoryError) or "alloc" in line:
            raise MemoryError(f"{runtime}: {line}") from error
        raise InputError(f"{runtime} failed while it ran the model ({line}).") from error


def _check_external(path: Path, backend: Backend) -> None:
    """Refuse a graph with weights in files other than plain ones beside it (CVE-2022-25882 and later)."""
    onnx = needs("onnx", backend)
    require_file(path)
    try:
        stored = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own errors
        raise WeightsError(f"{shown(path)}: not a readable ONNX file.") from error
    for name in sorted(set(external_names(stored))):
        beside = path.with_name(Path(name).name)
        if name != beside.name or beside.is_symlink() or not beside.is_file() or beside.stat().st_nlink > 1:
            raise WeightsError(
                f"{shown(path)}: refused, its weights are said to be in {name!r}, which is no plain file "
                "beside it."
            )


def external_names(stored: Any) -> list[str]:  # noqa: ANN401
    """The files outside its own in which an ONNX model's tensors are, wherever in the model they are."""
    attributes = (part for function in stored.functions for node in function.node for part in node.attribute)
    tensors = [*tensors_of(stored.graph), *_held(attributes)]
    return [entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"]


def tensors_of(graph: Any) -> Iterator[Any]:  # noqa: ANN401
    """Weights and constants of a graph and of those inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _held(part for node in graph.node for part in node.attribute)


def _held(attributes: Iterable[Any]) -> Iterator[Any]:
    """The tensors in attributes of operations."""
    for part in attributes:
        yield from (part.t, *part.tensors)
        if part.HasField("g"):
            yield from tensors_of(part.g)
        for graph in part.graphs:
            yield from tensors_of(graph)
