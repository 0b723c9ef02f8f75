"""Fine-tune nano on microscope images of nuclei, and show what it brought, in figures and pictures.

    python examples/fine_tune_nuclei.py --data DSB2018 --out runs/nuclei

Four fifths of the images are trained on, the last fifth is measured. Every step is a `maskwright` command,
printed before it runs, so that each can be repeated by hand on other data.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np

from maskwright import Segmenter, load, open_dataset
from maskwright.cli.main import main as maskwright
from maskwright.data.prompts import tight_box
from maskwright.io.images import write_png
from maskwright.report.overlay import draw
from maskwright.report.sheet import side_by_side
from maskwright.types import ByteArray, Sample

SMALLEST = "0.0003"  # of the image: nuclei are small


def main() -> int:
    """Run the tutorial."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of DSB2018: images/ and labels/")
    parser.add_argument("--out", type=Path, default=Path("runs/nuclei"), help="folder of the results")
    parser.add_argument("--steps", type=int, default=60, help="training steps")
    options = parser.parse_args()
    training, held_out = (f"labels:{options.data}?fold={fold}" for fold in ("-1/5", "1/5"))
    run = options.out / "run"

    step("data", "check", f"labels:{options.data}")
    step(
        "train",
        "finetune",
        "--model",
        "nano",
        "--data",
        training,
        "--steps",
        str(options.steps),
        "--out",
        str(run),
    )
    tuned = next((run / "model").glob("*.safetensors"))
    step(
        *("evaluate", "prompted", "--model", "nano", str(tuned), "--baseline", "ellipse", "grabcut"),
        *("--data", held_out, "--prompt", "box", "point", "--min-area", SMALLEST, "--per-image", "4"),
        *("--json", str(options.out / "figures.json")),
    )
    dataset = open_dataset(held_out)
    models = {"nano": load("nano"), "fine-tuned": load(tuned)}
    for number, index in enumerate(np.linspace(0, len(dataset) - 1, 4).astype(int)):
        write_png(options.out / f"before_after_{number}.png", compare(dataset[int(index)], models))
    print(f"figures: {options.out / 'figures.json'}\npictures: {options.out / 'before_after_*.png'}")
    return 0


def step(*command: str) -> None:
    """Print and run one command; stop where it fails."""
    print(f"\n$ maskwright {shlex.join(command)}", flush=True)
    code = maskwright(list(command))
    if code:
        sys.exit(code)


def compare(sample: Sample, models: dict[str, Segmenter]) -> ByteArray:
    """The image, the human masks, and what each model makes of every nucleus, asked with its box."""
    boxes = np.stack([tight_box(mask) for mask in sample.masks])
    pictures = [sample.image.pixels, draw(sample.image, sample.masks)]
    for model in models.values():
        pictures.append(draw(sample.image, model(sample.image, boxes=boxes).binary()[:, 0]))
    return side_by_side(pictures, captions=["image", "human", *models])


if __name__ == "__main__":
    sys.exit(main())
