"""Asks a model about all instances of an image: every kind of prompt in batches, each photo encoded once.

Axes: K instances, Q prompts of a kind, M masks (the single one, then the proposals), P tokens of a mask, C
channels, h w low resolution, H W image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.errors import ConfigError
from maskwright.methods.uncertainty.answers import Answers, Truth, Values, answer, proposals
from maskwright.methods.uncertainty.augment import AUGMENTATIONS, augment
from maskwright.methods.uncertainty.entropies import MeanMaps, believed_maps, best_maps, inside, map_entropy
from maskwright.methods.uncertainty.instances import POINTS, boxes, clicks
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Embedding, FloatArray, Image, Prompts, Sample

PromptKind = Literal["center", "point", "box", "refined"]
KINDS: tuple[PromptKind, ...] = get_args(PromptKind)

INSTANCES = 8
"""Asked about together: with eight clicks each, 64 prompts' maps are in memory (70 MB at 256 × 256)."""
_MAPS = 64


@dataclass(frozen=True)
class ExtractSettings:
    """What is asked.

    Args:
        prompts: which kinds: the centre click, each of the random points, the tight box, and, refined, the
            centre with all points.
        points: random points of an instance.
        augment: ask about the augmented photos too, as the predictive entropy needs.
        seed: of points and noise.

    Raises:
        ConfigError: no prompt or point.
    """

    prompts: tuple[PromptKind, ...] = KINDS
    points: int = POINTS
    augment: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.points < 1:
            raise ConfigError(f"an instance needs at least 1 random point, not {self.points}.")
        if not self.prompts or len(set(self.prompts)) < len(self.prompts):
            raise ConfigError(f"name each kind of prompt once: {', '.join(KINDS)}.")

    def has(self, *kinds: PromptKind) -> bool:
        """Whether all of these are asked."""
        return set(kinds) <= set(self.prompts)

    @property
    def single_clicks(self) -> slice:
        """Which of an instance's clicks are prompts by themselves."""
        return slice(0 if self.has("center") else 1, 1 + self.points if self.has("point") else 1)


@dataclass(frozen=True, eq=False)
class Scene:
    """An image's instances and their prompts.

    Args:
        name: of the image.
        image: the photo.
        ids: K numbers.
        truth: their masks.
        clicks: (K, 1 + points, 2), the centre first.
        boxes: (K, 4).
    """

    name: str
    image: Image
    ids: tuple[int, ...]
    truth: Truth
    clicks: FloatArray
    boxes: FloatArray

    @classmethod
    def of(cls, name: str, sample: Sample, settings: ExtractSettings, device: torch.device) -> Scene:
        """The instances of a sample that are not empty; masks are compared on `device`."""
        there: BoolArray = np.any(sample.masks, axis=(1, 2))
        masks = sample.masks if there.all() else sample.masks[there]
        ids = tuple(number for number, kept in zip(sample.ids, there, strict=True) if kept)
        drawn = clicks(masks, ids, name, settings.seed, settings.points)
        return cls(name, sample.image, ids, Truth(masks, device), drawn, boxes(masks))

    def groups(self) -> Iterator[slice]:
        """The instances, some at a time."""
        return (slice(k, min(k + INSTANCES, len(self.ids))) for k in range(0, len(self.ids), INSTANCES))


@dataclass(frozen=True, eq=False)
class Measured:
    """A model's masks for Q prompts of each of K instances; (K, Q, M) unless said otherwise.

    Args:
        tokens: (K, Q, M, P, C).
        features: (K, Q, M, F).
        numbers: of the mask tokens; 0 is the single mask.
        scores: IoUs as predicted; iou: as they are.
        entropy: of the mask's own map.
        stability: see `Truth.measure`.
    """

    tokens: Values
    features: Values
    numbers: npt.NDArray[np.int64]
    scores: Values
    iou: Values
    entropy: Values
    stability: Values

    def map(self, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Measured:
        """Every array changed."""
        return Measured(**{name: change(part) for name, part in vars(self).items()})

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """Of more instances."""
        return cls(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})

    @property
    def best(self) -> npt.NDArray[np.bool_]:
        """The proposal with the highest IoU."""
        return _highest(self.iou)

    @property
    def selected(self) -> npt.NDArray[np.bool_]:
        """The proposal that the model itself would choose."""
        return _highest(self.scores)

    def ious(self) -> dict[str, Values]:
        """(K, Q) IoU of the best proposal, of the selected one and of the single mask."""
        return {
            "best_iou": np.where(self.best, self.iou, 0).sum(axis=2),
            "selected_iou": np.where(self.selected, self.iou, 0).sum(axis=2),
            "single_iou": self.iou[..., 0],
        }


class SharedMeans:
    """Average maps over all models."""

    def __init__(self, instances: int) -> None:
        self.predictive, self.epistemic = MeanMaps(instances), MeanMaps(instances)

    def entropies(self, settings: ExtractSettings, models: int) -> dict[str, Values]:
        """(K,) of those that are defined."""
        found = {}
        if settings.augment and settings.has("center", "point"):
            found["h_all"] = self.predictive.entropy().numpy()
        if models > 1 and settings.has("center"):
            found["h_theta"] = self.epistemic.entropy().numpy()
        return found


class Interview:
    """All that one model is asked about a scene.

    Args:
        scene: the instances.
        segmenter: the model.
        settings: what is asked.
        shared: gets the maps that are averaged over models.
    """

    def __init__(
        self, scene: Scene, segmenter: Segmenter, settings: ExtractSettings, shared: SharedMeans
    ) -> None:
        self.scene, self.segmenter, self.settings, self.shared = scene, segmenter, settings, shared
        self._parts: dict[PromptKind, list[Measured]] = {kind: [] for kind in KINDS}
        self._task: list[Tensor] = []
        self._prompt, self._augmentation = MeanMaps(len(scene.ids)), MeanMaps(len(scene.ids))

    def ask(self) -> tuple[dict[PromptKind, Measured], dict[str, Values]]:
        """What the model answers to each kind of prompt, and (K,) entropies that are its own.

        Raises:
            InputError: the photo is too large to be augmented.
        """
        photo = self.segmenter.embed(self.scene.image)
        for group in self.scene.groups():
            self._ask_photo(photo, group)
        if self.settings.augment and self.settings.has("center"):
            for name in list(AUGMENTATIONS)[1:]:
                changed = augment(self.scene.image, name, self.settings.seed, self.scene.name)
                embedding = self.segmenter.embed(changed)
                for group in self.scene.groups():
                    self._ask_augmented(embedding, group)
        return {
            kind: Measured.joined(parts) for kind, parts in self._parts.items() if parts
        }, self._entropies()

    def _ask_photo(self, photo: Embedding, group: slice) -> None:
        """All prompts of some instances, about the photo as it is."""
        settings, scene = self.settings, self.scene
        if settings.has("center") or settings.has("point"):
            chosen = scene.clicks[group, settings.single_clicks]
            found, maps_KQMhw = self._answers(photo, group, _clicks(chosen.reshape(-1, 1, 2)))
            if settings.has("center"):
                self._parts["center"].append(found.map(lambda part: part[:, :1]))
            if settings.has("point"):
                self._parts["point"].append(found.map(lambda part: part[:, -settings.points :]))
            iou, scores = (torch.from_numpy(part[..., 1:]) for part in (found.iou, found.scores))
            self._average(maps_KQMhw[:, :, 1:], iou, scores, group)
        if settings.has("box"):
            prompts = Prompts(boxes=torch.from_numpy(scene.boxes[group]))
            self._parts["box"].append(self._answers(photo, group, prompts)[0])
        if settings.has("refined"):
            self._parts["refined"].append(self._answers(photo, group, _clicks(scene.clicks[group]))[0])

    def _average(self, maps_KQMhw: Tensor, iou_KQM: Tensor, scores_KQM: Tensor, group: slice) -> None:
        """Count the proposals for single clicks on the photo as it is."""
        first, settings = group.start, self.settings
        believed, best = believed_maps(maps_KQMhw, scores_KQM), best_maps(maps_KQMhw, iou_KQM)
        if settings.has("center"):
            if maps_KQMhw.shape[2] > 1:  # the task is in no doubt where there is one proposal
                self._task.append(map_entropy(believed[:, 0]))
            self._augmentation.add(first, best[:, :1])
            self.shared.epistemic.add(first, best[:, :1])
        if settings.has("center", "point"):
            self._prompt.add(first, best)
            self.shared.predictive.add(first, believed)

    def _ask_augmented(self, embedding: Embedding, group: slice) -> None:
        """The single clicks on some instances, about a changed photo."""
        chosen = self.scene.clicks[group, self.settings.single_clicks]
        masks = proposals(self.segmenter, embedding, _clicks(chosen.reshape(-1, 1, 2)))
        shape = chosen.shape[:2]
        maps_KQMhw = inside(masks.low_res, masks.geometry).unflatten(0, shape)
        center = masks.low_res.unflatten(0, shape)[:, 0]
        iou, _ = self.scene.truth.measure(center, masks.geometry, np.arange(group.start, group.stop))
        best = best_maps(maps_KQMhw[:, :1], torch.from_numpy(iou)[:, None])
        self._augmentation.add(group.start, best)
        if self.settings.has("point"):
            believed = believed_maps(maps_KQMhw, masks.iou.unflatten(0, shape))
            self.shared.predictive.add(group.start, believed)

    def _answers(self, photo: Embedding, group: slice, prompts: Prompts) -> tuple[Measured, Tensor]:
        """Measure the answers to equally many prompts of each instance; also their maps (K, Q, M, h, w)."""
        found: Answers = answer(self.segmenter, photo, prompts)
        shape = (group.stop - group.start, len(prompts) // (group.stop - group.start))
        owner = np.repeat(np.arange(group.start, group.stop), shape[1])
        iou, stability = self.scene.truth.measure(found.low_res, found.geometry, owner)
        maps = inside(found.low_res, found.geometry)
        entropy = torch.cat([map_entropy(part) for part in maps.flatten(0, 1).split(_MAPS)])
        tensors = (found.tokens, found.features, found.numbers, found.scores)
        tokens, features, numbers, scores = (part.cpu().numpy() for part in tensors)
        entropies = entropy.view(found.scores.shape).cpu().numpy()
        measured = Measured(tokens, features, numbers, scores, iou, entropies, stability)
        return measured.map(lambda part: part.reshape(*shape, *part.shape[1:])), maps.unflatten(0, shape)

    def _entropies(self) -> dict[str, Values]:
        """(K,) of those that are defined."""
        found: dict[str, Values] = {}
        if self.settings.has("center"):
            if self._task:
                found["h_task"] = torch.cat(self._task).cpu().numpy()
            if self.settings.augment:
                found["h_augmentation"] = self._augmentation.entropy().numpy()
        if self.settings.has("center", "point"):
            found["h_prompt"] = self._prompt.entropy().numpy()
        return found


def _highest(values_KQM: Values) -> npt.NDArray[np.bool_]:
    """(K, Q, M) True at the first of the highest proposals."""
    best = 1 + values_KQM[..., 1:].argmax(axis=2)
    marks: npt.NDArray[np.bool_] = np.arange(values_KQM.shape[2]) == best[..., None]
    return marks


def _clicks(points_NQ2: FloatArray) -> Prompts:
    """Prompts of positive clicks alone."""
    points = torch.from_numpy(np.ascontiguousarray(points_NQ2))
    return Prompts(points, torch.ones(points.shape[:2], dtype=torch.long))
