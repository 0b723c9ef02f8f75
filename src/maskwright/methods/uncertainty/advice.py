"""What to do with each mask: take it, click again, choose another proposal, ask a larger model, or leave it.

The heads tell what each of these is expected to gain (UncertainSAM, section 3.2): "prompt_gap" by further
clicks, "task_gap" by choosing among the proposals, "model_gap" by the largest of the models they know.

Axes: N prompts, M masks of each, H W the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.data.prompts import center_point
from maskwright.errors import InputError
from maskwright.methods.uncertainty.settings import Action, AdviceSettings
from maskwright.models.uncertainty import QUALITY
from maskwright.types import Masks

UNDECIDED = 0.25, 0.75
"""Pixels whose probability lies between these are worth a click."""


@dataclass(frozen=True)
class Advice:
    """What to do with one mask.

    Args:
        action: "accept"; "click" again; "choose" among the proposals of this prompt, for it may mean several
            things; ask a "larger-model"; or "abstain", as the mask is bad and nothing is expected to help.
        gain: of the expected IoU by that action; 0 for "accept" and "abstain".
        click: for "click", the pixel (x, y) that is most in doubt: whoever knows the object says whether it
            belongs to it.
        proposals: for "choose", the numbers of the prompt's masks, the expected best first.
    """

    action: Action
    gain: float = 0.0
    click: tuple[int, int] | None = None
    proposals: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """As rows of a record, one value each."""
        return {
            "advice": self.action,
            "advice_gain": self.gain,
            "advice_click": None if self.click is None else list(self.click),
            "advice_proposals": None if self.proposals is None else list(self.proposals),
        }


def advise(masks: Masks, settings: AdviceSettings | None = None) -> list[list[Advice]]:
    """Say of each mask what pays.

    A mask of `accept_from` or more is accepted. For any other the action that gains most is advised, if it
    gains enough to pay; of equals the cheapest. Where nothing pays, the mask is accepted from
    `abstain_below` on.

    Args:
        masks: N prompts' masks of a model with uncertainty heads; what a missing head would tell is never
            advised. A prompt with a single mask has no proposals: for "choose" they are to be asked for.
        settings: the thresholds.

    Returns:
        N lists of M.

    Raises:
        InputError: the masks come without expected quality.
    """
    settings = settings or AdviceSettings()
    if QUALITY not in masks.extras:
        raise InputError(
            f"the masks of {masks.source} come without expected quality, so there is nothing to advise by: "
            "use a model with uncertainty heads, such as nano, or train heads with `maskwright train heads`."
        )
    rows = {name: value.tolist() for name, value in masks.extras.items()}
    advice: list[list[Advice]] = []
    for n in range(len(masks)):
        values = [{name: row[n][m] for name, row in rows.items()} for m in range(masks.iou.shape[1])]
        advice.append([_with_means(_action(value, settings), masks[n], m) for m, value in enumerate(values)])
    return advice


def doubtful_pixel(masks: Masks, choice: int) -> tuple[int, int]:
    """Where a click on one prompt's masks would tell most.

    With several proposals these are averaged: where they disagree, the average is undecided, too. The pixel
    is the middle of the widest undecided region, which an outline's thin band never is if there is another.

    Args:
        masks: one prompt's.
        choice: which of its masks is meant, if the proposals agree.

    Returns:
        (x, y) of the image.
    """
    maps = masks.probabilities()[0].cpu().numpy()
    low, high = UNDECIDED
    for probability in (maps.mean(axis=0), maps[choice]):
        undecided = (probability >= low) & (probability <= high)
        if undecided.any():
            x, y = center_point(undecided)
            return int(x), int(y)
    y, x = np.unravel_index(int(np.abs(maps.mean(axis=0) - 0.5).argmin()), maps.shape[1:])
    return int(x), int(y)


def _action(values: dict[str, float], settings: AdviceSettings) -> Advice:
    if values[QUALITY] >= settings.accept_from:
        return Advice("accept")
    paying = [
        Advice(action, values[head])
        for action, head, gain in settings.remedies()
        if values.get(head, -1.0) >= gain
    ]
    if paying:
        return max(paying, key=lambda advice: advice.gain)
    return Advice("accept" if values[QUALITY] >= settings.abstain_below else "abstain")


def _with_means(advice: Advice, masks: Masks, choice: int) -> Advice:
    """Add where to click, or which proposals to show."""
    if advice.action == "click":
        return Advice("click", advice.gain, click=doubtful_pixel(masks, choice))
    if advice.action == "choose":
        order = masks.extras[QUALITY][0].argsort(descending=True, stable=True)
        return Advice("choose", advice.gain, proposals=tuple(order.tolist()))
    return advice
