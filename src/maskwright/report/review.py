"""The folder of a review: the whole queue as CSV and JSON, and a page with the riskiest masks.

DIR/review.csv      a row a mask, the riskiest first
DIR/review.json     the same, and what it was made with
DIR/review.html     the first of them, each cut out of its photo; needs no other file
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.data.dataset import Dataset
from maskwright.errors import MaskwrightError
from maskwright.io.files import make_folder, write_json, write_text
from maskwright.methods.uncertainty.review import Reviewed, second_opinion
from maskwright.models.segmenter import Segmenter
from maskwright.report.html import Html, element, facts, page, picture
from maskwright.report.overlay import draw
from maskwright.report.sheet import side_by_side
from maskwright.types import BoolArray, ByteArray, Sample

SIDE, HEIGHT = 420, 300
MARGIN = 0.4
"""Share of a mask's box that is shown around it, on each side."""
SMALLEST = 32
"""Pixels that a cut-out has at least, so that a tiny mask is seen in its surroundings."""

_BOX = ("x", "y", "width", "height")


def write_queue(folder: Path, queue: Sequence[Reviewed], run: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write review.csv and review.json; `run` says what the queue was made with.

    Raises:
        FileError: when they cannot be written.
    """
    make_folder(folder)
    rows = [_row(rank, one) for rank, one in enumerate(queue, 1)]
    table, data = folder / "review.csv", folder / "review.json"
    text = io.StringIO()
    names = [field.name for field in fields(Reviewed) if field.name not in ("item", "box")]
    writer = csv.DictWriter(text, ["rank", *names, *_BOX], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(table, text.getvalue())
    write_json(data, {**run, "masks": rows})
    return table, data


def write_page(
    folder: Path,
    queue: Sequence[Reviewed],
    dataset: Dataset,
    segmenter: Segmenter | None,
    run: Mapping[str, str],
    *,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
    on_failure: Callable[[str, MaskwrightError], None] = lambda item, error: None,
) -> Path:
    """Write review.html with these masks; each photo is opened, and encoded, once more.

    Args:
        folder: where to.
        queue: the masks to show.
        dataset: where they are from.
        segmenter: what judged them, to show its own mask beside each; or None.
        run: facts for the top of the page.
        track: wraps the photos' places in the set, for a progress bar.
        on_failure: called with a photo that cannot be read any more, and why.

    Raises:
        FileError: when the page cannot be written.
    """
    make_folder(folder)
    by_photo: dict[int, list[int]] = {}
    for place, one in enumerate(queue):
        by_photo.setdefault(one.item, []).append(place)
    tiles: dict[int, Html] = {}
    for item in track(list(by_photo)):
        places = by_photo[item]
        try:
            tiles |= _tiles(dataset[item], [(place + 1, queue[place]) for place in places], segmenter)
        except MaskwrightError as error:
            on_failure(queue[places[0]].image, error)
    lead = "The masks that are most likely wrong, the riskiest first."
    shown = element("section", element("div", *(tiles[rank] for rank in sorted(tiles)), class_="tiles"))
    target = folder / "review.html"
    write_text(target, page("Masks to review", lead, element("section", facts(run)), shown))
    return target


def cut_out(sample: Sample, mask: BoolArray, box: tuple[int, int, int, int]) -> ByteArray:
    """A mask drawn on the part of the photo around a box (x, y, width, height)."""
    x, y, width, height = box
    height_of_photo, width_of_photo = sample.image.size
    aside = max(width * MARGIN, (SMALLEST - width) / 2)
    above = max(height * MARGIN, (SMALLEST - height) / 2)
    left, right = _within(x - aside, x + width + aside, width_of_photo)
    top, bottom = _within(y - above, y + height + above, height_of_photo)
    part = np.ascontiguousarray(sample.image.pixels[top:bottom, left:right])
    return draw(part, mask[top:bottom, left:right], min_side=SIDE, max_side=SIDE)


def _within(start: float, stop: float, length: int) -> tuple[int, int]:
    return max(0, int(start)), min(length, int(np.ceil(stop)))


def _tiles(
    sample: Sample, ranked: Sequence[tuple[int, Reviewed]], segmenter: Segmenter | None
) -> dict[int, Html]:
    """By rank, the tiles of some masks of one photo."""
    ask: Callable[[BoolArray], BoolArray] | None = None
    if segmenter is not None and any(one.area for _, one in ranked):
        ask = partial(second_opinion, segmenter, segmenter.embed(sample.image))
    tiles = {}
    for rank, one in ranked:
        label = sample.masks[sample.ids.index(one.mask)]
        tiles[rank] = _tile(rank, one, sample, label, ask(label) if ask and one.area else None)
    return tiles


def _tile(rank: int, one: Reviewed, sample: Sample, label: BoolArray, opinion: BoolArray | None) -> Html:
    # Of an empty mask there is nothing to cut out: the whole photo shows where it should be.
    box = one.box if one.area else (0, 0, sample.image.size[1], sample.image.size[0])
    pictures, captions = [cut_out(sample, label, box)], ["label"]
    if opinion is not None:
        pictures.append(cut_out(sample, opinion, box))
        captions.append("model")
    name = " ".join(filter(None, (Path(one.image).name, f"mask {one.mask}", one.category)))
    figures = {"risk": one.risk, "agreement": one.agreement, "quality": one.quality}
    chips = {key: f"{value:.2f}" for key, value in figures.items() if value is not None}
    return element(
        "div",
        picture(
            side_by_side(pictures, captions, height=HEIGHT), name, f"{rank}. {name}", zoom=f"mask-{rank}"
        ),
        facts(chips),
        class_="tile",
    )


def _row(rank: int, one: Reviewed) -> dict[str, Any]:
    values = asdict(one)
    box = dict(zip(_BOX, values.pop("box"), strict=True))
    # The place in the set means nothing outside of this run.
    del values["item"]
    return {"rank": rank, **values, **box}
