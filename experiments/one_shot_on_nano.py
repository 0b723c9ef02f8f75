"""Does it work? Objects shown to nano in one photo and looked for in others, in every way, and baselines.

    python experiments/one_shot_on_nano.py --data DATA --out runs/one_shot_on_nano

DATA holds PerSeg and DAVIS2016. Each step is a `maskwright evaluate personalize` whose result stays below
--out, so the same command goes on where it was stopped; the pages with all masks are there, too. At the end
docs/results/one-shot.json, its page and its picture are written. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskwright.io.files import read_json, write_bytes, write_json, write_text
from maskwright.methods.provenance import machine, versions
from maskwright.metrics.statistics import bootstrap_interval
from maskwright.report.html import encode
from maskwright.training.curves import new_figure, rendered

FOLDER = Path(__file__).parent.parent / "docs" / "results"
DATA = {"PerSeg": "perseg:{}/PerSeg", "DAVIS 2016": "davis2016:{}/DAVIS2016"}
METHODS = {
    "center click": "--baseline center",
    "most certain mask": "--baseline salient",
    "PerSAM": "--hq off",
    "PerSAM, HQ": "",
    "PerSAM-F": "--fit --hq off",
    "PerSAM-F, HQ": "--fit",
    "parts": "--method parts --hq off",
    "parts, HQ": "--method parts",
    "match, HQ": "--method match",
    "PerSAM, HQ, guidance as a bias": "--guidance bias",
    "PerSAM, HQ, features as they are": "--raw-features",
}
PAIRS = (
    ("PerSAM, HQ", "center click"),
    ("PerSAM, HQ", "PerSAM"),
    ("PerSAM-F, HQ", "PerSAM-F"),
    ("parts, HQ", "parts"),
    ("parts, HQ", "PerSAM, HQ"),
    ("match, HQ", "parts, HQ"),
    ("match, HQ", "center click"),
    ("match, HQ", "most certain mask"),
    ("PerSAM, HQ", "PerSAM, HQ, guidance as a bias"),
    ("PerSAM, HQ", "PerSAM, HQ, features as they are"),
)
"""What is compared: the first minus the second."""
KEYS = ("miou", "macc", "miou_per_image", "boundary_iou")


def main() -> None:
    """Run what is not done and write the result and its page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of PerSeg and DAVIS2016")
    parser.add_argument("--out", type=Path, required=True, help="folder of all results")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time")
    options = parser.parse_args()
    todo = [(data, method) for data in DATA for method in METHODS]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = dict(zip(todo, pool.map(lambda pair: measure(options, *pair), todo), strict=True))
    content = summarise(results)
    write_json(FOLDER / "one-shot.json", content)
    write_bytes(FOLDER / "one-shot.png", encode(chart(content), "png"))
    write_text(FOLDER / "one-shot.md", page(content))


def measure(options: argparse.Namespace, data: str, method: str) -> Any:  # noqa: ANN401
    """One evaluation, unless its result is there."""
    name = f"{data}-{method}".replace(" ", "-").replace(",", "").lower()
    path = options.out / f"{name}.json"
    if not path.is_file():
        words = [
            "evaluate",
            "personalize",
            "--data",
            DATA[data].format(options.data),
            *METHODS[method].split(),
        ]
        words += ["--pictures", str(options.out / name), "--quiet", "--json", f"{path}.part"]
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "maskwright", *words], check=True)  # noqa: S603
        Path(f"{path}.part").rename(path)
    return read_json(path)


def summarise(results: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """The content of docs/results/one-shot.json."""
    rows = [
        {"data": data, "method": method, "images": found["images"], "objects": found["objects"]}
        | {key: found[key] for key in KEYS}
        | {f"{key}_ci95": found[f"{key}_ci95"] for key in KEYS[2:]}
        for (data, method), found in results.items()
    ]
    gaps = [
        {"data": data, "one": one, "other": other} | gap(results[data, one], results[data, other])
        for data in DATA
        for one, other in PAIRS
    ]
    return {"rows": rows, "gaps": gaps, "machine": machine(torch.device("cpu")), "versions": versions()}


def gap(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Differences of the means over photos, with intervals by bootstrap over objects."""
    result: dict[str, Any] = {}
    for key, score in (("miou_per_image", "iou"), ("boundary_iou", "boundary_iou")):
        first, second = (
            {
                image["image"]: image[score]
                for scored in found["per_object"].values()
                for image in scored["images"]
            }
            for found in (one, other)
        )
        values = np.array([first[image] - second[image] for image in first])
        groups = [Path(image).parent.name for image in first]
        result |= {key: float(values.mean()), f"{key}_ci95": list(bootstrap_interval(values, groups))}
    return result


def by_image(found: dict[str, Any], score: str) -> dict[str, float]:
    """One score of each photo."""
    scored = [image for one in found["per_object"].values() for image in one["images"]]
    return {image["image"]: image[score] for image in scored}


def chart(content: dict[str, Any]) -> Any:  # noqa: ANN401
    """Mean IoU over photos of each method on each dataset."""
    figure = new_figure(9, 4)
    axes = figure.subplots()
    names = list(METHODS)
    for place, data in enumerate(DATA):
        rows = {row["method"]: row for row in content["rows"] if row["data"] == data}
        means = np.array([rows[name]["miou_per_image"] for name in names])
        low, high = np.array([rows[name]["miou_per_image_ci95"] for name in names]).T
        places = np.arange(len(names)) + 0.35 * (place - 0.5)
        axes.barh(
            places, means, 0.33, label=data, xerr=[means - low, high - means], error_kw={"elinewidth": 1}
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("mean IoU over photos, 95 % over objects")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    return rendered(figure)


def page(content: dict[str, Any]) -> str:
    """docs/results/one-shot.md."""
    parts = [INTRODUCTION, "![Mean IoU of each method](one-shot.png)\n"]
    for data in DATA:
        rows = [row for row in content["rows"] if row["data"] == data]
        lines = ["| | mIoU | mAcc | IoU a photo | boundary IoU a photo |", "|---" * 5 + "|"]
        for row in rows:
            means = [f"{row[key]:.3f}" for key in KEYS[:2]]
            means += [interval(row, key, ".3f") for key in KEYS[2:]]
            lines.append(f"| {' | '.join([row['method'], *means])} |")
        title = f"## {data}: {rows[0]['images']} photos of {rows[0]['objects']} objects"
        parts += [f"{title}\n", "\n".join(lines) + "\n"]
        lines = ["| | IoU a photo | boundary IoU a photo |", "|---" * 3 + "|"]
        for row in content["gaps"]:
            if row["data"] == data:
                cells = [interval(row, key, "+.3f") for key in KEYS[2:]]
                lines.append(f"| {row['one']} minus {row['other']} | {' | '.join(cells)} |")
        parts.append("\n".join(lines) + "\n")
    where, what = content["machine"], content["versions"]
    parts.append(
        f"{where['processor']}, {where['cores']} cores; maskwright {what['maskwright']}, torch "
        f"{what['torch']}, transformers {what['transformers']}.\n"
    )
    return "\n".join(parts)


def interval(row: dict[str, Any], key: str, form: str) -> str:
    """A mean and its interval."""
    low, high = row[f"{key}_ci95"]
    return f"{row[key]:{form}} [{low:{form}}, {high:{form}}]"


INTRODUCTION = """# One shot: is the object found again?

nano is shown an object in one photo with its mask, and looks for it in others: the three objects of PerSeg,
and the 14 sequences of DAVIS 2016 at hand (the first frame shown, every fifth looked at). nano has 4.5 M
parameters and was never trained to find objects again, but on masks of 11 of these sequences (all but
blackswan, goat and parkour): on new videos it will do worse. The object is taken to be there. Written by
`python experiments/one_shot_on_nano.py --data DATA --out OUT`.

mIoU and mAcc are over objects, each over the pixels of its photos, as PerSAM's release counts; the others are
means over photos, with 95 % intervals by bootstrap over objects. "HQ" adds the HQ token's logits in the
second and third pass; "features as they are" compares features without taking away the middle between object
and surroundings. The baselines are not shown the reference: a click at the photo's centre, and the mask in
which nano believes most among those of a grid of clicks.
"""


if __name__ == "__main__":
    main()
