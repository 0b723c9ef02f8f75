"""`maskwright label merge-boundaries`: the labels of several sets, together for each photo."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from maskwright.cli.common import Common, Session, parse, run
from maskwright.cli.label import Engine, carry_out, summary
from maskwright.cli.label_boundaries import Stored

PROG = "maskwright label merge-boundaries"
SHARD_IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class Merge(Common):
    """Merge sets of boundaries that share photos: give their folders.

    Each photo gets one record with all human labels and, of each model, the pseudo-label of the last set that
    has one. Photos of one set alone are taken over. The sets themselves stay as they are; files of theirs
    that begin with _, as published sets mark what was merged before, are left out.

    The same command again carries on where it was interrupted.
    """

    sets: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="DIR…")]
    """Folders of `maskwright label boundaries`, or published ones; options as in 'dsa:DIR?images=PHOTOS'."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the merged set."""
    by: Literal["path", "content"] = "path"
    """What tells that photos are the same: where they are, or what the files hold."""
    overwrite: bool = False
    """Delete what an earlier run made in the folder, and start anew."""
    stored: Annotated[Stored, tyro.conf.arg(name="")] = field(default_factory=Stored)


def main(argv: list[str]) -> int:
    """Run `maskwright label merge-boundaries` and return its exit code."""
    return run(parse(Merge, argv, prog=PROG), merge)


def merge(options: Merge, session: Session) -> None:
    """Merge what is not finished and sum up."""
    from maskwright.errors import ConfigError
    from maskwright.labeling.folder import LabelFolder
    from maskwright.labeling.merge_contours import MergeWorker
    from maskwright.labeling.run import LabelRun

    if not options.sets:
        raise ConfigError("no set was given: name the folders that are to be merged.")
    specs = [given if given.startswith("dsa:") else f"dsa:{given}" for given in options.sets]
    folder = LabelFolder(options.out.absolute())
    worker = MergeWorker(
        folder, specs, options.by, options.stored.format, relative=options.stored.relative_paths
    )
    with folder.lock():
        plan = folder.claim(
            worker.record(SHARD_IMAGES),
            worker.planned(),
            overwrite=options.overwrite,
            retry_failed=False,
        )
        session.result |= {"out": options.out}
        work = LabelRun(partial(worker.shards, plan), worker, folder.ledger)
        carry_out(work, Engine(), options.device, session)
    del session.result["masks"]
    shared = sum(len(group.items) > 1 for group in worker.groups)
    session.result["merged"] = shared
    session.print(f"{summary(session.result)}; {shared} are in several sets or items")
