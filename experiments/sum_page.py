"""The page about the experiment of `sum_on_nano.py`: docs/results/sum.md and its picture, from sum.json.

python experiments/sum_page.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sum_summary import METHODS

from maskwright.io.files import read_json, write_bytes, write_text
from maskwright.methods.scores import Step
from maskwright.report.click_curves import click_curves
from maskwright.report.html import encode

FOLDER = Path(__file__).parent.parent / "docs" / "results"
RESULT = FOLDER / "sum.json"
TITLES = {"labels": "Labels as nano made them", "spoiled": "Labels spoiled further"}
HOW = {
    "labels": "The masks that nano's automatic generator keeps of the second part's photos.",
    "spoiled": "The same masks, of each the outline displaced, a part cut out, or both, and refined anew.",
}
WHO = """\
Who is right, by the human masks of the labelled photos? Counted are pixels in and around labels that have a
human counterpart; u is the difference of label and refined mask, the refiner's confidence |2 σ(r) - 1|."""
KEYS = ("miou", "boundary_iou")
"""Metrics in the order in which arrays hold them."""


def write_page(result: Path = RESULT) -> None:
    """Write page and picture."""
    content = read_json(result)
    pictures = []
    for labels in TITLES:
        chosen = [row for row in content["rows"] if row["labels"] == labels and row["prompt"] == "point"]
        for data in dict.fromkeys(row["data"] for row in chosen):
            curves = {
                row["method"]: [Step(**step) for step in row["by_click"]]
                for row in chosen
                if row["data"] == data
            }
            name = f"sum-{labels}-{data.split()[0].lower()}.png"
            title = f"{data}, {TITLES[labels].lower()}: mean over seeds, 95 % over images"
            write_bytes(
                FOLDER / name,
                encode(click_curves(curves, content["settings"]["clicks"], title, "first click"), "png"),
            )
            pictures.append((labels, data, name))
    write_text(FOLDER / "sum.md", render(content, pictures))


def render(content: dict[str, Any], pictures: Sequence[tuple[str, str, str]]) -> str:
    """The page."""
    settings = content["settings"]
    parts = [introduction(settings, content), in_short(content["gaps"]), refiner(content["refiner"])]
    for labels, title in TITLES.items():
        rows = [row for row in content["rows"] if row["labels"] == labels]
        gaps = [row for row in content["gaps"] if row["labels"] == labels]
        parts += [f"## {title}\n\n{HOW[labels]}\n", *tables(rows, gaps)]
        parts.append(disagreement(content["disagreement"][labels]))
        parts += [
            f"![{data}: IoU and boundary IoU over clicks]({name})\n"
            for kind, data, name in pictures
            if kind == labels
        ]
    machine, versions = content["machine"], content["versions"]
    parts.append(
        f"{machine['processor']}, {machine['cores']} cores; maskwright {versions['maskwright']}, torch "
        f"{versions['torch']}, transformers {versions['transformers']}.\n"
    )
    return "\n".join(parts)


def introduction(settings: dict[str, Any], content: dict[str, Any]) -> str:
    """What was done."""
    seeds = ", ".join(map(str, settings["seeds"]))
    masks = {row["data"]: row["masks"] for row in content["rows"]}
    counts = ", ".join(f"{number} masks of {data}" for data, number in masks.items())
    return f"""# Does SUM work?

nano fine-tuned on masks that it made itself: as they are (`vanilla`), refined (`mask-refinement`), weighed by
their certainty (`sum`), and refined and weighed by the refiner's own certainty (`sum-refined`). Written by
`python experiments/sum_on_nano.py --data DATA --out OUT`.

The photos are parted in three, which never meet. On the first part's human masks the refiner is trained, and
they are half of what every fine-tuning sees. {settings["photos"]} photos of the second are labelled by nano
({settings["masks"]} masks: {settings["points_per_side"]} clicks a side, predicted IoU above
{settings["pred_iou_thresh"]}); their human masks serve only to see who is right. On the third everything is
measured: {counts}; the refiner is validated there, too.
nano itself (`base`) has learned from the human masks of the first two parts, so what machine-made labels can
teach it is little, and what they can spoil is plain to see.

Each fine-tuning: {settings["steps"]} steps of four photos, the whole model, a learning rate of
{settings["rate"]:g}, seeds {seeds}. Figures are means over seeds; intervals are 95 %, by bootstrap over
images; "±" is the standard deviation between seeds.
"""


def in_short(gaps: Sequence[dict[str, Any]]) -> str:
    """Of each pair of methods, in how many lines below the difference is sure not to be zero."""
    pairs = dict.fromkeys((row["one"], row["other"]) for row in gaps)
    lines = heading("of IoU and boundary IoU, all prompts and data", list(TITLES.values()))
    for one, other in pairs:
        cells = []
        for labels in TITLES:
            chosen = [
                row for row in gaps if (row["one"], row["other"], row["labels"]) == (one, other, labels)
            ]
            steps = [
                (row["by_click"][click - 1], key)
                for row in chosen
                for _, _, click in ways([row])
                for key in KEYS
            ]
            intervals = [step[f"{key}_ci95"] for step, key in steps]
            mean = sum(step[key] for step, key in steps) / len(steps)
            ahead, behind = sum(low > 0 for low, _ in intervals), sum(high < 0 for _, high in intervals)
            cells.append(f"{mean:+.3f}; ahead in {ahead}, behind in {behind} of {len(steps)}")
        lines.append(line(f"{one} minus {other}", cells))
    return "\n".join(["## In short", "", *lines, ""])


def refiner(figures: dict[str, float]) -> str:
    """How good the refiner and its uncertainty are."""
    return f"""## The refiner and its uncertainty

On masks of the third part that agree with the human ones to an IoU of 0.7 or more: IoU
{figures["input_iou"]:.3f} before and {figures["refined_iou"]:.3f} after refinement, boundary IoU
{figures["input_boundary_iou"]:.3f} and {figures["refined_boundary_iou"]:.3f}. Of the pixels with a certainty
above 0.6 ({figures["certain_share"]:.1%} of all) nano's mask has {figures["certain_accuracy"]:.1%} right, of
the others {figures["doubtful_accuracy"]:.1%} (published for SAM on HRSOD: 98.0 % and 28.5 %).
"""


def disagreement(rows: Sequence[dict[str, Any]]) -> str:
    """Who is right where label and refined mask disagree."""
    lines = heading("u", ["refiner's confidence", "of all pixels", "label is right", "refined mask is right"])
    for row in rows:
        bounds = ["{:g} to {:g}".format(*row[key]) for key in ("uncertainty", "confidence")]
        shares = [f"{row[key]:.1%}" for key in ("share", "label_right", "refined_right")]
        lines.append(line(bounds[0], [bounds[1], *shares]))
    return "\n".join([WHO, "", *lines, ""])


def tables(rows: Sequence[dict[str, Any]], gaps: Sequence[dict[str, Any]]) -> list[str]:
    """Scores, then differences."""
    pairs = dict.fromkeys((row["one"], row["other"]) for row in gaps)
    scores = heading("", ("base", *METHODS))
    ahead = heading("", [f"{one} minus {other}" for one, other in pairs])
    for data, prompt, click in ways(rows):
        here = [row for row in rows if (row["data"], row["prompt"]) == (data, prompt)]
        steps = [row["by_click"][click - 1] for row in gaps if (row["data"], row["prompt"]) == (data, prompt)]
        for metric, key in enumerate(KEYS):
            label = f"{data}, {way(prompt, click)}, {'IoU' if key == 'miou' else 'boundary IoU'}"
            scores.append(line(label, [score(row, click, metric) for row in here]))
            ahead.append(line(label, [gap(step, key) for step in steps]))
    return ["\n".join(scores) + "\n", "\n".join(ahead) + "\n"]


def heading(first: str, names: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [line(first, names), "|---" * (1 + len(names)) + "|"]


def line(first: str, cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join([first, *cells])} |"


def ways(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """Data, first prompt, and number of prompts of each line of the tables."""
    pairs = dict.fromkeys((row["data"], row["prompt"]) for row in rows)
    return [
        (data, prompt, click) for data, prompt in pairs for click in ((1,) if prompt == "box" else (1, 3, 5))
    ]


def way(prompt: str, click: int) -> str:
    """How a mask was asked for."""
    return "box" if prompt == "box" else f"{click} click{'s' * (click > 1)}"


def score(row: dict[str, Any], click: int, metric: int) -> str:
    """A mean, and how far the seeds are apart."""
    mean = row["by_click"][click - 1][KEYS[metric]]
    return (
        f"{mean:.3f}" if row["seed_std"] is None else f"{mean:.3f} ± {row['seed_std'][metric][click - 1]:.3f}"
    )


def gap(step: dict[str, Any], key: str) -> str:
    """A difference with its interval."""
    low, high = step[f"{key}_ci95"]
    return f"{step[key]:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    write_page()
