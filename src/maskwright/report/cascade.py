"""Segmenting with two models: a small one for all prompts, a large one where that is expected to pay."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from maskwright.errors import ConfigError
from maskwright.methods.prompting import to_prompts
from maskwright.methods.uncertainty.cascade import Budget, Costs, choose_prompts
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import QUALITY
from maskwright.report.image_run import Record
from maskwright.report.segmentation import Answer, PromptAsker
from maskwright.types import Image

Doubt = Literal["quality", "model_gap"]
Chosen = Mapping[str, Collection[int]]
"""By the names of images: the numbers of their prompts that the large model answers."""


@dataclass(frozen=True)
class CascadeAsker:
    """Asks a small model, and in its place a large one for the prompts that were chosen.

    Records get two more rows: "gain", how much the large model may gain on this prompt, and "answered_by",
    the name of the model that made the mask.

    Args:
        small: the small model, with uncertainty heads, and how it is asked.
        large: the large model.
        budget: what the large model may take of the whole run (`choose`), or None:
        above: the large model answers wherever the gain is above this.
        by: what counts as the gain: 1 − quality, all that the small model leaves to be gained, or model_gap,
            what its head expects of the large one.
        chosen: prompts that the large model answers.
        gains: of images that were asked before, each prompt's expected gain.

    Raises:
        ConfigError: the small model does not tell that, or is refined.
        InputError: a task for a model without task prompts.
    """

    small: PromptAsker
    large: Segmenter
    budget: Budget | None = None
    above: float = 0.0
    by: Doubt = "quality"
    chosen: Chosen = field(default_factory=dict)
    gains: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        heads = self.small.segmenter.heads
        if heads is None or self.by not in heads.told():
            raise ConfigError(
                f"{self.small.segmenter.name} has no uncertainty head that tells {self.by}: train heads on "
                "the tokens of both models, with `maskwright uncertainty extract --models SMALL,LARGE` and "
                "`maskwright train heads`."
            )
        if self.small.refiner is not None:
            raise ConfigError(
                "a refiner is of one model, and here two make the masks: leave one of them out."
            )
        if self.small.segmenter.digest == self.large.digest:
            raise ConfigError(
                f"{self.large.name} is the model that is asked first, too: name another, larger one."
            )
        heads.check_larger(self.by, self.large.digest, self.large.name)
        self.large.task_number(self.small.task)

    @property
    def names(self) -> tuple[str, str]:
        """What records call the small and the large model, with their digests if the names are equal."""
        small, large = self.small.segmenter, self.large
        return (small.name, large.name) if small.name != large.name else (small.signature, large.signature)

    def described(self) -> dict[str, Any]:
        """Both models, how they are asked and what chooses between them."""
        rule = {"gain_above": self.above} if self.budget is None else {"budget": str(self.budget)}
        return self.small.described() | {"larger": self.large.signature, "larger_by": self.by} | rule

    def ask(self, name: str, image: Image) -> Answer:
        """Ask the small model, and the large one where that was chosen."""
        count = len(self.small.prompts.of(name))
        chosen = sorted(self.chosen.get(name, ()))
        if len(chosen) == count and name in self.gains:
            # The small model would be asked for nothing.
            answer, gains = None, list(self.gains[name])
        else:
            answer = self.small.ask(name, image)
            told = [float(one.best().extras[self.by]) for one in answer.each]
            gains = [1 - value for value in told] if self.by == QUALITY else told
        if self.budget is None:
            chosen = [number for number, gain in enumerate(gains) if gain > self.above]
        larger = self._ask_large(name, image, chosen) if chosen else None
        return _joined(answer, larger, chosen, self._rows(gains, chosen))

    def _rows(self, gains: Sequence[float], chosen: Collection[int]) -> dict[str, tuple[Any, ...]]:
        by = tuple(self.names[number in chosen] for number in range(len(gains)))
        return {"gain": tuple(gains), "answered_by": by}

    def _ask_large(self, name: str, image: Image, chosen: Sequence[int]) -> Answer:
        asked, specs = self.small, self.small.prompts.of(name)
        embedding = self.large.embed(image)
        prompts = to_prompts(
            [specs[number] for number in chosen], embedding.geometry, self.large.model.low_res
        )
        masks = self.large.decode(embedding, prompts, multimask=asked.multimask, hq=asked.hq, task=asked.task)
        return Answer(masks, prompts)


def choose(
    records: Sequence[Record], asker: CascadeAsker, small: Costs, large: Costs
) -> tuple[CascadeAsker, list[str]]:
    """Choose among all prompts of a run, once the small model has answered them.

    Args:
        records: of the finished images.
        asker: what made them, with a budget.
        small: what its small model takes.
        large: what its large model takes, in the same unit.

    Returns:
        The asker that answers as was chosen, and the names of the images that it is to be asked for again.
    """
    gains = {record["path"]: _by_prompt(record, "gain") for record in records}
    names = [name for name, row in gains.items() for _ in row]
    numbers = [number for row in gains.values() for number in range(len(row))]
    flat = [gain for row in gains.values() for gain in row]
    assert asker.budget is not None
    costs, limit = asker.budget.limit(len(records), len(flat), small, large)
    taken = choose_prompts(flat, names, costs, limit)
    # What the large model has answered before an interruption, it has answered.
    done = {record["path"]: _larger(record, asker.names[1]) for record in records}
    chosen: dict[str, set[int]] = {name: set(before) for name, before in done.items() if before}
    for name, number, wanted in zip(names, numbers, taken.tolist(), strict=True):
        if wanted:
            chosen.setdefault(name, set()).add(number)
    again = [name for name, wanted in chosen.items() if wanted != done[name]]
    return replace(asker, chosen=chosen, gains=gains), again


def by_large(records: Sequence[Record], asker: CascadeAsker) -> int:
    """How many prompts the large model has answered."""
    return sum(len(_larger(record, asker.names[1])) for record in records)


def gains_of(records: Sequence[Record]) -> list[float]:
    """The expected gain of every prompt."""
    return [gain for record in records for gain in _by_prompt(record, "gain")]


def _joined(
    small: Answer | None, larger: Answer | None, chosen: Sequence[int], rows: Mapping[str, tuple[Any, ...]]
) -> Answer:
    if larger is None:
        assert small is not None
        return replace(small, rows=rows)
    if small is None:
        return replace(larger, rows=rows)
    each = small.each
    for number, one in zip(chosen, larger.each, strict=True):
        each[number] = one
    return replace(small, masks=tuple(each), rows=rows)


def _by_prompt(record: Record, name: str) -> list[Any]:
    """A row's value for each prompt, from those of its masks."""
    extra = record["extra"]
    return list(dict(zip(extra["prompt"], extra[name], strict=True)).values())


def _larger(record: Record, name: str) -> set[int]:
    return {number for number, by in enumerate(_by_prompt(record, "answered_by")) if by == name}
