"""`maskwright evaluate tokens`: how many known boundaries promptless segments find, with how many tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from maskwright.cli.boundary_maps import BoundaryMaps, names_of
from maskwright.cli.common import Session, parse, run, values
from maskwright.cli.tables import rich_table
from maskwright.errors import ConfigError, DatasetError, MaskwrightError

if TYPE_CHECKING:
    from maskwright.data.dataset import Dataset
    from maskwright.methods.everything.finished import FinishedPhotos
    from maskwright.methods.everything.tokens import Detector, TokenProtocol
    from maskwright.models.boundary_detector import BoundaryDetector

PROG = "maskwright evaluate tokens"


@dataclass(frozen=True, kw_only=True)
class EvaluateTokens(BoundaryMaps):
    """Measure promptless segments by DirectSAM's and EPOC's measures, at several thresholds.

    Token recall, the share of known boundary pixels near a predicted one, is set against the number of tokens
    that the prediction cuts a photo into; effective contour recall counts only lines that enclose something.
    Segments of the watershed are measured as in the paper: precision, recall, F1, monosemanticity.

    With --predictions a folder of finished maps is measured: for each photo NAME.png, grey with 8 or 16 bits.
    With --out, the same command again carries on where it stopped.
    """

    data: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]")
    ] = ()
    """Photos with known segments or boundaries; may be given several times, or with several values."""
    thresholds: Annotated[str, tyro.conf.arg(metavar="FLOAT[,FLOAT...]")] = (
        "0.05,0.1,0.15,0.2,0.25,0.3,0.35,0.4,0.45,0.5"
    )
    """Probabilities above which there is a boundary."""
    resolution: Annotated[int, tyro.conf.arg(metavar="INT")] = 1024
    """Photos are brought to a square of this side, for the model and for recall."""
    tolerance: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Of token recall, in pixels (default a hundredth of the resolution, made odd)."""
    effective_tolerance: Annotated[int, tyro.conf.arg(metavar="INT")] = 10
    """Of effective contour recall, in pixels."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also draw curves of each dataset into this folder: recall over tokens, and the sizes of tokens."""


def main(argv: list[str]) -> int:
    """Run `maskwright evaluate tokens` and return its exit code."""
    return run(parse(EvaluateTokens, argv, prog=PROG), evaluate)


def evaluate(options: EvaluateTokens, session: Session) -> None:
    """Measure what is not finished, print a table a dataset and fill in the result."""
    from maskwright.data.registry import open_dataset
    from maskwright.methods.everything.tokens import TokenProtocol, size_curves, summarise
    from maskwright.report.evaluation_tables import short_name
    from maskwright.report.tokens import token_table, write_pictures

    specs = _check(options)
    thresholds = _thresholds(options.thresholds)
    protocol = TokenProtocol(thresholds, options.resolution, options.tolerance, options.effective_tolerance)
    datasets = {spec: open_dataset(spec) for spec in specs}
    source = options.open()
    name, called = names_of(source)
    finished = options.finished({"source": name, "protocol": asdict(protocol)})
    session.result |= {"source": name, "protocol": asdict(protocol), "data": {}}
    if finished is not None:
        session.result["skipped"] = 0
    tables = []
    for spec, dataset in datasets.items():
        records = list(_measured(options, session, spec, dataset, source, protocol, finished))
        if not records:
            raise DatasetError(f"none of the photos of {spec} could be measured.")
        rows, sizes = summarise(records, protocol), size_curves(records, protocol)
        title = f"{called}, {short_name(spec)}"
        tables.append(token_table(rows, len(records), title))
        session.print(rich_table(tables[-1]))
        found = {
            "photos": len(records),
            "detection_seconds": sum(record["detection"] for record in records) / len(records),
            "rows": [asdict(row) for row in rows],
            "token_sizes": sizes,
        }
        session.result["data"][spec] = found
        if options.pictures:
            place = len(tables) if len(specs) > 1 else None
            found["pictures"] = write_pictures(options.pictures, rows, sizes, title, place)
    options.conclude(session, tables)


def _check(options: EvaluateTokens) -> list[str]:
    specs = values(options.data)
    if not specs:
        raise ConfigError("nothing to measure on: give --data KIND:FOLDER, such as bsds500:data/BSDS500.")
    options.check()
    return specs


def _thresholds(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--thresholds are numbers such as 0.1,0.3,0.5, not {text!r}.") from None


def _measured(
    options: EvaluateTokens,
    session: Session,
    spec: str,
    dataset: Dataset,
    source: BoundaryDetector | Path,
    protocol: TokenProtocol,
    finished: FinishedPhotos | None,
) -> Iterator[dict[str, Any]]:
    """What was measured of each photo, now or before; a photo that cannot be measured is noted."""
    from maskwright.methods.evaluate import spread
    from maskwright.methods.everything.tokens import measure

    chosen: Sequence[int] = spread(len(dataset), options.limit)
    for index in session.track(chosen, f"measuring {spec}"):
        photo = dataset.image_path(index)
        stored = source / f"{photo.stem}.png" if isinstance(source, Path) else None
        name, files = f"{spec}[{index}]", [photo, dataset.mask_path(index), *([stored] if stored else [])]
        record: dict[str, Any] | None = finished.get(name, files) if finished else None
        if record is not None:
            session.result["skipped"] += 1
        else:
            try:
                record = measure(dataset, index, _detector(source, stored, protocol), protocol)
            except MaskwrightError as error:
                session.fail(photo, error)
                continue
            if finished:
                finished.add(name, files, record)
        yield record


def _detector(source: BoundaryDetector | Path, stored: Path | None, protocol: TokenProtocol) -> Detector:
    """What gives the map of a photo: the model at the protocol's resolution, or the photo's file."""
    from maskwright.methods.everything.predictions import read_boundary_map

    if not isinstance(source, Path):
        return lambda image: source(image, resolution=protocol.resolution, keep_aspect=False)
    assert stored is not None
    return lambda image: read_boundary_map(stored)
