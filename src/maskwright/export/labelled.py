"""The labels of one image, as all label formats exchange them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskwright.errors import InputError
from maskwright.io.files import confine, make_parents
from maskwright.io.inputs import ImageFile
from maskwright.io.rle import RLE
from maskwright.types import Masks

DEFAULT_CATEGORY = "object"


@dataclass(frozen=True)
class LabelledImage:
    """An image and its K masks.

    Args:
        path: the image, relative to the folder of images, with forward slashes.
        height: of the image, in pixels.
        width: of the image, in pixels.
        masks: K packed masks of that size; they may overlap.
        scores: K numbers, usually the model's estimate of the mask's IoU; None where there are none.
        categories: K names; None means that nothing is known but that each is an object.
        extra: further rows by name, each with K values that JSON can hold.

    Raises:
        InputError: when numbers or sizes do not agree.
    """

    path: str
    height: int
    width: int
    masks: tuple[RLE, ...] = ()
    scores: tuple[float, ...] | None = None
    categories: tuple[str, ...] | None = None
    extra: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for mask in self.masks:
            if mask.size != (self.height, self.width):
                sizes = f"a mask is {mask.size}, the image {(self.height, self.width)}"
                raise InputError(f"{self.path}: {sizes} (height, width).")
        for name, row in (("scores", self.scores), ("categories", self.categories), *self.extra.items()):
            if row is not None and len(row) != len(self.masks):
                raise InputError(f"{self.path}: {len(row)} {name} for {len(self.masks)} masks.")
        if self.scores is not None and not all(math.isfinite(score) for score in self.scores):
            raise InputError(f"{self.path}: a score is not a finite number.")

    @classmethod
    def from_masks(cls, path: str, masks: Masks, categories: Sequence[str] | None = None) -> LabelledImage:
        """Take of each prompt the mask with the highest predicted IoU, which becomes its score."""
        best = masks.best()
        # One prompt after the other: full-size logits of all at once may be large.
        packed = tuple(RLE.encode(best[index].binary()[0, 0]) for index in range(len(best)))
        extra = {name: tuple(map(float, row[:, 0])) for name, row in best.extras.items()}
        scores = tuple(map(float, best.iou[:, 0]))
        names = None if categories is None else tuple(categories)
        return cls(path, *masks.size, packed, scores, names, extra)

    @property
    def names(self) -> tuple[str, ...]:
        """K category names, "object" where none are known."""
        return self.categories if self.categories is not None else (DEFAULT_CATEGORY,) * len(self.masks)

    def to_record(self) -> dict[str, Any]:
        """As one JSON object, for a run's record of what is done."""
        return {
            "path": self.path,
            "height": self.height,
            "width": self.width,
            "masks": [mask.counts for mask in self.masks],
            "scores": self.scores,
            "categories": self.categories,
            "extra": dict(self.extra),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> LabelledImage:
        """Read what `to_record` gave.

        Raises:
            InputError: when a field is missing.
            MaskError: when a mask is malformed.
        """
        try:
            height, width = int(record["height"]), int(record["width"])
            masks = tuple(RLE((height, width), counts) for counts in record["masks"])
            scores, categories = (
                None if record[key] is None else tuple(record[key]) for key in ("scores", "categories")
            )
            extra = {name: tuple(row) for name, row in record["extra"].items()}
            return cls(str(record["path"]), height, width, masks, scores, categories, extra)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"a record of a labelled image lacks or misuses {error}.") from error

    def output(self, folder: Path, ending: str) -> Path:
        """Where to write a file about this image: `folder`/a/x.jpg + `ending`; its folder is made.

        Raises:
            FileError: when the image's path leads out of `folder`, or its folder cannot be made.
        """
        relative = ImageFile(Path(self.path), self.path).output(Path(), ending)
        return make_parents(confine(folder, relative.as_posix()))


def category_names(labels: Sequence[LabelledImage]) -> list[str]:
    """All category names, sorted."""
    return sorted({name for label in labels for name in label.names})


def properties(label: LabelledImage, index: int) -> dict[str, Any]:
    """Category, score and extra values of one mask by name."""
    score = {} if label.scores is None else {"score": label.scores[index]}
    return {
        "category": label.names[index],
        **score,
        **{name: row[index] for name, row in label.extra.items()},
    }
