"""The region tree of a boundary map: every granularity from one run.

As gPb-owt-ucm builds it (Arbeláez et al. 2011, section 4): a fine partition, then the two regions with the
weakest border become one, again and again. A border's level is the strength at which its two sides merge; the
map of levels is the ultrametric contour map, and the partition at a level is what that level cuts it into.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.compiled import compiled
from maskwright.errors import InputError, MaskError
from maskwright.io.decode import MAX_PIXELS
from maskwright.io.files import atomic_writer, require_file, shown
from maskwright.methods.everything.borders import Counts, find_borders
from maskwright.methods.everything.merging import Merges, merge, roots
from maskwright.methods.everything.seeds import prepared, to_levels
from maskwright.methods.everything.segments import Segments, segments
from maskwright.methods.everything.watershed import Labels
from maskwright.types import FloatArray

_PARTS = {"labels.npy", "pairs.npy", "strengths.npy"}
# Bytes a pixel of the widest, and of what stands before it.
_WIDEST = 8
_HEADER = 1 << 12
# What NumPy and zipfile raise on a damaged file depends on what they stumble over.
_DAMAGE = (
    ValueError,
    InputError,
    OSError,
    EOFError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """A fine partition of N segments and the N - 1 merges that make it one segment.

    Args:
        fine: the finest partition.
        merges: N - 1 of them; their strengths rise.
    """

    fine: Segments
    merges: Merges

    @classmethod
    def of(
        cls, probability: FloatArray, *, threshold: float | None = None, min_area: int = 0, rim: int = 0
    ) -> Hierarchy:
        """Build the tree.

        Args:
            probability: (H, W) float32 in [0, 1].
            threshold: of the finest partition, as in `segments`; None: each valley of the map is a segment.
            min_area: in pixels, of the segments of the finest partition.
            rim: in pixels, as in `segments`.

        Raises:
            InputError: as `segments` does.
        """
        probability = prepared(probability, rim)
        fine = segments(probability, threshold=threshold, min_area=min_area)
        return cls(fine, merge(find_borders(fine.labels, to_levels(probability)), fine.areas))

    @property
    def levels(self) -> FloatArray:
        """(N - 1,) float32 in [0, 1], rising: the levels at which two segments become one."""
        return self.merges.strengths

    def at(self, level: float) -> Segments:
        """The partition along the borders above a level: 0 the finest (without borders of 0), 1 one segment.

        Raises:
            InputError: unless it is a number.
        """
        if np.isnan(level):
            raise InputError("a level of the hierarchy is a number, usually from 0 to 1.")
        return self._after(int(np.searchsorted(self.levels, np.float32(level), side="right")))

    def with_count(self, count: int) -> Segments:
        """The partition with `count` segments, or as many as the finest has.

        Raises:
            InputError: for a count below 1.
        """
        if count < 1:
            raise InputError(f"a partition has one segment at least, not {count}.")
        return self._after(max(self.fine.count - count, 0))

    def _after(self, done: int) -> Segments:
        return self.fine.joined(roots(self.merges, self.fine.count, done))

    def ultrametric(self) -> FloatArray:
        """The ultrametric contour map, (H, W) float32.

        A pixel's value is the level at which it and its right and lower neighbours are all of one segment, 0
        where they are from the start: `ultrametric() > level` is the boundary of the partition at that level.
        """
        regions = self.fine.count
        # The same tree, but the smaller side joins the larger: no path is longer than log2 of the regions.
        parents, times = np.arange(regions), np.full(regions, regions)
        _grow_forest(self.merges.pairs, parents, times, np.arange(regions), np.ones(regions, np.int64))
        contours = np.zeros(self.fine.size, np.float32)
        _draw(self.fine.labels, parents, times, self.levels, contours)
        return contours

    def save(self, path: Path) -> None:
        """Write the tree as .npz: `labels`, `pairs` and `strengths`, plain arrays; atomically.

        Raises:
            FileError: naming the path and the reason.
        """
        labels = self.fine.labels
        with atomic_writer(path) as file:
            np.savez_compressed(
                file,
                labels=labels.astype(np.uint16 if self.fine.count < 1 << 16 else np.int32),
                pairs=self.merges.pairs,
                strengths=self.merges.strengths,
            )

    @classmethod
    def load(cls, path: Path) -> Hierarchy:
        """Read what `save` has written.

        Raises:
            FileError: the file is missing.
            MaskError: it is damaged, or no tree of regions.
        """
        require_file(path)
        try:
            with zipfile.ZipFile(path) as archive:
                sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if sizes.keys() != _PARTS or max(sizes.values()) > _WIDEST * MAX_PIXELS + _HEADER:
                raise ValueError("it holds other arrays, or too large ones")
            with np.load(path, allow_pickle=False) as parts:
                labels, pairs, strengths = (parts[name] for name in ("labels", "pairs", "strengths"))
            if labels.dtype.kind not in "iu":
                raise ValueError(f"labels are whole numbers, not {labels.dtype}")
            fine = Segments(labels.astype(np.int32))
            _check(pairs, strengths, fine.count)
        except _DAMAGE as error:
            raise MaskError(f"{shown(path)} is no region tree that can be read: {error}.") from error
        return cls(fine, Merges(pairs, strengths))


def _check(pairs: Labels, strengths: FloatArray, regions: int) -> None:
    """Refuse merges that are no tree of `regions` leaves.

    Raises:
        ValueError: saying what is wrong.
    """
    if pairs.shape != (regions - 1, 2) or pairs.dtype != np.int32:
        raise ValueError(f"{regions} segments merge in {regions - 1} pairs, not {pairs.shape} {pairs.dtype}")
    if strengths.shape != (regions - 1,) or strengths.dtype != np.float32:
        raise ValueError(f"{regions - 1} pairs have as many levels, not {strengths.shape} {strengths.dtype}")
    if not ((strengths >= 0) & (strengths <= 1)).all() or (np.diff(strengths) < 0).any():
        raise ValueError("its levels do not rise from 0 to 1")
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < regions:
        raise ValueError("it merges segments that are not there")
    # Each joins another once, and from then on stands for nothing.
    joins = np.full(regions, regions)
    joins[pairs[:, 1]] = np.arange(regions - 1)
    if (
        np.bincount(pairs[:, 1], minlength=1).max() > 1
        or (joins[pairs[:, 0]] <= np.arange(regions - 1)).any()
    ):
        raise ValueError("it merges segments that have gone")


@compiled
def _draw(labels: Labels, parents: Counts, times: Counts, levels: FloatArray, contours: FloatArray) -> None:
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            for down in range(2):
                j, i = y + down, x + 1 - down
                if j < height and i < width and labels[j, i] != labels[y, x]:
                    time = _meeting(parents, times, labels[y, x] - 1, labels[j, i] - 1)
                    contours[y, x] = max(contours[y, x], levels[time])


@compiled
def _grow_forest(pairs: Labels, parents: Counts, times: Counts, tops: Counts, sizes: Counts) -> None:
    """Write each region's parent, and which merge brought it there; `tops` are the roots by our numbers."""
    for k in range(len(pairs)):
        kept, gone = tops[pairs[k, 0]], tops[pairs[k, 1]]
        if sizes[kept] < sizes[gone]:
            kept, gone = gone, kept
        parents[gone], times[gone] = kept, k
        sizes[kept] += sizes[gone]
        tops[pairs[k, 0]] = kept


@compiled
def _meeting(parents: Counts, times: Counts, one: int, other: int) -> int:
    """The merge that brings two regions together; times rise on the way up."""
    time = -1
    while one != other:
        if times[one] > times[other]:
            one, other = other, one
        time = times[one]
        one = parents[one]
    return time
