"""The kinds of datasets that can be opened by name: each one's folder, options and reader."""

from __future__ import annotations

from maskwright.data.kind import Kind
from maskwright.data.kinds_hub import HUB
from maskwright.data.kinds_layouts import LAYOUTS
from maskwright.data.kinds_more import MORE
from maskwright.data.kinds_objects import OBJECTS
from maskwright.data.kinds_scenes import SCENES
from maskwright.data.kinds_video import VIDEO
from maskwright.data.options import Option, fold

__all__ = ["COMMON_OPTIONS", "KINDS", "Kind"]

KINDS: dict[str, Kind] = {**LAYOUTS, **OBJECTS, **SCENES, **HUB, **VIDEO, **MORE}

# What every kind takes, whatever its files look like.
COMMON_OPTIONS: dict[str, Option] = {
    "fold": Option(fold, "1/5: the first of five random parts, split by photo; -1/5: the other four"),
    "video_fold": Option(fold, "like fold, but the frames of a video stay together"),
}
