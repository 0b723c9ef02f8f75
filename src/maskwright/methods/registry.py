"""The list of methods: a word in a recipe, never a class path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from maskwright.methods.base import Method
    from maskwright.methods.settings import TrainSettings

METHODS = ("boundary", "finetune", "refiner", "sum", "sum-hq", "nano", "heads")


def settings_class(name: str, source: str) -> type[TrainSettings]:
    """The settings of a method.

    Raises:
        ConfigError: there is no such method; `source` is named.
    """
    if name == "boundary":
        from maskwright.methods.everything.config import BoundarySettings

        return BoundarySettings
    if name == "finetune":
        from maskwright.methods.finetune.config import FinetuneSettings

        return FinetuneSettings
    if name == "heads":
        from maskwright.methods.uncertainty.config import HeadsSettings

        return HeadsSettings
    if name == "nano":
        from maskwright.methods.nano.config import NanoSettings

        return NanoSettings
    if name == "refiner":
        from maskwright.methods.refine.config import RefinerSettings

        return RefinerSettings
    if name == "sum":
        from maskwright.methods.interactive.config import InteractiveSettings

        return InteractiveSettings
    if name == "sum-hq":
        from maskwright.methods.interactive.config import AlternatingSettings

        return AlternatingSettings
    raise ConfigError(
        f"{source}: unknown method {name!r}; known are {', '.join(METHODS)}.{suggestion(name, METHODS)}"
    )


def build_method(name: str, settings: TrainSettings, out: Path) -> Method:
    """Make a method of its settings; `out` is the folder of the run.

    Raises:
        MaskwrightError: its model or its data cannot be opened.
    """
    if name == "boundary":
        from maskwright.methods.everything.config import BoundarySettings
        from maskwright.methods.everything.method import BoundaryTraining

        assert isinstance(settings, BoundarySettings)
        return BoundaryTraining(settings)
    if name == "finetune":
        from maskwright.methods.finetune.config import FinetuneSettings
        from maskwright.methods.finetune.method import Finetune

        assert isinstance(settings, FinetuneSettings)
        return Finetune(settings, out / "embeddings")
    if name == "heads":
        from maskwright.methods.uncertainty.config import HeadsSettings
        from maskwright.methods.uncertainty.method import HeadsTraining

        assert isinstance(settings, HeadsSettings)
        return HeadsTraining(settings, out / "search")
    if name == "refiner":
        from maskwright.methods.refine.config import RefinerSettings
        from maskwright.methods.refine.method import RefinerTraining

        assert isinstance(settings, RefinerSettings)
        return RefinerTraining(settings, out / "embeddings")
    if name == "sum":
        from maskwright.methods.interactive.config import InteractiveSettings
        from maskwright.methods.interactive.method import SUM

        assert isinstance(settings, InteractiveSettings)
        return SUM(settings, out / "embeddings")
    if name == "sum-hq":
        from maskwright.methods.interactive.alternating import AlternatingSUM
        from maskwright.methods.interactive.config import AlternatingSettings

        assert isinstance(settings, AlternatingSettings)
        return AlternatingSUM(settings, out / "embeddings")
    from maskwright.methods.nano.config import NanoSettings
    from maskwright.methods.nano.method import NanoTraining

    assert isinstance(settings, NanoSettings)
    return NanoTraining(settings)
