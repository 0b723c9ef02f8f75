"""`maskwright export`: write labels in the formats of other tools, and models for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from maskwright.cli.commands import dispatch
from maskwright.cli.common import Common, Session, parse, run
from maskwright.cli.models import Source, describe, keep_heads, read_source
from maskwright.errors import FileError


@dataclass(frozen=True, kw_only=True)
class Labels(Common):
    """Convert labels from COCO JSON to another tool's format.

    What the other format cannot hold (holes, overlaps, scores) is said in a warning; COCO and GeoJSON keep
    everything.
    """

    source: Annotated[Positional[Path], tyro.conf.arg(metavar="SRC")]
    """A COCO JSON file, or a folder that `maskwright segment` wrote."""
    to: Literal["coco", "yolo", "geojson", "png", "labelmap", "labelstudio"]
    """coco: one JSON. yolo: a text file an image. geojson: a file an image. png: a mask each. labelmap: numbered masks, a PNG an image. labelstudio: one JSON to import."""  # noqa: E501
    out: Annotated[Path, tyro.conf.arg(metavar="PATH")]
    """A file for coco and labelstudio, a folder for the others."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Source):
    """Write a SAM, SAM-HQ, MobileSAM or Light HQ-SAM with the keys of the original project, for use there.

    Whatever the model was loaded from: its original file, a transformers folder, or our own checkpoint after
    training.
    """

    out: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE")]
    """The file to write: .pth, .pt or .safetensors."""
    drop_task_prompts: bool = False
    """Leave out task prompts, for which such a file has no place; the model then knows no tasks."""
    heads: Annotated[str, tyro.conf.arg(metavar="auto|none|FILE")] = "auto"
    """Uncertainty heads to write beside it: those beside the model, none, or a file's."""


def main(argv: list[str]) -> int:
    """Run `maskwright export …` and return its exit code."""
    commands = {
        "labels": (_main_labels, "Convert labels to the formats of other tools."),
        "checkpoint": (_main_checkpoint, "Write a model in the original project's layout."),
        "onnx": (_main_onnx, "Write a model as ONNX graphs, also for annotation tools."),
        "openvino": (_main_openvino, "Write a model as OpenVINO graphs."),
        "compare": (_main_compare, "Measure what an export costs in IoU."),
    }
    return dispatch("maskwright export", "Write labels and models for other tools.", commands, argv)


def _main_labels(argv: list[str]) -> int:
    return run(parse(Labels, argv, prog="maskwright export labels"), labels)


def _main_checkpoint(argv: list[str]) -> int:
    return run(parse(Checkpoint, argv, prog="maskwright export checkpoint"), checkpoint)


def _main_onnx(argv: list[str]) -> int:
    from maskwright.cli.export_models import Onnx, onnx

    return run(parse(Onnx, argv, prog="maskwright export onnx"), onnx)


def _main_openvino(argv: list[str]) -> int:
    from maskwright.cli.export_models import OpenVino, openvino

    return run(parse(OpenVino, argv, prog="maskwright export openvino"), openvino)


def _main_compare(argv: list[str]) -> int:
    from maskwright.cli.export_models import Compare, compare

    return run(parse(Compare, argv, prog="maskwright export compare"), compare)


def checkpoint(options: Checkpoint, session: Session) -> None:
    """Write a model's file."""
    from maskwright.models.convert import write_original

    read = read_source(options)
    dropped = options.drop_task_prompts
    file = write_original(read, options.out, options.model, drop_task_prompts=dropped)
    changed = dropped and read.task_prompts is not None
    heads = keep_heads(options, read, file, options.heads, changed=changed)
    for written in (file, heads):
        if written is not None:
            session.print(str(written))
    session.result.update(describe(read), file=file, heads=heads)


def labels(options: Labels, session: Session) -> None:
    """Read the labels and write them."""
    from maskwright.cli.library_warnings import told_warnings
    from maskwright.export.labels import read_labels, write_labels

    source = options.source / "coco.json" if options.source.is_dir() else options.source
    if source != options.source and not source.exists():
        raise FileError(
            f"{options.source} holds no coco.json: give a folder that `maskwright segment` wrote, or a COCO "
            "JSON file."
        )
    with told_warnings(session):
        read = read_labels(source)
        write_labels(read, options.out, options.to)
    masks = sum(len(label.masks) for label in read)
    session.result |= {"n": len(read), "masks": masks, "format": options.to, "out": options.out}
    session.print(f"{masks} masks of {len(read)} images: {options.out}")
