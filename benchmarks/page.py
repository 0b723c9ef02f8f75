"""docs/benchmarks.md from the figures of the benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sides import OURS

from maskwright.io.files import read_json, write_text

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "results" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Maskwright beside its peers, written by `make bench`. Every row is one run: the outputs are checked first,
then all sides are timed in turns on the same inputs, at least five times each. "times" is the peer's median
time divided by ours, in brackets the smallest and the largest of a round; above 1 we are faster. "limit" is
the share of the machine's limit that we reach: the time that the work's matrix products, or the bytes it must
move, take at the rate measured in the same process, over our time. A goal that is missed says so.

Seconds are those of the machine named below each table; compare them within a row only.
"""


def duration(seconds: float) -> str:
    """Seconds in the unit that fits."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1000 * seconds:.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} µs"


def peer_words(peer: dict[str, Any]) -> str:
    """Ratio, spread, and the goal where it is missed."""
    low, high = peer["spread"]
    missed = peer["goal"] is not None and peer["ratio"] < peer["goal"]
    return f"{peer['ratio']:.2f} ({low:.2f}–{high:.2f})" + (f" **goal {peer['goal']:g}**" if missed else "")


def row_words(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    ours = row["seconds"][OURS]
    share = f", {row['limit'] / ours:.0%} of the limit" if row["limit"] else ""
    peers = "; ".join(f"{name} {peer_words(peer)}" for name, peer in row["peers"].items())
    return f"{row['name']}: {duration(ours)}{share}; {peers}; {row['equal']}"


def table(record: dict[str, Any]) -> str:
    """One benchmark as a section of the page."""
    lines = [f"## {record['title']}", "", record["text"], ""]
    lines += ["| work | ours | limit | peer | its time | times | outputs |", "|---|---|---|---|---|---|---|"]
    for row in record["rows"]:
        ours = row["seconds"][OURS]
        share = f"{row['limit'] / ours:.0%}" if row["limit"] else ""
        first = [row["name"], duration(ours), share]
        for name, peer in row["peers"].items():
            cells = [*first, name, duration(row["seconds"][name]), peer_words(peer), row["equal"]]
            lines.append("| " + " | ".join(cells) + " |")
            first = ["", "", ""]
    lines += [f"\n{row['name']}: {row['note']}" for row in record["rows"] if row["note"]]
    return "\n".join([*lines, "", machine_words(record["machine"]), ""])


def machine_words(machine: dict[str, Any]) -> str:
    """The machine and the versions in a sentence."""
    limits = machine["limits"]
    rates = f"{limits['float32'] / 1e9:.0f} (float32) and {limits['bfloat16'] / 1e9:.0f} (bfloat16) GFLOP/s"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"*{machine['processor']}, {machine['threads']} thread(s), {rates}, "
        f"{limits['bandwidth'] / 1e9:.0f} GB/s; Python {machine['python']}, {versions}; {machine['date']}.*"
    )


def write_page() -> None:
    """Write the page from all figures there are."""
    records = [read_json(path) for path in sorted(FIGURES.glob("*.json"))]
    write_text(PAGE, "\n".join([INTRODUCTION, *(table(record) for record in records)]))
