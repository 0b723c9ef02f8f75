"""What becomes of outlines when a photo is turned and scaled, by the ways in which they could be moved.

    python benchmarks/moved_lines.py [--scenes 40] [--data bsds500:FOLDER?split=trainval]

Scenes of discs and half-planes are known at every point, so the outlines after the move are, too. Against
these: recall and precision within 1.5 pixels, the sum of the lines' values, and the regions they still close,
both as a part of what should be. With --data, how much several annotators agree at each thickness.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from maskwright.data.outlines import Shapes, outline
from maskwright.data.registry import open_dataset
from maskwright.data.transforms import Matrix, identity_matrix, invert, warp_maps
from maskwright.methods.everything.augment import move_lines, move_outlines, move_void, window_matrix
from maskwright.types import BoolArray, FloatArray

SIZE, CROP = (321, 481), 320
NEAR = 1.5
SMALLEST = 20  # pixels of a region that counts

Labels = npt.NDArray[np.int32]


def scene(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Eight discs (x, y, radius) and two half-planes (angle, distance)."""
    discs = rng.uniform((0, 0, 8), (SIZE[1], SIZE[0], 60), (8, 3))
    return discs.astype(np.float32), rng.uniform((0, -100), (2 * np.pi, 300), (2, 2)).astype(np.float32)


def seen(parts: tuple[FloatArray, FloatArray], matrix: Matrix, size: tuple[int, int]) -> Labels:
    """The scene's regions at the middle of each pixel after a move."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    back = invert(matrix)
    u, v = (back[row, 0] * x + back[row, 1] * y + back[row, 2] for row in (0, 1))
    labels = np.zeros(size, np.int32)
    for number, (cx, cy, radius) in enumerate(parts[0]):
        labels[(u - cx) ** 2 + (v - cy) ** 2 < radius**2] = number + 1
    for angle, distance in parts[1]:
        labels = 2 * labels + (u * np.cos(angle) + v * np.sin(angle) > distance)
    return labels


def lines_of(labels: Labels) -> BoolArray:
    """Outlines of one pixel."""
    return outline(Shapes(labels.shape, (labels,)), thickness=1)


def figures(value: FloatArray, ideal: BoolArray, known: BoolArray) -> tuple[float, float, float, float]:
    """Recall, precision, weight and closed regions of moved lines."""
    lines = value >= 0.5
    recall = (distance_to(lines)[ideal & known] <= NEAR).mean()
    precision = (distance_to(ideal)[lines & known] <= NEAR).mean()
    weight = value[known].sum() / ideal[known].sum()
    closed = regions(lines | ~known) / regions(ideal | ~known)
    return float(recall), float(precision), float(weight), float(closed)


def distance_to(lines: BoolArray) -> FloatArray:
    """Each pixel's distance to the nearest line."""
    return np.asarray(cv2.distanceTransform((~lines).view(np.uint8), cv2.DIST_L2, 5), np.float32)


def regions(lines: BoolArray) -> int:
    """How many parts the lines cut the picture into."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((~lines).view(np.uint8), connectivity=4)
    return int((stats[1:, cv2.CC_STAT_AREA] >= SMALLEST).sum())


def moved(labels: Labels, matrix: Matrix) -> dict[str, FloatArray]:
    """The lines by each way."""
    lines, crop = lines_of(labels), (CROP, CROP)
    ways = {
        "label maps moved, lines drawn anew": move_outlines(labels, matrix, CROP, 1),
        "lines widened, moved, thinned": move_lines(lines, matrix, CROP, 1),
        "lines moved, bilinear": warp_maps(lines[None].astype(np.float32), [0], matrix, crop)[0],
        "lines moved, nearest": cv2.warpAffine(lines.view(np.uint8), matrix, crop, flags=cv2.INTER_NEAREST),
    }
    return {name: np.asarray(value, np.float32) for name, value in ways.items()}


def measure(count: int) -> Table:
    """All ways at three scales, means over the scenes."""
    found: dict[tuple[str, float], list[tuple[float, ...]]] = {}
    rng = np.random.default_rng(0)
    for _ in range(count):
        parts = scene(rng)
        labels = seen(parts, identity_matrix(), SIZE)
        for scale in (0.5, 1.0, 1.5):
            matrix = window_matrix(SIZE, CROP, rng, scale=(scale, scale), degrees=180, turned=1, flips="both")
            ideal = lines_of(seen(parts, matrix, (CROP, CROP)))
            known = ~move_void(None, SIZE, matrix, CROP, 1)
            for name, value in moved(labels, matrix).items():
                found.setdefault((name, scale), []).append(figures(value, ideal, known))
    table = Table("way", "scale", "recall", "precision", "weight", "closed")
    for (name, scale), rows in sorted(found.items()):
        table.add_row(name, f"{scale}", *(f"{value:.2f}" for value in np.mean(rows, axis=0)))
    return table


def agreement(spec: str) -> Table:
    """Share of the pixels that anyone drew, and more than 0.3 and 0.5 of the annotators, by thickness."""
    dataset = open_dataset(spec)
    table = Table("thickness", "any", "> 0.3", "> 0.5")
    for thickness in (1, 2, 3, 4):
        shares = []
        for index in range(0, len(dataset), 20):
            maps = dataset.segmentations(index) or []
            drawn = [outline(Shapes(plane.shape, (plane,)), thickness=thickness) for plane in maps]
            fraction = np.mean(drawn, axis=0)
            shares.append([(fraction > limit).mean() for limit in (0, 0.3, 0.5)])
        table.add_row(str(thickness), *(f"{share:.3f}" for share in np.mean(shares, axis=0)))
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--data", metavar="SPEC", help="photos with several annotators")
    arguments = parser.parse_args()
    console = Console(width=110)
    console.print(measure(arguments.scenes))
    if arguments.data:
        console.print(agreement(arguments.data))


if __name__ == "__main__":
    main()
