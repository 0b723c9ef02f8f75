"""How a model is asked about one image: prompts in groups of equal structure, as many at once as is best.

Axes: N prompts, K of them, M masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter

import torch
from torch import Tensor

from maskwright.data.tasks import TASKS
from maskwright.debug import debug, shapes
from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch
from maskwright.models.guidance import Guidance
from maskwright.models.prompts import check_prompts, to_batch
from maskwright.runtime import in_chunks
from maskwright.types import Embedding, Geometry, HQMode, Prompts

# Cells of all low-resolution masks of the prompts that a GPU decodes at once: 64 of SAM.
GPU_CELLS = 2**22

Parts = tuple[Tensor, ...]
Keep = Callable[[Decoded], Parts]


@dataclass(frozen=True)
class Asked:
    """How prompts are decoded; see `Segmenter.decode`.

    Args:
        above: leave out prompts of which no ambiguous mask has a predicted IoU above this; None asks for all.
    """

    multimask: bool
    hq: HQMode
    task: int | None
    guidance: Guidance | None = None
    above: float | None = None


@torch.no_grad()
def answer_all(
    model: MaskModel, embedding: Embedding, prompts: Prompts, how: Asked, keep: Keep, chunk: int
) -> tuple[Tensor, Parts]:
    """Decode all prompts of one image.

    Args:
        model: any.
        embedding: of this model.
        prompts: N of any kinds.
        how: they are decoded.
        keep: takes what is wanted of an answer, tensors (1, K, …).
        chunk: prompts decoded at once.

    Returns:
        Numbers (K,) of the prompts that are not left out, in order, and what was kept of their answers, each
        part (K, …), in float32; no parts if all are left out.

    Raises:
        InputError: prompts that do not fit the image.
    """
    check_prompts(prompts, embedding.geometry, model.low_res)
    device = model.device
    features = replace(embedding.features.map(lambda part: part.to(device)), memo={})
    wholes: list[Tensor] = []
    numbers: list[Tensor] = []

    def answer(group: Prompts, asked: Asked, index: Tensor, rows: Sequence[int]) -> list[None]:
        worth, parts = _answer(model, features, embedding.geometry, group, asked, keep, rows)
        if parts:
            # To its place at once, so that memory holds what is kept and one chunk.
            number = index[rows[0] + worth]
            if not wholes:
                # All or none of them: where memory runs out, this is done again.
                wholes.extend([part.new_empty(len(prompts), *part.shape[1:]) for part in parts])
            for whole, part in zip(wholes, parts, strict=True):
                whole[number] = part
            numbers.append(number)
        return [None] * len(rows)

    for index, group in prompts.groups():
        guidance = None if how.guidance is None else how.guidance.map(itemgetter(index))
        asked = replace(how, guidance=guidance)
        # Fewer prompts at once where memory runs out; how many makes no difference to the masks.
        in_chunks(partial(answer, group, asked, index), range(len(group)), chunk)
    drawn = torch.cat(numbers).sort().values if numbers else torch.zeros(0, dtype=torch.long)
    if len(drawn) < len(prompts):
        wholes = [whole[drawn] for whole in wholes]
    return drawn, tuple(wholes)


def usual_chunk(model: MaskModel) -> int:
    """How many prompts suit the device that the model is on."""
    cells = model.cpu_cells if model.device.type == "cpu" else GPU_CELLS
    return max(1, cells // model.low_res**2)


def _answer(
    model: MaskModel,
    features: Features,
    geometry: Geometry,
    prompts: Prompts,
    how: Asked,
    keep: Keep,
    rows: Sequence[int],
) -> tuple[Tensor, Parts]:
    """Some prompts of equal structure: which are not left out, and what is kept of their answers."""
    chosen = slice(rows[0], rows[-1] + 1)
    given = (prompts.points, prompts.labels, prompts.boxes, prompts.masks)
    part = Prompts(*(None if values is None else values[chosen] for values in given))
    task = how.task
    if task is None and part.masks is None and model.task_prompts is not None:
        task = TASKS["unlabeled"]
    device = features.image.device
    batch = to_batch(part, geometry, device, task)
    if how.guidance is not None:
        batch = replace(batch, guidance=how.guidance.map(lambda values: values[chosen].to(device)))
    worth, decoded = _decoded(model, features, batch, how)
    if decoded is None:
        return worth, ()
    debug(lambda: f"decoded {shapes(part)}: masks {shapes(decoded.masks)}, scores {shapes(decoded.iou)}")
    parts = (values[0] for values in keep(decoded))
    return worth, tuple(part.float() if part.is_floating_point() else part for part in parts)


def _decoded(
    model: MaskModel, features: Features, batch: PromptBatch, how: Asked
) -> tuple[Tensor, Decoded | None]:
    """Numbers of the prompts of a batch that are worth drawing, on the CPU, and the answers to these."""
    if how.above is None:
        decode = model.decode_once if how.multimask else model.decode
        return torch.arange(batch.shape[1]), decode(features, batch)
    sketch = model.sketch(features, batch)
    # A prediction that is not a number is above nothing.
    worth_K = (sketch.iou[0, :, 1:] > how.above).any(dim=1).nonzero()[:, 0]
    return worth_K.cpu(), sketch.draw(worth_K) if len(worth_K) else None
