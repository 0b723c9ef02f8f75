"""`maskwright label boundaries`: a boundary model's lines on photos, beside those that people drew."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from maskwright.cli.common import Common, Session, parse, run
from maskwright.cli.label import Engine, carry_out, check_run, summary
from maskwright.errors import ConfigError

PROG = "maskwright label boundaries"


@dataclass(frozen=True, kw_only=True)
class Lines:
    """How boundaries are labelled."""

    resolution: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Side of the model's input; by default the model's own. Published: 1800."""
    threshold: Annotated[float, tyro.conf.arg(metavar="NUMBER")] = 0.5
    """A pixel is of a line where its probability is above this."""
    thickness: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 3
    """Width of people's lines, in pixels of the stored labels. Published: 9."""
    size: Literal["native", "square"] = "native"
    """Labels of the photo's own size, or as published squares of --resolution pixels."""
    style: Literal["exact", "official", "original"] = "exact"
    """People's lines of the very width; or drawn as published, or first published, and around the photo."""
    tile: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Cut larger photos into tiles of this side; by default they are taken whole."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How labels are stored."""

    format: Literal["dsa", "parquet"] = "dsa"
    """One JSON file a photo, as DirectSAM publishes them; or Parquet shards, which are fewer files."""
    relative_paths: bool = False
    """Store the photos' paths relative to the set's folder, so that both can move together."""


@dataclass(frozen=True, kw_only=True)
class Boundaries(Common):
    """Mark the boundaries in photos: give datasets, or folders of photos.

    Each photo gets a pseudo-label, the lines that the model sees, and a human label, the outlines of the
    masks that its dataset has. A set of such labels (dsa:FOLDER) is labelled once more: it keeps what it has,
    and each photo gets a further pseudo-label.

    A photo that cannot be used is named, the others go on, and the command ends with code 1. The same command
    again carries on where it was interrupted, even by a power cut, and ends with the same bytes.
    """

    data: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
        tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]|FOLDER"),
    ]
    """Photos with annotations, such as `ade20k:data/ADEChallengeData2016`, or a folder of photos without."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the labels."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH|ID")] = "nano-boundary"
    """A boundary model: its name, file, folder or hub id."""
    source: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Name of the new labels among others of a photo; by default the model's name and digest."""
    every: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Take only every such photo of each dataset."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many photos of each dataset, spread evenly over it."""
    offline: bool = False
    """Never use the network."""
    shard_images: Annotated[int, tyro.conf.arg(metavar="INT")] = 16
    """Photos in a shard: what an interruption costs at most in each process."""
    retry_failed: bool = False
    """Try the photos again that failed before; they may have been replaced since."""
    overwrite: bool = False
    """Delete what an earlier run made in the folder, and start anew."""
    lines: Annotated[Lines, tyro.conf.arg(name="")] = field(default_factory=Lines)
    stored: Annotated[Stored, tyro.conf.arg(name="")] = field(default_factory=Stored)
    where: Annotated[Engine, tyro.conf.arg(name="")] = field(default_factory=Engine)


def main(argv: list[str]) -> int:
    """Run `maskwright label boundaries` and return its exit code."""
    return run(parse(Boundaries, argv, prog=PROG), boundaries)


def boundaries(options: Boundaries, session: Session) -> None:
    """Label what is not finished and sum up."""
    from dataclasses import asdict

    from maskwright.labeling.boundaries import BoundarySettings, BoundaryWorker, DetectorChoice, as_spec
    from maskwright.labeling.folder import LabelFolder
    from maskwright.labeling.items import ItemChoice
    from maskwright.labeling.run import LabelRun

    check_run(options.where, overwrite=options.overwrite, retry_failed=options.retry_failed)
    if options.shard_images < 1:
        raise ConfigError("--shard-images must be at least 1.")
    specs = tuple(as_spec(given) for group in options.data for given in group)
    # Absolute, for the processes of a Ray cluster may work in other folders.
    folder = LabelFolder(options.out.absolute())
    worker = BoundaryWorker(
        folder,
        DetectorChoice(options.model, options.device, options.offline),
        ItemChoice(specs, options.every, options.limit),
        BoundarySettings(**asdict(options.lines)),
        options.stored.format,
        relative=options.stored.relative_paths,
        source=options.source,
    )
    with folder.lock():
        worker.prepare()
        plan = folder.claim(
            worker.record(options.shard_images),
            list(worker.items.planned()),
            overwrite=options.overwrite,
            retry_failed=options.retry_failed,
        )
        session.result |= {"out": options.out, "model": worker.signature}
        work = LabelRun(plan.shards, worker, folder.ledger)
        carry_out(work, options.where, options.device, session)
    del session.result["masks"]
    session.print(summary(session.result))
