"""Our automatic mask generator beside transformers' mask-generation pipeline: time, memory, number of masks.

    python benchmarks/automatic_masks.py [--model NAME|PATH] [--image FILE] [--points 16] [--repeats 3]

Both run the same SAM weights on the same image in one process, turn about; the peak of memory is measured
once in a process of its own. Time is CPU time, which other programs on the machine disturb least. Nothing is
suppressed, so both return every candidate that passes the threshold, and their numbers can be compared.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image as PILImages
from rich.console import Console
from rich.table import Table
from transformers import MaskGenerationPipeline, SamConfig, SamImageProcessorPil, SamModel

import maskwright
from maskwright.io.images import read_image
from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.methods.automatic.generator import generate
from maskwright.methods.automatic.suppression import suppress
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter
from maskwright.report.demo_photos import PHOTOS
from maskwright.types import ByteArray

HAS_TORCHVISION = find_spec("torchvision") is not None
# Parts of the candidates with a positive predicted IoU that pass its threshold; the other filters are open.
# To the pipeline, a threshold of 0 or below means "keep all".
SHARES = (1.0, 0.5, 0.1)
OPEN = {"stability_score_thresh": 0.0, "box_nms_thresh": 1.0}


class Pipeline(MaskGenerationPipeline):
    """transformers' pipeline; where torchvision is missing, its last step is done by our suppression.

    Everything up to there is untouched. The pipeline's own last step calls torchvision's `batched_nms` and
    then unpacks the run lengths of what stays, which is left out here: to its advantage.
    """

    def postprocess(self, model_outputs: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Suppress overlapping masks of all batches."""
        if HAS_TORCHVISION:
            result: dict[str, Any] = super().postprocess(model_outputs, **options)
            return result
        scores = torch.cat([output["iou_scores"] for output in model_outputs])
        boxes = torch.cat([output["boxes"] for output in model_outputs])
        masks = [mask for output in model_outputs for mask in output["masks"]]
        kept = suppress(boxes.numpy(), scores.numpy(), options.get("crops_nms_thresh", 0.7))
        return {"masks": [masks[k] for k in kept], "scores": scores[kept]}


@dataclass(frozen=True)
class Task:
    """What is measured: sent to a new process, so it holds words and numbers only."""

    model: str | None
    num_heads: int | None
    image: str | None
    points: int
    threshold: float

    def pixels(self) -> ByteArray:
        """The image."""
        return (read_image(self.image) if self.image else PHOTOS[0].read()).pixels

    def segmenter(self) -> Segmenter:
        """Our model: the one that was asked for, or a small one with random weights."""
        if self.model:
            return maskwright.load(self.model, num_heads=self.num_heads, device="cpu")
        torch.manual_seed(0)
        vision = {"hidden_size": 64, "output_channels": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
        vision |= {"image_size": 256, "window_size": 7, "global_attn_indexes": [1, 3], "num_pos_feats": 16}
        decoder = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
        prompts = {"hidden_size": 32, "image_size": 256}
        names = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
        return Segmenter(SAM.from_config(dict(zip(names, (vision, prompts, decoder), strict=True))))

    def ours(self) -> Callable[[], int]:
        """Run our generator; gives the number of masks."""
        segmenter, pixels = self.segmenter(), self.pixels()
        settings = AutomaticSettings(points_per_side=self.points, pred_iou_thresh=self.threshold, **OPEN)
        return lambda: len(generate(segmenter, pixels, settings))

    def theirs(self) -> Callable[[], int]:
        """Run the pipeline; gives the number of masks."""
        model = self.segmenter().model
        assert isinstance(model, SAM), "the pipeline is compared on models of the SAM family"
        config = SamConfig.from_dict(model.config_dict())
        net = SamModel(config)
        net.load_state_dict(model.net.state_dict())
        square = {"height": model.image_size, "width": model.image_size}
        longest = {"longest_edge": model.image_size}
        processor = SamImageProcessorPil(size=longest, pad_size=square)
        pipeline = Pipeline(model=net.eval(), image_processor=processor, device="cpu")
        photo = PILImages.fromarray(self.pixels())
        options = {
            "points_per_crop": self.points,
            "pred_iou_thresh": self.threshold,
            "stability_score_thresh": 0,
            "crops_nms_thresh": 1.0,
        }
        return lambda: len(pipeline(photo, points_per_batch=64, **options)["masks"])


def peak(task: Task, side: str) -> float:
    """MB by which a run raises this process's memory at most."""
    run = getattr(task, side)()
    process, done = psutil.Process(), threading.Event()
    before = highest = process.memory_info().rss

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return (highest - before) / 2**20


def thresholds(task: Task) -> list[float]:
    """Positive thresholds of predicted IoU that let the parts `SHARES` of all positive ones through."""
    segmenter = task.segmenter()
    settings = AutomaticSettings(points_per_side=task.points, pred_iou_thresh=0, **OPEN)
    scores = [mask.predicted_iou for mask in generate(segmenter, task.pixels(), settings)]
    return [float(np.quantile(scores, 1 - share)) * (1 - 1e-6) for share in SHARES]


def main() -> None:
    """Measure, and print a table of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="SAM to load; by default a small one with random weights")
    parser.add_argument("--num-heads", type=int, help="of its decoder, where the file does not tell")
    parser.add_argument("--image", help="photo; by default one of scikit-image's")
    parser.add_argument("--points", type=int, default=16, help="clicks along a side")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each; the fastest counts")
    given = parser.parse_args()
    base = Task(given.model, given.num_heads, given.image, given.points, 0.0)
    table = Table("candidates kept", "", "masks", "CPU seconds", "peak MB")
    for share, threshold in zip(SHARES, thresholds(base), strict=True):
        task = replace(base, threshold=threshold)
        measured = measure(task, given.repeats)
        for side, (masks, seconds, memory) in measured.items():
            table.add_row(f"{share:.0%}", side, str(masks), f"{seconds:.2f}", f"{memory:.0f}")
        (_, ours, our_peak), (_, theirs, their_peak) = measured.values()
        table.add_row(
            "", "theirs / ours", "", f"{theirs / ours:.2f}", f"{their_peak / our_peak:.2f}", end_section=True
        )
    height, width = base.pixels().shape[:2]
    print(
        f"{given.points} × {given.points} clicks, image {width} × {height}, "
        f"{torch.get_num_threads()} thread(s)"
    )
    if not HAS_TORCHVISION:
        print("torchvision is not there, so the pipeline's last step is ours (see Pipeline in this file)")
    Console().print(table)


def measure(task: Task, repeats: int) -> dict[str, tuple[int, float, float]]:
    """Masks, CPU seconds and peak MB of both sides."""
    runs = {"ours": task.ours(), "theirs": task.theirs()}
    masks = {side: run() for side, run in runs.items()}
    seconds: dict[str, list[float]] = {side: [] for side in runs}
    for _ in range(repeats):
        for side, run in runs.items():
            start = time.process_time()
            run()
            seconds[side].append(time.process_time() - start)
    spawn = multiprocessing.get_context("spawn")
    result = {}
    for side in runs:
        with spawn.Pool(1) as pool:
            result[side] = masks[side], min(seconds[side]), pool.apply(peak, (task, side))
    return result


if __name__ == "__main__":
    main()
