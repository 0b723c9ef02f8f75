"""Merging regions over their weakest border, until few enough are left (Arbeláez et al. 2011, section 4.2).

A border's strength is the mean boundary probability along it; when two regions become one, borders with a
common neighbour become one border, weighted by length. That mean is never below the border just removed, so
the strengths at which regions merge rise, and the tree of merges has a level at every node: an ultrametric.

Borders wait in a heap; a hash table finds the border between two regions; and of two merging regions the one
with fewer borders is rewritten, so that E borders take O(E log² E) even where one region swallows thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from maskwright.compiled import compiled
from maskwright.methods.everything.borders import Borders, Counts, Values, key_of, slot_of
from maskwright.methods.everything.heap import pop, push
from maskwright.methods.everything.watershed import Labels
from maskwright.types import BoolArray, FloatArray

# Strengths are at most 1: with this taken off, borders of small regions come before all others.
_FIRST = 2.0


@dataclass(frozen=True, eq=False)
class Merges:
    """M merges of N regions, in order.

    Args:
        pairs: (M, 2) int32: the region that stays and the one that joins it, counted from 0; the number of
            the one that stays stands for both from then on.
        strengths: (M,) float32, the strength of the border that goes, in [0, 1].
    """

    pairs: Labels
    strengths: FloatArray


def merge(borders: Borders, areas: Counts, *, min_area: int = 0, count: int = 1) -> Merges:
    """Merge regions that touch, first small ones, then any, always over the weakest border.

    As long as a region is smaller than `min_area` and has a neighbour, the weakest border of all such regions
    goes; then, until `count` regions are left, the weakest border of all.

    Args:
        borders: of regions 1…N.
        areas: (N,) int64, in pixels.
        min_area: in pixels.
        count: regions that may remain, at least 1.
    """
    assert count >= 1
    ends = borders.pairs - np.int32(1)
    return Merges(*_merge(ends, borders.lengths.copy(), borders.sums.copy(), areas.copy(), min_area, count))


def roots(merges: Merges, regions: int, done: int) -> Labels:
    """For each of N regions, from 0, which one stands for it after the first `done` merges."""
    return _roots(merges.pairs, regions, done)


@compiled
def _roots(pairs: Labels, regions: int, done: int) -> Labels:
    result = np.arange(regions).astype(np.int32)
    # Backwards: what a region joins has then found its own root already.
    for k in range(done - 1, -1, -1):
        result[pairs[k, 1]] = result[pairs[k, 0]]
    return result


class _Graph(NamedTuple):
    """Regions and borders while they merge; half 2e + s of border e is in the list of region ends[e, s]."""

    ends: Labels
    lengths: Counts
    sums: Counts
    areas: Counts
    min_area: int
    alive: BoolArray
    # The halves of a region: a list linked both ways.
    head: Counts
    after: Counts
    ahead: Counts
    degree: Counts
    # Which border two regions have: a hash table.
    keys: Counts
    numbers: Counts
    # Which border is next: a heap. A border waits once, and once more each time it takes in another one.
    ranks: Values
    heap: Counts


@compiled
def _merge(
    ends: Labels, lengths: Counts, sums: Counts, areas: Counts, min_area: int, count: int
) -> tuple[Labels, FloatArray]:
    regions, borders = len(areas), len(ends)
    size = 16
    while size < 2 * borders:
        size *= 2
    graph = _Graph(
        ends,
        lengths,
        sums,
        areas,
        min_area,
        np.ones(borders, np.bool_),
        np.full(regions, -1, np.int64),
        np.empty(2 * borders, np.int64),
        np.empty(2 * borders, np.int64),
        np.zeros(regions, np.int64),
        np.full(size, -1, np.int64),
        np.empty(size, np.int64),
        np.empty(2 * borders, np.float64),
        np.empty(2 * borders, np.int64),
    )
    waiting = 0
    for e in range(borders):
        for side in range(2):
            _link(graph, 2 * e + side, ends[e, side])
        _note(graph, e)
        waiting = push(graph.ranks, graph.heap, waiting, _rank(graph, e), e)

    pairs = np.empty((max(regions - 1, 0), 2), np.int32)
    strengths = np.empty(max(regions - 1, 0), np.float32)
    done = 0
    while waiting:
        rank, e = graph.ranks[0], graph.heap[0]
        waiting = pop(graph.ranks, graph.heap, waiting)
        if not graph.alive[e]:
            continue
        now = _rank(graph, e)
        if now != rank:
            # Its regions are no longer small. When its strength has changed, it waits elsewhere, too.
            if rank < 0 <= now:
                waiting = push(graph.ranks, graph.heap, waiting, now, e)
            continue
        if rank >= 0 and regions - done <= count:
            break
        kept, gone = ends[e, 0], ends[e, 1]
        if graph.degree[kept] < graph.degree[gone]:
            kept, gone = gone, kept
        pairs[done, 0], pairs[done, 1] = kept, gone
        strengths[done] = sums[e] / (255.0 * lengths[e])
        done += 1
        areas[kept] += areas[gone]
        waiting = _join(graph, kept, gone, waiting)
    return pairs[:done].copy(), strengths[:done].copy()


@compiled
def _join(graph: _Graph, kept: int, gone: int, waiting: int) -> int:
    """Give all borders of one region to another."""
    half = graph.head[gone]
    while half != -1:
        e, side, following = half >> 1, half & 1, graph.after[half]
        other = graph.ends[e, 1 - side]
        _forget(graph.keys, graph.numbers, key_of(gone, other))
        slot = slot_of(graph.keys, key_of(kept, other))
        if other == kept:  # the border between the two
            graph.alive[e] = False
            _unlink(graph, 2 * e + 1 - side, kept)
        elif graph.keys[slot] == -1:
            graph.ends[e, side] = kept
            _link(graph, half, kept)
            _note(graph, e)
        else:
            into = graph.numbers[slot]
            graph.alive[e] = False
            _unlink(graph, 2 * e + 1 - side, other)
            graph.lengths[into] += graph.lengths[e]
            graph.sums[into] += graph.sums[e]
            waiting = push(graph.ranks, graph.heap, waiting, _rank(graph, into), into)
        half = following
    return waiting


@compiled
def _rank(graph: _Graph, e: int) -> float:
    """What borders are ordered by."""
    small: bool = min(graph.areas[graph.ends[e, 0]], graph.areas[graph.ends[e, 1]]) < graph.min_area
    strength: float = graph.sums[e] / (255.0 * graph.lengths[e])
    return strength - (_FIRST if small else 0.0)


@compiled
def _link(graph: _Graph, half: int, region: int) -> None:
    """Put a half in front of a region's list."""
    following = graph.head[region]
    graph.after[half], graph.ahead[half] = following, -1
    if following != -1:
        graph.ahead[following] = half
    graph.head[region] = half
    graph.degree[region] += 1


@compiled
def _unlink(graph: _Graph, half: int, region: int) -> None:
    """Take a half out of a region's list."""
    following, previous = graph.after[half], graph.ahead[half]
    if previous == -1:
        graph.head[region] = following
    else:
        graph.after[previous] = following
    if following != -1:
        graph.ahead[following] = previous
    graph.degree[region] -= 1


@compiled
def _note(graph: _Graph, e: int) -> None:
    """Write a border into the table."""
    key = key_of(graph.ends[e, 0], graph.ends[e, 1])
    slot = slot_of(graph.keys, key)
    graph.keys[slot], graph.numbers[slot] = key, e


@compiled
def _forget(keys: Counts, numbers: Counts, key: int) -> None:
    """Take a key out of the table, and put those anew that may stand further on because of it."""
    mask = len(keys) - 1
    slot = slot_of(keys, key)
    keys[slot] = -1
    slot = (slot + 1) & mask
    while keys[slot] != -1:
        moved = keys[slot]
        keys[slot] = -1
        place = slot_of(keys, moved)
        keys[place], numbers[place] = moved, numbers[slot]
        slot = (slot + 1) & mask
