"""A comparison of Maskwright with its peers in one run: what is run, what must be equal, how it is timed.

A benchmark is a module with `comparisons(quick)`, which gives one `Comparison` at a time. All sides of one
comparison run in one process, in turns, each round in another order; the outputs are checked before any
clock runs. Seconds are of the clock, with the machine to itself; what takes less than `LEAST` is run again
and again in its turn. The ratio is of the medians, its spread the smallest and largest ratio of a round.
Beside them stand the CPU seconds that the system took, which is mostly the price of fresh memory.

A machine is not always equally fast: what others do on it, and its heat, move its rate by a quarter within
minutes. Where operations bound the work, the rate of its limit is that of products timed between the rounds.

Where a goal is missed, two more passes of ours and of that peer tell where the time goes.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from machine import Limits
from profiles import profile_pass

OURS = "maskwright"
ROUNDS = 5
LEAST = 0.02
"""Seconds that a side runs in each turn, if need be again and again; the mean counts."""


@dataclass
class Comparison:
    """One row of the page: the same work done by Maskwright and by its peers.

    Args:
        name: what is done, with the sizes: "SAM ViT-B encoder, 1024 px, batch 1, float32".
        sides: what each does, by name; `OURS` is among them, all are timed alike.
        check: given each side's output, says in words how far they are equal; raises where they are not.
        goals: by peer, how many times faster than it we want to be.
        operations: floating point operations of the work, 0 if they do not bound it.
        arithmetic: in which the limit of the machine is taken: "float32" or "bfloat16".
        moved: bytes that must be read and written, 0 if they do not bound it.
        rounds: times that each side is timed.
        note: a remark that the page prints: why a goal is missed, what a peer leaves out.
    """

    name: str
    sides: dict[str, Callable[[], Any]]
    check: Callable[[dict[str, Any]], str]
    goals: dict[str, float] = field(default_factory=dict)
    operations: float = 0.0
    arithmetic: str = "float32"
    moved: float = 0.0
    rounds: int = ROUNDS
    note: str = ""


def measure(comparison: Comparison, limits: Limits, rate: Callable[[str], float]) -> dict[str, Any]:
    """Check the outputs, time all sides in turns, and give the row as plain data.

    Args:
        comparison: what is compared.
        limits: the machine's rates.
        rate: operations a second of a large product now, in an arithmetic.
    """
    assert OURS in comparison.sides, comparison.name
    outputs = {side: run() for side, run in comparison.sides.items()}  # the warm-up, too
    equal = comparison.check(outputs)
    del outputs
    rounds, rates = [], []
    for first in range(comparison.rounds):
        rounds.append(one_round(comparison.sides, first))
        if comparison.operations:
            rates.append(rate(comparison.arithmetic))
    if rates:
        limits = replace(limits, **{comparison.arithmetic: statistics.median(rates)})
    sides = list(comparison.sides)
    seconds = {side: statistics.median(times[side][0] for times in rounds) for side in sides}
    system = {side: statistics.median(times[side][1] for times in rounds) for side in sides}
    peers = {
        side: {
            "ratio": seconds[side] / seconds[OURS],
            "spread": [pick(times[side][0] / times[OURS][0] for times in rounds) for pick in (min, max)],
            "goal": comparison.goals.get(side),
        }
        for side in sides
        if side != OURS
    }
    missed = [side for side, peer in peers.items() if misses(peer)]
    watched = [OURS, *missed] if missed else []
    return {
        "name": comparison.name,
        "seconds": seconds,
        "system": system,
        "peers": peers,
        "limit": limits.seconds(comparison.operations, comparison.moved, comparison.arithmetic),
        "equal": equal,
        "rounds": comparison.rounds,
        "note": comparison.note,
        "profile": {
            side: profile_pass(comparison.sides[side], in_torch=comparison.operations > 0) for side in watched
        },
    }


def misses(peer: dict[str, Any]) -> bool:
    """Whether there is a goal that is not reached."""
    return bool(peer["goal"] is not None and peer["ratio"] < peer["goal"])


def one_round(sides: dict[str, Callable[[], Any]], first: int) -> dict[str, tuple[float, float]]:
    """Seconds that each takes, and those of the system; another side begins each round."""
    names = list(sides)
    names = names[first % len(names) :] + names[: first % len(names)]
    times = {}
    for name in names:
        gc.collect()
        start, system, runs, passed = time.perf_counter(), os.times().system, 0, 0.0
        while passed < LEAST:
            result = sides[name]()
            runs, passed = runs + 1, time.perf_counter() - start
            del result
        times[name] = (passed / runs, (os.times().system - system) / runs)
    return times
