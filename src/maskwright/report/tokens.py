"""Tables and pictures of token measures: recall over the number of tokens, and the sizes of tokens.

DIR/recall.png      recall over tokens, a point a threshold; precision, recall and monosemanticity
DIR/sizes.png       the mean size of a photo's largest token, its second and so on
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from maskwright.io.files import make_folder
from maskwright.io.images import write_png
from maskwright.methods.everything.tokens import RANKS, TokenRow
from maskwright.report.evaluation_tables import TextTable
from maskwright.report.palette import BLUE, GREEN, ORANGE, VERMILION, as_shares
from maskwright.training.curves import new_figure, rendered
from maskwright.types import ByteArray

HEADINGS = (
    "threshold",
    "recall",
    "tokens",
    "effective recall",
    "effective tokens",
    "precision",
    "recall (paper)",
    "F1",
    "monosemanticity",
    "segments",
)


def token_table(rows: Sequence[TokenRow], photos: int, title: str) -> TextTable:
    """One row a threshold."""
    cells = tuple(
        (
            f"{row.threshold:g}",
            f"{row.recall:.3f}",
            f"{row.tokens:.1f}",
            _shown(row.effective_recall, 3),
            _shown(row.effective_tokens, 1),
            f"{row.precision:.3f}",
            f"{row.token_recall:.3f}",
            f"{row.f1:.3f}",
            f"{row.monosemanticity:.3f}",
            f"{row.segments:.1f}",
        )
        for row in rows
    )
    return TextTable(f"{title}, mean over {photos} photos", HEADINGS, (cells,), numbers_from=0)


def recall_curves(rows: Sequence[TokenRow], title: str) -> ByteArray:
    """Recall over tokens, a point a threshold, (H, W, 3) pixels."""
    figure = new_figure(11, 4.4)
    figure.suptitle(title, fontsize=11)
    left, right = figure.subplots(1, 2)
    effective = [row for row in rows if row.effective_recall is not None]
    for name, colour, marker, x, y in (
        ("token recall", BLUE, "o", [row.tokens for row in rows], [row.recall for row in rows]),
        (
            "effective contour recall",
            VERMILION,
            "s",
            [row.effective_tokens for row in effective],
            [row.effective_recall for row in effective],
        ),
    ):
        left.plot(x, y, color=as_shares(colour), marker=marker, markersize=4, label=name)
    for row in rows:
        left.annotate(
            f"{row.threshold:g}",
            (row.tokens, row.recall),
            textcoords="offset points",
            xytext=(4, -9),
            fontsize=7,
        )
    left.set_ylabel("recall")
    left.set_xlabel("mean number of tokens")
    measures = [
        ("recall", BLUE, "o", "token_recall"),
        ("precision", GREEN, "D", "precision"),
        ("monosemanticity", ORANGE, "^", "monosemanticity"),
    ]
    counts = [row.segments for row in rows]
    for name, colour, marker, key in measures:
        values = [getattr(row, key) for row in rows]
        right.plot(counts, values, color=as_shares(colour), marker=marker, markersize=4, label=name)
    right.set_xlabel("mean number of segments")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return rendered(figure)


def size_picture(curves: Mapping[float, Sequence[float]], title: str) -> ByteArray:
    """Sizes of tokens by rank, a line a threshold, (H, W, 3) pixels."""
    figure = new_figure(6.4, 4.4)
    axes = figure.subplots()
    for place, (threshold, sizes) in enumerate(curves.items()):
        points = [(rank, size) for rank, size in zip(RANKS.tolist(), sizes, strict=True) if size > 0]
        if points:
            # From dark to light as the threshold rises.
            blend = place / max(1, len(curves) - 1)
            colour = tuple(
                (1 - blend) * a + blend * b for a, b in zip(as_shares(BLUE), as_shares(ORANGE), strict=True)
            )
            axes.plot(*zip(*points, strict=True), color=colour, label=f"threshold {threshold:g}")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("token, the largest first")
    axes.set_ylabel("mean share of the image")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return rendered(figure)


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def write_pictures(
    folder: Path,
    rows: Sequence[TokenRow],
    sizes: Mapping[float, Sequence[float]],
    title: str,
    number: int | None = None,
) -> list[Path]:
    """Write both pictures of a dataset; of several datasets each gets its number in front.

    Raises:
        FileError: they cannot be written.
    """
    make_folder(folder)
    start = "" if number is None else f"{number:02d}-"
    pictures = {"recall": recall_curves(rows, title), "sizes": size_picture(sizes, title)}
    paths = [folder / f"{start}{name}.png" for name in pictures]
    for path, pixels in zip(paths, pictures.values(), strict=True):
        write_png(path, pixels)
    return paths
