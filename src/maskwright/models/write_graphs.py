"""Writing a model's networks as ONNX or OpenVINO graphs, with `model.json` that describes them.

PyTorch's exporter by tracing is used, which needs no further package; the one by `torch.export` needs
onnxscript. Batch and prompts, and of boundary models the sides, are free in the graphs. Weights are inside
the .onnx file; only where they would exceed what such a file can hold, they are in one file beside it, named
after it.

Lower precisions: float16 stores large weights so, and computes in float32. int8 multiplies matrices of the
encoder in 8 bits (ONNX Runtime's dynamic quantisation); convolutions and the decoder, which are small, stay
as they are.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskwright.debug import debug
from maskwright.errors import InputError
from maskwright.io.files import atomic_path, make_folder, write_json
from maskwright.models.base import MaskModel
from maskwright.models.boundary import BoundaryModel
from maskwright.models.exported import (
    BOUNDARY,
    DECODER,
    ENCODER,
    ENDINGS,
    BoundaryDescription,
    Described,
    Precision,
    PromptedDescription,
    Runtime,
)
from maskwright.models.graphs import PIXELS, PROMPTS, DecoderGraph, EncoderGraph, map_names
from maskwright.models.nano import Nano
from maskwright.models.sam2 import SAM2
from maskwright.models.sessions import (
    DESCRIPTION,
    is_exported,
    needs,
    needs_runtime,
    openvino_core,
    tensors_of,
)
from maskwright.models.uncertainty import ENDING as HEADS_ENDING

OPSET = 17  # the first with layer norms as one operation
# Protocol buffers end at 2 GiB.
FILE_LIMIT = 2**31 - 2**24
# Below this, a tensor's size is not worth the rounding.
WORTH_ROUNDING = 1024


@dataclass(frozen=True)
class Traced:
    """A network with what it needs to be traced.

    Args:
        module: the network.
        inputs: an example of each.
        input_names, output_names: of the graph.
        free: which axes of which of them are free, by names.
        matrices: whether int8 applies to it.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    input_names: Sequence[str]
    output_names: Sequence[str]
    free: dict[str, dict[int, str]]
    matrices: bool = False


def export_model(
    model: MaskModel, folder: Path, *, runtime: Runtime = "onnx", precision: Precision = "float32"
) -> list[Path]:
    """Write the graphs of a model for prompts.

    Args:
        model: in float32 on the CPU.
        folder: gets encoder, decoder and `model.json`, which is written last.
        runtime: for which they are.
        precision: of the weights; see the top of this file.

    Returns:
        The files.

    Raises:
        InputError: a package is missing, the model has task prompts, or the runtime has no such precision.
        FileError: a file cannot be written.
    """
    check_export(runtime, precision)
    if model.task_prompts is not None:
        raise InputError(
            "a model with task prompts cannot be exported: its graphs would know no tasks. Write it without "
            "them first (`maskwright models convert --drop-task-prompts`)."
        )
    model = model.eval()
    traced = traced_model(model)
    told = PromptedDescription(
        runtime=runtime,
        precision=precision,
        family=model.family,
        digest=model.digest(),
        image_size=model.image_size,
        low_res=model.low_res,
        resize=model.resize,
        pixel_mean=model.pixel_mean,
        pixel_std=model.pixel_std,
        has_hq=model.has_hq,
        first_mask_token=model.first_mask_token,
        maps=len(traced[ENCODER].output_names),
        refinements=model.config.refinements if isinstance(model, Nano) else 0,
        stability=model.stability if isinstance(model, SAM2) else None,
    )
    return _write_all(traced, told, folder)


def export_boundary(
    model: BoundaryModel,
    folder: Path,
    *,
    resolution: int | None,
    keep_aspect: bool,
    runtime: Runtime = "onnx",
    precision: Precision = "float32",
) -> list[Path]:
    """Write the graph of a boundary model; arguments and errors as of `export_model`.

    Args:
        model: in float32 on the CPU.
        folder: gets the graph and `model.json`.
        resolution: for which the model was trained, or None.
        keep_aspect: whether it saw photos in their proportions.
        runtime: for which the graph is.
        precision: of the weights.
    """
    check_export(runtime, precision)
    model = model.eval()
    side = max(model.smallest, 2 * model.multiple)
    traced = Traced(
        model,
        (torch.zeros(1, 3, side, side + model.multiple),),
        (PIXELS,),
        ("logits",),
        {PIXELS: {0: "images", 2: "height", 3: "width"}, "logits": {0: "images", 2: "rows", 3: "columns"}},
        matrices=True,
    )
    told = BoundaryDescription(
        runtime=runtime,
        precision=precision,
        family=model.family,
        digest=model.digest(),
        multiple=model.multiple,
        smallest=model.smallest,
        cell=model.cell,
        reach=model.reach,
        largest=model.largest,
        resolution=resolution,
        keep_aspect=keep_aspect,
    )
    return _write_all({BOUNDARY: traced}, told, folder)


@torch.no_grad()
def traced_model(model: MaskModel) -> dict[str, Traced]:
    """Encoder and decoder of a model for prompts."""
    encoder, decoder = EncoderGraph(model), DecoderGraph(model)
    side, low_res = model.image_size, model.low_res
    pixels = torch.zeros(1, 3, side, side)
    maps = encoder(pixels)
    names = map_names(len(maps))
    images = {name: {0: "images"} for name in (PIXELS, *names)}
    prompts = (torch.zeros(2, 3, 2), torch.zeros(2, 3), torch.zeros(1, 1, low_res, low_res), torch.zeros(1))
    outputs = ["low_res_masks", "iou_predictions", "tokens"] + ["hq_masks"] * model.has_hq
    each = {name: {0: "prompts"} for name in outputs}
    return {
        ENCODER: Traced(encoder, (pixels,), (PIXELS,), names, images, matrices=True),
        DECODER: Traced(
            decoder, (*maps, *prompts), (*names, *PROMPTS), outputs, images | prompt_axes() | each
        ),
    }


def prompt_axes() -> dict[str, dict[int, str]]:
    """The free axes of a decoder's prompts."""
    rows = {0: "prompts", 1: "points"}
    return {
        "point_coords": rows,
        "point_labels": rows,
        "mask_input": {0: "masks"},
        "has_mask_input": {0: "masks"},
    }


def _write_all(traced: dict[str, Traced], told: Described, folder: Path) -> list[Path]:
    make_folder(folder)
    if is_exported(folder):
        # Until all is written there is no description, so that a half-written model is none.
        (folder / DESCRIPTION).unlink()
        for name in (ENCODER, DECODER, BOUNDARY):
            for ending in (".onnx", ".onnx.data", ".xml", ".bin"):
                (folder / f"{name}{ending}").unlink(missing_ok=True)
        (folder / f"model{HEADS_ENDING}").unlink(missing_ok=True)
    files = []
    for name, one in traced.items():
        files += write_graph(one, folder / f"{name}{ENDINGS[told.runtime]}", told.runtime, told.precision)
    write_json(folder / DESCRIPTION, told.model_dump(mode="json"))
    return [*files, folder / DESCRIPTION]


def check_export(runtime: Runtime, precision: Precision) -> None:
    """Refuse what cannot be written, before a model is run for it.

    Raises:
        InputError: a package is missing, or the runtime has no such precision.
    """
    if runtime == "openvino" and precision == "int8":
        raise InputError(
            "int8 is written for ONNX Runtime: `maskwright export onnx`. OpenVINO takes float16 and computes "
            "in bfloat16 if asked to."
        )
    needs_runtime(runtime)


def write_graph(traced: Traced, path: Path, runtime: Runtime, precision: Precision) -> list[Path]:
    """Write one graph and return its files, the one at `path` last."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".maskwright-") as kept:
        folder = Path(kept)
        plain = folder / "plain.onnx"
        _trace(traced, plain)
        final = folder / path.name
        if runtime == "openvino":
            openvino = needs("openvino", "openvino")
            if precision == "float16":  # OpenVINO itself would round the positions of prompts, too
                _as_one_file(plain, plain, half=True)
            openvino.save_model(openvino_core().read_model(plain), final, compress_to_fp16=False)
        elif precision == "int8" and traced.matrices:
            _in_8_bits(plain, final)
        else:
            _as_one_file(plain, final, half=precision == "float16")
        written = []
        for file in sorted(folder.glob(f"{path.stem}.*"), key=lambda file: file.name == path.name):
            with atomic_path(path.with_name(file.name)) as part:
                file.replace(part)
                part.chmod(0o644)
            written.append(path.with_name(file.name))
    debug(
        lambda: f"wrote {path.name}: inputs {list(traced.input_names)}, outputs {list(traced.output_names)}"
    )
    return written


@torch.no_grad()
def _trace(traced: Traced, path: Path) -> None:
    with warnings.catch_warnings():
        # That what was traced might be constant, which the tests refute, and that this exporter is the older.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            # The exporter brings back the mode that it finds, and would set the model inside to training.
            traced.module.eval(),
            traced.inputs,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(traced.input_names),
            output_names=list(traced.output_names),
            dynamic_axes=traced.free,
        )


def _as_one_file(plain: Path, final: Path, *, half: bool) -> None:
    """Bring a graph, which the exporter may have spread over many files, into one, or two if need be."""
    onnx = needs("onnx", "onnx")
    stored = onnx.load(str(plain))
    if half:
        _halve(stored, onnx)
    # Not ByteSize(), which fails for what is too large for one file.
    large = sum(len(tensor.raw_data) for tensor in tensors_of(stored.graph)) > FILE_LIMIT
    onnx.save(
        stored,
        str(final),
        save_as_external_data=large,
        all_tensors_to_one_file=True,
        location=f"{final.name}.data",
    )


def _halve(stored: Any, onnx: Any) -> None:  # noqa: ANN401
    """Store a graph's large float32 tensors as float16, each brought back by a cast, which runtimes fold."""
    casts = []
    for tensor in stored.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < WORTH_ROUNDING:
            continue
        name = tensor.name
        limit = np.finfo(np.float16).max
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(values.clip(-limit, limit).astype(np.float16), f"{name}.half")
        )
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *stored.graph.node]
    del stored.graph.node[:]
    stored.graph.node.extend(nodes)


def _in_8_bits(plain: Path, final: Path) -> None:
    """Quantise the weights of matrix products; what they are multiplied with is quantised as it comes.

    Weights take 7 of the 8 bits: ONNX Runtime adds up pairs of products in 16 bits where the processor has no
    8-bit dot products, and larger weights overflow there.
    """
    needs("onnx", "onnx")
    quantization = needs("onnxruntime.quantization", "onnx")
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # it advises to prepare the graph first, which changes nothing here
    try:
        quantization.quantize_dynamic(
            plain,
            final,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
        )
    finally:
        log.setLevel(level)
