"""Task prompts: learned vectors that say which kind of mask is wanted (SUM, NeurIPS 2024, section 3.2.4).

One set of vectors for each task of `data.tasks`. They start at zero, so that a model with fresh task prompts
is the model without. Two variants, which may be used together:

* `embedding`: one vector, added to every cell of the dense prompt embedding, with and without a mask prompt.
* `tokens`: one vector for each mask token, and for the HQ token where there is one, added to them.

Axes: A = images × prompts, T output tokens, M those of them that make masks, C channels, H W size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.data.tasks import TASKS
from maskwright.errors import InputError

if TYPE_CHECKING:
    from maskwright.models.base import MaskModel

Kind = Literal["embedding", "tokens"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UNLABELED = "unlabeled"
PREFIX = "task_prompts."  # of the names of the parameters, whatever the family


@dataclass(frozen=True)
class TaskPromptSettings:
    """Which task prompts a model has.

    Args:
        kinds: the variants.
        zero_frozen: task 0, "unlabeled", has no vectors of its own and stays at zero.

    Raises:
        InputError: no kind, or an unknown one.
    """

    kinds: tuple[str, ...]
    zero_frozen: bool = False

    def __post_init__(self) -> None:
        if not self.kinds or set(self.kinds) - set(KINDS):
            raise InputError(f"task prompts are of the kinds {', '.join(KINDS)}, not {list(self.kinds)}.")

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint's configuration has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> TaskPromptSettings:
        """Read a checkpoint's configuration, which comes from outside.

        Raises:
            InputError: it is nothing that `to_json` gives.
        """
        if not isinstance(value, Mapping) or set(value) != {"kinds", "zero_frozen"}:
            raise InputError(
                f"task prompts are described by kinds and zero_frozen, not by {str(value)[:80]}."
            )
        kinds, frozen = value["kinds"], value["zero_frozen"]
        if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
            raise InputError(f"the kinds of task prompts are a list of names, not {str(kinds)[:80]}.")
        if not isinstance(frozen, bool):
            raise InputError(f"zero_frozen of task prompts is true or false, not {str(frozen)[:80]}.")
        return cls(tuple(kinds), frozen)


class TaskPrompts(nn.Module):
    """The vectors of all tasks, zero at first.

    Args:
        settings: which there are.
        tokens: M, how many of the model's output tokens, counted from the last, get vectors.
        width: C.
    """

    def __init__(self, settings: TaskPromptSettings, tokens: int, width: int) -> None:
        super().__init__()
        self.settings = settings
        names = [name for name in TASKS if not (settings.zero_frozen and name == UNLABELED)]
        self.embedding = _zeros(names, width) if "embedding" in settings.kinds else None
        self.tokens = _zeros(names, tokens, width) if "tokens" in settings.kinds else None

    def forward(self, task: int | Tensor, tokens_TC: Tensor, dense_ACHW: Tensor) -> tuple[Tensor, Tensor]:
        """Add a task's vectors.

        Args:
            task: number of the task; or the numbers of A prompts, of any shape.
            tokens_TC: (T, C) output tokens of the decoder, those that make masks at the end.
            dense_ACHW: (A or 1, C, H or 1, W or 1) dense prompt embedding.

        Returns:
            The tokens, (T, C) or (A or 1, T, C), and the embedding.
        """
        if self.embedding is not None:
            added_AC = _look_up(self.embedding, task)
            dense_ACHW = dense_ACHW + added_AC[:, :, None, None].to(dense_ACHW.dtype)
        if self.tokens is None:
            return tokens_TC, dense_ACHW
        added_AMC = _look_up(self.tokens, task).to(tokens_TC.dtype)
        return tokens_TC + F.pad(added_AMC, (0, 0, len(tokens_TC) - added_AMC.shape[1], 0)), dense_ACHW


def add_task_prompts(
    model: MaskModel, kinds: Sequence[str] = ("embedding",), *, zero_frozen: bool = False
) -> None:
    """Give a model of any family task prompts; those that it has stay as they are.

    With new ones it gives, for every task, exactly the masks it gave before.

    Args:
        model: changed in place.
        kinds: "embedding" (SUM's main model), "tokens" (SUM on SAM-HQ), or both.
        zero_frozen: keep task 0, "unlabeled", at zero for ever.

    Raises:
        InputError: an unknown kind, or the model's own task prompts differ in zero_frozen.
    """
    present = model.task_prompts
    if present is not None and present.settings.zero_frozen != zero_frozen:
        raise InputError(
            f"the model has task prompts with zero_frozen={present.settings.zero_frozen}; "
            f"more of them cannot have zero_frozen={zero_frozen}."
        )
    before = () if present is None else present.settings.kinds
    settings = TaskPromptSettings(tuple(dict.fromkeys((*before, *kinds))), zero_frozen)
    tokens_TC = model.output_tokens()
    made = TaskPrompts(settings, len(tokens_TC) - model.first_mask_token, tokens_TC.shape[1])
    model.task_prompts = made.to(tokens_TC.device)
    if present is not None:
        made.load_state_dict(present.state_dict(), strict=False)


def carry_over(source: MaskModel, target: MaskModel) -> None:
    """Give a model another's task prompts; tokens that the other does not have (HQ) get zeros."""
    present = source.task_prompts
    if present is None:
        return
    add_task_prompts(target, present.settings.kinds, zero_frozen=present.settings.zero_frozen)
    made = target.task_prompts
    assert made is not None
    with torch.no_grad():
        for name, vectors in present.named_parameters():
            place = made.get_parameter(name)
            place[tuple(slice(length) for length in vectors.shape)] = vectors


def _zeros(names: Sequence[str], *shape: int) -> nn.ParameterDict:
    return nn.ParameterDict({name: nn.Parameter(torch.zeros(shape)) for name in names})


def _look_up(vectors: nn.ParameterDict, task: int | Tensor) -> Tensor:
    """(1, …) vectors of one task, or (A, …) of the tasks of A prompts."""
    some = next(iter(vectors.values()))
    table = torch.stack([vectors[name] if name in vectors else torch.zeros_like(some) for name in TASKS])
    if isinstance(task, int):
        assert 0 <= task < len(TASKS), task
        return table[task][None]
    return table[task.flatten()]
