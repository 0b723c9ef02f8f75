"""`maskwright evaluate video`: how well objects are followed through videos, by DAVIS's measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from maskwright.cli.common import Common, Session, parse, run
from maskwright.cli.tables import rich_table
from maskwright.cli.track import Following, carry_out
from maskwright.errors import ConfigError, DatasetError, FileError, MaskwrightError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskwright.data.sequences import Video
    from maskwright.methods.video.evaluate import VideoResult

PROG = "maskwright evaluate video"


@dataclass(frozen=True, kw_only=True)
class EvaluateVideo(Common):
    """Measure how well objects are followed from their masks in the first frame: J, F and J&F of DAVIS.

    The label maps go to the folder --out as palette PNGs, DIR/SEQUENCE/00000.png; the same command again
    carries on where it stopped. With --results, label maps that are there already are scored instead: those
    sequences that have a folder.

    Objects are scored in the annotated frames after the one that gave them, without the last frame.
    """

    data: Annotated[str, tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]")]
    """davis2016:FOLDER or davis2017:FOLDER; ?sequences=A,B or ?exclude=A for some of them."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for the label maps."""
    results: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Score the label maps in this folder, and track nothing."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write a page with tables, curves over the frames and some frames to this folder."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the tables to this file, in Markdown."""
    following: Annotated[Following, tyro.conf.arg(name="")] = field(default_factory=Following)


def main(argv: list[str]) -> int:
    """Run `maskwright evaluate video` and return its exit code."""
    return run(parse(EvaluateVideo, argv, prog=PROG), evaluate_video)


def evaluate_video(options: EvaluateVideo, session: Session) -> None:
    """Track what is not finished, score everything, print the tables and fill in the result."""
    from maskwright.data.sequences import open_videos
    from maskwright.io.files import make_parents, write_text
    from maskwright.methods.provenance import machine, versions
    from maskwright.report.evaluation_tables import short_name
    from maskwright.report.video import tables, write_report
    from maskwright.runtime import choose_device

    if (options.out is None) == (options.results is None):
        raise ConfigError("give --out DIR to track and score, or --results DIR to score what is there.")
    videos = open_videos(options.data)
    folder = options.results
    if options.out is not None:
        folder = options.out
        carry_out(options.following, options.out, videos, session, options)
    assert folder is not None
    result = _score(videos, folder, session)
    name = session.result.get("tracker", str(folder))
    title = f"{name}, {short_name(options.data)}"
    session.result |= {"data": options.data, **result.to_json(), "versions": versions()}
    session.result |= {"machine": machine(choose_device(options.device).value)}
    found = tables(result, title)
    for table in found:
        session.print(rich_table(table))
    if options.markdown:
        write_text(make_parents(options.markdown), "\n".join(table.markdown() for table in found))
    if options.pictures:
        known = {"data": options.data, "label maps": str(name), "objects": str(len(result.scores))}
        session.result["report"] = write_report(options.pictures, result, videos, folder, title, known)


def _score(videos: Sequence[Video], folder: Path, session: Session) -> VideoResult:
    """Score all videos that have results; one that cannot be scored is noted."""
    from maskwright.methods.video.evaluate import ObjectScores, VideoResult, score_video

    scores: list[ObjectScores] = []
    there = [video for video in videos if (folder / video.name).is_dir()]
    for video in session.track(there, "scoring"):
        try:
            found = score_video(video, folder / video.name)
        except MaskwrightError as error:
            session.fail(video.name, error)
            continue
        if not found:
            session.print(f"{video.name}: no annotated frame but the given and the last, so nothing to score")
        scores += found
    if not there:
        raise FileError(f"{folder} has no folder named after a sequence, such as {videos[0].name}.")
    if not scores:
        raise DatasetError(f"none of the {len(there)} videos could be scored: they need annotated frames.")
    return VideoResult(scores)
