"""`maskwright export`: write labels in the formats of other tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from maskwright.cli.commands import dispatch
from maskwright.cli.common import Common, Session, parse, run
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


def main(argv: list[str]) -> int:
    """Run `maskwright export …` and return its exit code."""
    commands = {"labels": (_main_labels, "Convert labels to the formats of other tools.")}
    return dispatch("maskwright export", "Write labels in the formats of other tools.", commands, argv)


def _main_labels(argv: list[str]) -> int:
    return run(parse(Labels, argv, prog="maskwright export labels"), labels)


def labels(options: Labels, session: Session) -> None:
    """Read the labels and write them."""
    from maskwright.cli.lossy import told_losses
    from maskwright.export.labels import read_labels, write_labels

    source = options.source / "coco.json" if options.source.is_dir() else options.source
    if source != options.source and not source.exists():
        raise FileError(
            f"{options.source} holds no coco.json: give a folder that `maskwright segment` wrote, or a COCO "
            "JSON file."
        )
    with told_losses(session):
        read = read_labels(source)
        write_labels(read, options.out, options.to)
    masks = sum(len(label.masks) for label in read)
    session.result |= {"n": len(read), "masks": masks, "format": options.to, "out": options.out}
    session.print(f"{masks} masks of {len(read)} images: {options.out}")
