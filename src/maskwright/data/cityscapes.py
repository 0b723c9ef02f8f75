"""Cityscapes (Cordts et al., CVPR 2016): streets of fifty cities, with a class map and an instance map each.

In an instance map, a number below 1000 is a class without objects (or a group of objects that were not told
apart), and others are class · 1000 + the object's number. Source: the project's label table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from maskwright.data.files import pair_trees, require_folders
from maskwright.data.labels import LabelPairs

TREE = """\
  FOLDER/
    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png …
    gtFine/train/aachen/aachen_000000_000019_gtFine_instanceIds.png …    labels=classes: _labelIds.png"""

SPLITS = ("train", "val", "test")
_PHOTO = "_leftImg8bit.png"
_ENDINGS = {"instances": "_gtFine_instanceIds.png", "classes": "_gtFine_labelIds.png"}
_NO_PHOTO = (2, 3)
"""The black border that straightening leaves, and what lies outside the region of interest."""

CLASSES: Mapping[int, str] = MappingProxyType(
    dict(
        enumerate(
            "unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, "
            "sidewalk, parking, rail track, building, wall, fence, guard rail, bridge, tunnel, pole, "
            "polegroup, traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, truck, "
            "bus, caravan, trailer, train, motorcycle, bicycle".split(", ")
        )
    )
)


class Cityscapes(LabelPairs):
    """Photos with a mask an object or, where there are none, a class; categories are the classes' names.

    Pixels without a photo beneath (the straightening's border) have uncertainty 1 and no mask.

    Args:
        root: the folder.
        split: "train", "val" or "test" (whose maps are dummies).
        labels: "instances" or "classes".
        components: of classes, one mask a connected part.
    """

    def __init__(
        self,
        root: Path,
        *,
        split: str = "train",
        labels: Literal["instances", "classes"] = "instances",
        components: bool = False,
    ) -> None:
        images, maps = f"leftImg8bit/{split}", f"gtFine/{split}"
        require_folders("cityscapes", root, [images, maps], TREE)
        pairs, problems = pair_trees(
            root / images, root / maps, _ENDINGS[labels], image_endings=[_PHOTO], image_ending=_PHOTO
        )
        super().__init__(
            pairs, problems, mode="classes", names=CLASSES, components=components, void=_NO_PHOTO
        )

    def category(self, label: int) -> str | int:
        """The class of a number in a map."""
        return super().category(label if label < 1000 else label // 1000)
