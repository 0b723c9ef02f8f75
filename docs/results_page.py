"""Write docs/results/index.md, and the tables marked in other pages, from the JSON files in docs/results.

    python docs/results_page.py --run ../shared/data

`--run` first measures nano and the methods without weights anew, which takes GrabCut's time: a quarter of an
hour on two cores. `--nuclei FILE` takes over the figures of examples/fine_tune_nuclei.py, `--demo FOLDER` the
README's picture from what `make demo` wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from marked_tables import FOLDER, ROOT, fill

from maskwright.cli.main import main as maskwright
from maskwright.io.files import read_json, write_bytes, write_json, write_text
from maskwright.io.images import read_image
from maskwright.report.html import encode
from maskwright.report.sheet import side_by_side

PICTURE = ROOT / "docs" / "images" / "demo.jpg"
PHOTOS = ("coffee", "cat", "astronaut", "motorcycle")
BSDS500 = ("BSDS500 test, first annotator", "bsds500:{}/BSDS500?split=test")
DAVIS = ("DAVIS 2016: blackswan, goat and parkour", "davis2016:{}/DAVIS2016?sequences=blackswan,goat,parkour")
METHODS = ("--model", "nano", "--baseline", "grabcut", "box", "ellipse")
REFINED = ("--model", "nano", "--refine", "nano", "--multimask")
# Per file: title, dataset below the data folder, options.
PROMPTED = {
    "bsds500": (*BSDS500, METHODS),
    "davis2016": (*DAVIS, (*METHODS, "--limit", "45")),
}
REFINER = {
    "refined-bsds500": (*BSDS500, REFINED),
    "refined-davis2016": (*DAVIS, (*REFINED, "--limit", "45")),
}
MEASURED = PROMPTED | REFINER
KEYS = ("miou", "boundary_iou")
INTRODUCTION = """# Results

Figures here and in the README come from commands in the repository, from runs that happened; none is typed
by hand, and a negative result stays. This page is written by `python docs/results_page.py`. Intervals are
95 %, by bootstrap over images. Times are those of the machine named below, noisy: compare them within a table
only.

"""
PROTOCOL = """Objects between 0.5 % and 60 % of their image, at most two an image, each asked for with its
tight box or with one click at its centre; nano gives its single mask (sum of SAM's and the HQ logits).
`grabcut` is OpenCV's from the box, five iterations; where it has no background or finds no object its mask is
empty (`--baseline grabcut-or-box` takes the filled box there, and is stronger).

"""
REFINEMENT = """The mask refiner in the package redraws nano's masks. nano gives three masks and takes the one
it believes best; that one is refined with one more decoder pass. The photos were also those on which the
refiner's training was validated.

"""
MACHINE = """nano's own masks of unlabelled photos, learned as they are, refined, and weighed by their
certainty: [Does SUM work?](sum.md)

"""
NUCLEI = """`python examples/fine_tune_nuclei.py --data DSB2018 --out runs/nuclei`, see the
[tutorial](../tutorial/fine-tune-nuclei.md): held-out images, before and after.

"""


def main() -> int:
    """Measure if asked to, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, metavar="DATA", help="folder of the datasets: measure anew")
    parser.add_argument("--nuclei", type=Path, metavar="JSON", help="figures of the fine-tuning example")
    parser.add_argument("--demo", type=Path, metavar="FOLDER", help="what `make demo` wrote")
    parser.add_argument("--only", choices=[*MEASURED], help="measure this one alone")
    options = parser.parse_args()
    if options.run:
        for name in [options.only] if options.only else MEASURED:
            measure(name, options.run)
    if options.nuclei:
        keep("nuclei", json.loads(options.nuclei.read_text(encoding="utf-8")))
    if options.demo:
        draw(options.demo / "pictures")
    write_text(FOLDER / "index.md", page())
    fill({"nano": summary, "nuclei": nuclei})
    return 0


def measure(name: str, root: Path) -> None:
    """Run the command of one table and keep its result, without paths and without the single masks."""
    _, data, how = MEASURED[name]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = ("evaluate", "prompted", *how, "--data", data.format(root), "--prompt", "box", "point")
        code = maskwright([*command, "--json", str(result)])
        if code:
            sys.exit(code)
        content = json.loads(result.read_text(encoding="utf-8").replace(f"{root}/", ""))
    keep(name, content)


def draw(pictures: Path) -> None:
    """Put the demo's answers to boxes, and where they are uncertain, into one picture."""
    names = [f"{photo}-box-{part}.jpg" for part in (1, 2) for photo in PHOTOS]
    photos = [read_image(pictures / name).pixels for name in names]
    sheet = side_by_side(photos, columns=len(PHOTOS), height=220)
    PICTURE.parent.mkdir(exist_ok=True)
    write_bytes(PICTURE, encode(sheet))


def keep(name: str, content: Any) -> None:  # noqa: ANN401
    """Store a result without its single masks."""
    for row in content["results"]:
        del row["per_mask"]
    write_json(FOLDER / f"{name}.json", content)


def results(name: str) -> Any:  # noqa: ANN401
    """A stored result."""
    return read_json(FOLDER / f"{name}.json")


def page() -> str:
    """The page's text."""
    text = INTRODUCTION
    text += "## nano against what needs no weights\n\n" + PROTOCOL
    text += sections(PROMPTED)
    text += "## nano and its refiner\n\n" + REFINEMENT + sections(REFINER)
    if (FOLDER / "sum.md").is_file():
        text += "## Learning from machine-made labels\n\n" + MACHINE
    text += f"## Fine-tuning on nuclei\n\n{NUCLEI}{nuclei()}{described(results('nuclei'))}\n"
    return text


def sections(measured: dict[str, tuple[str, str, tuple[str, ...]]]) -> str:
    """A table of scores and one of differences for each file, with its command."""
    text = ""
    for name, (title, data, how) in measured.items():
        content = results(name)
        text += f"### {title}\n\n" + table(content["results"]) + gaps(content["differences"])
        shown = " ".join([*how, "--data", f"'{data.format('DATA')}'", "--prompt box point"])
        text += f"`maskwright evaluate prompted {shown}`; {described(content)}\n\n"
    return text


def summary() -> str:
    """Mean IoU / boundary IoU of every method on both sets, with box and click."""
    cells: dict[str, list[str]] = {}
    for name in PROMPTED:
        for row in results(name)["results"]:
            method = row.get("model") or row["baseline"]
            cells.setdefault(method, []).append(f"{row['miou']:.3f} / {row['boundary_iou']:.3f}")
    lines = [
        "| IoU / boundary IoU | BSDS500, box | BSDS500, click | DAVIS, box | DAVIS, click |",
        "|---|---|---|---|---|",
        *(f"| {method} | {' | '.join(values)} |" for method, values in cells.items()),
    ]
    return "\n".join(lines) + "\n"


def nuclei() -> str:
    """Before and after fine-tuning, on the held-out images."""
    content = results("nuclei")
    for row in content["results"]:
        if row.get("model") not in (None, "nano"):
            row["model"] = "fine-tuned"
    return table(content["results"])


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
    processor = f"{machine['processor']}, {machine['threads']} of {machine['cores']} cores"
    return f"seed {seed}; {processor}, beside other work; {packages}."


if __name__ == "__main__":
    sys.exit(main())
