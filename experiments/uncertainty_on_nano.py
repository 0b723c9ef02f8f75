"""Does it work? nano and a smaller nano say which of their masks are wrong, on photos they never saw.

    python experiments/uncertainty_on_nano.py --data DATA --out runs/uncertainty_on_nano

DATA holds BSDS500 and DAVIS2016. Each step is a `maskwright evaluate uncertainty` or `maskwright uncertainty
calibrate` whose result stays below --out, so the same command goes on where it was stopped; the pages with
curves and the worst misses are there, too. At the end docs/results/uncertainty.json, its page and its picture
are written. About an hour on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
BSDS500 = "bsds500:{}/BSDS500?split=test"
DATA = {
    "BSDS500 test": (BSDS500, "--prompt point box"),
    "DAVIS 2016": ("davis2016:{}/DAVIS2016?sequences=blackswan,goat,parkour", "--prompt point box"),
    "BSDS500 test, the selected of three": (BSDS500, "--prompt point --answer multimask"),
    "BSDS500 test, 60 photos, with averaged entropies": (BSDS500, "--prompt point --entropies --limit 60"),
}
"""What is measured, and how. Of DAVIS the sequences that nano was not trained on."""
PUBLISHED = "BSDS500 test, heads as published"
PROMISED = (0.2, 0.1, 0.05)
"""Risks of the promises of `uncertainty calibrate`."""


def main() -> None:
    """Run what is not done and write the result and its page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of BSDS500 and DAVIS2016")
    parser.add_argument("--out", type=Path, required=True, help="folder of all results")
    parser.add_argument("--models", nargs="+", default=["nano-small", "nano"], help="small to large")
    parser.add_argument("--published", type=Path, help="heads of `maskwright train heads-usam` for the last")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time")
    options = parser.parse_args()
    steps = {name: (*DATA[name], options.models) for name in DATA}
    if options.published:
        words = f"--prompt point --heads {options.published.absolute()}"
        steps[PUBLISHED] = (BSDS500, words, options.models[-1:])
    with ThreadPoolExecutor(options.jobs) as pool:
        found = dict(zip(steps, pool.map(partial(measure, options), steps.items()), strict=True))
        todo = [(prompt, alpha) for prompt in ("point", "box") for alpha in PROMISED]
        promised = list(pool.map(partial(promise, options), todo))
    content = summarise(found, seconds(options), [*DATA][:2]) | {"promises": promised}
    content |= {"machine": machine(torch.device("cpu")), "versions": versions()}
    content = rounded(content)
    write_json(FOLDER / "uncertainty.json", content, indent=None)
    write_bytes(FOLDER / "uncertainty.png", encode(chart(content), "png"))
    write_text(FOLDER / "uncertainty.md", page(content))


def rounded(value: Any) -> Any:  # noqa: ANN401
    """The same with numbers to four digits: more is noise, and half of the file."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def measure(
    options: argparse.Namespace, step: tuple[str, tuple[str, str, list[str]]]
) -> list[dict[str, Any]]:
    """One evaluation."""
    title, (spec, flags, models) = step
    name = title.replace(",", "").replace(" ", "-").lower()
    words = ["evaluate", "uncertainty", "--model", *models, "--data", spec.format(options.data)]
    words += [*flags.split(), "--pictures", str(options.out / name)]
    found = finished(words, options.out / f"{name}.json")
    # One model and prompt alone are the whole result.
    results: list[dict[str, Any]] = found.get("results", [found])
    return results


def promise(options: argparse.Namespace, what: tuple[str, float]) -> dict[str, Any]:
    """What nano promises from one half of the photos, and what holds on the other."""
    prompt, alpha = what
    name = f"promise-{prompt}-{alpha}"
    data = BSDS500.format(options.data)
    words = ["uncertainty", "calibrate", "--model", options.models[-1], "--prompt", prompt]
    words += ["--data", f"{data}&fold=1/2", "--check", f"{data}&fold=-1/2", "--alpha", str(alpha)]
    words += ["--out", str(options.out / f"{name}-file.json")]
    found = finished(words, options.out / f"{name}.json")
    for one in found["guarantees"].values():
        del one["origin"]  # folders of this machine
    return {
        "prompt": prompt,
        "alpha": alpha,
        "guarantees": found["guarantees"],
        "refused": found["refused"],
        "measured": found["checked"]["measured"],
        "images": [found["images"], found["checked"]["images"]],
    }


def finished(words: list[str], path: Path) -> Any:  # noqa: ANN401
    """The result of a command, which is given unless it is there."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [*words, "--device", "cpu", "--quiet", "--json", f"{path}.part"]
        subprocess.run([sys.executable, "-m", "maskwright", *words], check=True)  # noqa: S603
        Path(f"{path}.part").rename(path)
    return read_json(path)


def seconds(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """What each model takes for an image and for a prompt, unless it is known, by the name in the results."""
    path = options.out / "costs.json"
    if not path.is_file():
        image = open_dataset(BSDS500.format(options.data))[0].image
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
