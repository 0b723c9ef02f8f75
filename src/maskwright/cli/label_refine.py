"""`maskwright label refine`: redraw the masks of a labelled set as people would draw them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from maskwright.cli.common import Common, Session, parse, run
from maskwright.cli.label import Engine, carry_out, check_run, summary
from maskwright.errors import FileError

PROG = "maskwright label refine"


@dataclass(frozen=True, kw_only=True)
class Refine(Common):
    """Refine the masks of a labelled set: give its folder, and a refiner made for the model that found them.

    Each photo is encoded again, and each mask costs one decoder pass. The folder gets the refined
    probabilities, from which training takes the uncertainty of each pixel: how far they are from the mask's
    own.

    A photo is taken if it has the bytes and pixels, by number, that it had when it was labelled. One that has
    not, or cannot be read, is named, the others go on, and the command ends with code 1. The same command
    again carries on where it was interrupted, and after more masks were found refines these.
    """

    folder: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Folder that `maskwright label masks` made."""
    refiner: Annotated[str, tyro.conf.arg(metavar="PATH|nano")]
    """A refiner's file (see `maskwright train refiner`), or "nano" for the one in the package."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")] = "nano"
    """The model that found the masks."""
    base: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """For decoder-only checkpoints: the SAM they were trained on."""
    num_heads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Attention heads of the decoder, if the file does not tell and they are not eight."""
    offline: bool = False
    """Never use the network."""
    images: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder that holds the photos by their names in the plan, if they are not where they were labelled."""
    retry_failed: bool = False
    """Try the photos again that failed before; they may be there again."""
    overwrite: bool = False
    """Delete what an earlier run refined, and start anew."""
    where: Annotated[Engine, tyro.conf.arg(name="")] = field(default_factory=Engine)


def main(argv: list[str]) -> int:
    """Run `maskwright label refine` and return its exit code."""
    return run(parse(Refine, argv, prog=PROG), refine)


def refine(options: Refine, session: Session) -> None:
    """Refine what is not finished and sum up."""
    from maskwright.io.files import nearest_name, shown
    from maskwright.labeling.folder import LabelFolder
    from maskwright.labeling.masks import ModelChoice
    from maskwright.labeling.refine import RefineWorker, claim
    from maskwright.labeling.run import LabelRun
    from maskwright.methods.refine.refiner import locate_refiner

    check_run(options.where, overwrite=options.overwrite, retry_failed=options.retry_failed)
    # Absolute, for the processes of a Ray cluster may work in other folders.
    folder = LabelFolder(options.folder.absolute())
    images = None if options.images is None else options.images.absolute()
    if images is not None and not images.is_dir():
        raise FileError(f"--images {shown(images)} is no folder.{nearest_name(images)}")
    # Before a model is loaded, or a folder made, for nothing.
    folder.read_settings()
    locate_refiner(options.refiner)
    model = ModelChoice(
        options.model, options.base, options.num_heads, options.device, options.offline, heads=None
    )
    worker = RefineWorker(folder, model, options.refiner)
    with folder.lock():
        worker.prepare()
        claim(folder, worker.record(), overwrite=options.overwrite, retry_failed=options.retry_failed)
        session.result |= {"out": options.folder, "model": worker.labelled_by, "refiner": worker.signature}
        carry_out(
            LabelRun(partial(folder.shards_of_masks, images), worker, folder.refined_ledger),
            options.where,
            options.device,
            session,
        )
        unlabelled = folder.ledger.totals().failures
    if unlabelled:
        session.warn(f"{unlabelled} photos could not be labelled, so they have no masks to refine.")
    session.print(summary(session.result))
