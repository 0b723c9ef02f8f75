"""How much better refined masks are on held-out photos, and how far the uncertainty can be believed.

Axes: N clicks, M masks of one click, h w low resolution, H W photo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maskwright.data.dataset import Dataset
from maskwright.data.prompts import random_points, tight_box
from maskwright.errors import ConfigError
from maskwright.methods.evaluate import choose_objects, spread
from maskwright.methods.refine.config import RefinerSettings
from maskwright.methods.refine.items import passes, stability
from maskwright.methods.refine.refiner import MaskRefiner
from maskwright.methods.scores import Selection
from maskwright.metrics.boundaries import boundary_iou
from maskwright.metrics.calibration import PixelCalibration, pixel_calibration
from maskwright.metrics.regions import iou
from maskwright.models.base import Features
from maskwright.models.preprocess import preprocess
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Embedding, Prompts, Sample


@dataclass(frozen=True, eq=False)
class Case:
    """One mask of the base model that passed the filters.

    Args:
        photo: its place in the data; object: the human mask it belongs to.
        logits: (h, w); box: (4,); point: (2,), in pixels of the photo.
        iou, boundary_iou: of the base's mask.
    """

    photo: int
    object: int
    logits: Tensor
    box: Tensor
    point: Tensor
    iou: float
    boundary_iou: float


class Validation:
    """Clicks on objects of held-out photos; the base, which never changes, is asked once and for all.

    Args:
        dataset: held-out photos.
        base: the model whose masks are refined.
        settings: which objects, which filters.
        encode: features of normalised photos (1, 3, S, S).
    """

    def __init__(
        self,
        dataset: Dataset,
        base: Segmenter,
        settings: RefinerSettings,
        encode: Callable[[Tensor], Features],
    ) -> None:
        self.dataset, self.base, self.settings, self.encode = dataset, base, settings, encode
        self.selection = Selection(settings.min_area, 1.0, settings.val_masks, settings.seed)
        self.clicks = 0
        self.cases: list[Case] = []

    def measure(self, refiner: MaskRefiner) -> dict[str, float]:
        """Mean IoU and boundary IoU before and after, calibration of certainty 1 - u, share of masks kept.

        Of the calibration: the share of the photo's pixels with certainty above 0.6, how many of these and
        of the others the base's mask has right, and the expected calibration error.

        Raises:
            ConfigError: no mask passes the filters.
        """
        if not self.cases:
            self._ask()
        scores: list[tuple[float, float]] = []
        calibration: PixelCalibration | None = None
        for photo in dict.fromkeys(case.photo for case in self.cases):
            sample = self.dataset[photo]
            cases = [case for case in self.cases if case.photo == photo]
            for counted, *pair in self._refined(sample, cases, refiner):
                scores.append((pair[0], pair[1]))
                calibration = counted if calibration is None else calibration + counted
        assert calibration is not None
        ious, bands = np.mean(scores, axis=0).tolist()
        figures = {
            "refined_boundary_iou": bands,
            "input_boundary_iou": float(np.mean([case.boundary_iou for case in self.cases])),
            "refined_iou": ious,
            "input_iou": float(np.mean([case.iou for case in self.cases])),
            "certain_accuracy": calibration.accuracy_above,
            "doubtful_accuracy": calibration.accuracy_below,
            "certain_share": calibration.share_above,
            "calibration_error": calibration.ece,
            "kept": len(self.cases) / self.clicks,
        }
        # Where no pixel is doubtful, nothing can be said of the doubtful ones.
        return {name: value for name, value in figures.items() if np.isfinite(value)}

    def _ask(self) -> None:
        """Click once, anywhere, on each chosen object, and keep the best mask where it passes."""
        for photo in spread(len(self.dataset), self.settings.val_images):
            sample = self.dataset[photo]
            objects = choose_objects(sample, photo, self.selection)
            if objects:
                self.clicks += len(objects)
                self.cases += self._cases(sample, photo, objects)
        if not self.cases:
            raise ConfigError(
                f"none of the model's {self.clicks} masks of the validation photos passes the filters: lower "
                "--min-iou, --pred-iou-thresh or --stability-score-thresh, or give --val other photos."
            )

    def _cases(self, sample: Sample, photo: int, objects: list[int]) -> list[Case]:
        rng = np.random.default_rng((self.settings.seed, photo))
        points = torch.from_numpy(np.stack([random_points(sample.masks[k], rng) for k in objects]))
        prompts = Prompts(points, torch.ones(len(objects), 1, dtype=torch.long))
        answer = self.base.decode(self._embed(sample), prompts, multimask=True, hq=self.settings.hq)
        cases = []
        for n, k in enumerate(objects):
            masks = answer[n].binary()[0]
            ious = iou(masks, np.broadcast_to(sample.masks[k], masks.shape))
            best = int(ious.argmax())
            mask, logits = masks[best], answer.low_res[n, best].cpu()
            values = (
                torch.tensor([float(ious[best])]),
                answer.iou[n, best].cpu()[None],
                stability(logits[None], self.settings.stability_score_offset),
                torch.tensor([float(mask.mean())]),
            )
            if bool(passes(*values, self.settings)):
                box, band = torch.from_numpy(tight_box(mask)), float(boundary_iou(mask, sample.masks[k]))
                cases.append(Case(photo, k, logits, box, points[n, 0], float(ious[best]), band))
        return cases

    def _refined(
        self, sample: Sample, cases: list[Case], refiner: MaskRefiner
    ) -> list[tuple[PixelCalibration, float, float]]:
        """Calibration, IoU and boundary IoU of each refined mask of a photo."""
        logits, boxes, points = (
            torch.stack([getattr(case, name) for case in cases]) for name in ("logits", "box", "point")
        )
        embedding = self._embed(sample)
        refined = refiner.refine(embedding, logits, boxes, points).cpu()
        results = []
        for case, after in zip(cases, refined, strict=True):
            full = embedding.geometry.to_image(torch.stack([case.logits, after]))
            before_HW, after_HW = full.sigmoid().numpy()
            truth, mask = sample.masks[case.object], after_HW > 0.5
            known: BoolArray = np.ones(truth.shape, bool)
            if sample.uncertainty is not None:
                known = np.asarray(sample.uncertainty[case.object]) < 0.5
            certainty = 1 - np.abs(before_HW - after_HW)
            counted = pixel_calibration(certainty[known], ((before_HW > 0.5) == truth)[known])
            results.append((counted, float(iou(mask, truth)), float(boundary_iou(mask, truth))))
        return results

    def _embed(self, sample: Sample) -> Embedding:
        pixels, geometry = preprocess(sample.image, self.base.model)
        features = self.encode(pixels[None].to(self.base.device))
        return Embedding(features, geometry, self.base.signature, sample.image.source)
