"""`maskwright evaluate boundaries`: how well boundaries and segments agree with those that people drew."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from maskwright.cli.boundary_maps import BoundaryMaps, names_of
from maskwright.cli.common import Session, parse, run
from maskwright.cli.tables import rich_table
from maskwright.errors import ConfigError, DatasetError, MaskwrightError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskwright.methods.everything.evaluate import Counted, KnownPhoto, Protocol, Source
    from maskwright.models.boundary_detector import BoundaryDetector, Resolution

PROG = "maskwright evaluate boundaries"


@dataclass(frozen=True, kw_only=True)
class EvaluateBoundaries(BoundaryMaps):
    """Measure boundaries and segments as the BSDS500 benchmark does: ODS, OIS, AP; covering, PRI, VOI.

    Boundaries are thinned at 99 thresholds, and their pixels matched one to one with those of every
    annotator. Segments are those of the region tree of the map before any suppression, cut at the same
    thresholds; of a stored map that was suppressed already, with gaps in its lines, they say little.

    With --predictions a folder of finished maps is scored: for each photo NAME.png, grey with 8 or 16 bits,
    or NAME.mat with the benchmark's ucm2 or segs. With --out, the same command again carries on where it
    stopped.
    """

    data: Annotated[str, tyro.conf.arg(metavar="bsds500:FOLDER[?OPTIONS]")]
    """Photos with the boundaries that people drew, such as `bsds500:data/BSDS500?split=val`."""
    suppress: bool = False
    """Thin maps by non-maximum suppression first; what models give always is, unless --no-suppress."""
    no_suppress: bool = False
    """Take maps as they are; stored ones always are, unless --suppress."""
    max_dist: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.0075
    """Largest distance of a match, as a share of the diagonal; 0.011 for NYUD."""
    thresholds: Annotated[int, tyro.conf.arg(metavar="INT")] = 99
    """How many thresholds, evenly between 0 and 1."""
    resolution: Annotated[int | Literal["native"] | None, tyro.conf.arg(metavar="INT|native")] = None
    """Side of the model's input in pixels, or photos as they are; what it was trained for if not given."""
    workers: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Processes that score; a model runs in the first one."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write a page with the tables and curves to this folder."""


def main(argv: list[str]) -> int:
    """Run `maskwright evaluate boundaries` and return its exit code."""
    return run(parse(EvaluateBoundaries, argv, prog=PROG), evaluate)


def evaluate(options: EvaluateBoundaries, session: Session) -> None:
    """Score what is not finished, print the tables and fill in the result."""
    from maskwright.methods.everything.evaluate import BenchmarkResult, Protocol, photos_of
    from maskwright.report.boundaries import tables, write_report
    from maskwright.report.evaluation_tables import short_name

    _check(options)
    protocol = Protocol(_suppressed(options), options.max_dist, options.thresholds)
    photos = photos_of(options.data, options.limit)
    source = options.open()
    name, title = names_of(source)
    session.print(_told(protocol))
    counted = _count(options, session, photos, source, protocol)
    if not counted:
        raise DatasetError(f"none of the {len(photos)} photos could be scored.")
    result = BenchmarkResult(counted)
    session.result |= {"data": options.data, "source": name, **result.to_json(), "protocol": asdict(protocol)}
    title = f"{title}, {short_name(options.data)}"
    found = tables(result, title)
    for table in found:
        session.print(rich_table(table))
    options.conclude(session, found)
    if options.pictures:
        known = {"data": options.data, "predictions": name, "protocol": _told(protocol)}
        session.result["report"] = write_report(options.pictures, result, title, known)


def _check(options: EvaluateBoundaries) -> None:
    options.check()
    if options.suppress and options.no_suppress:
        raise ConfigError("--suppress and --no-suppress exclude each other.")
    if options.model is None and options.resolution is not None:
        raise ConfigError("--resolution is for --model; maps in a folder are scored as they are.")
    if min(options.workers, options.thresholds) < 1:
        raise ConfigError("--workers and --thresholds must be at least 1.")
    if not 0 < options.max_dist < 1:
        raise ConfigError("--max-dist must be a share of the diagonal between 0 and 1, such as 0.0075.")


def _suppressed(options: EvaluateBoundaries) -> bool:
    return options.suppress or (options.model is not None and not options.no_suppress)


def _told(protocol: Protocol) -> str:
    how = "after" if protocol.suppress else "without"
    reach = f"matches within {protocol.max_dist:g} of the diagonal"
    return f"boundary maps are scored {how} non-maximum suppression; {reach}"


def _count(
    options: EvaluateBoundaries,
    session: Session,
    photos: Sequence[KnownPhoto],
    source: BoundaryDetector | Path,
    protocol: Protocol,
) -> list[Counted]:
    """Score the photos that are not finished; those that cannot be are noted. In the photos' order."""
    from maskwright.methods.everything.evaluate import Counted, count_all

    settings = {"source": names_of(source)[0], "resolution": options.resolution, **asdict(protocol)}
    finished, done = options.finished(settings), dict[str, Counted]()
    if finished is not None:
        stored = {photo.name: finished.get(photo.name, photo.files(source)) for photo in photos}
        done = {name: Counted.from_json(content) for name, content in stored.items() if content is not None}
        session.result["skipped"] = len(done)
    pending = [photo for photo in photos if photo.name not in done]
    steps = count_all(pending, _detecting(source, options.resolution), protocol, options.workers)
    for photo, counted in session.track(steps, "scoring", total=len(pending)):
        if isinstance(counted, MaskwrightError):
            session.fail(photo.name, counted)
            continue
        done[photo.name] = counted
        if finished is not None:
            finished.add(photo.name, photo.files(source), counted.to_json())
    return [done[photo.name] for photo in photos if photo.name in done]


def _detecting(source: BoundaryDetector | Path, resolution: Resolution | None) -> Source:
    if isinstance(source, Path) or resolution is None:
        return source
    return lambda path: source(path, resolution=resolution)
