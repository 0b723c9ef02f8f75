"""Watershed, borders and merging as their definitions put them: one pixel, one border at a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction

Grid = Sequence[Sequence[int]]
Pixel = tuple[int, int]


def neighbours(y: int, x: int, grid: Grid) -> Iterator[Pixel]:
    """Above, left, right, below."""
    for j, i in ((y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x)):
        if 0 <= j < len(grid) and 0 <= i < len(grid[0]):
            yield j, i


def pixels(grid: Grid) -> list[Pixel]:
    return [(y, x) for y in range(len(grid)) for x in range(len(grid[0]))]


def watershed(levels: Grid, markers: Grid) -> list[list[int]]:
    """A heap of (level, time of entry); markers enter first, row by row."""
    labels = [list(row) for row in markers]
    marked = [(y, x) for y, x in pixels(levels) if markers[y][x]]
    heap = [(levels[y][x], time - len(marked), y, x) for time, (y, x) in enumerate(marked)]
    heapq.heapify(heap)
    time = 0
    while heap:
        water, _, y, x = heapq.heappop(heap)
        for j, i in neighbours(y, x, levels):
            if not labels[j][i]:
                labels[j][i] = labels[y][x]
                time += 1
                heapq.heappush(heap, (max(levels[j][i], water), time, j, i))
    return labels


def components(grid: Grid) -> list[set[Pixel]]:
    """The 4-connected sets of equal pixels."""
    left, result = set(pixels(grid)), []
    while left:
        start = min(left)
        part, edge = {start}, [start]
        while edge:
            y, x = edge.pop()
            new = {(j, i) for j, i in neighbours(y, x, grid) if grid[j][i] == grid[y][x]} - part
            part |= new
            edge += new
        result.append(part)
        left -= part
    return result


def minima(levels: Grid) -> list[set[Pixel]]:
    """The components without a lower neighbour."""
    return [
        part
        for part in components(levels)
        if all(levels[j][i] >= levels[y][x] for y, x in part for j, i in neighbours(y, x, levels))
    ]


def borders(labels: Grid, levels: Grid) -> dict[tuple[int, int], list[int]]:
    """For each two regions that touch, the levels of the pairs of pixels along their border."""
    found: dict[tuple[int, int], list[int]] = {}
    for y, x in pixels(labels):
        for j, i in neighbours(y, x, labels):
            if (j, i) > (y, x) and labels[j][i] != labels[y][x]:
                one, other = sorted((labels[y][x], labels[j][i]))
                found.setdefault((one, other), []).append(max(levels[y][x], levels[j][i]))
    return found


def strengths(labels: Grid, levels: Grid) -> dict[tuple[int, int], Fraction]:
    """Mean probability along each border."""
    return {pair: Fraction(sum(v), 255 * len(v)) for pair, v in borders(labels, levels).items()}


def area(labels: Grid, label: int) -> int:
    return sum(row.count(label) for row in map(list, labels))
