"""`maskwright evaluate boundaries`: how well boundaries and segments agree with those that people drew."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from maskwright.cli.common import Common, Session, parse, run
from maskwright.cli.tables import rich_table
from maskwright.errors import ConfigError, DatasetError, FileError, MaskwrightError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskwright.methods.everything.evaluate import Counted, Photo, Protocol, Source

PROG = "maskwright evaluate boundaries"


@dataclass(frozen=True, kw_only=True)
class EvaluateBoundaries(Common):
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
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """A boundary model to measure."""
    predictions: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Score the maps in this folder instead."""
    suppress: bool = False
    """Thin maps by non-maximum suppression first; what models give always is, unless --no-suppress."""
    no_suppress: bool = False
    """Take maps as they are; stored ones always are, unless --suppress."""
    max_dist: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.0075
    """Largest distance of a match, as a share of the diagonal; 0.011 for NYUD."""
    thresholds: Annotated[int, tyro.conf.arg(metavar="INT")] = 99
    """How many thresholds, evenly between 0 and 1."""
    resolution: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Side of the model's input in pixels; the one it was trained for if not given."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many photos, spread evenly over the set."""
    workers: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Processes that score; a model runs in the first one."""
    offline: bool = False
    """Never use the network."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Keep each photo's counts in this folder, to carry on from."""
    overwrite: bool = False
    """Score anew what an earlier run finished in --out."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write a page with the tables and curves to this folder."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the tables to this file, in Markdown."""


def main(argv: list[str]) -> int:
    """Run `maskwright evaluate boundaries` and return its exit code."""
    return run(parse(EvaluateBoundaries, argv, prog=PROG), evaluate)


def evaluate(options: EvaluateBoundaries, session: Session) -> None:
    """Score what is not finished, print the tables and fill in the result."""
    from maskwright.io.files import make_parents, write_text
    from maskwright.methods.everything.evaluate import BenchmarkResult, Protocol, photos_of
    from maskwright.methods.provenance import machine, versions
    from maskwright.report.boundaries import tables, write_report
    from maskwright.report.evaluation_tables import short_name
    from maskwright.runtime import choose_device

    _check(options)
    protocol = Protocol(_suppressed(options), options.max_dist, options.thresholds)
    photos = photos_of(options.data, options.limit)
    name, source = _source(options)
    session.print(_told(protocol))
    counted = _count(options, session, photos, source, protocol, name)
    if not counted:
        raise DatasetError(f"none of the {len(photos)} photos could be scored.")
    result = BenchmarkResult(counted)
    session.result |= {"data": options.data, "source": name, **result.to_json(), "protocol": asdict(protocol)}
    session.result |= {"machine": machine(choose_device(options.device).value), "versions": versions()}
    title = f"{Path(name).name}, {short_name(options.data)}"
    found = tables(result, title)
    for table in found:
        session.print(rich_table(table))
    if options.markdown:
        write_text(make_parents(options.markdown), "\n".join(table.markdown() for table in found))
    if options.pictures:
        known = {"data": options.data, "predictions": name, "protocol": _told(protocol)}
        session.result["report"] = write_report(options.pictures, result, title, known)


def _check(options: EvaluateBoundaries) -> None:
    if (options.model is None) == (options.predictions is None):
        raise ConfigError("give --model NAME, or --predictions FOLDER with maps to score.")
    if options.suppress and options.no_suppress:
        raise ConfigError("--suppress and --no-suppress exclude each other.")
    if options.model is None and (options.resolution is not None or options.offline):
        raise ConfigError(
            "--resolution and --offline are for --model; maps in a folder are scored as they are."
        )
    for flag, value in (
        ("limit", options.limit),
        ("workers", options.workers),
        ("thresholds", options.thresholds),
    ):
        if value is not None and value < 1:
            raise ConfigError(f"--{flag} must be at least 1.")
    if not 0 < options.max_dist < 1:
        raise ConfigError("--max-dist must be a share of the diagonal between 0 and 1, such as 0.0075.")
    if options.overwrite and options.out is None:
        raise ConfigError("--overwrite is for --out DIR.")


def _suppressed(options: EvaluateBoundaries) -> bool:
    return options.suppress or (options.model is not None and not options.no_suppress)


def _told(protocol: Protocol) -> str:
    how = "after" if protocol.suppress else "without"
    reach = f"matches within {protocol.max_dist:g} of the diagonal"
    return f"boundary maps are scored {how} non-maximum suppression; {reach}"


def _source(options: EvaluateBoundaries) -> tuple[str, Source]:
    """What to call the source of predictions, exactly, and the source."""
    from maskwright.io.files import nearest_name

    if options.predictions is not None:
        if not options.predictions.is_dir():
            message = f"{options.predictions} is no folder.{nearest_name(options.predictions)}"
            raise FileError(message)
        return str(options.predictions), options.predictions
    from maskwright.models.boundary_files import load_boundary

    assert options.model is not None
    detector = load_boundary(options.model, device=options.device, offline=options.offline)
    if options.resolution is None:
        return detector.signature, detector
    return detector.signature, lambda path: detector(path, resolution=options.resolution)


def _count(
    options: EvaluateBoundaries,
    session: Session,
    photos: Sequence[Photo],
    source: Source,
    protocol: Protocol,
    name: str,
) -> list[Counted]:
    """Score the photos that are not finished; those that cannot be are noted. In the photos' order."""
    from maskwright.methods.everything.benchmark_folder import BenchmarkFolder
    from maskwright.methods.everything.evaluate import count_all

    folder, done = None, {}
    if options.out is not None:
        settings: dict[str, Any] = {"source": name, "resolution": options.resolution, **asdict(protocol)}
        folder = BenchmarkFolder(options.out, settings, source, overwrite=options.overwrite)
        done = folder.finished(photos)
        session.result["skipped"] = len(done)
    pending = [photo for photo in photos if photo.name not in done]
    steps = count_all(pending, source, protocol, options.workers)
    for photo, counted in session.track(steps, "scoring", total=len(pending)):
        if isinstance(counted, MaskwrightError):
            session.fail(photo.name, counted)
            continue
        done[photo.name] = counted
        if folder is not None:
            folder.add(photo, counted)
    return [done[photo.name] for photo in photos if photo.name in done]
