"""The trackers by name. A new one is a line here, and a class with `from_model` that makes a `Tracker`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from maskwright.errors import ConfigError, suggestion
from maskwright.methods.video.tracker import Tracker

TRACKERS: dict[str, tuple[str, str]] = {
    "copy": ("maskwright.methods.video.simple:Copy", "the first mask, unmoved: the baseline"),
    "previous-mask": ("maskwright.methods.video.simple:PreviousMask", "any model, asked with the last mask"),
    "persam": (
        "maskwright.methods.video.persam:PerSAM",
        "any model, by the last mask and the object's looks",
    ),
    "persam-f": (
        "maskwright.methods.video.persam:PerSAMF",
        "persam, its mask scales fitted on the first frame",
    ),
    "sam2-memory": ("maskwright.methods.video.memory:SAM2Memory", "SAM 2 with its own memory of the video"),
}
"""Name: module and class, and one line of help."""


def make_tracker(name: str, model: str, **how: Any) -> Tracker:  # noqa: ANN401
    """Make a tracker.

    Args:
        name: one of `TRACKERS`.
        model: name or path of the model that it uses.
        how: base, num_heads, device and offline, as for `models.registry.load`.

    Raises:
        ConfigError: there is no such tracker.
        MaskwrightError: the model cannot be loaded, or the tracker cannot use it.
    """
    if name not in TRACKERS:
        known = f"{', '.join(TRACKERS)}.{suggestion(name, TRACKERS)}"
        raise ConfigError(f"there is no tracker {name!r}; known are {known}")
    module, _, kind = TRACKERS[name][0].partition(":")
    return cast(Tracker, getattr(import_module(module), kind).from_model(model, **how))
