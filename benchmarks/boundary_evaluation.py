"""The BSDS500 boundary counts beside a plain NumPy and SciPy version, on the same maps.

    python benchmarks/boundary_evaluation.py --data bsds500:FOLDER --predictions FOLDER [--photos 3]

The plain version (tests/reference/boundary_benchmark.py) thins the whole image and solves every matching from
scratch with SciPy's min_weight_full_bipartite_matching. The two take turns, photo after photo, each on one
core, and their counts are compared: predicted pixels and matched true pixels must be equal; which predicted
pixels are matched may differ where several matchings cost the same. Times are CPU seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from timing import seconds

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from reference import boundary_benchmark as plain

from maskwright.data.bsds import read_boundaries
from maskwright.methods.everything.evaluate import find_prediction, photos_of
from maskwright.methods.everything.predictions import read_boundary_map
from maskwright.metrics.boundary_scores import (
    MAX_DIST,
    THRESHOLDS,
    BoundaryCounts,
    count_boundaries,
    even_thresholds,
    thinned,
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--predictions", required=True, type=Path)
    parser.add_argument("--photos", default=3, type=int)
    parser.add_argument("--thresholds", default=THRESHOLDS, type=int)
    options = parser.parse_args()
    levels = even_thresholds(options.thresholds)
    table = Table(
        "photo", "annotators", "ours s", "plain s", "times as fast", "matched predicted, ours / plain"
    )
    times = []
    for number, photo in enumerate(photos_of(options.data, options.photos)):
        probability = read_boundary_map(find_prediction(options.predictions, photo))
        targets = read_boundaries(photo.truth)
        ours: list[BoundaryCounts] = []
        theirs: list[np.ndarray] = []

        def run_ours(probability=probability, targets=targets, ours=ours) -> None:  # noqa: ANN001
            ours.append(count_boundaries(list(thinned(probability, levels)), targets, levels))

        def run_plain(probability=probability, targets=targets, theirs=theirs) -> None:  # noqa: ANN001
            values = probability.astype(np.float64)
            theirs.append(plain.counts(values, targets, levels, MAX_DIST))

        if not number:
            run_ours()  # compiles, or reads what was compiled
        mine = seconds(run_ours, 2)
        other = seconds(run_plain)
        times.append((mine, other))
        recalled, true, hit, predicted = theirs[0].T
        assert np.array_equal(ours[0].recalled, recalled), "matched true pixels differ"
        assert np.array_equal(ours[0].true, true), "true pixels differ"
        assert np.array_equal(ours[0].predicted, predicted), "predicted pixels differ"
        hits = f"{ours[0].hit.sum()} / {hit.sum()}"
        table.add_row(
            photo.name, str(len(targets)), f"{mine:.2f}", f"{other:.2f}", f"{other / mine:.0f}", hits
        )
    mine, other = np.sum(times, axis=0)
    table.add_section()
    table.add_row("all", "", f"{mine:.2f}", f"{other:.2f}", f"{other / mine:.0f}", "")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
