"""Finding learned objects in many images; the run and its files are those of `report.segmentation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from maskwright.errors import InputError
from maskwright.methods.personalize.dino import DINO
from maskwright.methods.personalize.find import Found, check_target, find
from maskwright.methods.personalize.target import Target
from maskwright.models.segmenter import Segmenter
from maskwright.report.segmentation import Answer, heads_of
from maskwright.types import Geometry, Image, Masks, Prompts


@dataclass(frozen=True)
class TargetAsker:
    """Finds objects.

    Args:
        segmenter: the model they were learned with.
        targets: the objects, or by the name of the folder of images in which each is looked for.
        instances: of each at most.
        threshold: similarity below which an object is absent; None: as each says.
        localizer: as they were learned with.

    Raises:
        InputError: an object was learned with another model or localizer.
    """

    segmenter: Segmenter
    targets: Sequence[Target] | Mapping[str, Sequence[Target]]
    instances: int = 1
    threshold: float | None = None
    localizer: DINO | None = None

    def __post_init__(self) -> None:
        # Once for the run, not for each of its images.
        for target in self._all():
            check_target(self.segmenter, target, self.localizer)

    def described(self) -> dict[str, Any]:
        """Model, objects and how they are looked for."""
        return {
            "model": self.segmenter.signature,
            "objects": [f"{target.name} {target.digest}" for target in self._all()],
            "instances": self.instances,
            "threshold": self.threshold,
            "heads": heads_of(self.segmenter),
        }

    def _all(self) -> list[Target]:
        if isinstance(self.targets, Mapping):
            return [target for targets in self.targets.values() for target in targets]
        return list(self.targets)

    def ask(self, name: str, image: Image) -> Answer:
        """All objects that are in the image.

        Raises:
            InputError: nothing is looked for in the folder of this image.
        """
        found = find(
            self.segmenter,
            image,
            self._wanted(name),
            localizer=self.localizer,
            instances=self.instances,
            threshold=self.threshold,
        )
        if not found:
            return Answer(self._none(image), None, names=(), rows={"similarity": ()})
        masks = Masks(
            torch.cat([one.masks.low_res for one in found]),
            torch.cat([one.masks.iou for one in found]),
            found[0].masks.geometry,
            source=image.source,
            extras={
                name: torch.cat([one.masks.extras[name] for one in found]) for name in found[0].masks.extras
            },
        )
        names = tuple(one.target.name for one in found)
        return Answer(
            masks, _prompts(found), names=names, rows={"similarity": tuple(one.similarity for one in found)}
        )

    def _wanted(self, name: str) -> Sequence[Target]:
        if not isinstance(self.targets, Mapping):
            return self.targets
        folder = Path(name).parent.name
        if folder not in self.targets:
            raise InputError(f"{name} is in no object's own folder: move it there, or take it away.")
        return self.targets[folder]

    def _none(self, image: Image) -> Masks:
        model = self.segmenter.model
        geometry = Geometry(image.size, model.image_size, model.resize)
        nothing = torch.zeros(0, 1, model.low_res, model.low_res)
        return Masks(nothing, torch.zeros(0, 1), geometry, source=image.source)


def _prompts(found: Sequence[Found]) -> Prompts:
    """The clicks that were asked, for the overlay; -1 stands for no click."""
    most = max(len(one.points) for one in found)
    points = torch.zeros(len(found), most, 2)
    labels = torch.full((len(found), most), -1)
    for row, one in enumerate(found):
        points[row, : len(one.points)] = one.points
        labels[row, : len(one.labels)] = one.labels
    return Prompts(points, labels)
