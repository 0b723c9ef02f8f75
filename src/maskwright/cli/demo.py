"""`maskwright demo`: segment real photos in every mode and write a report page."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from maskwright.cli.common import Common, Session, parse, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from maskwright.report.demo import PhotoResult


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Segment four photos that ship with scikit-image, in every mode the model has, and write a report.

    The folder gets report.html (one page that needs nothing else), report.json and the pictures.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("demo")
    """Folder for the report."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")] = "nano"
    """A model's name, or a checkpoint."""
    boundary_model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")] = "nano-boundary"
    """A boundary model's name, or a checkpoint: it cuts the photos into all there is, without a prompt."""
    num_heads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Attention heads of the decoder, if the file does not tell and they are not eight."""
    offline: bool = False
    """Never use the network."""


def main(argv: list[str]) -> int:
    """Run `maskwright demo` and return its exit code."""
    return run(parse(Demo, argv, prog="maskwright demo"), demo)


def demo(options: Demo, session: Session) -> None:
    """Run every mode on every photo, write the report and print the table."""
    from maskwright.methods.provenance import machine, versions
    from maskwright.models.boundary_files import load_boundary
    from maskwright.models.registry import load
    from maskwright.report.demo import describe_model, run_demo
    from maskwright.report.demo_everything import run_everything
    from maskwright.report.demo_one_shot import run_one_shot
    from maskwright.report.demo_page import write_report
    from maskwright.report.demo_photos import PHOTOS
    from maskwright.runtime import seed_everything

    start = time.perf_counter()
    seed_everything(options.seed)
    segmenter = load(
        options.model, num_heads=options.num_heads, device=options.device, offline=options.offline
    )
    results = list(session.track(run_demo(segmenter, PHOTOS), "photos", total=len(PHOTOS)))
    scene = run_one_shot(segmenter)
    detector = load_boundary(options.boundary_model, device=options.device, offline=options.offline)
    cut = run_everything(detector, PHOTOS)
    about = {
        "model": describe_model(segmenter),
        "boundary_model": detector.signature,
        "machine": machine(segmenter.device),
        "versions": versions(),
        "seed": options.seed,
        "seconds": round(time.perf_counter() - start, 2),
    }
    session.result |= write_report(options.out, results, scene, cut, about)
    session.print(_table(results))
    found = "not found" if scene.similarity is None else f"found, similarity {scene.similarity:.2f}"
    session.print(f"one shot: the {scene.thing}, shown in one photo, in another: {found}")
    counts = ", ".join(f"{one.name} {one.segments} segments ({one.milliseconds:.0f} ms)" for one in cut)
    session.print(f"everything, without a prompt: {counts}")
    session.print(f"report: {options.out / 'report.html'}")


def _table(results: Sequence[PhotoResult]) -> Table:
    from rich.table import Table

    table = Table("photo", "prompt", title="Masks of the demo", title_justify="left")
    known = any(answer.quality for result in results for answer in result.answers)
    for heading in ("predicted IoU", *["quality"] * known, "area", "undecided", "time"):
        table.add_column(heading, justify="right")
    for result in results:
        for number, answer in enumerate(result.answers):
            table.add_row(
                "" if number else result.photo.name,
                answer.title,
                " ".join(f"{score:.2f}" for score in answer.scores),
                *[" ".join(f"{value:.2f}" for value in answer.quality)] * known,
                " ".join(f"{area:.1%}" for area in answer.areas),
                f"{answer.undecided:.1%}",
                f"{answer.milliseconds:.0f} ms",
                end_section=number == len(result.answers) - 1,
            )
    return table
