"""Several evaluations side by side: paired differences on the same masks, and means over the sets of a task.

Only results of the same first prompt and the same choice of masks ever meet: one fixed output and the best of
three against the truth are different quantities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.methods.scores import (
    Choice,
    Measured,
    PromptedResult,
    PromptKind,
    ScoreTable,
    Step,
    curve,
)

OVERALL = "overall"
"""The mean over all datasets."""

Way = tuple[PromptKind, Choice]


@dataclass(frozen=True)
class TaskMean(Measured):
    """The unweighted mean of a predictor's means over the datasets of a task.

    Args:
        name: the predictor's.
        task: the task's name, or "overall".
        sets: the datasets.
        prompt, choice: how all of them were measured.
        n: masks in all.
        curve: the mean after each click.
    """

    name: str
    task: str
    sets: tuple[str, ...]
    prompt: PromptKind
    choice: Choice
    n: int
    curve: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """What `--json` holds under "means"."""
        names = ("name", "task", "sets", "prompt", "choice", "n")
        return {name: getattr(self, name) for name in names} | self.figures()


@dataclass(frozen=True)
class Difference(Measured):
    """How much better one predictor is than another on the objects both were asked for.

    Args:
        name, other: the two predictors.
        data: the dataset, or the task over whose sets the differences are averaged.
        prompt, choice: how both were measured.
        n: objects both were asked for.
        curve: mean differences after each click, positive where `name` is better.
    """

    name: str
    other: str
    data: str
    prompt: PromptKind
    choice: Choice
    n: int
    curve: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """What `--json` holds under "differences"."""
        names = ("name", "other", "data", "prompt", "choice", "n")
        return {name: getattr(self, name) for name in names} | self.figures()


def differences(results: Sequence[PromptedResult]) -> list[Difference]:
    """Compare the first predictor with each other one measured on the same data in the same way."""
    firsts: dict[tuple[str, Way], PromptedResult] = {}
    found = []
    for result in results:
        first = firsts.setdefault((result.data, _way(result)), result)
        if first is not result:
            found.append(_difference(result.data, [(first, result)]))
    return [difference for difference in found if difference is not None]


def task_means(
    results: Sequence[PromptedResult], tasks: Mapping[str, Sequence[str]]
) -> tuple[list[TaskMean], list[Difference]]:
    """Average each predictor over the datasets of each task, and compare the first with each other one.

    Args:
        results: each predictor's results.
        tasks: names and their datasets. A predictor that lacks a result on one of them has no mean there,
            for it would be a mean over other sets than the others'.
    """
    means, gaps = [], []
    for task, sets in tasks.items():
        for way in dict.fromkeys(map(_way, results)):
            found = _complete([result for result in results if _way(result) == way], sets)
            means += [_mean(task, members) for members in found]
            gaps += [_difference(task, list(zip(found[0], other, strict=True))) for other in found[1:]]
    return means, [gap for gap in gaps if gap is not None]


def with_overall(tasks: Mapping[str, Sequence[str]], data: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The tasks, and the mean over all of several datasets unless one of the tasks is just that."""
    named = {task: tuple(sets) for task, sets in tasks.items()}
    if len(data) > 1 and not any(set(sets) == set(data) for sets in named.values()):
        named[OVERALL] = tuple(data)
    return named


def _way(result: PromptedResult) -> Way:
    return result.prompt, result.choice


def _complete(results: Sequence[PromptedResult], sets: Sequence[str]) -> list[list[PromptedResult]]:
    """The results on all `sets`, in their order, of each predictor that has them all."""
    by_name: dict[str, dict[str, PromptedResult]] = {}
    for result in results:
        by_name.setdefault(result.name, {})[result.data] = result
    return [[found[data] for data in sets] for found in by_name.values() if found.keys() >= set(sets)]


def _mean(task: str, members: Sequence[PromptedResult]) -> TaskMean:
    first = members[0]
    return TaskMean(
        name=first.name,
        task=task,
        sets=tuple(result.data for result in members),
        prompt=first.prompt,
        choice=first.choice,
        n=sum(len(result.scores) for result in members),
        curve=curve([result.table() for result in members], first.selection.seed),
    )


def _difference(data: str, pairs: Iterable[tuple[PromptedResult, PromptedResult]]) -> Difference | None:
    """Compare mask by mask, which tells far more than two means with their intervals do."""
    members = list(pairs)
    tables = [_gaps(one, other) for one, other in members]
    one, other = members[0]
    if not all(len(table.images) for table in tables):
        return None
    return Difference(
        name=one.name,
        other=other.name,
        data=data,
        prompt=one.prompt,
        choice=one.choice,
        n=sum(len(table.images) for table in tables),
        curve=curve(tables, one.selection.seed),
    )


def _gaps(one: PromptedResult, other: PromptedResult) -> ScoreTable:
    """The differences of the scores of those masks that both have."""
    ours, theirs = one.table(), other.table()
    places = {key: place for place, key in enumerate(_keys(other))}
    shared = [(place, places[key]) for place, key in enumerate(_keys(one)) if key in places]
    index = np.array(shared, np.int64).reshape(-1, 2)
    values = ours.values[index[:, 0]] - theirs.values[index[:, 1]]
    return ScoreTable(values, tuple(ours.images[place] for place in index[:, 0]))


def _keys(result: PromptedResult) -> Iterator[tuple[str, int, int]]:
    """What tells masks apart: image, id, and which of several annotators' masks with that id it is."""
    seen: Counter[tuple[str, int]] = Counter()
    for score in result.scores:
        key = score.image, score.segment
        yield *key, seen[key]
        seen[key] += 1
