"""`maskwright uncertainty extract`: the tokens of masks, and how good each mask is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from maskwright.cli.common import Common, Session, parse, run
from maskwright.cli.label import Engine, carry_out, check_run
from maskwright.errors import ConfigError

PROG = "maskwright uncertainty extract"
PromptKind = Literal["center", "point", "box", "refined"]


@dataclass(frozen=True, kw_only=True)
class Extract(Common):
    """Ask models about every instance of datasets, and write down what heads learn from.

    Each instance is asked for with a click at its centre, with each of --points random clicks, with its tight
    box, and with all clicks together (refined). One row a mask holds the decoder's tokens, predicted and true
    IoU, and the entropies. A photo is encoded once a model and augmentation.

    An item that cannot be used is named, the others go on, and the command ends with code 1. The same command
    again carries on where it was interrupted, even by a power cut, and ends with the same bytes.
    """

    data: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]")
    ]
    """Where the instances are, such as `davis2017:data/DAVIS`; several are extracted one after the other."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the extraction."""
    models: Annotated[str, tyro.conf.arg(metavar="NAME|PATH[,NAME|PATH...]")] = "nano"
    """Models of one family, small to large; tiny, small, base-plus and large are SAM 2.1's."""
    skip_augs: bool = False
    """Leave out the augmented photos, and with them the predictive entropy: several times faster."""
    prompts: Annotated[tuple[PromptKind, ...], tyro.conf.arg(metavar="KIND [KIND...]")] = (
        "center",
        "point",
        "box",
        "refined",
    )
    """Of which prompts there are rows: center, point, box, refined."""
    points: Annotated[int, tyro.conf.arg(metavar="INT")] = 7
    """Random clicks on an instance."""
    every: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Take only every such item of each dataset."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many items of each dataset, spread evenly over it."""
    per_image: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many instances of one image, drawn at random; all if not given."""
    min_area: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.0
    """Smallest instance, as a share of its image."""
    max_area: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 1.0
    """Largest instance, as a share of its image."""
    token_dtype: Literal["float32", "float16"] = "float32"  # noqa: S105  (no password)
    """How tokens are stored; float16 takes half the space."""
    offline: bool = False
    """Never use the network."""
    shard_images: Annotated[int, tyro.conf.arg(metavar="INT")] = 16
    """Items in a shard: what an interruption costs at most, and what memory must hold, in each process."""
    retry_failed: bool = False
    """Try the items again that failed before."""
    overwrite: bool = False
    """Delete what an earlier run made in the folder, and start anew."""
    where: Annotated[Engine, tyro.conf.arg(name="")] = field(default_factory=Engine)


def main(argv: list[str]) -> int:
    """Run `maskwright uncertainty extract` and return its exit code."""
    return run(parse(Extract, argv, prog=PROG), extract)


def extract(options: Extract, session: Session) -> None:
    """Extract what is not finished and sum up."""
    from maskwright.labeling.folder import LabelFolder
    from maskwright.labeling.items import ItemChoice
    from maskwright.labeling.masks import ModelChoice
    from maskwright.labeling.run import LabelRun
    from maskwright.labeling.tokens import TokenWorker
    from maskwright.methods.scores import Selection
    from maskwright.methods.uncertainty.interview import ExtractSettings

    check_run(options.where, overwrite=options.overwrite, retry_failed=options.retry_failed)
    if options.per_image is not None and options.per_image < 1:
        raise ConfigError("--per-image must be at least 1.")
    if options.shard_images < 1:
        raise ConfigError("--shard-images must be at least 1.")
    settings = ExtractSettings(options.prompts, options.points, not options.skip_augs, options.seed)
    specs = tuple(spec for given in options.data for spec in given)
    items = ItemChoice(specs, options.every, options.limit)
    models = [
        ModelChoice(name, device=options.device, offline=options.offline, heads=None)
        for name in model_names(options.models)
    ]
    # Absolute, for the processes of a Ray cluster may work in other folders.
    folder = LabelFolder(options.out.absolute())
    selection = Selection(options.min_area, options.max_area, options.per_image, options.seed)
    worker = TokenWorker(folder, models, items, settings, selection, options.token_dtype)
    with folder.lock():
        worker.prepare()
        record = worker.record(options.shard_images)
        plan = folder.claim(
            record,
            list(worker.items.planned()),
            overwrite=options.overwrite,
            retry_failed=options.retry_failed,
        )
        session.result |= {"out": options.out, "models": record["models"], "tokens": record["tokens"]}
        work = LabelRun(plan.shards, worker, folder.ledger)
        carry_out(work, options.where, options.device, session)
    session.result["rows"] = session.result.pop("masks")
    session.print(_summary(session.result))


def model_names(text: str) -> list[str]:
    """Names separated by commas, SAM 2.1's sizes by their short ones.

    Raises:
        ConfigError: there is none.
    """
    from maskwright.models.hub import NAMED

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError("--models names no model.")
    return [_full(name) if name not in NAMED and not Path(name).exists() else name for name in names]


def _full(name: str) -> str:
    from maskwright.models.hub import NAMED

    return f"sam2.1-{name}" if f"sam2.1-{name}" in NAMED else name


def _summary(result: dict[str, Any]) -> str:
    before = f" ({result['skipped']} were finished before)" if result["skipped"] else ""
    failed = f", {result['failed']} could not be used" if result["failed"] else ""
    names = ", ".join(model["name"] for model in result["models"])
    return f"{result['rows']} rows of {names} in {result['n']} images{failed}{before}: {result['out']}"
