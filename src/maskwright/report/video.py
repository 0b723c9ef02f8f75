"""The folder of a video evaluation: a page with the figures, the J of each frame, and some frames.

DIR/report.html                needs no other file
DIR/blackswan-curve.png        J and F of each object over the frames
DIR/blackswan-frames.png       some frames with the label maps that were found
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskwright.data.sequences import Video
from maskwright.io.files import make_folder, write_text
from maskwright.io.images import write_png
from maskwright.methods.video.evaluate import ObjectScores, Summary, VideoResult
from maskwright.methods.video.follow import result_path
from maskwright.methods.video.tracker import split
from maskwright.report.evaluation_tables import TextTable
from maskwright.report.html import Html, element, facts, page, picture, table
from maskwright.report.overlay import draw
from maskwright.report.palette import as_shares, colour
from maskwright.report.sheet import side_by_side
from maskwright.training.curves import new_figure, rendered
from maskwright.types import ByteArray

SHOWN_FRAMES = 4
FRAME_SIDE = 480
HEADINGS = ("J&F", "J mean", "J recall", "J decay", "F mean", "F recall", "F decay")


def tables(result: VideoResult, title: str) -> list[TextTable]:
    """The set and its videos, and every object of those that have several."""
    rows = [_row(name, len(scores), Summary.of(scores)) for name, scores in result.videos.items()]
    whole = _row("all", len(result.scores), result.summary)
    found = [TextTable(title, ("video", "objects", *HEADINGS), (tuple(rows), (whole,)), numbers_from=1)]
    objects = [
        tuple((score.video, str(score.number), *_figures(Summary.of([score]))) for score in scores)
        for scores in result.videos.values()
        if len(scores) > 1
    ]
    if objects:
        headings = ("video", "object", *HEADINGS)
        found.append(TextTable(f"each object: {title}", headings, tuple(objects), numbers_from=2))
    return found


def write_report(
    folder: Path,
    result: VideoResult,
    videos: Sequence[Video],
    results: Path,
    title: str,
    known: dict[str, str],
) -> Path:
    """Write the page and its pictures.

    Args:
        folder: made if it is not there.
        result: what was measured.
        videos: all that are in the result, and maybe more.
        results: the folder of the label maps that were scored.
        title: of the tables.
        known: facts about the run.

    Returns:
        The page.

    Raises:
        FileError: something cannot be read or written.
    """
    make_folder(folder)
    sections = [element("section", facts(known)), *map(_table, tables(result, title))]
    for video in videos:
        if scores := result.videos.get(video.name):
            pictures = {"curve": curves(scores), "frames": frames(video, results / video.name, scores)}
            for kind, pixels in pictures.items():
                write_png(folder / f"{video.name}-{kind}.png", pixels)
            shown = [
                picture(pixels, f"{video.name}: {kind}", zoom=f"{video.name}-{kind}")
                for kind, pixels in pictures.items()
            ]
            sections.append(_card(video.name, *shown))
    lead = (
        "J is the region's IoU, F the agreement of outlines, both as DAVIS measures them: without the given "
        "frame and the last. Decay is what is lost from the first quarter of the frames to the last."
    )
    target = folder / "report.html"
    write_text(target, page("Objects followed through videos", lead, *sections))
    return target


def curves(scores: Sequence[ObjectScores]) -> ByteArray:
    """J (line) and F (dashed) of each object of a video over its scored frames."""
    figure = new_figure(9, 3.2)
    axes = figure.subplots()
    stems = sorted({stem for score in scores for stem in score.frames})
    for place, score in enumerate(scores):
        shade = as_shares(colour(place))
        numbers = [stems.index(stem) for stem in score.frames]
        axes.plot(numbers, score.region, color=shade, label=f"object {score.number}: J")
        axes.plot(numbers, score.contour, color=shade, linestyle="--", linewidth=1, label="F")
    axes.set_ylim(0, 1.02)
    places = range(0, len(stems), max(1, len(stems) // 10))
    axes.set_xticks(places, [stems[place] for place in places])
    axes.set_xlabel("frame")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2, loc="lower left")
    return rendered(figure)


def frames(video: Video, results: Path, scores: Sequence[ObjectScores]) -> ByteArray:
    """Some scored frames, spread evenly, with the masks found and their J."""
    ids = [score.number for score in scores]
    stems = sorted({stem for score in scores for stem in score.frames})
    places = sorted({place * (len(stems) - 1) // (SHOWN_FRAMES - 1) for place in range(SHOWN_FRAMES)})
    numbers = {path.stem: number for number, path in enumerate(video.frames)}
    shown = []
    for place in places:
        number = numbers[stems[place]]
        masks = split(video.read_labels(result_path(results, video, number)), ids)
        shown.append(draw(video.image(number), masks, max_side=FRAME_SIDE))
    captions = [
        f"{stems[place]}: " + ", ".join(f"J {_at(score, stems[place])}" for score in scores)
        for place in places
    ]
    return side_by_side(shown, captions, columns=2)


def _at(score: ObjectScores, stem: str) -> str:
    return f"{score.region[score.frames.index(stem)]:.2f}" if stem in score.frames else "–"


def _row(name: str, count: int, summary: Summary) -> tuple[str, ...]:
    return (name, str(count), *_figures(summary))


def _figures(summary: Summary) -> tuple[str, ...]:
    return tuple(f"{value:.3f}" for value in summary.to_json().values())


def _table(content: TextTable) -> Html:
    rows = [row for group in content.groups for row in group]
    return _card(content.title, table(content.headings, rows, numbers_from=content.numbers_from))


def _card(title: str, *content: Html) -> Html:
    return element("section", element("h2", title), *content, class_="card")
