"""Run the comparisons with peers and the curves, and write docs/benchmarks.md.

    python benchmarks/run.py [NAME …] [--on MACHINE] [--resume] [--quick] [--list]

Each name is a benchmark, a module in this folder that has `comparisons` or `curves`; without one, all are
run. Every benchmark runs in a process of its own and its figures are kept in
docs/results/benchmarks/NAME.json, so that a run that was cut off is carried on with the names that are
missing; `--resume` also keeps the rows that it has left, if machine and versions are the same. `--on MACHINE`
keeps figures beside those of other machines, in NAME.MACHINE.json. `--quick` takes small inputs and two
rounds, to see that all of it works, and writes nothing.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from curves import draw, measure_curve
from machine import Limits, describe, matrix_rate, measure_limits
from page import FIGURES, PICTURES, curve_words, row_words, write_page
from sides import measure

from maskwright.io.files import make_folder, read_json, write_json

HERE = Path(__file__).parent
BENCHMARK = re.compile(r"^def (comparisons|curves)\(", re.MULTILINE)


def benchmarks() -> list[str]:
    """Modules with comparisons or curves, in the order of the alphabet."""
    scripts = sorted(HERE.glob("*.py"))
    return [path.stem for path in scripts if BENCHMARK.search(path.read_text(encoding="utf-8"))]


def run(name: str, machine: str | None, quick: bool, resume: bool = False) -> None:
    """Measure one benchmark in this process; figures are kept after every row, for a run may be cut off."""
    make_folder(FIGURES)
    module = importlib.import_module(name)
    device = getattr(module, "DEVICE", "cpu")
    limits = measure_limits(device, quick)
    title, _, text = (module.__doc__ or "").partition("\n")
    title = title.rstrip(".") + (f", {machine}" if machine else "")
    described = describe(limits, device)
    about = {"title": title, "text": text.strip(), "machine": described}
    kept_as = f"{name}.{machine}" if machine else name
    path = FIGURES / f"{kept_as}.json"
    if hasattr(module, "curves"):
        measured = curves_of(module, name, kept_as, quick)
    else:
        kept = rows_left(path, described) if resume else {}
        measured = rows_of(module, limits, kept, device, quick)
    for figures in measured:
        if not quick:
            write_json(path, about | figures)


def rows_left(path: Path, machine: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows by name that an earlier run left on such a machine, with such versions; none of any other."""
    if not path.is_file():
        return {}
    record = read_json(path)
    now = ("date", "limits")
    same = all(record["machine"].get(key) == value for key, value in machine.items() if key not in now)
    return {row["name"]: row for row in record["rows"]} if same else {}


def rows_of(
    module: ModuleType, limits: Limits, kept: dict[str, dict[str, Any]], device: str, quick: bool
) -> Iterator[dict[str, Any]]:
    """The rows of a benchmark's comparisons, one more each time; those that were kept are not run."""
    measured = []

    def rate(arithmetic: str) -> float:
        return matrix_rate(getattr(torch, arithmetic), device, quick)

    for comparison in module.comparisons(quick):
        if quick:
            comparison.rounds = 2
        measured.append(kept.get(comparison.name) or measure(comparison, limits, rate))
        print(row_words(measured[-1]), flush=True)
        yield {"rows": measured}


def curves_of(module: ModuleType, name: str, kept_as: str, quick: bool) -> Iterator[dict[str, Any]]:
    """The curves of a benchmark, one more each time, and a picture of them."""
    measured = []
    for curve in module.curves():
        measured.append(measure_curve(name, curve, quick))
        print(curve_words(measured[-1]), flush=True)
        if not quick:
            draw(measured, PICTURES / f"{kept_as}.png")
        yield {"curves": measured, "picture": f"{kept_as}.png"}


def main() -> int:
    """Run what is asked for; 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = benchmarks()
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--on", metavar="MACHINE", help="keep the figures beside those of other machines")
    parser.add_argument("--resume", action="store_true", help="keep the rows of a run that was cut off")
    parser.add_argument("--quick", action="store_true", help="small inputs, two rounds, nothing written")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    given = parser.parse_args()
    if given.list:
        print(*known, sep="\n")
        return 0
    if unknown := sorted(set(given.names) - set(known)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    names = given.names or known
    if len(names) == 1:
        run(names[0], given.on, given.quick, given.resume)
        failed = []
    else:
        options = ["--quick"] * given.quick + ["--resume"] * given.resume
        options += ["--on", given.on] if given.on else []
        command = [sys.executable, str(HERE / "run.py")]
        failed = [
            name for name in names if subprocess.run([*command, name, *options], check=False).returncode
        ]
    if not given.quick:
        write_page()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
