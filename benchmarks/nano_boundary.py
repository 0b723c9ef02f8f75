"""How many photos a second nano-boundary cuts, from pixels to run lengths, in float32 and bfloat16.

    python benchmarks/nano_boundary.py --photos FOLDER [--limit 40] [--threads 2] [--model NAME|PATH]

Photos go in at their own size, one at a time; both kinds of arithmetic take turns on each. Median seconds of
the clock, the photo already decoded, with the share of each stage.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from maskwright.io.images import read_image
from maskwright.io.inputs import collect_images
from maskwright.methods.everything.cut import find_everything
from maskwright.models.boundary_detector import BoundaryDetector
from maskwright.models.boundary_files import load_boundary
from maskwright.types import Image

KINDS = ("float32", "bfloat16")


def cut(detector: BoundaryDetector, image: Image) -> dict[str, float]:
    """Seconds of each stage, and of all."""
    start = time.perf_counter()
    found = find_everything(detector, image)
    encoding = time.perf_counter()
    found.segments.rles()
    end = time.perf_counter()
    return found.seconds | {"masks": end - encoding, "all": end - start}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="nano-boundary")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    files = collect_images((str(given.photos),))[: given.limit]
    photos = [read_image(file.path) for file in files]
    detectors = {kind: load_boundary(given.model, device="cpu", dtype=kind) for kind in KINDS}
    for detector in detectors.values():
        cut(detector, photos[0])  # compiling, and the first touch of memory
    taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for photo in photos:
        for kind, detector in detectors.items():
            taken[kind].append(cut(detector, photo))
    stages = list(taken[KINDS[0]][0])
    table = Table("arithmetic", "photos/s", *(f"{stage}, ms" for stage in stages))
    for kind, rows in taken.items():
        middle = {stage: statistics.median(row[stage] for row in rows) for stage in stages}
        table.add_row(kind, f"{1 / middle['all']:.1f}", *(f"{1000 * middle[stage]:.1f}" for stage in stages))
    print(f"{len(photos)} photos, {given.threads} threads")
    Console().print(table)


if __name__ == "__main__":
    main()
