"""`maskwright evaluate tokens`: how many known boundaries promptless segments find, with how many tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from maskwright.cli.common import Common, Session, parse, run
from maskwright.cli.evaluate_plan import values
from maskwright.cli.tables import rich_table
from maskwright.errors import ConfigError, DatasetError, FileError, MaskwrightError

if TYPE_CHECKING:
    from maskwright.data.dataset import Dataset
    from maskwright.methods.everything.tokens import Detector, TokenFolder, TokenProtocol

PROG = "maskwright evaluate tokens"


@dataclass(frozen=True, kw_only=True)
class EvaluateTokens(Common):
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
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """A boundary model to measure."""
    predictions: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Measure the maps in this folder instead."""
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
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many photos of each dataset, spread evenly over it."""
    offline: bool = False
    """Never use the network."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Keep what was measured of each photo in this folder, to carry on from."""
    overwrite: bool = False
    """Measure anew what an earlier run finished in --out."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also draw curves of each dataset into this folder: recall over tokens, and the sizes of tokens."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the tables to this file, in Markdown."""


def main(argv: list[str]) -> int:
    """Run `maskwright evaluate tokens` and return its exit code."""
    return run(parse(EvaluateTokens, argv, prog=PROG), evaluate)


def evaluate(options: EvaluateTokens, session: Session) -> None:
    """Measure what is not finished, print a table a dataset and fill in the result."""
    from maskwright.data.registry import open_dataset
    from maskwright.io.files import make_parents, write_text
    from maskwright.methods.everything.tokens import TokenFolder, TokenProtocol, size_curves, summarise
    from maskwright.methods.provenance import machine, versions
    from maskwright.report.evaluation_tables import short_name
    from maskwright.report.tokens import token_table, write_pictures
    from maskwright.runtime import choose_device

    specs = _check(options)
    thresholds = _thresholds(options.thresholds)
    protocol = TokenProtocol(thresholds, options.resolution, options.tolerance, options.effective_tolerance)
    datasets = {spec: open_dataset(spec) for spec in specs}
    source = _Source(options)
    folder = TokenFolder(options.out, source.name, protocol, options.overwrite) if options.out else None
    session.result |= {"source": source.name, "protocol": asdict(protocol), "data": {}}
    tables = []
    for spec, dataset in datasets.items():
        records = list(_measured(options, session, spec, dataset, source, protocol, folder))
        if not records:
            raise DatasetError(f"none of the photos of {spec} could be measured.")
        rows, sizes = summarise(records, protocol), size_curves(records, protocol)
        tables.append(token_table(rows, len(records), f"{source.title}, {short_name(spec)}"))
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
            title = f"{source.title}, {short_name(spec)}"
            found["pictures"] = write_pictures(options.pictures, rows, sizes, title, place)
    session.result |= {"machine": machine(choose_device(options.device).value), "versions": versions()}
    if options.markdown:
        write_text(make_parents(options.markdown), "\n".join(table.markdown() for table in tables))


def _check(options: EvaluateTokens) -> list[str]:
    specs = values(options.data)
    if not specs:
        raise ConfigError("nothing to measure on: give --data KIND:FOLDER, such as bsds500:data/BSDS500.")
    if (options.model is None) == (options.predictions is None):
        raise ConfigError("give --model NAME, or --predictions FOLDER with maps to measure.")
    if options.limit is not None and options.limit < 1:
        raise ConfigError("--limit must be at least 1.")
    if options.overwrite and options.out is None:
        raise ConfigError("--overwrite is for --out DIR.")
    if options.offline and options.model is None:
        raise ConfigError("--offline is for --model.")
    return specs


def _thresholds(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--thresholds are numbers such as 0.1,0.3,0.5, not {text!r}.") from None


class _Source:
    """Where boundary maps come from: a model, or a folder of them."""

    def __init__(self, options: EvaluateTokens) -> None:
        self.folder = options.predictions
        self.resolution = options.resolution
        if self.folder is not None:
            from maskwright.io.files import nearest_name

            if not self.folder.is_dir():
                raise FileError(f"{self.folder} is no folder.{nearest_name(self.folder)}")
            self.name, self.title = str(self.folder), self.folder.name
            return
        from maskwright.models.boundary_files import load_boundary

        assert options.model is not None
        self._model = load_boundary(options.model, device=options.device, offline=options.offline)
        self.name, self.title = self._model.signature, self._model.name

    def files(self, photo: Path) -> list[Path]:
        """What else than the photo and its annotation decides over the result."""
        return [] if self.folder is None else [self._stored(photo)]

    def detector(self, photo: Path) -> Detector:
        """What gives the map of this photo."""
        if self.folder is None:
            model, resolution = self._model, self.resolution
            return lambda image: model(image, resolution=resolution, keep_aspect=False)
        from maskwright.methods.everything.predictions import read_boundary_map

        return lambda image: read_boundary_map(self._stored(photo))

    def _stored(self, photo: Path) -> Path:
        assert self.folder is not None
        return self.folder / f"{photo.stem}.png"


def _measured(
    options: EvaluateTokens,
    session: Session,
    spec: str,
    dataset: Dataset,
    source: _Source,
    protocol: TokenProtocol,
    folder: TokenFolder | None,
) -> Iterator[dict[str, Any]]:
    """What was measured of each photo, now or before; a photo that cannot be measured is noted."""
    from maskwright.methods.evaluate import spread
    from maskwright.methods.everything.tokens import measure

    chosen: Sequence[int] = spread(len(dataset), options.limit)
    for index in session.track(chosen, f"measuring {spec}"):
        photo = dataset.image_path(index)
        files = [photo, dataset.mask_path(index), *source.files(photo)]
        record = folder.get(spec, index, files) if folder else None
        if record is not None:
            session.result["skipped"] = session.result.get("skipped", 0) + 1
        else:
            try:
                record = measure(dataset, index, source.detector(photo), protocol)
            except MaskwrightError as error:
                session.fail(photo, error)
                continue
            if folder:
                folder.add(spec, index, files, record)
        yield record
