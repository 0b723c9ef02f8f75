"""Learning an object from its references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from maskwright.errors import InputError
from maskwright.methods.personalize.cascade import scales_of
from maskwright.methods.personalize.config import PersonalizeSettings
from maskwright.methods.personalize.features import FeatureMap, evenly, own_features
from maskwright.methods.personalize.find import best_similarity
from maskwright.methods.personalize.parts import prototypes
from maskwright.methods.personalize.prior import locate
from maskwright.methods.personalize.reference import Reference
from maskwright.methods.personalize.scales import fit_resolution, fit_scales
from maskwright.methods.personalize.target import Target
from maskwright.types import Embedding, Prompts

if TYPE_CHECKING:
    from maskwright.methods.personalize.dino import DINO
    from maskwright.models.segmenter import Segmenter

ALIKE = 0.85
"""What is less similar than this share of the references' own similarity is another object.

Chosen with nano on PerSeg and DAVIS: a smaller share takes more other things for the object, a larger one
misses more of it."""
KEPT = 512
"""Features of the object that are kept for comparison, at most."""


def learn(
    segmenter: Segmenter,
    references: Sequence[Reference],
    settings: PersonalizeSettings | None = None,
    *,
    name: str = "object",
    localizer: DINO | None = None,
    embeddings: Sequence[Embedding] | None = None,
) -> Target:
    """Learn an object from one or more references.

    Args:
        segmenter: the model; its weights stay as they are.
        references: images of the object.
        settings: how; see `PersonalizeSettings`.
        name: of the object, for messages and labels.
        localizer: another model whose features say where the object is.
        embeddings: the model's of the references' images, if they are there already.

    Raises:
        InputError: no reference, or hq="only" for a model without an HQ token.
    """
    if not references:
        raise InputError("an object is learned from at least one reference: an image with a mask.")
    how = settings or PersonalizeSettings()
    if how.hq == "only" and not segmenter.model.has_hq:
        raise InputError(f"hq is 'only', but {segmenter.name} has no HQ token: give 'off', or another model.")
    embeddings = embeddings or [segmenter.embed(reference.image) for reference in references]
    own = [own_features(embedding) for embedding in embeddings]
    seen = own if localizer is None else [localizer.features(reference.image) for reference in references]
    center = torch.zeros(len(seen[0].values)) if how.raw_features else _center(seen, references)
    maps = [found.centered(center) for found in seen]
    objects = _objects(maps, references)
    everything = torch.cat(objects)
    pooled = [everything] if how.references == "mean" else objects
    vectors = torch.stack([matching_vector(part, how) for part in pooled])
    counts = range(1, how.parts + 1) if how.method in ("parts", "match") else ()
    parts = {len(part): part for part in (prototypes(everything, count) for count in counts)}
    fitted = None
    if how.method == "persam-f":
        fitted = _fit(segmenter, references, embeddings, maps, vectors, how)
    target = Target(
        name,
        segmenter.digest,
        None if localizer is None else localizer.signature,
        how,
        torch.cat(_objects(own, references)).mean(dim=0),
        center,
        vectors,
        tuple(parts.values()),
        evenly(torch.cat(_objects(seen, references)), KEPT),
        fitted,
        -1.0,
    )
    return replace(target, threshold=_threshold(segmenter, references, embeddings, target, localizer))


def matching_vector(object_FC: Tensor, settings: PersonalizeSettings) -> Tensor:
    """(C,) with what cells are compared: the mean feature; PerSAM-F: halfway to the highest (its release)."""
    mean = object_FC.mean(dim=0)
    return (mean + object_FC.amax(dim=0)) / 2 if settings.method == "persam-f" else mean


def _objects(maps: Sequence[FeatureMap], references: Sequence[Reference]) -> list[Tensor]:
    """(F, C) the features of the object's cells in each reference."""
    pairs = zip(maps, references, strict=True)
    return [found.of(found.cells(reference.mask)) for found, reference in pairs]


def _center(maps: Sequence[FeatureMap], references: Sequence[Reference]) -> Tensor:
    """(C,) the middle between object and surroundings: what both have says nothing of either."""
    inner, outer = [], []
    for found, reference in zip(maps, references, strict=True):
        cells = found.cells(reference.mask)
        inner.append(found.of(cells))
        outer.append(found.of(found.inside & ~cells))
    object_C = torch.cat(inner).mean(dim=0)
    around = torch.cat(outer)
    return (object_C + around.mean(dim=0)) / 2 if len(around) else torch.zeros_like(object_C)


def _fit(
    segmenter: Segmenter,
    references: Sequence[Reference],
    embeddings: Sequence[Embedding],
    maps: Sequence[FeatureMap],
    vectors_RC: Tensor,
    settings: PersonalizeSettings,
) -> Tensor:
    """(S,) weights of the scales, the mean over the references."""
    fitted = []
    for reference, embedding, found in zip(references, embeddings, maps, strict=True):
        click = torch.tensor([[locate(found, vectors_RC).highest()]], dtype=torch.float32)
        prompts = Prompts(click, torch.ones(1, 1, dtype=torch.long))
        scales = scales_of(segmenter.decode_all(embedding, prompts, multimask=True), settings.hq)[0].cpu()
        fitted.append(fit_scales(*fit_resolution(scales, embedding.geometry, reference.mask)))
    return torch.from_numpy(np.mean(fitted, axis=0))


def _threshold(
    segmenter: Segmenter,
    references: Sequence[Reference],
    embeddings: Sequence[Embedding],
    target: Target,
    localizer: DINO | None,
) -> float:
    """A share of the similarity of what is found in the references themselves, the least alike of them."""
    found = [
        best_similarity(segmenter, reference.image, embedding, target, localizer)
        for reference, embedding in zip(references, embeddings, strict=True)
    ]
    lowest = min(found)
    return lowest - (1 - ALIKE) * abs(lowest)
