"""What the options of `maskwright evaluate prompted` amount to: defaults filled in, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from maskwright.cli.common import values
from maskwright.data.tasks import Task
from maskwright.errors import ConfigError
from maskwright.methods.comparison import OVERALL, with_overall
from maskwright.methods.scores import Choice, PromptedResult, PromptKind, Selection
from maskwright.types import HQMode

if TYPE_CHECKING:
    from maskwright.cli.evaluate import Prompted


@dataclass(frozen=True)
class Plan:
    """All that is to be measured.

    Args:
        models, baselines: predictors.
        data: all datasets, those of tasks included.
        tasks: over which of them means are taken; several datasets have an overall mean.
        told: for models with task prompts, the tasks of a dataset that these know; one at most makes sense.
        prompts: first prompts.
        choices: whose choice a model's masks are; baselines give but one mask.
        counts: after how many prompts figures are given.
        protocol: "hq" for HQ-SAM's.
        hq: which logits of an HQ model.
        refined: whether each model is measured with a refiner too.
        selection: which objects.
    """

    models: list[str]
    baselines: list[str]
    data: list[str]
    tasks: dict[str, tuple[str, ...]]
    told: dict[str, list[Task]]
    prompts: list[PromptKind]
    choices: list[Choice]
    counts: tuple[int, ...]
    protocol: Literal["standard", "hq"]
    hq: HQMode
    refined: bool
    selection: Selection

    @classmethod
    def of(cls, options: Prompted) -> Plan:
        """Read the options.

        Raises:
            ConfigError: when they are incomplete or contradict each other.
        """
        tasks = _tasks(options)
        sets = [spec for sets in tasks.values() for spec in sets]
        data = list(dict.fromkeys([*values(options.data), *sets]))
        plan = cls(
            models=values(options.model),
            baselines=[*values(options.baseline)],
            data=data,
            tasks=with_overall(tasks, data),
            told=_told(tasks) if options.task_prompts else {},
            prompts=values(options.prompt) or ["box"],
            choices=values(options.choice) or ["single"],
            counts=_counts(options.clicks),
            protocol=options.protocol,
            hq=_logits(options),
            refined=options.refine is not None,
            selection=_selection(options),
        )
        plan._check(options.multimask)
        return plan

    @property
    def combinations(self) -> int:
        """How many results there will be."""
        ways = len(self.models) * (1 + self.refined) * len(self.choices) + len(self.baselines)
        return ways * len(self.data) * len(self.prompts)

    def place(self, result: PromptedResult) -> tuple[int, int, int]:
        """Where a result stands among the others."""
        return (
            self.data.index(result.data),
            self.prompts.index(result.prompt),
            self.choices.index(result.choice),
        )

    def _check(self, multimask: bool) -> None:
        if not self.models and not self.baselines:
            raise ConfigError("nothing to measure: give --model NAME|PATH or --baseline NAME; see --help.")
        if self.refined and not self.models:
            raise ConfigError("--refine is for models, and none was given: add --model NAME|PATH.")
        if not self.data:
            raise ConfigError("nothing to measure on: give --data KIND:FOLDER, such as bsds500:data/BSDS500.")
        if self.baselines and self.counts[-1] > 1:
            raise ConfigError("--clicks must be 1 for baselines: only models take corrections.")
        if self.baselines and self.protocol == "hq":
            raise ConfigError("--protocol hq measures HQ tokens; leave out the baselines, which have none.")
        if self.baselines and "single" not in self.choices:
            raise ConfigError("baselines give one mask: with them, --choice needs `single` too.")
        if multimask and "oracle" in self.choices:
            raise ConfigError(
                "with --multimask the model chooses among its masks, with --choice oracle the truth does: "
                "give one of the two."
            )


def _logits(options: Prompted) -> HQMode:
    if options.hq == "auto":
        return "only" if options.protocol == "hq" else "sum"
    return options.hq


def _counts(text: str) -> tuple[int, ...]:
    """Read `5` or `1,3,5`; in any order, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ConfigError(f"--clicks must be at least 1, or several such as 1,3,5, not {text!r}.")
    return tuple(sorted({int(part) for part in parts}))


def _tasks(options: Prompted) -> dict[str, tuple[str, ...]]:
    """Each --task's name and datasets."""
    tasks: dict[str, tuple[str, ...]] = {}
    for name, *sets in filter(None, options.task):
        if ":" in name or not sets:
            raise ConfigError("--task takes a name and its datasets: --task salient coift:HQ hrsod:HQ.")
        if name == OVERALL:
            raise ConfigError(f"the mean over all datasets is called {OVERALL!r}: name the task otherwise.")
        tasks[name] = tuple(dict.fromkeys([*tasks.get(name, ()), *sets]))
    return tasks


def _told(tasks: Mapping[str, tuple[str, ...]]) -> dict[str, list[Task]]:
    told: dict[str, list[Task]] = {}
    for task in get_args(Task):
        for spec in tasks.get(task, ()):
            told.setdefault(spec, []).append(task)
    return told


def _selection(options: Prompted) -> Selection:
    hq = options.protocol == "hq"
    low = (0.0 if hq else Selection.min_area) if options.min_area is None else options.min_area
    high = (1.0 if hq else Selection.max_area) if options.max_area is None else options.max_area
    per_image = (None if hq else Selection.per_image) if options.per_image is None else options.per_image
    return make_selection(low, high, per_image, options.seed, options.limit)


def make_selection(low: float, high: float, per_image: int | None, seed: int, limit: int | None) -> Selection:
    """Which objects are asked for.

    Raises:
        ConfigError: the options make no sense.
    """
    if not 0 <= low < high <= 1:
        raise ConfigError("--min-area and --max-area are shares of the image: 0 <= min < max <= 1.")
    if (per_image is not None and per_image < 1) or (limit is not None and limit < 1):
        raise ConfigError("--per-image and --limit must be at least 1.")
    return Selection(low, high, per_image, seed, limit)
