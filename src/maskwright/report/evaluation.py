"""Pictures of an evaluation: its worst and its best masks, beside the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from maskwright.io.files import make_folder
from maskwright.io.images import write_png
from maskwright.methods.evaluate import Observation
from maskwright.report.overlay import draw
from maskwright.report.sheet import side_by_side
from maskwright.types import ByteArray

MAX_SIDE = 640


class Extremes:
    """Keeps the masks with the lowest and the highest IoU of those it is shown.

    Args:
        count: how many of each.
    """

    def __init__(self, count: int = 6) -> None:
        self.count = count
        self.worst: list[Observation] = []
        self.best: list[Observation] = []

    def __call__(self, observation: Observation) -> None:
        """Look at one mask."""
        # A copy, since the true mask is a row of all the image's masks, which would be kept with it.
        observation = replace(observation, truth=observation.truth.copy())
        self.worst = sorted([*self.worst, observation], key=_iou)[: self.count]
        self.best = sorted([*self.best, observation], key=_iou, reverse=True)[: self.count]

    def write(self, folder: Path) -> dict[str, list[ByteArray]]:
        """Write `worst-1.png` … and `best-1.png` … into a folder, which is made; return the pictures."""
        make_folder(folder)
        pictures = {
            kind: [picture(observation) for observation in kept]
            for kind, kept in (("worst", self.worst), ("best", self.best))
        }
        for kind, drawn in pictures.items():
            for rank, pixels in enumerate(drawn, 1):
                write_png(folder / f"{kind}-{rank}.png", pixels)
        return pictures


def picture(observation: Observation) -> ByteArray:
    """The true mask with the first prompt, and the predicted mask, side by side, (H, W, 3)."""
    prompt, score = observation.prompt, observation.score
    truth = draw(
        observation.image,
        observation.truth,
        points=None if prompt.points is None else prompt.points.numpy(),
        labels=None if prompt.labels is None else prompt.labels.numpy(),
        boxes=None if prompt.boxes is None else prompt.boxes.numpy(),
        max_side=MAX_SIDE,
    )
    predicted = draw(observation.image, observation.predicted.mask, max_side=MAX_SIDE)
    believed = "" if score.predicted_iou is None else f", believed {score.predicted_iou:.2f}"
    name = Path(score.image).name
    return side_by_side(
        [truth, predicted],
        [
            f"{name}, segment {score.segment}: truth and prompt",
            f"IoU {score.iou:.2f}, boundary {score.boundary_iou:.2f}{believed}",
        ],
    )


def _iou(observation: Observation) -> float:
    return observation.score.iou
