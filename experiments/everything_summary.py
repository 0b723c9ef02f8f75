"""What the experiment on everything says: generations of models, and clicks against a boundary map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from everything_compared import COUNTS, GRIDS

from maskwright.io.records import read_records
from maskwright.metrics.boundary_scores import BoundaryCounts, BoundaryScores
from maskwright.metrics.statistics import (
    Statistic,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_statistic,
)

Floats = npt.NDArray[np.float64]
Figures = Mapping[str, Callable[[Floats], float]]
Records = Sequence[Mapping[str, Any]]

COUNTED = ("recalled", "true", "hit", "predicted")
BENCHMARK = ("ods", "ois", "ap", "covering", "pri", "voi", "n")
TOKENS = 64
"""At so many segments the generations' recall is compared."""


def benchmark_scores(counts_N4T: Floats) -> BoundaryScores:
    """The benchmark's scores of counts at evenly spaced thresholds, summed over the photos."""
    thresholds = np.linspace(0, 1, counts_N4T.shape[2] + 2)[1:-1]
    return BoundaryScores([BoundaryCounts(thresholds, *counts_N4T.sum(axis=0).astype(np.int64))])


def recall_at(values_N3T: Floats) -> float:
    """Recall of segments' borders at `TOKENS` segments, between thresholds; NaN outside of their range."""
    segments, recall = values_N3T.mean(axis=0)[:2]
    order = np.argsort(segments)
    if not segments.min() <= TOKENS <= segments.max():
        return float("nan")
    return float(np.interp(np.log(TOKENS), np.log(segments[order]), recall[order]))


LINES: Figures = {
    "ODS": lambda counts_N4T: benchmark_scores(counts_N4T).ods.f,
    "AP": lambda counts_N4T: benchmark_scores(counts_N4T).ap,
}
PARTS: Figures = {
    "best F1 of segments": lambda values_N3T: float(values_N3T.mean(axis=0)[2].max()),
    f"recall at {TOKENS} segments": recall_at,
}


def generations(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of each model with their intervals, and the differences between models.

    Args:
        results: by model in order, "tokens" and perhaps "boundaries": results of the two commands, and as
            "records" the file with those of each photo.
    """
    titles = list(results)
    tables = {"tokens": (PARTS, token_values)}
    if "boundaries" in results[titles[0]]:
        tables = {"boundaries": (LINES, boundary_counts), **tables}
    models: dict[str, dict[str, Any]] = {title: {} for title in titles}
    differences = []
    for kind, (figures, read) in tables.items():
        columns = {title: read(results[title][kind]["records"]) for title in titles}
        for title in titles:
            found = results[title][kind]
            kept = benchmark_kept(found) if kind == "boundaries" else token_kept(found)
            models[title][kind] = kept | {"intervals": intervals(figures, columns[title])}
        for other, one in [*pairwise(titles), (titles[0], titles[-2]), (titles[0], titles[-1])]:
            differences += difference(figures, columns, one, other)
    return {"models": models, "differences": list({str(row): row for row in differences}.values())}


def benchmark_kept(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the page needs of a benchmark."""
    curve = {name: found["curve"][name] for name in ("recall", "precision")}
    return {name: found[name] for name in BENCHMARK} | {"at": found["ods_at"], "curve": curve}


def token_kept(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the page needs of tokens; processor time is not what they are about."""
    rows = [{name: row[name] for name in row if name != "seconds"} for row in found["rows"]]
    return {"photos": found["photos"], "rows": rows}


def benchmarked(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same of one model alone, with intervals."""
    return benchmark_kept(found) | {"intervals": intervals(LINES, boundary_counts(found["records"]))}


def boundary_counts(path: Path) -> Floats:
    """(N, 4, T): recalled, true, hit, predicted pixels of each photo at each threshold."""
    found = {record["photo"]: record["result"]["boundaries"] for record in read_records(path)}
    return np.array([[found[name][part] for part in COUNTED] for name in sorted(found)], np.float64)


def token_values(path: Path) -> Floats:
    """(N, 3, T): segments, recall and F1 of each photo at each threshold."""
    found = {record["photo"]: record["result"] for record in read_records(path)}
    names = ("segments", "token_recall", "f1")
    return np.array([[found[item][name] for name in names] for item in sorted(found)], np.float64)


def intervals(figures: Figures, values: Floats) -> dict[str, dict[str, float]]:
    """Each figure with its interval over photos."""
    columns = {"values": values}
    return {
        name: bootstrap_statistic(of("values", figure), columns).to_json() for name, figure in figures.items()
    }


def difference(figures: Figures, columns: Mapping[str, Floats], one: str, other: str) -> list[dict[str, Any]]:
    """Each figure of a model minus that of another, on the same photos."""
    both = {name: columns[name] for name in (one, other)}
    return [
        {"model": one, "minus": other, "figure": name}
        | bootstrap_difference(of(one, figure), of(other, figure), both).to_json()
        for name, figure in figures.items()
    ]


def of(column: str, figure: Callable[[Floats], float]) -> Statistic:
    """A figure of one column of a table."""
    return lambda sample: figure(sample[column])


def compared(records: Records) -> dict[str, Any]:
    """Means over the photos of boundary method and grids, their curves, and differences of pairs."""
    methods = {}
    for method in records[0]["methods"]:
        photos = [record["methods"][method] for record in records]
        methods[method] = {
            "seconds": means([photo["seconds"] for photo in photos]),
            "found": means([photo["found"] for photo in photos]),
            "curves": {
                name: curve([photo[name] for photo in photos])
                for name in ("tree", "best")
                if name in photos[0]
            },
        }
    differences = [row for grid in GRIDS for row in against(records, grid)]
    photos = [record["image"] for record in records]
    return {"photos": photos, "methods": methods, "differences": differences}


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each value."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def curve(photos: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Means by the number of tokens, over those photos that have so many: "share" of all."""
    points = []
    for count in COUNTS:
        rows = [row for photo in photos for row in photo if row["tokens"] == count]
        if rows:
            points.append(means(rows) | {"share": len(rows) / len(photos)})
    return points


def against(records: Records, grid: str) -> list[dict[str, Any]]:
    """The boundary method minus a grid: as it comes, and with as many segments as the grid has masks."""
    rows = []
    for kind in ("found", f"as {grid}"):
        for figure in ("recall", "precision", "f1"):
            gaps = [
                record["methods"]["boundary"][kind][figure] - record["methods"][grid]["found"][figure]
                for record in records
            ]
            low, high = bootstrap_interval(gaps)
            row = {"grid": grid, "equal": kind != "found", "figure": figure}
            rows.append(row | {"value": float(np.mean(gaps)), "low": low, "high": high})
    return rows
