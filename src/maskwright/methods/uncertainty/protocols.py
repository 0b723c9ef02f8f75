"""What uncertainty is measured against: what a mask would gain if it were replaced, and whose guess of it.

The protocols of UncertainSAM (Kaiser, Norrenbrock, Rosenhahn, ICML 2025, section 4, tables 1 to 4) replace
the most uncertain masks first:

    overall_quality     by the truth
    model_selection     by what the largest model gives for the same prompt
    prompt_refinement   by what the model gives for the centre click and seven more
    task_supervision    by the best of its own proposals

They are measured twice. As published: of every instance the best of the proposals for one click, which needs
the truth, with that mask's token; the mask to supervise is the one that the model would select. As used: the
mask that the model gives, the single one or the selected proposal, with its own token.

Axes: A rows, P tokens a mask, C channels, V values of a row (`models.uncertainty.mask_inputs`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from maskwright.methods.uncertainty.rows import ENTROPIES, TokenRows
from maskwright.models.uncertainty import GAPS, QUALITY, UncertaintyHeads

Column = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Choice = Literal["single", "multimask", "published"]

PROTOCOLS = {
    "overall_quality": QUALITY,
    "model_selection": "model_gap",
    "prompt_refinement": "prompt_gap",
    "task_supervision": "task_gap",
}
"""Each protocol, and the head that is for it."""
IOU_HEAD = "iou_head"
"""What results call the model's own predicted IoU."""
FREE = {IOU_HEAD: "sam_score", "stability": "stability"}
"""Estimates of the IoU that cost nothing, and the columns that hold them."""
ESTIMATES = (QUALITY, IOU_HEAD)
"""Those that claim to be an IoU, which can be held against it."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Masks of one model, what is true of them, and what each ranker says.

    Args:
        rows: the masks' rows, tokens included.
        iou: (A,) how good they are.
        simple: (A,) IoU of what each protocol replaces.
        refined: (A,) IoU of what it is replaced by; only protocols that can be measured.
        doubts: (A,) by ranker: the higher, the less the mask is believed. Of estimates of the IoU it is one
            minus the estimate; of heads for a gap the gap.
        rankers: those of each protocol, the head that is for it first.
    """

    rows: TokenRows
    iou: Column
    simple: dict[str, Column]
    refined: dict[str, Column]
    doubts: dict[str, Column]
    rankers: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def groups(self) -> list[str]:
        """What is resampled together: videos, or images."""
        return [str(name) for name in self.rows.columns["group"]]

    @property
    def general(self) -> tuple[str, ...]:
        """Rankers that are of the mask itself and not of what it would gain."""
        return tuple(name for name in self.doubts if name not in _of_gaps())

    def estimates(self) -> dict[str, Column]:
        """(A,) IoUs in [0, 1] as estimated."""
        return {name: np.clip(1 - self.doubts[name], 0, 1) for name in ESTIMATES if name in self.doubts}


def judge(
    rows: TokenRows, choice: Choice, model: str, largest: str, heads: UncertaintyHeads | None = None
) -> Judged:
    """Choose a model's masks and say what is true of them, and what is believed.

    Args:
        rows: of one kind of prompt.
        choice: the single mask, the selected proposal, or the best proposal with the published protocol.
        model: whose masks.
        largest: the model that could be asked instead; the same one if there is no other.
        heads: of the model, bound to it.
    """
    proposal = rows.columns["mask"] > 0
    chosen = {
        "single": ~proposal,
        "multimask": proposal & rows.columns["selected"],
        "published": proposal & rows.columns["best"],
    }[choice]
    rows = take(rows, chosen & (rows.columns["model"] == model))
    simple, refined = _published(rows, largest) if choice == "published" else _used(rows, choice, largest)
    if largest == model:
        del simple["model_selection"], refined["model_selection"]
    free = free_doubts(rows)
    told = {} if heads is None else head_doubts(heads, head_inputs(heads, rows))
    general = [name for name in (*told, *free) if name not in _of_gaps()]
    rankers = {}
    for protocol, head in PROTOCOLS.items():
        if protocol in refined:
            own = [name for name in (head, _difference(head)) if name in told]
            if heads is not None and choice == "published" and not _is_asked_of_best(heads, protocol):
                own = []
            rankers[protocol] = tuple(dict.fromkeys([*own, *general]))
    return Judged(rows, _float(rows, "iou"), simple, refined, told | free, rankers)


def _is_asked_of_best(heads: UncertaintyHeads, protocol: str) -> bool:
    """Whether heads say of the best proposal what the published protocol asks of it.

    Ours tell of each mask what choosing another one would gain: of the best nothing. How well they tell it of
    the selected proposal, `answer="multimask"` measures.
    """
    return heads.config.kind == "published" or protocol != "task_supervision"


def free_doubts(rows: TokenRows) -> dict[str, Column]:
    """What the model's own figures say; entropies that are not defined for all rows are left out."""
    found = {name: 1 - _float(rows, column) for name, column in FREE.items()}
    # The averaged entropies are of the centre click, whatever a row's prompt is.
    averaged = ENTROPIES if (rows.columns["prompt"] == "center").all() else ()
    columns = {name: _float(rows, name) for name in ("entropy", *averaged)}
    return found | {name: values for name, values in columns.items() if np.isfinite(values).all()}


def head_inputs(heads: UncertaintyHeads, rows: TokenRows) -> Floats32:
    """(A, V) what heads may read of rows, whose tokens may be stored wider than their model's are."""
    return rows.inputs(_channels(heads, rows.tokens.shape[1]))


def head_doubts(heads: UncertaintyHeads, values_AV: Floats32) -> dict[str, Column]:
    """What heads say of masks of which they read these values.

    Heads as published also give each gap as a difference of two of their IoUs (section 3.2), such as
    model_difference: the IoU of the largest model minus that of this one.
    """
    device = heads.calibration.device
    told = heads.values(torch.from_numpy(values_AV).to(device))
    values = {name: column.cpu().numpy().astype(np.float64) for name, column in told.items()}
    assert heads.model_name is not None, "bound_to() comes first"
    iou = values[heads.config.quality_name(heads.model_name)]
    found = {QUALITY: 1 - iou} | {name: values[name] for name in GAPS if name in values}
    if heads.config.kind == "published":
        largest = [name for name in heads.config.names if name.startswith("iou_")][-1]
        found["prompt_difference"] = values["refined_iou"] - iou
        found["task_difference"] = iou - values["unsupervised_iou"]
        if "model_gap" in values:
            found["model_difference"] = values[largest] - iou
    return found


def parts(heads: UncertaintyHeads, rows: TokenRows) -> dict[str, Floats32]:
    """(A, V) values of which all but some tell nothing, to see what heads read from which (table 6).

    Those are zero, as published, or the mean where heads read components, to which zero would be far off.
    """
    count = rows.tokens.shape[1]
    channels = _channels(heads, count)
    values_AV = head_inputs(heads, rows)
    of_V = np.repeat(np.arange(count + 1), [channels] * count + [values_AV.shape[1] - channels * count])
    read = 2 if heads.config.kind == "published" else count
    kept = {"IoU token": [0], "mask token": [1], "IoU and mask token": [0, 1]}
    if heads.config.components is not None:
        kept |= {"all tokens": [*range(count)], "map": [count]}
    silent = np.zeros(1) if heads.config.components is None else heads.center.cpu().numpy()
    found = {
        name: np.where(np.isin(of_V, wanted), values_AV, silent).astype(np.float32)
        for name, wanted in kept.items()
        if len(wanted) < read or wanted[-1] == count or name == "all tokens"
    }
    return found | {"all": values_AV}


def _channels(heads: UncertaintyHeads, count: int) -> int:
    """Width of the tokens that heads read, of which there are `count` a mask."""
    config = heads.config
    if config.components is not None:
        return config.tokens // count
    return config.inputs // (2 if config.kind == "published" else count)


def take(rows: TokenRows, index: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> TokenRows:
    """Some rows."""
    return TokenRows(rows.tokens[index], {name: column[index] for name, column in rows.columns.items()})


def _published(rows: TokenRows, largest: str) -> tuple[dict[str, Column], dict[str, Column]]:
    """Section 4: best of three, but for the mask that is to be supervised."""
    best, selected = _float(rows, "best_iou"), _float(rows, "selected_iou")
    simple = dict.fromkeys(PROTOCOLS, best) | {"task_supervision": selected}
    refined = {
        "overall_quality": np.ones(len(rows)),
        "model_selection": _float(rows, f"best_iou@{largest}"),
        "prompt_refinement": _float(rows, "refined_best_iou"),
        "task_supervision": best,
    }
    return simple, refined


def _used(rows: TokenRows, choice: Choice, largest: str) -> tuple[dict[str, Column], dict[str, Column]]:
    iou = _float(rows, "iou")
    kind = "single_iou" if choice == "single" else "selected_iou"
    refined = {
        "overall_quality": np.ones(len(rows)),
        "model_selection": _float(rows, f"{kind}@{largest}"),
        "prompt_refinement": _float(rows, "refined_iou"),
        "task_supervision": np.maximum(_float(rows, "best_iou"), iou),
    }
    return dict.fromkeys(PROTOCOLS, iou), refined


def _float(rows: TokenRows, name: str) -> Column:
    return np.asarray(rows.columns[name], np.float64)


def _difference(head: str) -> str:
    return head.replace("_gap", "_difference")


def _of_gaps() -> set[str]:
    return {*GAPS, *map(_difference, GAPS)}
