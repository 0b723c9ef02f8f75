"""The tables of an evaluation as text, the same on the terminal, in Markdown and in the HTML report.

One fixed output and the best of three against the truth never share a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskwright.methods.comparison import Difference, TaskMean
from maskwright.methods.scores import Choice, Interval, Measured, PromptedResult, Timing

CHOICES: dict[Choice, str] = {
    "single": "one output",
    "oracle": "best of three against the truth (an upper bound: no user has the truth)",
}

Row = tuple[str, ...]


@dataclass(frozen=True)
class TextTable:
    """A table of strings.

    Args:
        title: above it.
        headings: one a column.
        groups: rows that stand together: those of one dataset and prompt.
        numbers_from: the first column of figures.
    """

    title: str
    headings: Row
    groups: tuple[tuple[Row, ...], ...]
    numbers_from: int

    def markdown(self) -> str:
        """The table in Markdown, under its title."""
        kinds = ["---:" if column >= self.numbers_from else "---" for column in range(len(self.headings))]
        rows = [self.headings, tuple(kinds), *(row for group in self.groups for row in group)]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return f"**{self.title}**\n\n" + "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Comparison:
    """All that one run measured.

    Args:
        results: one a predictor, dataset, first prompt and choice.
        means: over the sets of tasks.
        gaps: the first predictor minus each other one, on datasets, then over tasks.
        counts: clicks that tables give.
    """

    results: Sequence[PromptedResult]
    means: Sequence[TaskMean]
    gaps: Sequence[Difference]
    counts: tuple[int, ...]

    def of(self, choice: Choice) -> Comparison:
        """The part with that choice."""
        return Comparison(
            [result for result in self.results if result.choice == choice],
            [mean for mean in self.means if mean.choice == choice],
            [gap for gap in self.gaps if gap.choice == choice],
            self.counts,
        )

    def choices(self) -> list[Choice]:
        """The choices that were measured."""
        return list(dict.fromkeys(result.choice for result in self.results))

    def labels(self) -> dict[str, str]:
        """What to call each predictor in a table or a picture."""
        return short_labels([result.name for result in self.results])

    def tables(self) -> list[TextTable]:
        """Scores, means over tasks, and differences: for each choice its own."""
        called = self.labels()
        parts = ((self.of(choice), CHOICES[choice]) for choice in self.choices())
        return [table for part, words in parts for table in part._tables(words, called)]

    def _tables(self, words: str, called: Mapping[str, str]) -> Iterator[TextTable]:
        scores = [
            _Entry(short_name(item.data), item.prompt, called[item.name], len(item.scores), item, item.timing)
            for item in self.results
        ]
        means = [_Entry(mean_of(item), item.prompt, called[item.name], item.n, item) for item in self.means]
        gaps = [
            _Entry(
                short_name(item.data),
                item.prompt,
                f"{called[item.name]} − {called[item.other]}",
                item.n,
                item,
            )
            for item in self.gaps
        ]
        yield _table(f"Scores, {words}", "method", scores, self.counts)
        if means:
            yield _table(f"Means over datasets, {words}", "method", means, self.counts)
        if gaps:
            yield _table(f"Differences on the same masks, {words}", "difference", gaps, self.counts, "+")


def short_name(spec: str) -> str:
    """A dataset's line without the folders above its own; a task's name as it is."""
    kind, colon, rest = spec.partition(":")
    folder, question, options = rest.partition("?")
    return f"{kind}{colon}{Path(folder).name if folder else ''}{question}{options}"


def mean_of(mean: TaskMean) -> str:
    """A task and over how many datasets its mean goes."""
    return f"{mean.task} (mean of {len(mean.sets)} {'set' if len(mean.sets) == 1 else 'sets'})"


def short_labels(names: Sequence[str]) -> dict[str, str]:
    """What to call methods: of several paths only the folders and files that tell them apart.

    runs/vanilla/model/model.safetensors and runs/sum/model/model.safetensors become vanilla and sum.
    """
    paths = {name: Path(name).parts for name in dict.fromkeys(names) if len(Path(name).parts) > 1}
    if len(paths) < 2:
        return {name: name for name in names}
    shortest = min(map(len, paths.values()))
    start = _common(paths.values(), shortest - 1)
    end = _common([parts[::-1] for parts in paths.values()], shortest - 1 - start)
    labels = {name: "/".join(parts[start : len(parts) - end]) for name, parts in paths.items()}
    distinct = len({*labels.values(), *names} - {*paths}) == len(set(names))
    return {name: labels.get(name, name) if distinct else name for name in names}


def _common(paths: Iterable[tuple[str, ...]], limit: int) -> int:
    """How many parts, `limit` at most, all paths begin with."""
    count = 0
    for parts in zip(*paths, strict=False):
        if count == limit or len(set(parts)) > 1:
            break
        count += 1
    return count


def number(value: float, interval: Interval, sign: str = "") -> str:
    """A figure with its interval."""
    low, high = interval
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


@dataclass(frozen=True)
class _Entry:
    """What fills a row: where, asked with what, who, on how many masks, how well, and how fast."""

    data: str
    prompt: str
    who: str
    masks: int
    measured: Measured
    timing: Timing | None = None

    def row(self, count: int, sign: str) -> Row:
        step = self.measured.curve[count - 1]
        figures = (
            number(step.miou, step.miou_ci95, sign),
            number(step.boundary_iou, step.boundary_iou_ci95, sign),
        )
        seconds = () if self.timing is None else (f"{self.timing.per_image:.3f}",)
        return (self.data, self.prompt, str(count), self.who, str(self.masks), *figures, *seconds)


def _table(
    title: str, who: str, entries: Sequence[_Entry], counts: Sequence[int], sign: str = ""
) -> TextTable:
    """Those that answer the same question stand one below the other."""
    questions = dict.fromkeys((entry.data, entry.prompt) for entry in entries)
    groups = tuple(
        tuple(
            entry.row(count, sign)
            for count in counts
            for entry in entries
            if (entry.data, entry.prompt) == question
        )
        for question in questions
    )
    headings = ("data", "prompt", "clicks", who, "masks", "mIoU [95 %]", "boundary IoU [95 %]")
    timed = any(entry.timing for entry in entries)
    return TextTable(title, (*headings, "s / image") if timed else headings, groups, numbers_from=4)
