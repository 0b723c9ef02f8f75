"""`maskwright uncertainty review`: the masks of a labelled set by risk, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from maskwright.cli.common import Computing, Session, parse, run
from maskwright.errors import ConfigError, DatasetError, FileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskwright.data.dataset import Dataset
    from maskwright.methods.uncertainty.review import Reviewed
    from maskwright.models.segmenter import Segmenter

_MARKS = {"results.jsonl": "segmented", "set.json": "labelled"}
"""What tells which kind of set a folder of ours is."""
_TABLE_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class Review(Computing):
    """List the masks of a labelled set, those first that are most likely wrong.

    The set is a folder of `maskwright segment` or `maskwright label masks`, or any other dataset as
    KIND:FOLDER (`maskwright data list`). Where it holds the quality that was expected of each mask, the risk
    is 1 - quality. Otherwise, or with --model, a model with uncertainty heads segments the box of every
    label: the risk is high where the model is sure and its mask is another one.

    The folder gets the whole queue as review.csv and review.json, and review.html with the riskiest masks.
    """

    labels: Annotated[Positional[str], tyro.conf.arg(metavar="FOLDER|KIND:FOLDER")]
    """The labelled set."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the results."""
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """The model that judges; by default nano, and none where the set holds expected qualities."""
    heads: Annotated[str, tyro.conf.arg(metavar="auto|FILE")] = "auto"
    """The model's uncertainty heads: those beside it, or a file's."""
    offline: bool = False
    """Never use the network."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Look at most at so many photos, spread evenly over the set."""
    min_pixels: Annotated[int, tyro.conf.arg(metavar="INT")] = 0
    """Leave out smaller masks, of which models know little; empty ones are always listed."""
    shown: Annotated[int, tyro.conf.arg(metavar="INT")] = 48
    """So many of the riskiest masks are in review.html."""


def main(argv: list[str]) -> int:
    """Run `maskwright uncertainty review` and return its exit code."""
    return run(parse(Review, argv, prog="maskwright uncertainty review"), review)


def review(options: Review, session: Session) -> None:
    """Order the masks by risk, and write queue and page."""
    from maskwright.methods.evaluate import spread
    from maskwright.methods.uncertainty.review import review
    from maskwright.report.review import write_page, write_queue

    if min(options.shown, options.min_pixels) < 0 or (options.limit is not None and options.limit < 1):
        raise ConfigError("--limit must be at least 1, --shown and --min-pixels at least 0.")
    dataset = _open(options.labels)
    segmenter = _judge(options, dataset)
    items = spread(len(dataset), options.limit)
    queue = review(
        dataset,
        segmenter,
        items,
        track=lambda indices: session.track(indices, "reviewing"),
        on_failure=session.fail,
    )
    queue = [one for one in queue if one.area >= options.min_pixels or not one.area]
    judge = "the set's own qualities" if segmenter is None else segmenter.signature
    made_with = {"labels": options.labels, "judged by": judge, "photos": len(items), "n": len(queue)}
    files = write_queue(options.out, queue, made_with)
    page = write_page(
        options.out,
        queue[: options.shown],
        dataset,
        segmenter,
        {name: str(value) for name, value in made_with.items()},
        track=lambda shown: session.track(shown, "drawing"),
        on_failure=session.fail,
    )
    session.result |= {
        "n": len(queue),
        "photos": len(items),
        "model": segmenter and segmenter.signature,
        "files": [*files, page],
        "masks": [_brief(one) for one in queue[: options.shown]],
    }
    session.print(_table(queue))
    session.print(f"{len(queue)} masks in {len(items)} photos, by risk: {page}")


def _open(text: str) -> Dataset:
    """A folder of ours by what is in it, or any dataset by its kind."""
    from maskwright.data.kinds import KINDS
    from maskwright.data.registry import open_dataset
    from maskwright.io.files import nearest_name

    folder = Path(text).expanduser()
    if not folder.is_dir():
        if ":" not in text:
            raise FileError(f"{text} does not exist.{nearest_name(folder)}")
        return open_dataset(text)
    for name, kind in _MARKS.items():
        if (folder / name).is_file():
            return KINDS[kind].build(root=folder)
    raise DatasetError(
        f"{text} is no folder of `maskwright segment` or `maskwright label masks`: say what it is as "
        f"KIND:{text}, such as coco:{text}; `maskwright data list` tells the kinds."
    )


def _judge(options: Review, dataset: Dataset) -> Segmenter | None:
    from maskwright.methods.uncertainty.review import holds_quality

    if options.model is None and holds_quality(dataset):
        if options.heads != "auto" or options.backend != "torch":
            raise ConfigError(
                "--heads and --backend are for --model, which judges in place of the set's own qualities."
            )
        return None
    # The model libraries take seconds to import, and are not needed where the set tells all.
    from maskwright.models.registry import load

    name = options.model or "nano"
    return load(
        name,
        heads=options.heads,
        device=options.device,
        backend=options.backend,
        offline=options.offline,
    )


def _brief(one: Reviewed) -> dict[str, object]:
    return {"image": one.image, "mask": one.mask, "risk": one.risk, "category": one.category}


def _table(queue: Sequence[Reviewed]) -> object:
    from rich.table import Table

    table = Table("photo", "mask", "risk", "agreement", "quality")
    for column in table.columns[2:]:
        column.justify = "right"
    for one in queue[:_TABLE_ROWS]:
        figures = (one.risk, one.agreement, one.quality)
        texts = ("–" if value is None else f"{value:.3f}" for value in figures)
        table.add_row(one.image, " ".join(filter(None, (str(one.mask), one.category))), *texts)
    if len(queue) > _TABLE_ROWS:
        table.caption = f"and {len(queue) - _TABLE_ROWS} more rows in review.csv"
    return table
