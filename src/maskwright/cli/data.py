"""`maskwright data`: which kinds of datasets can be read, what is wrong with one, stacks, downloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table

from maskwright.cli.commands import Command, dispatch
from maskwright.cli.common import Common, Positional, Session, parse, run
from maskwright.errors import DatasetError, suggestion

if TYPE_CHECKING:
    from maskwright.data.check import Report
    from maskwright.data.kinds import Kind

SHOWN_PROBLEMS = 20


@dataclass(frozen=True, kw_only=True)
class Kinds(Common):
    """List the kinds of datasets: task, size, licence, the expected folder and the options of each."""

    kinds: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="[KIND…]")] = ()
    """Only these, such as bsds500; all by default."""
    brief: bool = False
    """One line a kind: task, images and licence."""


@dataclass(frozen=True, kw_only=True)
class Check(Common):
    """Read a whole dataset and say what is wrong with it, by file name.

    Ends with code 1 when an item cannot be used or a file lacks its partner. Odd masks are warnings.
    """

    dataset: Positional[str]
    """KIND:FOLDER[?option=value&…], such as pairs:photos or labels:cells?mode=instances."""
    all: bool = False
    """Print every problem instead of the first twenty."""


def main(argv: list[str]) -> int:
    """Run `maskwright data …` and return the exit code."""
    commands: dict[str, Command] = {
        "list": (partial(_run_list), "List the kinds of datasets: task, size, licence, folder and options."),
        "check": (partial(_run_check), "Read a whole dataset and say what is wrong with it."),
        "convert": (_run_convert, "Turn the pages of TIFF stacks into binary masks."),
        "download-sav": (_run_download, "Fetch the archives of SA-V from a list of links, with resume."),
    }
    return dispatch("maskwright data", "Datasets: what can be read, and whether it is sound.", commands, argv)


def _run_list(argv: list[str]) -> int:
    return run(parse(Kinds, argv, prog="maskwright data list"), list_kinds)


def _run_check(argv: list[str]) -> int:
    return run(parse(Check, argv, prog="maskwright data check"), check)


def _run_convert(argv: list[str]) -> int:
    from maskwright.cli.data_convert import main

    return main(argv)


def _run_download(argv: list[str]) -> int:
    from maskwright.cli.data_download import main

    return main(argv)


def list_kinds(options: Kinds, session: Session) -> None:
    """Print the registry.

    Raises:
        DatasetError: for an unknown kind.
    """
    from maskwright.data.kinds import COMMON_OPTIONS, KINDS

    for name in options.kinds:
        if name not in KINDS:
            raise DatasetError(
                f"there is no kind of dataset {name!r}.{suggestion(name, KINDS)} "
                "`maskwright data list --brief` shows all."
            )
    chosen = {name: KINDS[name] for name in options.kinds or KINDS}
    session.result.update({name: _as_dict(kind) for name, kind in chosen.items()})
    if options.brief:
        session.print(_overview(chosen))
        return
    for name, kind in chosen.items():
        _print_kind(name, kind, session)
    session.print("Every kind also takes:")
    for key, option in COMMON_OPTIONS.items():
        session.print(f"    {key}=…  {option.help}")
    session.print("Write a dataset as KIND:FOLDER?option=value&option=value.")


def _as_dict(kind: Kind) -> dict[str, Any]:
    from maskwright.data.kinds import COMMON_OPTIONS

    return {
        "summary": kind.summary,
        "task": kind.task,
        "images": kind.images,
        "licence": kind.licence,
        "tree": kind.tree,
        "options": {key: option.help for key, option in {**kind.options, **COMMON_OPTIONS}.items()},
    }


def _overview(kinds: Mapping[str, Kind]) -> Table:
    table = Table("kind", "task", "images", "licence")
    for name, kind in kinds.items():
        table.add_row(name, kind.task, kind.images, kind.licence)
    return table


def _print_kind(name: str, kind: Kind, session: Session) -> None:
    session.console.print(name, style="bold", end="")
    session.print(f"  {kind.summary}")
    session.print(f"  task: {kind.task} · images: {kind.images} · licence: {kind.licence}")
    session.console.print(kind.tree, style="dim")
    for key, option in kind.options.items():
        session.print(f"    {key}=…  {option.help}")
    session.print()


def check(options: Check, session: Session) -> None:
    """Check one dataset and print what was found.

    Raises:
        DatasetError: when the dataset cannot be used as it is.
    """
    from maskwright.data.check import check_dataset

    report = check_dataset(options.dataset, lambda items: session.track(items, "checking"))
    session.result.update(report.as_dict())
    session.print(_summary(report))
    _print_problems(report, session, None if options.all else SHOWN_PROBLEMS)
    if not report.items:
        raise DatasetError(
            f"{options.dataset} holds no items; see `maskwright data list` for the expected tree."
        )
    if report.errors:
        raise DatasetError(
            f"{options.dataset}: {len(report.errors)} errors, so it cannot be trained on as it is."
        )


def _summary(report: Report) -> Table:
    table = Table(title=report.spec, title_justify="left", show_header=False)
    table.add_row("items", str(report.items))
    table.add_row("photos", str(report.images))
    table.add_row("masks", str(report.masks))
    for title, counts, limit in (
        ("photo sizes", report.sizes, 6),
        ("masks an item", report.masks_per_item, 6),
        ("categories", report.categories, 12),
    ):
        if counts:
            table.add_row(title, _most_common(counts, limit))
    if report.areas:
        ranges = sorted(report.areas.items(), key=lambda item: float(item[0].split("-")[0]))
        table.add_row("share of the image", ", ".join(f"{name} ×{count}" for name, count in ranges))
    table.add_row("errors", str(len(report.errors)), style="red" if report.errors else "green")
    table.add_row("warnings", str(len(report.warnings)), style="yellow" if report.warnings else "green")
    return table


def _most_common(counts: Counter[str] | Counter[int], limit: int) -> str:
    shown = ", ".join(f"{name} ×{count}" for name, count in counts.most_common(limit))
    return shown + (f", and {len(counts) - limit} more" if len(counts) > limit else "")


def _print_problems(report: Report, session: Session, limit: int | None) -> None:
    for title, problems, color in (("error", report.errors, "red"), ("warning", report.warnings, "yellow")):
        for problem in problems[:limit]:
            session.console.print(f"{title}: {problem} [{problem.code}]", style=color)
        if limit is not None and len(problems) > limit:
            session.print(f"and {len(problems) - limit} more {title}s (--all, or --json FILE)")
