"""`maskwright export onnx`, `openvino` and `compare`: models for other runtimes, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from maskwright.cli.common import Common, Session
from maskwright.cli.models import Source, keep_heads, read_source
from maskwright.errors import ConfigError

if TYPE_CHECKING:
    from maskwright.models.exported import Precision, Runtime


@dataclass(frozen=True, kw_only=True)
class Onnx(Source):
    """Write a model as ONNX graphs: encoder and decoder of a model for prompts, or a boundary model's one.

    Batch and number of prompts are free in the graphs, and of boundary models the sides. The folder serves as
    --model with --backend onnx or openvino, with the same masks; uncertainty heads go with it.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the graphs and their description."""
    precision: Literal["float32", "float16", "int8"] = "float32"
    """float16: half the size. int8: matrix products of the encoder in 8 bits, a quarter of their size.
    `maskwright export compare` measures what that costs."""
    layout: Literal["maskwright", "annotator"] = "maskwright"
    """annotator: of a SAM, SAM-HQ, MobileSAM or Light HQ-SAM, as annotation tools call them, with the
    settings file of X-AnyLabeling."""


@dataclass(frozen=True, kw_only=True)
class OpenVino(Source):
    """Write a model as OpenVINO graphs, as `maskwright export onnx` does for ONNX Runtime."""

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the graphs and their description."""
    precision: Literal["float32", "float16"] = "float32"
    """float16: half the size."""


@dataclass(frozen=True, kw_only=True)
class Compare(Common):
    """Measure what an export costs: the IoU of its masks on labelled photos beside the model's own."""

    exported: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DIR…")]
    """Folders that `maskwright export onnx` or `openvino` wrote."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")]
    """The model that they were made of."""
    data: Annotated[str, tyro.conf.arg(metavar="KIND:FOLDER")]
    """Labelled photos, as for `maskwright evaluate prompted`."""
    backend: Literal["onnx", "openvino"] = "onnx"
    """What runs the exported models."""
    prompt: Literal["box", "point"] = "box"
    """What each object is asked for with."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many photos, spread evenly over the data."""
    offline: bool = False
    """Never use the network."""


def onnx(options: Onnx, session: Session) -> None:
    """Write ONNX graphs."""
    if options.layout == "annotator":
        _annotator(options, session)
    else:
        _graphs(options, session, "onnx", options.out, options.precision)


def openvino(options: OpenVino, session: Session) -> None:
    """Write OpenVINO graphs."""
    _graphs(options, session, "openvino", options.out, options.precision)


def _graphs(options: Source, session: Session, runtime: Runtime, out: Path, precision: Precision) -> None:
    from maskwright.models import boundary
    from maskwright.models.boundary_files import build_boundary, trained_at
    from maskwright.models.registry import build
    from maskwright.models.write_graphs import export_boundary, export_model

    read = read_source(options)
    if read.family in boundary.FAMILIES:
        resolution, keep = trained_at(options.model, read)
        files = export_boundary(
            build_boundary(read, options.model),
            out,
            resolution=resolution,
            keep_aspect=keep,
            runtime=runtime,
            precision=precision,
        )
    else:
        files = export_model(build(read, options.model), out, runtime=runtime, precision=precision)
        heads = keep_heads(options, read, out / "model.safetensors", "auto", changed=False)
        files += [] if heads is None else [heads]
    _told(files, session)


def _annotator(options: Onnx, session: Session) -> None:
    from maskwright.export.annotators import export_annotator
    from maskwright.models.registry import build, title

    model = build(read_source(options), options.model)
    _told(export_annotator(model, options.out, title(options.model), precision=options.precision), session)


def _told(files: list[Path], session: Session) -> None:
    sizes = {str(file): file.stat().st_size for file in files}
    for file, size in sizes.items():
        session.print(f"{file}: {size / 1e6:.1f} MB")
    session.result |= {"files": sizes}


def compare(options: Compare, session: Session) -> None:
    """Measure exported models and print a table."""
    from rich.table import Table

    from maskwright.data.registry import open_dataset
    from maskwright.export.compare import compare as measure
    from maskwright.methods.scores import Selection
    from maskwright.models.registry import load
    from maskwright.runtime import seed_everything

    if not options.exported:
        raise ConfigError("give one or several folders that `maskwright export` wrote.")
    dataset = open_dataset(options.data)
    seed_everything(options.seed)
    model = load(options.model, device=options.device, heads=None, offline=options.offline)
    exported = [
        load(folder, backend=options.backend, heads=None, offline=options.offline)
        for folder in options.exported
    ]
    before, losses = measure(
        model,
        exported,
        dataset,
        prompt=options.prompt,
        selection=Selection(seed=options.seed, limit=options.limit),
        data_name=options.data,
        track=lambda indices: session.track(indices, "images"),
        on_failure=session.fail,
    )
    table = Table("model", "IoU", "boundary IoU", "IoU lost", "boundary IoU lost", "worst object", box=None)
    table.add_row(model.name, f"{before.miou:.4f}", f"{before.boundary_iou:.4f}", "–", "–", "–")
    for one in losses:
        figures = (one.result.miou, one.result.boundary_iou, one.iou, one.boundary_iou, one.worst)
        table.add_row(one.name, *(f"{figure:.4f}" for figure in figures))
    session.print(table)
    session.print(f"{len(before.scores)} objects of {before.images} images: {options.data}")
    own = {"name": model.name, "iou": before.miou, "boundary_iou": before.boundary_iou}
    session.result |= {
        "data": options.data,
        "prompt": options.prompt,
        "objects": len(before.scores),
        "images": before.images,
        "model": own,
        "exported": [one.to_json() for one in losses],
    }
