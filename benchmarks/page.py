"""docs/benchmarks.md from the figures of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sides import OURS, misses

from maskwright.io.files import read_json, write_text

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "results"
FIGURES = PICTURES / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Maskwright beside its peers, written by `make bench`. Every row is one run: the outputs are checked first,
then all sides are timed in turns on the same inputs, at least five times each where nothing else is said,
and what takes less than 20 ms again and again in each turn.
"times" is the peer's median time divided by ours, in brackets the smallest and the largest of a round;
above 1 we are faster. "limit" is the share of the machine's limit that we reach: the time that the work's
matrix products take at the rate of a large one, timed between the rounds, or the bytes it must move at that
of a copy, over our time. A goal that is missed says so, and below the table stand what it asks for, the
machine's limit, the CPU time that the system took, mostly for fresh memory, where the time of a pass goes by
torch's profiler ("outside torch": Python, and with us kernels of our own) or Python's, and what else is
known of the cause.

Nothing here was measured on a GPU: where there is one, `make bench` adds the image encoder on it.

Curves tell how time and memory of our own work grow with its size: each point is a process of its own.

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
    goal = f" **goal {peer['goal']:g}**" if misses(peer) else ""
    return f"{peer['ratio']:.2f} ({low:.2f}–{high:.2f}){goal}"


def missed(row: dict[str, Any]) -> Iterator[str]:
    """For each goal that a row misses: our time as it asks for it, the limit, and the system's share."""
    for name, peer in row["peers"].items():
        if not misses(peer):
            continue
        words = f"goal {peer['goal']:g} asks for {duration(row['seconds'][name] / peer['goal'])}"
        words += f", the machine's limit is {duration(row['limit'])}" if row["limit"] else ""
        if "system" in row:
            sides = ", ".join(f"{side} {duration(row['system'][side])}" for side in (OURS, name))
            words += f"; the system's CPU time is {sides}"
        yield f"\n{row['name']}: {words}."
        if profiles := row.get("profile"):
            told = "; ".join(profile_words(side, profiles[side]) for side in (OURS, name))
            yield f"\nOne pass on one thread: {told}."


def profile_words(side: str, profile: dict[str, Any]) -> str:
    """Where the time of a side's pass goes."""
    shares = ", ".join(f"{share:.0%} {operation}" for operation, share in profile["shares"].items())
    return f"{side} {duration(profile['seconds'])}, of which {shares}"


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
        first, equal = [row["name"], duration(ours), share], row["equal"]
        for name, peer in row["peers"].items():
            cells = [*first, name, duration(row["seconds"][name]), peer_words(peer), equal]
            lines.append("| " + " | ".join(cells) + " |")
            first, equal = ["", "", ""], ""
    lines += [words for row in record["rows"] for words in missed(row)]
    lines += [f"\n{row['name']}: {row['note']}" for row in record["rows"] if row["note"]]
    return "\n".join([*lines, "", machine_words(record["machine"]), ""])


def curve_words(curve: dict[str, Any]) -> str:
    """How a curve grows, and what was checked, for page and terminal."""
    powers, axis = curve["powers"], curve["axis"]
    grows = f"time grows with {axis} to the {powers['seconds']:.2f}, CPU time to the {powers['cpu']:.2f}"
    first, last = (curve["points"][place] for place in (0, -1))
    added = f"memory added goes from {first['added']:.0f} to {last['added']:.0f} MB"
    checks = f" Checked: {'; '.join(curve['checked'])}." if curve.get("checked") else ""
    return f"{curve['name']}: {grows}; {added}.{checks}"


def curve_section(record: dict[str, Any]) -> str:
    """A benchmark of curves as a section of the page: a picture, and a table each."""
    lines = [
        f"## {record['title']}",
        "",
        record["text"],
        "",
        f"![{record['title']}](results/{record['picture']})",
    ]
    for curve in record["curves"]:
        points = curve["points"]
        cells = {
            curve["axis"]: [f"{point['size']:g}" for point in points],
            "time": [duration(point["seconds"]) for point in points],
            "CPU time": [duration(point["cpu"]) for point in points],
            "memory added": [f"{point['added']:.0f} MB" for point in points],
        }
        first, *rest = (f"| **{name}** | " + " | ".join(values) + " |" for name, values in cells.items())
        lines += ["", curve_words(curve), "", first, "|---" * (1 + len(points)) + "|", *rest]
    return "\n".join([*lines, "", machine_words(record["machine"]), ""])


def machine_words(machine: dict[str, Any]) -> str:
    """The machine and the versions in a sentence."""
    limits = machine["limits"]
    kinds = [kind for kind in ("float32", "bfloat16") if limits[kind]]
    rates = " and ".join(f"{limits[kind] / 1e9:.0f} ({kind})" for kind in kinds) + " GFLOP/s"
    instructions = f", {machine['instructions']}" if machine.get("instructions") else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"*{machine['processor']}{instructions}, {machine['threads']} thread(s), {rates}, "
        f"{limits['bandwidth'] / 1e9:.0f} GB/s; Python {machine['python']}, {versions}; {machine['date']}.*"
    )


def section(record: dict[str, Any]) -> str:
    """One benchmark as a section of the page, of either kind."""
    return curve_section(record) if "curves" in record else table(record)


def write_page() -> None:
    """Write the page from all figures there are."""
    paths = sorted(FIGURES.glob("*.json"), key=lambda path: path.stem)
    records = [read_json(path) for path in paths]
    write_text(PAGE, "\n".join([INTRODUCTION, *map(section, records)]))
