"""Segmenting many images into a folder: masks, overlays, uncertainty and records, one image after the other.

OUT/overlays/a/x.jpg.png        masks and prompts on the photo, its longest side at most 2000 pixels; beside
                                each mask its expected quality, "?" where that is low, or else its score
OUT/masks/a/x.jpg.0.png         mask of prompt (or found object) 0, 0 and 255 (x.jpg.0-2.png: its third mask)
OUT/uncertainty/a/x.jpg.0.png   entropy of the mask probability: 0 certain, 255 undecided (1 bit);
                                with a refiner, by how much it changed the mask's probability: 255 is 1
OUT/covers/a/x.jpg.0.png        with a guarantee's margin: the mask grown so that it covers the object

and what every run over images has (`image_run`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from maskwright.data.tasks import Task
from maskwright.export.labelled import LabelledImage
from maskwright.io.images import write_png
from maskwright.io.inputs import ImageFile
from maskwright.io.masks import write_mask
from maskwright.io.rle import RLE
from maskwright.methods.prompt_file import PromptBook
from maskwright.methods.prompting import to_prompts
from maskwright.methods.refine.refiner import MaskRefiner, disagreement
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import DOUBTFUL
from maskwright.report.image_run import ImageRun, Record
from maskwright.report.overlay import Packed, draw
from maskwright.types import BoolArray, FloatArray, HQMode, Image, Masks, Prompts

OVERLAY_SIDE = 2000

ROWS = {"unrefined_iou": "unrefined_score"}
"""Extras of masks that are called otherwise in records."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The N prompts of one image and their masks.

    Args:
        masks: M of each prompt; or N times those of one prompt, where several models made them.
        prompts: for the overlay, or None where nothing was found.
        unrefined: before a refiner redrew them, or None.
        names: N names of what they are, or None.
        rows: further values, N of each name.
        mask_rows: further values, one a mask, prompt by prompt.
        cover: makes of a mask one that covers the object, or None.
    """

    masks: Masks | tuple[Masks, ...]
    prompts: Prompts | None
    unrefined: Masks | None = None
    names: tuple[str, ...] | None = None
    rows: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    mask_rows: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    cover: Callable[[BoolArray], BoolArray] | None = None

    @property
    def each(self) -> list[Masks]:
        """The masks of each prompt, one prompt at a time."""
        if isinstance(self.masks, tuple):
            return list(self.masks)
        return [self.masks[number] for number in range(len(self.masks))]


class Asker(Protocol):
    """What makes the masks of an image."""

    def described(self) -> dict[str, Any]:
        """All that decides the masks: a run with anything else is another run."""

    def ask(self, name: str, image: Image) -> Answer:
        """The masks of one image, which has this name among the run's images.

        Raises:
            FileError, InputError: this image cannot be done; the run goes on.
        """


@dataclass(frozen=True)
class PromptAsker:
    """Asks a model with prompts.

    Args:
        segmenter: the model.
        prompts: of all images.
        multimask, hq, task: as in `Segmenter.decode`.
        refiner: refines the model's masks, or None.

    Raises:
        InputError: a task for a model without task prompts.
    """

    segmenter: Segmenter
    prompts: PromptBook
    multimask: bool = False
    hq: HQMode = "sum"
    task: Task | None = None
    refiner: MaskRefiner | None = None

    def __post_init__(self) -> None:
        # Once for the run, not for each of its images.
        self.segmenter.task_number(self.task)

    def described(self) -> dict[str, Any]:
        """Model, prompts and how it is asked."""
        mine = {
            "model": self.segmenter.signature,
            "multimask": self.multimask,
            "hq": self.hq,
            "task": self.task,
            "prompts": self.prompts.described(),
            "heads": heads_of(self.segmenter),
            **self.segmenter.arithmetic,
        }
        return mine if self.refiner is None else mine | {"refiner": self.refiner.signature}

    def ask(self, name: str, image: Image) -> Answer:
        """Decode the image's prompts."""
        embedding = self.segmenter.embed(image)
        prompts = to_prompts(self.prompts.of(name), embedding.geometry, self.segmenter.model.low_res)
        masks = self.segmenter.decode(
            embedding, prompts, multimask=self.multimask, hq=self.hq, task=self.task
        )
        if self.refiner is None:
            return Answer(masks, prompts)
        return Answer(self.refiner.refine_masks(embedding, masks, prompts), prompts, masks)


class SegmentRun(ImageRun[Answer]):
    """Masks of many images in a folder.

    A record's extra rows are "prompt" (its number), "choice" (the mask's number among that prompt's masks),
    "uncertainty" (its mean over the mask; over the image where the mask is empty), "mask_file" and
    "uncertainty_file"; and, as the model's uncertainty heads tell them, "quality", "model_gap", "prompt_gap"
    and "task_gap". With a refiner, masks and scores are its own, "unrefined_score" is the model's, and
    "unrefined_quality" and so on are what the heads tell of the model's own mask.

    Args:
        folder, overwrite: as for `ImageRun`.
        asker: makes the masks.

    Raises:
        ConfigError, FileError: as `ImageRun` does; or a prompt's mask cannot be read.
    """

    def __init__(self, folder: Path, asker: Asker, *, overwrite: bool = False) -> None:
        self.asker = asker
        super().__init__(folder, overwrite=overwrite)

    def described(self) -> dict[str, Any]:
        """As the asker is."""
        return self.asker.described()

    def ask(self, image: ImageFile, pixels: Image) -> Answer:
        """The masks of one image."""
        return self.asker.ask(image.name, pixels)

    def files(self, record: Record) -> list[str]:
        """Overlay, masks, uncertainty and covers."""
        rows = record["extra"]
        return [record["overlay"], *rows["mask_file"], *rows["uncertainty_file"], *rows.get("cover_file", ())]

    def write(self, image: ImageFile, pixels: Image, answer: Answer) -> Record:
        """Write masks, uncertainty, covers and the overlay."""
        each, unrefined = answer.each, answer.unrefined
        packed: list[RLE] = []
        rows: dict[str, list[Any]] = {"prompt": [], "choice": [], "uncertainty": []}
        rows |= {"mask_file": [], "uncertainty_file": []}
        shown: list[RLE] = []
        covers: list[str] = []
        # One prompt at a time: full-size logits of hundreds of masks would not fit in memory.
        for number, one in enumerate(each):
            doubt = one.uncertainty() if unrefined is None else disagreement(unrefined[number], one)
            binary, uncertainty = one.binary()[0], doubt[0].cpu().numpy()
            for choice, mask in enumerate(binary):
                ending = f".{number}.png" if len(binary) == 1 else f".{number}-{choice}.png"
                files = self._write_mask(image, ending, mask, uncertainty[choice])
                if answer.cover is not None:
                    covers.append(self._write_cover(image, ending, answer.cover(mask)))
                values = (number, choice, _mean_uncertainty(uncertainty[choice], mask), *files)
                for row, value in zip(rows.values(), values, strict=True):
                    row.append(value)
                packed.append(RLE.encode(mask))
            shown.append(packed[int(one.iou[0].argmax()) - len(binary)])
        rows |= {ROWS.get(name, name): values for name, values in _told(each).items()}
        rows |= {"cover_file": covers} if answer.cover is not None else {}
        rows |= {name: list(values) for name, values in answer.mask_rows.items()}
        rows |= {name: [values[number] for number in rows["prompt"]] for name, values in answer.rows.items()}
        names = answer.names
        label = LabelledImage(
            image.name,
            *pixels.size,
            tuple(packed),
            scores=tuple(score for one in each for score in one.iou[0].tolist()),
            categories=None if names is None else tuple(names[number] for number in rows["prompt"]),
            extra={name: tuple(row) for name, row in rows.items()},
        )
        return {**label.to_record(), "overlay": self._write_overlay(image, pixels, answer, shown)}

    def _write_mask(
        self, image: ImageFile, ending: str, mask: BoolArray, uncertainty: FloatArray
    ) -> tuple[str, str]:
        mask_file, uncertainty_file = (self.place(image, part, ending) for part in ("masks", "uncertainty"))
        write_mask(self.folder / mask_file, mask)
        write_png(self.folder / uncertainty_file, np.rint(uncertainty.clip(0, 1) * 255).astype(np.uint8))
        return mask_file, uncertainty_file

    def _write_cover(self, image: ImageFile, ending: str, mask: BoolArray) -> str:
        cover_file = self.place(image, "covers", ending)
        write_mask(self.folder / cover_file, mask)
        return cover_file

    def _write_overlay(self, image: ImageFile, pixels: Image, answer: Answer, shown: list[RLE]) -> str:
        overlay = self.place(image, "overlays", ".png")
        prompts, best = answer.prompts, [one.best() for one in answer.each]
        told = all(one.quality is not None for one in best)
        quality = [float(one.iou if one.quality is None or not told else one.quality) for one in best]
        picture = draw(
            pixels,
            Packed(shown),
            points=None if prompts is None else prompts.points,
            labels=None if prompts is None else prompts.labels,
            boxes=None if prompts is None else prompts.boxes,
            scores=quality,
            names=answer.names,
            doubted=[value < DOUBTFUL for value in quality] if told else None,
            max_side=OVERLAY_SIDE,
        )
        write_png(self.folder / overlay, picture)
        return overlay


def heads_of(segmenter: Segmenter) -> str | None:
    """Which uncertainty heads a model has, for the record of a run."""
    return None if segmenter.heads is None else segmenter.heads.digest()


def _told(each: Sequence[Masks]) -> dict[str, list[float]]:
    """The extras that all prompts' masks have, one value a mask."""
    names = [name for name in each[0].extras if all(name in one.extras for one in each)] if each else []
    return {name: [value for one in each for value in one.extras[name][0].tolist()] for name in names}


def _mean_uncertainty(uncertainty: FloatArray, mask: BoolArray) -> float:
    return float(uncertainty[mask].mean() if mask.any() else uncertainty.mean())
