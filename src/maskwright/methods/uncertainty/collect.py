"""The masks of an evaluation: models asked for the chosen objects of a dataset, one image at a time.

Axes: K instances, N prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from maskwright.data.dataset import Dataset, with_only
from maskwright.errors import InputError, MaskwrightError
from maskwright.methods.evaluate import choose_objects, spread
from maskwright.methods.scores import PromptKind, Selection
from maskwright.methods.uncertainty.answers import answer
from maskwright.methods.uncertainty.extract import common_tokens, extract
from maskwright.methods.uncertainty.instances import boxes, clicks
from maskwright.methods.uncertainty.interview import ExtractSettings
from maskwright.methods.uncertainty.protocols import take
from maskwright.methods.uncertainty.rows import TokenRows, joined, no_rows
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Prompts, Sample


@dataclass(eq=False)
class Survey:
    """Models, objects of a dataset, and how they are asked for.

    Args:
        segmenters: small to large, with different names.
        dataset: known objects.
        prompts: "point", the click at the centre, or "box", or both.
        selection: which objects.
        entropies: ask further clicks and augmented photos too, for the averaged entropies as baselines.
        data_name: what messages call the dataset.
        failures: images that could not be asked, and why.
    """

    segmenters: Sequence[Segmenter]
    dataset: Dataset
    prompts: Sequence[PromptKind]
    selection: Selection
    entropies: bool = False
    data_name: str = "the dataset"
    failures: list[tuple[str, str]] = field(default_factory=list)

    def run(
        self,
        track: Callable[[Sequence[int]], Iterable[int]] = iter,
        on_failure: Callable[[str, MaskwrightError], None] = lambda item, error: None,
    ) -> TokenRows:
        """Ask, and keep the rows of masks that may be measured; the column "item" is the place of the image.

        Args:
            track: wraps the images' indices, for a progress bar.
            on_failure: called with an image that could not be asked, and why.

        Raises:
            ConfigError: the models cannot be measured together.
            InputError: there was nothing to ask.
        """
        models = [segmenter.name for segmenter in self.segmenters]
        parts = [no_rows(common_tokens(self.segmenters), models)]
        parts[0].columns["item"] = np.zeros(0, np.int64)
        chosen = spread(len(self.dataset), self.selection.limit)
        for item in track(chosen):
            name = str(self.dataset.image_path(item))
            try:
                rows = self._ask(item, name)
            except MaskwrightError as error:
                self.failures.append((name, str(error)))
                on_failure(name, error)
            else:
                parts.append(rows)
        rows = joined(parts)
        if not len(rows):
            raise InputError(
                f"nothing was measured on {self.data_name}: {len(self.failures)} of {len(chosen)} images "
                f"failed and none of the others has an object that covers {self.selection.min_area:.1%} to "
                f"{self.selection.max_area:.0%} of it (see --min-area and --max-area)."
            )
        return rows

    def mask(
        self, segmenter: Segmenter, item: int, instance: int, prompt: PromptKind, number: int
    ) -> tuple[Sample, BoolArray, Prompts]:
        """Ask again for one mask, to show it.

        Args:
            segmenter: one of the models.
            item: place of the image.
            instance: number of the object.
            prompt: its kind.
            number: of the mask token.

        Returns:
            The image with the one true mask, the (H, W) predicted one, and the prompt.
        """
        known = self.dataset[item]
        sample = with_only(known, [known.ids.index(instance)])
        name = str(self.dataset.image_path(item))
        if prompt == "box":
            asked = Prompts(boxes=torch.from_numpy(boxes(sample.masks)))
        else:
            points = clicks(sample.masks, sample.ids, name, self.selection.seed)[:, :1]
            asked = Prompts(torch.from_numpy(points), torch.ones(1, 1, dtype=torch.long))
        given = answer(segmenter, segmenter.embed(sample.image), asked)
        place = given.numbers[0].tolist().index(number)
        mask = given.geometry.to_image(given.low_res[0, place : place + 1].cpu())[0] > 0
        return sample, mask.numpy(), asked

    def _ask(self, item: int, name: str) -> TokenRows:
        known = self.dataset[item]
        sample = with_only(known, choose_objects(known, item, self.selection))
        rows = extract(name, self.dataset.group(item), sample, self.segmenters, self._settings())
        rows = TokenRows(rows.tokens, rows.columns | {"item": np.full(len(rows), item)})
        columns = rows.columns
        used = (columns["mask"] == 0) | columns["selected"] | columns["best"]
        kinds = ["center" if kind == "point" else kind for kind in self.prompts]
        return take(rows, used & np.isin(columns["prompt"], kinds))

    def _settings(self) -> ExtractSettings:
        kinds = {"center", "refined"} | ({"box"} & set(self.prompts))
        if self.entropies:
            kinds.add("point")
        ordered = tuple(kind for kind in ExtractSettings().prompts if kind in kinds)
        return ExtractSettings(ordered, augment=self.entropies, seed=self.selection.seed)
