"""`maskwright everything`: cut images into all there is, without a prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import BaseModel
from tyro.conf import Positional

from maskwright.cli.common import Computing, Session, parse, run
from maskwright.errors import ConfigError
from maskwright.io.files import shown
from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.methods.everything.settings import CutSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from maskwright.report.everything import Finder
    from maskwright.report.image_run import Record

PROG = "maskwright everything"
MODELS = {"boundary": "nano-boundary", "grid": "nano"}
ROWS = 100


@dataclass(frozen=True, kw_only=True)
class Everything(Computing):
    """Cut images into everything there is: give files, folders or patterns.

    The method boundary asks a boundary model once, and cuts the image along its map: segments cover the
    image and do not overlap. The method grid asks a model for prompts with a grid of clicks: masks overlap,
    parts beside wholes, and some of the image may be in none.

    The folder gets overlays, boundary maps, label maps, all segments as COCO JSON, and for each image the
    tree of its segments, with a picture: any granularity without asking the model again. The same command
    again carries on where it stopped.
    """

    images: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE…")]
    """Files, folders or patterns such as 'photos/*.jpg'."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the results."""
    method: Literal["boundary", "grid"] = "boundary"
    """By the boundary map of a boundary model, or by a grid of clicks."""
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """A name (`maskwright models list`), file or hub id; by default nano-boundary, or nano for the grid."""
    resolution: Annotated[int | Literal["native"] | None, tyro.conf.arg(metavar="INT|native")] = None
    """Boundary: side of the model's input in pixels, or native: images as they are. Default: the model's."""
    tile: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Boundary: run larger inputs in overlapping tiles of this side; by default 1024, beyond 2048 x 2048."""
    half: bool = False
    """Boundary: compute in bfloat16, nearly the same; in float32 where a processor would only emulate it."""
    base: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """Grid: for decoder-only checkpoints, the SAM they were trained on."""
    heads: Annotated[str, tyro.conf.arg(metavar="auto|none|FILE")] = "auto"
    """Grid: uncertainty heads; those beside the model, none, or a file's."""
    offline: bool = False
    """Never use the network."""
    format: tyro.conf.UseAppendAction[
        tuple[Literal["coco", "yolo", "geojson", "png", "labelmap", "labelstudio"], ...]
    ] = ()
    """Label formats to write; coco if none is given. May be given several times."""
    pictures: Literal["yes", "no"] = "yes"
    """Draw overlays and trees; they take longer than the segments themselves."""
    overwrite: bool = False
    """Delete what an earlier run made in the folder, and start anew."""
    cut: Annotated[CutSettings, tyro.conf.arg(name="")] = field(default_factory=CutSettings)
    grid: Annotated[AutomaticSettings, tyro.conf.arg(name="")] = field(default_factory=AutomaticSettings)


def main(argv: list[str]) -> int:
    """Run `maskwright everything` and return its exit code."""
    return run(parse(Everything, argv, prog=PROG), everything)


def everything(options: Everything, session: Session) -> None:
    """Cut what is not finished yet, then write the labels of all that is."""
    from maskwright.cli.library_warnings import told_warnings
    from maskwright.cli.segment_run import work_off
    from maskwright.io.files import make_folder
    from maskwright.io.inputs import collect_images
    from maskwright.report.everything import EverythingRun
    from maskwright.runtime import seed_everything

    _check(options)
    images = collect_images(options.images)
    make_folder(options.out)
    seed_everything(options.seed)
    with told_warnings(session):
        finder = _finder(options)
    work = EverythingRun(options.out, finder, overwrite=options.overwrite, pictures=options.pictures == "yes")
    pending = work.pending(images)
    work_off(work, pending, "cutting", session)
    with told_warnings(session):
        places = work.write_labels(options.format or ("coco",))
    done = work.records(images)
    session.result |= {
        **finder.described(),
        "n": len(done),
        "skipped": len(images) - len(pending),
        "out": options.out,
        "labels": places,
        "images": [_shown(record) for record in done],
    }
    if done:
        session.print(_table(done))
    before = f" ({len(images) - len(pending)} finished before)" if len(pending) < len(images) else ""
    session.print(f"{len(done)} of {len(images)} images{before}: {options.out}")


def _check(options: Everything) -> None:
    """Refuse settings of the other method, which would change nothing."""
    boundary = _given(options.cut) + [
        f"--{name}" for name in ("resolution", "tile", "half") if getattr(options, name) not in (None, False)
    ]
    grid = _given(options.grid) + [f"--{name}" for name in ("base",) if getattr(options, name)]
    grid += ["--heads"] if options.heads != "auto" else []
    wrong = grid if options.method == "boundary" else boundary
    if wrong:
        other = "grid" if options.method == "boundary" else "boundary"
        raise ConfigError(f"{', '.join(wrong)}: only with --method {other}.")
    for name, side in (("resolution", options.resolution), ("tile", options.tile)):
        if isinstance(side, int) and side < 1:
            raise ConfigError(f"--{name} must be at least 1.")
    if options.cut.threshold is not None and "--level" in boundary:
        raise ConfigError(
            "give either --level or --threshold: one cuts the tree, the other makes no use of it."
        )


def _given(settings: BaseModel) -> list[str]:
    """Flags whose values are not the defaults."""
    fields = type(settings).model_fields
    return [
        f"--{name.replace('_', '-')}" for name in fields if getattr(settings, name) != fields[name].default
    ]


def _finder(options: Everything) -> Finder:
    from maskwright.report.everything import BoundaryFinder, GridFinder

    name = options.model or MODELS[options.method]
    if options.method == "grid":
        from maskwright.models.registry import load

        segmenter = load(
            name,
            base=options.base,
            device=options.device,
            heads=options.heads,
            backend=options.backend,
            offline=options.offline,
        )
        return GridFinder(segmenter, options.grid)
    from maskwright.models.boundary_files import load_boundary

    kind = "bfloat16" if options.half else None
    detector = load_boundary(
        name, device=options.device, dtype=kind, backend=options.backend, offline=options.offline
    )
    return BoundaryFinder(detector, options.cut, options.resolution, options.tile)


def _shown(record: Record) -> dict[str, Any]:
    """A record with its masks as COCO's run lengths, and with what is known of each."""
    size = [record["height"], record["width"]]
    rows = record["extra"] | ({} if record["scores"] is None else {"score": record["scores"]})
    masks = [
        {"segmentation": {"size": size, "counts": counts}, **{name: row[k] for name, row in rows.items()}}
        for k, counts in enumerate(record["masks"])
    ]
    left_out = ("masks", "scores", "categories", "extra")
    return {name: value for name, value in record.items() if name not in left_out} | {"segments": masks}


def _table(records: Sequence[Record]) -> Table:
    from rich.table import Table

    stages = list(dict.fromkeys(stage for record in records for stage in record["seconds"]))
    table = Table("image", "segments", *(f"{stage}, ms" for stage in stages))
    for record in records[:ROWS]:
        times = (f"{1000 * record['seconds'].get(stage, 0):.1f}" for stage in stages)
        table.add_row(shown(record["path"]), str(len(record["masks"])), *times)
    if len(records) > ROWS:
        table.caption = f"and {len(records) - ROWS} more images"
    return table
