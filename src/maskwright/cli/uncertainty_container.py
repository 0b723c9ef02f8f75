"""`maskwright uncertainty container`: one training set of several extractions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from maskwright.cli.common import Common, Session, parse, run

PROG = "maskwright uncertainty container"


@dataclass(frozen=True, kw_only=True)
class MakeContainer(Common):
    """Make one training set of extractions: tokens as safetensors, columns as Parquet, streamed.

    Training reads the tokens where they lie, so a set may be larger than memory. The extractions must be of
    the same models, and finished; every shard is compared with its checksum.
    """

    folders: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DIR…")]
    """Folders that `maskwright uncertainty extract` made."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the training set."""
    partial: bool = False
    """Take what is finished of extractions that are not."""
    overwrite: bool = False
    """Replace a training set that is there."""


def main(argv: list[str]) -> int:
    """Run `maskwright uncertainty container` and return its exit code."""
    return run(parse(MakeContainer, argv, prog=PROG), make_container)


def make_container(options: MakeContainer, session: Session) -> None:
    """Combine, and say what there is now."""
    from maskwright.errors import ConfigError
    from maskwright.labeling.token_sets import combine

    if not options.folders:
        raise ConfigError("name at least one folder of `maskwright uncertainty extract`.")
    record = combine(options.folders, options.out, partial=options.partial, overwrite=options.overwrite)
    session.result |= {"out": options.out, **record}
    for source in record["sources"]:
        if not source["complete"]:
            session.warn(f"{source['folder']} is not finished: {source['images']} of its images were taken.")
    names = ", ".join(model["name"] for model in record["models"])
    session.print(f"{record['rows']} rows of {names} in {record['images']} images: {options.out}")
