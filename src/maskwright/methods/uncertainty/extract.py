"""What heads learn from: the tokens of each mask that models give for an image, and how good the mask is.

After UncertainSAM (Kaiser, Norrenbrock, Rosenhahn 2025, section 4 and released code), but for what was wrong
there: a photo is encoded once a model and augmentation, not once an instance; all prompts are decoded in
batches; each mask has its own token; and nothing is drawn without a seed.

Axes: K instances, Q prompts of a kind, M masks (the single one, then the proposals), A rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from maskwright.errors import ConfigError
from maskwright.methods.uncertainty.answers import Values, token_shape
from maskwright.methods.uncertainty.interview import (
    ExtractSettings,
    Interview,
    Measured,
    PromptKind,
    Scene,
    SharedMeans,
)
from maskwright.methods.uncertainty.rows import ENTROPIES, FEATURE, Column, TokenRows, joined, no_rows
from maskwright.models.mask_features import FEATURES
from maskwright.models.segmenter import Segmenter
from maskwright.types import Sample

Found = dict[PromptKind, Measured]


def extract(
    name: str, group: str, sample: Sample, segmenters: Sequence[Segmenter], settings: ExtractSettings
) -> TokenRows:
    """The rows of one image: model by model, then by kind of prompt, instance, prompt and mask.

    Args:
        name: of the image; decides, with the seed, where clicks go.
        group: what must stay together when rows are split: a video, or the image.
        sample: the image with its instances; empty ones are left out.
        segmenters: models with different names and equal shapes of tokens, small to large.
        settings: what is asked.

    Raises:
        ConfigError: the models cannot be in one run.
        InputError: the photo is too large to be augmented.
    """
    models = [segmenter.name for segmenter in segmenters]
    tokens = common_tokens(segmenters)
    scene = Scene.of(name, sample, settings, segmenters[0].device)
    if not scene.ids:
        return no_rows(tokens, models)
    shared = SharedMeans(len(scene.ids))
    asked = [Interview(scene, segmenter, settings, shared).ask() for segmenter in segmenters]
    together = shared.entropies(settings, len(models))
    others = _by_model(models, [found for found, _ in asked])
    parts = []
    for model, (found, entropies) in zip(models, asked, strict=True):
        constant = _refined(found) | entropies | together
        parts += [
            _rows(scene, group, model, kind, found[kind], constant, others[kind], tokens[1]) for kind in found
        ]
    return joined(parts)


def common_tokens(segmenters: Sequence[Segmenter]) -> tuple[int, int]:
    """(P, C) that holds every model's tokens: narrower ones are followed by zeros.

    Raises:
        ConfigError: some have more tokens than others, or two models have one name.
    """
    shapes = {segmenter.name: token_shape(segmenter.model) for segmenter in segmenters}
    if len(shapes) < len(segmenters):
        names = ", ".join(segmenter.name for segmenter in segmenters)
        raise ConfigError(f"two models have the same name ({names}): give their files different names.")
    counts, channels = zip(*shapes.values(), strict=True)
    if len(set(counts)) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in zip(shapes, counts, strict=True))
        raise ConfigError(
            f"the models have different numbers of tokens a mask ({listed}): extract each family by itself."
        )
    return counts[0], max(channels)


def _by_model(models: Sequence[str], found: Sequence[Found]) -> dict[PromptKind, dict[str, Values]]:
    """For each kind of prompt the (K, Q) columns of the IoUs that each model got for the same prompt."""
    return {
        kind: {
            f"{name}@{model}": values
            for model, theirs in zip(models, found, strict=True)
            for name, values in theirs[kind].ious().items()
        }
        for kind in found[0]
    }


def _refined(found: Found) -> dict[str, Values]:
    """(K,) IoUs of the answer to all clicks, where it was asked for."""
    if "refined" not in found:
        return {}
    ious = found["refined"].ious()
    return {"refined_best_iou": ious["best_iou"][:, 0], "refined_iou": ious["single_iou"][:, 0]}


def _rows(
    scene: Scene,
    group: str,
    model: str,
    kind: PromptKind,
    found: Measured,
    by_instance: Mapping[str, Values],
    by_prompt: Mapping[str, Values],
    channels: int,
) -> TokenRows:
    """One model's rows of one kind of prompt.

    Args:
        scene: the instances.
        group: of the image.
        model: its name.
        kind: of the prompts.
        found: what the model answered.
        by_instance: columns (K,).
        by_prompt: columns (K, Q).
        channels: of the tokens in all models' rows.
    """
    shape = found.iou.shape
    height, width = scene.image.size
    nothing = dict.fromkeys(("refined_best_iou", "refined_iou", *ENTROPIES), np.array(np.nan))
    texts = {"image": scene.name, "group": group, "model": model, "prompt": kind}
    values: dict[str, Column] = {
        "instance": np.array(scene.ids)[:, None, None],
        "height": np.array(height),
        "width": np.array(width),
        "area": (scene.truth.areas / (height * width))[:, None, None],
        "prompt_number": np.arange(shape[1])[:, None],
        "mask": found.numbers,
        "sam_score": found.scores,
        "iou": found.iou,
        "entropy": found.entropy,
        "stability": found.stability,
        "selected": found.selected,
        "best": found.best,
        **{name: part[..., None] for name, part in (found.ious() | dict(by_prompt)).items()},
        **{FEATURE + name: found.features[..., place] for place, name in enumerate(FEATURES)},
        **nothing,
        **{name: part[:, None, None] for name, part in by_instance.items()},
    }
    columns: dict[str, Column] = {
        name: np.broadcast_to(part, shape).reshape(-1) for name, part in values.items()
    }
    columns |= {name: np.full(found.iou.size, text, object) for name, text in texts.items()}
    tokens = found.tokens.reshape(-1, *found.tokens.shape[3:])
    return TokenRows(np.pad(tokens, ((0, 0), (0, 0), (0, channels - tokens.shape[2]))), columns)
