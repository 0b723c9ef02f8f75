"""When which advice is given, and kinds of calibration; apart from what does it, so that help is instant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from maskwright.errors import ConfigError

Action = Literal["accept", "click", "choose", "larger-model", "abstain"]
CalibrationKind = Literal["none", "isotonic", "temperature"]


@dataclass(frozen=True)
class AdviceSettings:
    """When which advice is given; all are expected IoUs, or gains of it.

    Args:
        accept_from: a mask of this expected IoU or more is accepted, whatever else would still gain a little.
        click_gain: another click is worth a person's time if it is expected to gain this.
        choose_gain: asking which of the proposals is meant is worth it if the right one is better by this.
        larger_gain: a larger model is worth its time if its mask is expected to be better by this.
        abstain_below: a mask that nothing helps is left out below this expected IoU, and accepted above.

    Raises:
        ConfigError: for a value outside [0, 1].
    """

    accept_from: float = 0.9
    click_gain: float = 0.05
    choose_gain: float = 0.05
    larger_gain: float = 0.05
    abstain_below: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{name} ({flag}) lies between 0 and 1, not at {value}.")

    def remedies(self) -> Iterator[tuple[Action, str, float]]:
        """What may help a mask, the cheapest first: the action, its head, and the gain from which it pays."""
        yield "larger-model", "model_gap", self.larger_gain
        yield "choose", "task_gap", self.choose_gain
        yield "click", "prompt_gap", self.click_gain
