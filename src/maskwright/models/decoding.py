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

# Cells of all low-resolution masks of the prompts that are decoded at once. On a CPU four prompts of SAM: the
# maps of more leave its caches, and their memory is asked of the system anew each time. A GPU decodes 64.
CPU_CELLS = 2**18
GPU_CELLS = 2**22

Row = tuple[Tensor, ...]
Rows = list[Row | None]
Keep = Callable[[Decoded], Row]


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
) -> Rows:
    """Decode all prompts of one image.

    Args:
        model: any.
        embedding: of this model.
        prompts: N of any kinds.
        how: they are decoded.
        keep: takes what is wanted of an answer, tensors (1, K, …).
        chunk: prompts decoded at once.

    Returns:
        What was kept of each prompt's answer, in float32; None for a prompt that is left out.

    Raises:
        InputError: prompts that do not fit the image.
    """
    check_prompts(prompts, embedding.geometry, model.low_res)
    device = next(model.parameters()).device
    features = replace(embedding.features.map(lambda part: part.to(device)), memo={})
    answers: dict[int, Row | None] = {}
    for index, group in prompts.groups():
        guidance = None if how.guidance is None else how.guidance.map(itemgetter(index))
        asked = replace(how, guidance=guidance)
        answer = partial(_answer, model, features, embedding.geometry, group, asked, keep)
        # Fewer prompts at once where memory runs out; how many makes no difference to the masks.
        rows = in_chunks(answer, range(len(group)), chunk)
        answers.update(zip(index.tolist(), rows, strict=True))
    return [answers[place] for place in range(len(prompts))]


def usual_chunk(model: MaskModel) -> int:
    """How many prompts suit the device that the model is on."""
    cells = CPU_CELLS if next(model.parameters()).device.type == "cpu" else GPU_CELLS
    return max(1, cells // model.low_res**2)


def stacked(rows: Rows) -> tuple[Tensor, ...]:
    """The parts of all rows that are there, one tensor for each."""
    return tuple(torch.stack(part) for part in zip(*(row for row in rows if row is not None), strict=True))


def _answer(
    model: MaskModel,
    features: Features,
    geometry: Geometry,
    prompts: Prompts,
    how: Asked,
    keep: Keep,
    rows: Sequence[int],
) -> Rows:
    """What is kept of some prompts of equal structure."""
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
    found: Rows = [None] * len(rows)
    if decoded is not None:
        debug(lambda: f"decoded {shapes(part)}: masks {shapes(decoded.masks)}, scores {shapes(decoded.iou)}")
        parts = (values[0] for values in keep(decoded))
        kept = (part.float() if part.is_floating_point() else part for part in parts)
        for number, row in zip(worth, zip(*kept, strict=True), strict=True):
            found[number] = row
    return found


def _decoded(
    model: MaskModel, features: Features, batch: PromptBatch, how: Asked
) -> tuple[Sequence[int], Decoded | None]:
    """Which prompts of a batch are worth drawing, and the answers to these."""
    if how.above is None:
        decode = model.decode_once if how.multimask else model.decode
        return range(batch.shape[1]), decode(features, batch)
    sketch = model.sketch(features, batch)
    # A prediction that is not a number is above nothing.
    worth_K = (sketch.iou[0, :, 1:] > how.above).any(dim=1).nonzero()[:, 0]
    return worth_K.tolist(), sketch.draw(worth_K) if len(worth_K) else None
