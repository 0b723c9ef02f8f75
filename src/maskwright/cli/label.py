"""`maskwright label`: labels for many photos, made by machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from maskwright.cli.commands import dispatch
from maskwright.cli.common import Computing, Session, parse, run
from maskwright.errors import ConfigError
from maskwright.methods.automatic.config import AutomaticSettings

if TYPE_CHECKING:
    from maskwright.labeling.run import LabelRun

PROG = "maskwright label"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where the work is done; none of this changes the labels."""

    engine: Literal["local", "ray"] = "local"
    """This machine, or all machines of a Ray cluster, which share the photos and the output folder."""
    workers: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Processes that label, each with the model in its memory."""
    gpus: Annotated[float | None, tyro.conf.arg(metavar="NUMBER")] = None
    """With Ray: GPUs each process takes, such as 0.5; by default 1 if this machine has one, else 0."""


@dataclass(frozen=True, kw_only=True)
class Masks(Computing):
    """Find masks of everything in photos: give files, folders or patterns.

    Each photo is asked with a grid of clicks; what is certain, stable and not found twice is kept: the mask,
    its probabilities at low resolution, the click, the box and the scores. The folder gets Parquet shards
    (or SA-1B's JSON), a plan of the photos and a ledger of the finished shards.

    A photo that cannot be read is named, the others go on, and the command ends with code 1. The same command
    again carries on where it was interrupted, even by a power cut, and ends with the same bytes.
    """

    images: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE…")]
    """Files, folders or patterns such as 'photos/*.jpg'."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the labelled set."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")] = "nano"
    """A model's name (`maskwright models list`), or a checkpoint."""
    base: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """For decoder-only checkpoints: the SAM they were trained on."""
    num_heads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Attention heads of the decoder, if the file does not tell and they are not eight."""
    heads: Annotated[str, tyro.conf.arg(metavar="auto|none|FILE")] = "auto"
    """Uncertainty heads, whose values are kept with each mask: those beside the model, none, or a file's."""
    offline: bool = False
    """Never use the network."""
    format: Literal["parquet", "sa1b"] = "parquet"
    """Parquet shards with soft masks, for training; or one JSON file a photo as SA-1B has them, without."""
    shard_images: Annotated[int, tyro.conf.arg(metavar="INT")] = 16
    """Photos in a shard: what an interruption costs at most in each process."""
    retry_failed: bool = False
    """Try the photos again that failed before; they may have been replaced since."""
    overwrite: bool = False
    """Delete what an earlier run made in the folder, and start anew."""
    where: Annotated[Engine, tyro.conf.arg(name="")] = field(default_factory=Engine)
    settings: Annotated[AutomaticSettings, tyro.conf.arg(name="")] = field(
        # SUM's pseudo-labels leave out masks of nearly the whole photo.
        default_factory=lambda: AutomaticSettings(max_area=0.95)
    )


def main(argv: list[str]) -> int:
    """Run `maskwright label …` and return its exit code."""
    commands = {
        "masks": (_main_masks, "Masks of everything, with their probabilities."),
        "refine": (_main_refine, "Refined probabilities of these masks, for their uncertainty."),
        "boundaries": (_main_boundaries, "Boundaries of everything, by a model and by people."),
        "generations": (_main_generations, "Boundaries by models that learn from each other's, in turn."),
        "merge-boundaries": (_main_merge, "The boundaries of sets that share photos, together."),
    }
    return dispatch(PROG, "Label many photos by machine.", commands, argv)


def _main_refine(argv: list[str]) -> int:
    from maskwright.cli import label_refine

    return label_refine.main(argv)


def _main_boundaries(argv: list[str]) -> int:
    from maskwright.cli import label_boundaries

    return label_boundaries.main(argv)


def _main_generations(argv: list[str]) -> int:
    from maskwright.cli import label_generations

    return label_generations.main(argv)


def _main_merge(argv: list[str]) -> int:
    from maskwright.cli import label_merge

    return label_merge.main(argv)


def _main_masks(argv: list[str]) -> int:
    return run(parse(Masks, argv, prog=f"{PROG} masks"), masks)


def masks(options: Masks, session: Session) -> None:
    """Label what is not finished and sum up."""
    from maskwright.io.inputs import collect_images
    from maskwright.labeling.folder import LabelFolder
    from maskwright.labeling.masks import MaskWorker, ModelChoice
    from maskwright.labeling.plan import planned
    from maskwright.labeling.run import LabelRun
    from maskwright.labeling.sa1b import check_names

    check_run(options.where, overwrite=options.overwrite, retry_failed=options.retry_failed)
    if options.shard_images < 1:
        raise ConfigError("--shard-images must be at least 1.")
    images = list(planned(collect_images(options.images)))
    if options.format == "sa1b":
        check_names(image.name for image in images)
    # Absolute, for the processes of a Ray cluster may work in other folders.
    folder = LabelFolder(options.out.absolute())
    model = ModelChoice(
        options.model,
        options.base,
        options.num_heads,
        options.device,
        options.offline,
        options.heads,
        options.backend,
    )
    worker = MaskWorker(folder, model, options.settings, options.format)
    with folder.lock():
        worker.prepare()
        plan = folder.claim(
            worker.record(options.shard_images),
            images,
            overwrite=options.overwrite,
            retry_failed=options.retry_failed,
        )
        session.result |= {"out": options.out, "model": worker.signature}
        work = LabelRun(plan.shards, worker, folder.ledger)
        # From here on the plan is read from the disk, shard by shard.
        del images
        carry_out(work, options.where, options.device, session)
    if session.result["n"] and not session.result["masks"]:
        asked, least = folder.read_settings()["settings"], options.settings.min_quality
        session.warn(
            f"no mask was kept in any photo. They need a predicted IoU above {asked['pred_iou_thresh']} "
            f"(--pred-iou-thresh) and a stability of at least {asked['stability_score_thresh']} "
            f"(--stability-score-thresh), and cover at most {asked['max_area']} of the photo (--max-area)"
            + (f"; their quality is at least {least} (--min-quality)." if least is not None else ".")
        )
    session.print(summary(session.result))


def carry_out(work: LabelRun, where: Engine, device: str, session: Session) -> None:
    """Do what is left of a run, naming each photo that failed, and note the totals."""
    for _ in session.track(work.check(), "checking what is finished"):
        pass
    skipped = work.finished_images
    for entry in work.ledger.entries():
        for failure in entry.failures:
            session.fail(failure.image, failure.reason)
    labelled = work.label(where.engine, where.workers, _gpus(where, device))
    for outcome in session.track(labelled, "labelling", total=work.pending_images):
        if outcome.reason is not None:
            session.fail(outcome.image.name, outcome.reason)
    totals = work.ledger.totals()
    session.result |= {
        "n": totals.images - totals.failures,
        "failed": totals.failures,
        "skipped": skipped,
        "masks": totals.masks,
        "shards": totals.shards,
    }


def summary(result: dict[str, Any]) -> str:
    """One line about a run."""
    before = f" ({result['skipped']} were finished before)" if result["skipped"] else ""
    failed = f", {result['failed']} could not be done" if result["failed"] else ""
    masks = f"{result['masks']} masks in " if "masks" in result else ""
    return f"{masks}{result['n']} photos{failed}{before}: {result['out']}"


def check_run(where: Engine, *, overwrite: bool, retry_failed: bool) -> None:
    """Refuse options that every labelling run has and that cannot be, before anything is done.

    Raises:
        ConfigError: naming them.
    """
    if overwrite and retry_failed:
        raise ConfigError("--overwrite starts anew, --retry-failed carries on: give one of them.")
    if where.workers < 1:
        raise ConfigError("--workers must be at least 1.")
    if where.gpus is not None and (where.engine == "local" or where.gpus < 0):
        raise ConfigError("--gpus is for --engine ray, and not negative.")


def _gpus(where: Engine, device: str) -> float:
    from maskwright.runtime import choose_device

    if where.engine == "local":
        return 0
    return (choose_device(device).value.type == "cuda") if where.gpus is None else where.gpus
