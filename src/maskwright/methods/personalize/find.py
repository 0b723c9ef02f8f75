"""Finding learned objects in an image: PerSAM, PerSAM-F, and parts.

All objects are looked for together, on one encoding of the image; of each object one instance after the
other, where the similarity of what was found counts no more.

Axes: N prompts, M masks, H W image, h w low resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from maskwright.errors import InputError
from maskwright.methods.personalize.cascade import Pass, guided_start, refine, scaled_start
from maskwright.methods.personalize.features import FeatureMap, own_features
from maskwright.methods.personalize.grid import Grid, ask_grid
from maskwright.methods.personalize.parts import earth_mover
from maskwright.methods.personalize.prior import Prior, guidance_of, locate, stack
from maskwright.methods.personalize.target import Target
from maskwright.metrics.regions import iou
from maskwright.models.preprocess import ImageLike, to_image
from maskwright.types import BoolArray, Embedding, Image, Masks, Prompts, check_shape

if TYPE_CHECKING:
    from maskwright.methods.personalize.dino import DINO
    from maskwright.models.segmenter import Segmenter

ONE_CLICK = torch.ones(1, dtype=torch.long)
SAME = 0.8
"""IoU from which on two masks are of the same instance (PerSAM's script for several objects)."""

SCALES = 3
"""Masks of different scale that a SAM gives for an ambiguous prompt."""


@dataclass(frozen=True, eq=False)
class Found:
    """An object found in an image.

    Args:
        target: what was looked for.
        masks: one prompt, one mask, with what the model's uncertainty heads tell of it, if it has any.
        similarity: how like the references it is, -1…1: the mean cosine similarity of its features and
            theirs, each matched with one of the others so that it is highest (the earth mover's).
        points: (P, 2) the clicks (x, y) that were asked; labels: (P,) 1 object, 0 background.
    """

    target: Target
    masks: Masks
    similarity: float
    points: Tensor
    labels: Tensor

    @property
    def mask(self) -> BoolArray:
        """(H, W) bool."""
        binary: BoolArray = self.masks.binary()[0, 0]
        return binary


@dataclass(eq=False)
class _Search:
    """One target in one image, while it is looked for.

    Args:
        target: what is looked for.
        seen: features of the image.
        whole: where the target is.
        parts: for 1, 2, … parts, (K, h, w) similarity of each cell to them.
        taken: (H, W) what was found already.
        grid: the masks of a grid of clicks, for targets that are matched.
        found: the instances.
        ended: there are no more.
    """

    target: Target
    seen: FeatureMap
    whole: Prior
    parts: list[Tensor]
    taken: BoolArray
    grid: Grid | None
    found: list[Found] = field(default_factory=list)
    ended: bool = False

    def candidates(self) -> list[tuple[Tensor, Tensor]]:
        """Clicks (P, 2) and their labels (P,), of each candidate."""
        lowest = [] if self.target.settings.method == "persam-f" else [self.whole.lowest()]
        highest = [[self._highest(part) for part in parts] for parts in self.parts]
        return [
            (
                torch.tensor([*places, *lowest], dtype=torch.float32),
                torch.tensor([1] * len(places) + [0] * len(lowest)),
            )
            for places in highest or [[self.whole.highest()]]
        ]

    def _highest(self, part_hw: Tensor) -> tuple[int, int]:
        """Where a part is; its map at the image's size is not kept, for there are many."""
        return Prior(part_hw, self.seen.to_image(part_hw[None])[0]).without(self.taken).highest()

    def without(self, taken_HW: BoolArray) -> None:
        """Look elsewhere from now on."""
        self.whole = self.whole.without(taken_HW)
        self.taken = self.taken | taken_HW
        self.grid = None if self.grid is None else self.grid.without(taken_HW)

    def best(self, found: Sequence[Found]) -> Found:
        """Of the candidates the one that the earth mover brings to the references with the least work.

        Among the masks of a grid are parts of the object, which look like it. So there it also counts how far
        the model believes in a mask.
        """
        if self.grid is None:
            return max(found, key=lambda one: one.similarity)
        alike = [_likeness(self.seen, cells, self.target) for cells in self.grid.cells]
        in_grid = [
            Found(self.target, self.grid.masks[number], value, self.grid.points[number][None], ONE_CLICK)
            for number, value in enumerate(alike)
        ]
        return max([*found, *in_grid], key=lambda one: one.similarity + float(one.masks.iou[0, 0]))


def find(
    segmenter: Segmenter,
    image: ImageLike | Embedding,
    targets: Sequence[Target],
    *,
    localizer: DINO | None = None,
    instances: int = 1,
    threshold: float | None = None,
    taken: BoolArray | None = None,
) -> list[Found]:
    """Find objects in an image.

    Args:
        segmenter: the model they were learned with.
        image: a path, array, photo, or an embedding of one (not with a localizer).
        targets: what to look for.
        localizer: the model whose features they were learned with, if there was one.
        instances: of each target at most.
        threshold: similarity below which a target is absent; its own by default.
        taken: (H, W) where no target is looked for, as something else is known to be there.

    Returns:
        What was found, sorted by target, then instance; nothing of an absent target.

    Raises:
        InputError: a target or an embedding of another model or localizer, no instances are asked for, or
            `taken` has another shape than the image.
    """
    if instances < 1:
        raise InputError(f"at least one instance is looked for, not {instances}.")
    for target in targets:
        check_target(segmenter, target, localizer)
    photo = image if isinstance(image, Embedding) else to_image(image)
    embedding = photo if isinstance(photo, Embedding) else segmenter.embed(photo)
    segmenter.check(embedding)
    seen = own_features(embedding) if localizer is None else localizer.features(_photo(photo))
    searches = _searches(segmenter, embedding, targets, seen)
    if taken is not None:
        check_shape("taken", taken, embedding.geometry.size)
        for search in searches:
            search.without(taken)
    for _ in range(instances):
        active = [search for search in searches if not search.ended]
        if not active:
            break
        for search, found in zip(active, _one_each(segmenter, embedding, active), strict=True):
            _take(search, found, search.target.threshold if threshold is None else threshold)
    return [found for search in searches for found in search.found]


def best_similarity(
    segmenter: Segmenter, image: Image, embedding: Embedding, target: Target, localizer: DINO | None
) -> float:
    """The similarity of what is found of a target in an image, whether it is there or not."""
    seen = own_features(embedding) if localizer is None else localizer.features(image)
    searches = _searches(segmenter, embedding, [target], seen)
    return _one_each(segmenter, embedding, searches)[0].similarity


def check_target(segmenter: Segmenter, target: Target, localizer: DINO | None) -> None:
    """Refuse a target that was learned with another model or localizer.

    Raises:
        InputError: naming it.
    """
    if target.model != segmenter.digest:
        raise InputError(
            f"{target.name!r} was learned with another model than {segmenter.name}: give the model it was "
            "learned with, or learn it again from its references."
        )
    masks = SCALES + (segmenter.model.has_hq and target.settings.hq != "off")
    if target.scales is not None and len(target.scales) != masks:
        raise InputError(
            f"{target.name!r} has weights of {len(target.scales)} scales, but {segmenter.name} gives "
            f"{masks}: learn it again from its references."
        )
    given = None if localizer is None else localizer.signature
    # What it is called does not matter, such as the path of a folder; its weights do.
    wanted, have = (name and name.rpartition(":")[2] for name in (target.localizer, given))
    if wanted != have:
        raise InputError(
            f"{target.name!r} was learned with features of {target.localizer or 'the model itself'}, not of "
            f"{given or 'the model itself'}: give the same."
        )


def _photo(photo: Image | Embedding) -> Image:
    if isinstance(photo, Embedding):
        raise InputError("with a localizer, give the image itself: the localizer has to see it, too.")
    return photo


def _searches(
    segmenter: Segmenter, embedding: Embedding, targets: Sequence[Target], seen: FeatureMap
) -> list[_Search]:
    """A search for each target; those that are matched share the masks of one grid of clicks."""
    matched = {target.settings.hq for target in targets if target.settings.method == "match"}
    grids = {hq: ask_grid(segmenter, embedding, seen, hq) for hq in matched}
    return [
        _search(target, seen, grids[target.settings.hq] if target.settings.method == "match" else None)
        for target in targets
    ]


def _search(target: Target, seen: FeatureMap, grid: Grid | None) -> _Search:
    features = seen.centered(target.center)
    parts = [features.similarity(part) for part in target.parts]
    nothing = np.zeros(seen.geometry.size, np.bool_)
    return _Search(target, seen, locate(features, target.vectors), parts, nothing, grid)


def _take(search: _Search, found: Found, threshold: float) -> None:
    """Note an instance, unless it is none, or one that was found before."""
    mask = found.mask
    known = any(iou(mask, before.mask) >= SAME for before in search.found)
    if found.similarity < threshold or known or not mask.any():
        search.ended = True
        return
    search.found.append(found)
    search.without(mask)


def _one_each(segmenter: Segmenter, embedding: Embedding, searches: Sequence[_Search]) -> list[Found]:
    """The next instance of each target: all candidates of all are decoded together, the best is kept."""
    candidates = [search.candidates() for search in searches]
    owners = [search for search, asked in zip(searches, candidates, strict=True) for _ in asked]
    asked = [one for several in candidates for one in several]
    masks = _masks(segmenter, embedding, owners, asked)
    results: list[list[Found]] = [[] for _ in searches]
    for number, (owner, (points, labels)) in enumerate(zip(owners, asked, strict=True)):
        one = masks[number]
        alike = likeness(owner.seen, one.binary()[0, 0], owner.target)
        results[searches.index(owner)].append(Found(owner.target, one, alike, points, labels))
    return [search.best(found) for search, found in zip(searches, results, strict=True)]


def likeness(seen: FeatureMap, mask_HW: BoolArray, target: Target) -> float:
    """Mean cosine similarity of a mask's features and the object's, matched at best; -1 for an empty mask."""
    return _likeness(seen, seen.cells(mask_HW), target)


def _likeness(seen: FeatureMap, cells_hw: Tensor, target: Target) -> float:
    return 1 - earth_mover(target.object, seen.of(cells_hw)) / 2 if cells_hw.any() else -1.0


def _masks(
    segmenter: Segmenter,
    embedding: Embedding,
    owners: Sequence[_Search],
    asked: Sequence[tuple[Tensor, Tensor]],
) -> Masks:
    """(N, 1) masks of N candidates, after all three passes."""
    ways = [_way(owner.target) for owner in owners]
    parts: dict[int, Pass] = {}
    for way in dict.fromkeys(ways):
        rows = [row for row, value in enumerate(ways) if value == way]
        last = _passes(
            segmenter, embedding, [owners[row] for row in rows], _prompts([asked[row] for row in rows])
        )
        parts |= {row: _row(last, place) for place, row in enumerate(rows)}
    ordered = [parts[row] for row in range(len(owners))]
    masks, iou_, tokens, made_by = (
        torch.cat([getattr(one, name) for one in ordered])
        for name in ("masks", "iou", "tokens", "mask_token")
    )
    found = Masks(masks, iou_, embedding.geometry, tokens, embedding.source, mask_token=made_by)
    return segmenter.annotate(found)


def _way(target: Target) -> tuple[object, ...]:
    """Targets that agree in this are decoded together."""
    return target.scales is None, target.settings.hq, target.settings.guidance


def _passes(segmenter: Segmenter, embedding: Embedding, owners: Sequence[_Search], prompts: Prompts) -> Pass:
    """The best masks of the third pass."""
    targets = [owner.target for owner in owners]
    weights = [target.scales for target in targets if target.scales is not None]
    hq = targets[0].settings.hq
    if weights:
        start = scaled_start(segmenter, embedding, prompts, torch.stack(weights).to(segmenter.device), hq)
    else:
        side, geometry = embedding.features.image.shape[-1], embedding.geometry
        steer = [
            guidance_of(owner.whole, owner.target.embedding, geometry, side, owner.target.settings.guidance)
            for owner in owners
        ]
        start = guided_start(segmenter, embedding, prompts, stack(steer))
    return refine(segmenter, embedding, prompts, start, hq=hq, box_at_once=bool(weights))[1].best()


def _row(found: Pass, place: int) -> Pass:
    rows = slice(place, place + 1)
    return replace(
        found,
        own=found.own[rows],
        masks=found.masks[rows],
        iou=found.iou[rows],
        tokens=found.tokens[rows],
        mask_token=found.mask_token[rows],
        boxes=None,
    )


def _prompts(asked: Sequence[tuple[Tensor, Tensor]]) -> Prompts:
    """Candidates with different numbers of clicks as one batch; -1 stands for no click."""
    most = max(len(points) for points, _ in asked)
    points = torch.zeros(len(asked), most, 2)
    labels = torch.full((len(asked), most), -1)
    for row, (places, kinds) in enumerate(asked):
        points[row, : len(places)] = places
        labels[row, : len(kinds)] = kinds
    return Prompts(points, labels)
