"""Masks with what to do about each: advice, and what a guarantee promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from maskwright.methods.uncertainty.advice import advise
from maskwright.methods.uncertainty.promises import Promises
from maskwright.methods.uncertainty.settings import AdviceSettings
from maskwright.models.uncertainty import QUALITY
from maskwright.report.segmentation import Answer, Asker
from maskwright.types import Image, Masks


@dataclass(frozen=True)
class DecidingAsker:
    """Adds rows to what another asker makes.

    With advice: "advice", "advice_gain", "advice_click", "advice_proposals" (`methods.uncertainty.advice`).
    With promises: "kept" (True, or False where the mask may not be relied on, and then is never advised to be
    accepted) and "iou_at_least"; both null for masks that the model did not select among a prompt's, as
    nothing is promised of those. With a margin, each mask is written once more, so that it covers its object.

    Args:
        asker: makes the masks, with expected qualities.
        advice: when which advice is given, or None.
        promises: of the model's masks, or None; that they fit has been checked.
        margin: write covers.
    """

    asker: Asker
    advice: AdviceSettings | None = None
    promises: Promises | None = None
    margin: bool = False

    def described(self) -> dict[str, Any]:
        """All that decides the masks and these rows."""
        added: dict[str, Any] = {}
        if self.advice is not None:
            added["advice"] = asdict(self.advice)
        if self.promises is not None:
            added["guarantee"] = {name: one.to_json() for name, one in self.promises.made.items()}
            added["margin"] = self.margin
        return self.asker.described() | added

    def ask(self, name: str, image: Image) -> Answer:
        """The masks of one image, and what to do about them."""
        answer = self.asker.ask(name, image)
        advised, promised = self._advised(answer.each), self._promised(answer.each)
        if advised and promised:
            pairs = zip(advised["advice"], promised["kept"], strict=True)
            advised["advice"] = tuple(
                "abstain" if action == "accept" and kept is False else action for action, kept in pairs
            )
        rows = advised | promised
        cover = self.promises.cover if self.promises is not None and self.margin else None
        return replace(
            answer,
            mask_rows={**answer.mask_rows, **rows},
            cover=answer.cover if cover is None else cover.apply,
        )

    def _advised(self, each: Sequence[Masks]) -> dict[str, tuple[Any, ...]]:
        if self.advice is None:
            return {}
        rows = [one.to_json() for masks in each for one in advise(masks, self.advice)[0]]
        return {name: tuple(row[name] for row in rows) for name in rows[0]} if rows else {}

    def _promised(self, each: Sequence[Masks]) -> dict[str, tuple[Any, ...]]:
        if self.promises is None:
            return {}
        rows: dict[str, list[Any]] = {"kept": [], "iou_at_least": []}
        keep, bound = self.promises.keep, self.promises.bound
        for masks in each:
            selected = int(masks.iou[0].argmax())
            for place, quality in enumerate(masks.extras[QUALITY][0].tolist()):
                counts = place == selected
                rows["kept"].append(bool(keep.keeps(quality)) if counts and keep else None)
                rows["iou_at_least"].append(float(bound.bound(quality)) if counts and bound else None)
        return {name: tuple(row) for name, row in rows.items()}
