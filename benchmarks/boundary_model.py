"""Our SegFormer beside transformers' own, from pixels to probabilities: time, and that both say the same.

    python benchmarks/boundary_model.py [--size b0 --size b5] [--resolution 1024] [--repeats 3]

Both get the same random weights and the same photo in one process, turn about. Theirs is transformers' image
processor (Pillow's, for the other needs torchvision), `SegformerForSemanticSegmentation` and the published
upsampling of its logits, on two paths: as a user writes it, and the forward pass alone. Ours is
`BoundaryDetector`, and the forward pass alone. Time is CPU time, which other programs on the machine disturb
least.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PILImages
from rich.console import Console
from rich.table import Table
from timing import turn_about
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from maskwright.io.images import read_image
from maskwright.models.boundary import normalise
from maskwright.models.boundary_detector import BoundaryDetector
from maskwright.models.boundary_files import start_model
from maskwright.models.segformer import SIZES, SegFormer
from maskwright.report.demo_photos import PHOTOS
from maskwright.types import ByteArray, FloatArray


def model_of(size: str) -> SegFormer:
    """Random weights whose norms are not neutral, so that a mistake in the head would show."""
    torch.manual_seed(0)
    model = start_model(f"segformer-{size}", from_scratch=True)
    assert isinstance(model, SegFormer)
    norm = model.net.decode_head.batch_norm
    with torch.no_grad():
        for values in (norm.weight, norm.running_var):
            values.uniform_(0.5, 1.5)
        norm.running_mean.normal_(std=0.1)
        model.net.decode_head.classifier.weight.normal_()
    return model.eval()


def theirs(model: SegFormer, photo: ByteArray, side: int) -> Callable[[], FloatArray]:
    """The published path, with transformers' processor and forward."""
    processor = SegformerImageProcessorPil(size={"height": side, "width": side})
    image = PILImages.fromarray(photo)

    @torch.no_grad()
    def run() -> FloatArray:
        inputs = processor(image, return_tensors="pt")
        logits = model.net(**inputs).logits
        found: FloatArray = F.interpolate(logits, photo.shape[:2], mode="bicubic").sigmoid()[0, 0].numpy()
        return found

    return run


def main() -> None:
    """Measure, and print a table of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", action="append", choices=list(SIZES), help="by default b0")
    parser.add_argument("--resolution", type=int, default=1024, help="side of the square input in pixels")
    parser.add_argument("--image", help="photo; by default one of scikit-image's")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each; the fastest counts")
    given = parser.parse_args()
    photo = (read_image(given.image) if given.image else PHOTOS[0].read()).pixels
    table = Table(
        "model", "from pixels: theirs", "ours", "ratio", "forward: theirs", "ours", "ratio", "differ by"
    )
    for size in given.size or ["b0"]:
        model = model_of(size)
        detector = BoundaryDetector(model, resolution=given.resolution)
        square = np.array(PILImages.fromarray(photo).resize((given.resolution,) * 2))
        x_B3HW = normalise(torch.from_numpy(square[None]))
        published = theirs(model, photo, given.resolution)
        with torch.no_grad():
            runs: dict[str, Callable[[], object]] = {
                "theirs": published,
                "ours": lambda: detector(photo),  # noqa: B023
                "their forward": lambda: model.net(x_B3HW),  # noqa: B023
                "our forward": lambda: model(x_B3HW),  # noqa: B023
            }
            for run in runs.values():
                run()
            times = turn_about(runs, given.repeats)
        cells = [f"{times[name]:.2f} s" for name in ("theirs", "ours", "their forward", "our forward")]
        ratios = [
            f"{times[one] / times[two]:.2f}"
            for one, two in (("theirs", "ours"), ("their forward", "our forward"))
        ]
        difference = float(np.abs(published() - detector(photo)).max())
        table.add_row(size, *cells[:2], ratios[0], *cells[2:], ratios[1], f"{difference:.1e}")
    print(
        f"photo {photo.shape[1]} × {photo.shape[0]} at {given.resolution} × {given.resolution}, "
        f"{torch.get_num_threads()} thread(s)"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
