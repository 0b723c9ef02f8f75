"""`maskwright models memory`: where a model's memory goes, by module and layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from maskwright.cli.common import Session
from maskwright.cli.models import Source
from maskwright.errors import InputError

if TYPE_CHECKING:
    from maskwright.models.base import MaskModel

MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Memory(Source):
    """Run a model once on a blank image with a box and say what memory each module and layer takes.

    Columns in MB (2^20 bytes): weights; tensors made in the forward pass; those still held at its end, which
    in training the backward pass needs; the most alive at once while the module runs. The rows of the finest
    level and the last one add up to the first.
    """

    depth: Annotated[int, tyro.conf.arg(metavar="INT")] = 2
    """Levels of modules to print; --json has them all."""
    images: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Images in the batch."""
    prompts: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Boxes asked for in each image."""
    training: bool = False
    """Run the backward pass, too, and count gradients and Adam's state of all weights."""
    from_scratch: bool = False
    """Take only the architecture, with random weights, and any --image-size that is a multiple of 32."""


def memory(options: Memory, session: Session) -> None:
    """Measure and print."""
    from rich.table import Table

    from maskwright.models.memory import measure, shown_rows

    for name in ("depth", "images", "prompts"):
        if getattr(options, name) < (0 if name == "depth" else 1):
            raise InputError(f"--{name} {getattr(options, name)} is too small.")
    model = _model(options)
    report = measure(model, images=options.images, prompts=options.prompts, training=options.training)
    columns = ["weights", "made", "held", "peak"] + ["gradients", "optimizer"] * options.training
    table = Table("module", "class", box=None)
    for title in ("parameters", *(f"{name} MB" for name in columns)):
        table.add_column(title, justify="right")
    for row in shown_rows(report, options.depth):
        label = "  " * row.depth + (row.name.rpartition(".")[2] or "whole model")
        sizes = (f"{getattr(row, name) / MEGABYTE:.2f}" for name in columns)
        table.add_row(label, row.kind, f"{row.parameters:,}", *sizes)
    session.print(table)
    side = model.image_size
    what = f"{options.images} x {side} x {side} pixels, boxes in each: {options.prompts}"
    extra = " and Adam's state" if options.training else ""
    session.print(
        f"{what}: {report.peak / MEGABYTE:.1f} MB of tensors at the worst moment, "
        f"{report.total / MEGABYTE:.1f} MB with weights{extra}."
    )
    session.result |= {
        "family": model.family,
        "image_size": side,
        "images": options.images,
        "prompts": options.prompts,
        "training": options.training,
        "peak": report.peak,
        "total": report.total,
        "modules": [asdict(row) for row in report.modules],
    }


def _model(options: Memory) -> MaskModel:
    from maskwright.models.fresh import fresh_model
    from maskwright.models.registry import load
    from maskwright.runtime import choose_device

    name, base, heads, side = options.model, options.base, options.num_heads, options.image_size
    if options.from_scratch:
        where = choose_device(options.device).value
        return fresh_model(name, base=base, num_heads=heads, image_size=side).to(where)
    segmenter = load(
        name,
        base=base,
        num_heads=heads,
        image_size=side,
        device=options.device,
        heads=None,
        offline=options.offline,
    )
    return segmenter.model
