"""Settings of the training of uncertainty heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from maskwright.choices import HeadsKind
from maskwright.config import Settings
from maskwright.errors import ConfigError, suggestion
from maskwright.methods.settings import Fraction, Positive, TrainSettings
from maskwright.methods.uncertainty.published import Dataset, published_values
from maskwright.methods.uncertainty.settings import CalibrationKind


class HeadSettings(Settings):
    """What one head has for itself; whatever is left out is as for all."""

    name: str
    """the head, such as quality or task_gap"""
    lr: Annotated[float, Field(gt=0)] | None = None
    """learning rate"""
    momentum: Fraction | None = None
    """of sgd; of adam, the decay of the gradient's mean"""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """decay of weights"""
    batch_size: Positive | None = None
    """rows of a step"""
    epochs: Positive | None = None
    """passes over the rows; the head learns no more after them"""


class HeadsSettings(TrainSettings):
    """Train uncertainty heads on the rows of containers (see `maskwright uncertainty container`)."""

    data: tuple[str, ...] = ()
    """folders of containers; several are put together"""
    val: tuple[str, ...] = ()
    """folders of containers to evaluate on; none: val_share of the data is held out"""
    val_share: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """part of the images or videos held out when val is not given; 0: train without evaluation"""
    calibration: CalibrationKind = "isotonic"
    """how outputs are calibrated, for each head, on images or videos that no head learns from"""
    calibration_share: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """part of the images or videos kept for it"""
    kind: HeadsKind = "selected"
    """selected: quality and gaps of every mask; published: the paper's nine heads, of the best proposals"""
    models: tuple[str, ...] = ()
    """learn from masks of these models only; none: of all in the data"""
    components: Positive | None = None
    """heads read so many principal components of tokens, and figures of the mask's map; none: the tokens"""
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64,)
    """widths of the hidden layers"""
    defaults: Dataset | None = None
    """the published settings of each head, for heads that learn from this dataset"""
    heads: tuple[HeadSettings, ...] = ()
    """heads with settings of their own"""
    batch_size: Positive = 256
    """rows that a head learns from in one step"""
    search: Literal["smac"] | None = None
    """look for each head's settings first, on held-out images or videos of the training rows"""
    trials: Positive = 100
    """trainings of each head in the search"""
    multi_fidelity: bool = False
    """search with short trainings first, and longer ones of what does well (Hyperband)"""
    search_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """part of the training's images or videos that trainings of the search are measured on"""

    @model_validator(mode="after")
    def _consistent(self) -> HeadsSettings:
        names = [head.name for head in self.heads]
        if len(set(names)) < len(names):
            raise ValueError("heads names a head twice")
        if self.kind == "published" and self.components:
            raise ValueError("published heads read the tokens themselves: leave components out")
        own_length = any(head.epochs for head in self.heads)
        if self.steps is not None and (self.search or self.defaults or own_length):
            raise ValueError("give epochs, not steps, where heads have lengths of their own")
        if self.search and (self.defaults or self.heads):
            raise ValueError("search finds what heads learn with: leave defaults and heads out")
        if self.search and (self.optimizer.name, self.schedule.name) != ("sgd", "constant"):
            raise ValueError(
                'search is for sgd at a constant rate: take recipe heads-usam, or set optimizer.name = "sgd"'
            )
        if self.calibration != "none" and not self.calibration_share:
            raise ValueError('without a calibration_share, set calibration = "none"')
        return self

    @property
    def held_out(self) -> tuple[float, float]:
        """Shares of the data for validation and calibration."""
        return 0 if self.val else self.val_share, 0 if self.calibration == "none" else self.calibration_share


@dataclass(frozen=True)
class HeadPlan:
    """How one head learns.

    Args:
        name: of the head.
        lr, momentum, weight_decay: of the optimiser.
        batch_size: rows of a step.
        epochs: passes over the rows; None: as many steps as the run has.
    """

    name: str
    lr: float
    momentum: float
    weight_decay: float
    batch_size: int
    epochs: int | None

    def steps(self, rows: int) -> int:
        """Steps of one pass, the last one perhaps with fewer rows."""
        return -(-rows // self.batch_size)


def make_plans(settings: HeadsSettings, names: Sequence[str], models: Sequence[str]) -> tuple[HeadPlan, ...]:
    """The plan of each head: its own settings, else the published ones where asked for, else those for all.

    Raises:
        ConfigError: settings are given for a head that there is not.
    """
    own = {head.name: head.model_dump(exclude={"name"}, exclude_none=True) for head in settings.heads}
    for name in own.keys() - set(names):
        raise ConfigError(
            f"there is no head {name!r} to have settings: the heads are {', '.join(names)}."
            + suggestion(name, names)
        )
    common = {
        "lr": settings.optimizer.lr,
        "momentum": settings.optimizer.betas[0],
        "weight_decay": settings.optimizer.weight_decay,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
    }
    plans = []
    for name in names:
        table = published_values(settings.defaults, name, models) if settings.defaults else {}
        plans.append(HeadPlan(name, **(common | table | own.get(name, {}))))
    return tuple(plans)
