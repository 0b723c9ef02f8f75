"""`maskwright label boundaries`: a boundary model's lines on photos, beside those that people drew."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from maskwright.cli.common import Computing, Session, parse, run
from maskwright.cli.label import Engine, carry_out, check_run, summary
from maskwright.errors import ConfigError

PROG = "maskwright label boundaries"


@dataclass(frozen=True, kw_only=True)
class Lines:
    """How boundaries are labelled."""

    resolution: Annotated[int | Literal["native"] | None, tyro.conf.arg(metavar="PIXELS|native")] = None
    """Side of the model's input, or photos as they are; by default the model's own. Published: 1800."""
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
class Labelling(Computing):
    """What is labelled, with which model, and where it is stored."""

    data: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
        tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]|FOLDER"),
    ]
    """Photos with annotations, such as `ade20k:data/ADEChallengeData2016`, or a folder of photos without."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the labels."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH|ID")] = "nano-boundary"
    """A boundary model: its name, file, folder or hub id."""
    every: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Take only every such photo of each dataset."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many photos of each dataset, spread evenly over it."""
    offline: bool = False
    """Never use the network."""
    shard_images: Annotated[int, tyro.conf.arg(metavar="INT")] = 16
    """Photos in a shard: what an interruption costs at most in each process."""
    lines: Annotated[Lines, tyro.conf.arg(name="")] = field(default_factory=Lines)
    stored: Annotated[Stored, tyro.conf.arg(name="")] = field(default_factory=Stored)
    where: Annotated[Engine, tyro.conf.arg(name="")] = field(default_factory=Engine)


@dataclass(frozen=True, kw_only=True)
class Boundaries(Labelling):
    """Mark the boundaries in photos: give datasets, or folders of photos.

    Each photo gets a pseudo-label, the lines that the model sees, and a human label, the outlines of the
    masks that its dataset has. A set of such labels (dsa:FOLDER) is labelled once more: it keeps what it has,
    and each photo gets a further pseudo-label.

    A photo that cannot be used is named, the others go on, and the command ends with code 1. The same command
    again carries on where it was interrupted, even by a power cut, and ends with the same bytes.
    """

    source: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Name of the new labels, to which the digest of the weights is added; by default the model's name."""
    retry_failed: bool = False
    """Try the photos again that failed before; they may have been replaced since."""
    overwrite: bool = False
    """Delete what an earlier run made in the folder, and start anew."""


def main(argv: list[str]) -> int:
    """Run `maskwright label boundaries` and return its exit code."""
    return run(parse(Boundaries, argv, prog=PROG), boundaries)


def boundaries(options: Boundaries, session: Session) -> None:
    """Label what is not finished and sum up."""
    specs = given_specs(options)
    check_run(options.where, overwrite=options.overwrite, retry_failed=options.retry_failed)
    job = Job(specs, options.model, options.out, options.source, options.overwrite, options.retry_failed)
    label_set(options, job, session)
    session.print(summary(session.result))


@dataclass(frozen=True)
class Job:
    """One set that is made.

    Args:
        specs: of which datasets.
        model: what labels them.
        out: folder of the labels.
        source: name of the new labels; None takes the model's.
        overwrite, retry_failed: as for the folder of any labelled set.
    """

    specs: tuple[str, ...]
    model: str
    out: Path
    source: str | None = None
    overwrite: bool = False
    retry_failed: bool = False


def given_specs(options: Labelling) -> tuple[str, ...]:
    """The datasets that are to be labelled, plain folders among them as datasets.

    Raises:
        ConfigError: an option that has nothing to do with them cannot be.
    """
    from maskwright.labeling.boundaries import as_spec

    if options.shard_images < 1:
        raise ConfigError("--shard-images must be at least 1.")
    return tuple(as_spec(given) for group in options.data for given in group)


def label_set(options: Labelling, job: Job, session: Session) -> None:
    """Label what is not finished of one set; its totals go to the session's result."""
    from maskwright.labeling.boundaries import BoundarySettings, BoundaryWorker, DetectorChoice
    from maskwright.labeling.folder import LabelFolder
    from maskwright.labeling.items import ItemChoice
    from maskwright.labeling.run import LabelRun

    # Absolute, for the processes of a Ray cluster may work in other folders.
    folder = LabelFolder(job.out.absolute())
    worker = BoundaryWorker(
        folder,
        DetectorChoice(job.model, options.device, options.offline, options.backend),
        ItemChoice(job.specs, options.every, options.limit),
        BoundarySettings(**asdict(options.lines)),
        options.stored.format,
        relative=options.stored.relative_paths,
        source=job.source,
    )
    with folder.lock():
        worker.prepare()
        plan = folder.claim(
            worker.record(options.shard_images),
            list(worker.items.planned()),
            overwrite=job.overwrite,
            retry_failed=job.retry_failed,
        )
        session.result |= {"out": job.out, "model": worker.signature}
        work = LabelRun(plan.shards, worker, folder.ledger)
        carry_out(work, options.where, options.device, session)
    del session.result["masks"]
