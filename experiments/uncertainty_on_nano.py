"""Does it work? nano and a smaller nano say which of their masks are wrong, on photos they never saw.

    python experiments/uncertainty_on_nano.py --data DATA --out runs/uncertainty_on_nano

DATA holds BSDS500 and DAVIS2016. Each step is a `maskwright evaluate uncertainty` whose result stays below
--out, so the same command goes on where it was stopped; the pages with curves and the worst misses are there,
too. At the end docs/results/uncertainty.json, its page and its picture are written.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from uncertainty_page import chart, page
from uncertainty_summary import summarise

from maskwright.data.registry import open_dataset
from maskwright.io.files import read_json, write_bytes, write_json, write_text
from maskwright.methods.provenance import machine, versions
from maskwright.methods.uncertainty.cascade import measure_costs
from maskwright.models.prompts import make_prompts
from maskwright.models.registry import load
from maskwright.report.html import encode

FOLDER = Path(__file__).parent.parent / "docs" / "results"
DATA = {
    "BSDS500 test": "bsds500:{}/BSDS500?split=test",
    "DAVIS 2016": "davis2016:{}/DAVIS2016?sequences=blackswan,goat,parkour",
}
"""Of DAVIS the sequences that nano was not trained on."""


def main() -> None:
    """Run what is not done and write the result and its page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of BSDS500 and DAVIS2016")
    parser.add_argument("--out", type=Path, required=True, help="folder of all results")
    parser.add_argument("--models", nargs="+", default=["nano-small", "nano"], help="small to large")
    parser.add_argument("--heads", default="auto", help="auto, none, or a file")
    options = parser.parse_args()
    found = {name: measure(options, name) for name in DATA}
    content = summarise(found, seconds(options))
    content |= {"machine": machine(torch.device("cpu")), "versions": versions()}
    write_json(FOLDER / "uncertainty.json", content)
    write_bytes(FOLDER / "uncertainty.png", encode(chart(content), "png"))
    write_text(FOLDER / "uncertainty.md", page(content))


def measure(options: argparse.Namespace, data: str) -> list[dict[str, Any]]:
    """One evaluation of all models with clicks and boxes, unless its result is there."""
    name = data.replace(" ", "-").lower()
    path = options.out / f"{name}.json"
    if not path.is_file():
        words = ["evaluate", "uncertainty", "--model", *options.models]
        words += ["--data", DATA[data].format(options.data), "--prompt", "point", "box"]
        words += ["--heads", options.heads, "--entropies", "--device", "cpu", "--quiet"]
        words += ["--pictures", str(options.out / name), "--json", f"{path}.part"]
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "maskwright", *words], check=True)  # noqa: S603
        Path(f"{path}.part").rename(path)
    results: list[dict[str, Any]] = read_json(path)["results"]
    return results


def seconds(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """What each model takes for an image and for a prompt, unless it is known, by the name in the results."""
    path = options.out / "costs.json"
    if not path.is_file():
        image = open_dataset(DATA["BSDS500 test"].format(options.data))[0].image
        height, width = image.size
        points = [[[width * x / 4, height / 2]] for x in (1, 2, 3)]
        costs = {}
        for name in options.models:
            segmenter = load(name, device="cpu")
            geometry = segmenter.embed(image).geometry
            prompts = make_prompts(geometry, segmenter.model.low_res, points=points)
            costs[segmenter.name] = vars(measure_costs(segmenter, image, prompts))
        write_json(path, costs)
    content: dict[str, dict[str, float]] = read_json(path)
    return content


if __name__ == "__main__":
    main()
