"""Write docs/results/index.md from the JSON files beside it; `--run DATA` first measures them anew.

    python docs/results_page.py --run ../shared/data

Measuring takes GrabCut's time: a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from maskwright.cli.main import main as maskwright
from maskwright.io.files import read_json, write_json, write_text

FOLDER = Path(__file__).parent / "results"
METHODS = ("--model", "nano", "--baseline", "grabcut", "grabcut-or-box", "box", "ellipse")
# Per file: title, dataset below the data folder, further options.
PROMPTED = {
    "bsds500": ("BSDS500 test, first annotator", "bsds500:{}/BSDS500?split=test", ()),
    "davis2016": (
        "DAVIS 2016: blackswan, goat and parkour",
        "davis2016:{}/DAVIS2016?sequences=blackswan,goat,parkour",
        ("--limit", "60"),
    ),
}
KEYS = ("miou", "boundary_iou")
INTRODUCTION = """# Results

Figures here and in the README come from commands in the repository, from runs that happened; none is typed
by hand, and a negative result stays. This page is written by `python docs/results_page.py`. Intervals are
95 %, by bootstrap over images. Times are those of the machine named below, noisy: compare them within a table only.

"""
PROTOCOL = """Objects between 0.5 % and 60 % of their image, at most two an image, each asked for with its
tight box or with one click at its centre; nano gives its single mask (sum of SAM's and the HQ logits). `grabcut`
is OpenCV's from the box, five iterations; where it has no background or finds no object its mask is empty, and
`grabcut-or-box` takes the filled box there.

"""


def main() -> int:
    """Measure if asked to, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, metavar="DATA", help="folder of the datasets: measure anew")
    parser.add_argument("--only", choices=[*PROMPTED], help="measure this one alone")
    options = parser.parse_args()
    if options.run:
        for name in [options.only] if options.only else PROMPTED:
            measure(name, options.run)
    write_text(FOLDER / "index.md", page())
    return 0


def measure(name: str, root: Path) -> None:
    """Run the command of one table and keep its result, without paths and without the single masks."""
    _, data, extra = PROMPTED[name]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = ("evaluate", "prompted", *METHODS, "--data", data.format(root), "--prompt", "box", "point")
        code = maskwright([*command, *extra, "--json", str(result)])
        if code:
            sys.exit(code)
        content = json.loads(result.read_text(encoding="utf-8").replace(f"{root}/", ""))
    for row in content["results"]:
        del row["per_mask"]
    write_json(FOLDER / f"{name}.json", content)


def page() -> str:
    """The page's text."""
    text = INTRODUCTION
    text += "## nano against what needs no weights\n\n" + PROTOCOL
    for name, (title, data, extra) in PROMPTED.items():
        content: Any = read_json(FOLDER / f"{name}.json")
        text += f"### {title}\n\n" + table(content["results"]) + gaps(content["differences"])
        shown = " ".join([*METHODS, "--data", f"'{data.format('DATA')}'", "--prompt box point", *extra])
        text += f"`maskwright evaluate prompted {shown}`; {described(content)}\n\n"
    return text.rstrip("\n") + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    """One row a method and prompt."""
    lines = ["| prompt | method | masks | mean IoU | boundary IoU | s / image |", "|---|---|---|---|---|---|"]
    for row in rows:
        name = row.get("model") or row["baseline"]
        scores = " | ".join(interval(row, key, "") for key in KEYS)
        seconds = f"{row['seconds_per_image']:.3f}"
        lines.append(f"| {row['prompt']} | {name} | {row['n']} | {scores} | {seconds} |")
    return "\n".join(lines) + "\n\n"


def interval(row: dict[str, Any], key: str, sign: str) -> str:
    """A figure with its interval."""
    low, high = row[f"{key}_ci95"]
    return f"{row[key]:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def gaps(rows: list[dict[str, Any]]) -> str:
    """How far nano is ahead of each baseline on the same masks."""
    lines = ["| prompt | nano minus | mean IoU | boundary IoU |", "|---|---|---|---|"]
    for row in rows:
        scores = " | ".join(interval(row, key, "+") for key in KEYS)
        lines.append(f"| {row['prompt']} | {row['other']} | {scores} |")
    return "\n".join(lines) + "\n\n"


def described(content: dict[str, Any]) -> str:
    """Seed, machine and versions of a run."""
    machine, versions = content["machine"], content["versions"]
    packages = ", ".join(f"{name} {versions[name]}" for name in ("maskwright", "torch", "transformers"))
    seed = content["results"][0]["seed"]
    return f"seed {seed}; {machine['processor']}, {machine['cores']} cores; {packages}."


if __name__ == "__main__":
    sys.exit(main())
