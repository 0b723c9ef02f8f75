"""The mask refiner in use, and its file (SUM, NeurIPS 2024, section 3.2.3).

A refiner is a prompt encoder and a mask decoder with weights of their own that work on the embeddings of the
model they were made for. They take a mask of that model as 8-bit probabilities, the box around it and the
click that it came from, and give the mask as people would draw it. Where the two disagree, the mask is
uncertain: u = |σ(s) − σ(r)| (eq. 3).

Axes: N masks (N prompts with M masks each in `Masks`), h w low resolution, H W image.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwright.data.prompts import center_point, tight_box
from maskwright.errors import InputError, WeightsError, suggestion
from maskwright.io.files import nearest_name, shown
from maskwright.io.weights import write_safetensors
from maskwright.methods.finetune.parts import encoder_signature
from maskwright.models.base import Features, MaskModel
from maskwright.models.checkpoint import FORMAT, VERSION, Checkpoint, read_part
from maskwright.models.hub import PACKAGED
from maskwright.models.parts import PARTS
from maskwright.models.prompts import check_prompts, to_batch
from maskwright.models.registry import build
from maskwright.models.segmenter import Segmenter, weights_digest
from maskwright.models.selection import select
from maskwright.models.task_prompts import PREFIX as TASK_PROMPTS
from maskwright.runtime import in_chunks
from maskwright.types import BoolArray, Embedding, Masks, Prompts, check_shape

PART = "refiner"
FILE = "refiner.safetensors"
# Refiners in the package, by the name of the model they are for.
SHIPPED = {"nano": "nano_refiner.safetensors"}
# A stored probability of 0 or 1 stands for half a step of its 8 bits (`io.label_shards.to_logits`).
LOGIT_LIMIT = math.log(509)


class MaskRefiner:
    """Refines masks on the embeddings of the model it was made for; nothing is remembered between calls.

    Args:
        model: a model without an encoder, as `decoder_of` makes; it is set to evaluation mode.
        base: the model whose masks it refines.
        name: what to call it in messages.
    """

    def __init__(self, model: MaskModel, base: Segmenter, name: str = PART) -> None:
        self.model = model.eval().to(base.device)
        self.base = base
        self.signature = f"{name}:{weights_digest(model)}"

    @classmethod
    def load(cls, path_or_name: str | Path, base: Segmenter) -> MaskRefiner:
        """Load a refiner for a model.

        Args:
            path_or_name: a file that `maskwright train refiner` wrote, its folder, or "nano" for the refiner
                in the package.
            base: the model it was made for.

        Raises:
            InputError: there is no such file or name.
            WeightsError: the file is refused, or was made for a model with another image encoder.
        """
        path = locate_refiner(path_or_name)
        checkpoint, metadata = read_part(path, PART)
        model = base.model
        if metadata.get("encoder") != encoder_signature(model):
            theirs, ours = _described(checkpoint), f"{model.family}, input of {model.image_size} px"
            kinds = "same kind, other weights" if theirs == ours else f"{theirs}, and not {ours}"
            raise WeightsError(
                f"{shown(path)}: this refiner was made for another image encoder than that of {base.name} "
                f"({kinds}). Give the model it was made for, or train one for this model: "
                "`maskwright train refiner --model MODEL --data KIND:FOLDER`."
            )
        refiner = build(checkpoint, str(path), leave_out=PARTS[model.family].encoder)
        return cls(refiner, base, path.stem)

    def refine(self, embedding: Embedding, masks_logits: Tensor, boxes: Tensor, points: Tensor) -> Tensor:
        """Refine masks of one image, with one decoder pass a mask and no encoding.

        Args:
            embedding: of the image, by the base model.
            masks_logits: (N, h, w) the base's low-resolution logits, or those of stored 8-bit probabilities;
                they are brought to 8 bits here, as in training.
            boxes: (N, 4) the boxes around the masks, in pixels of the image.
            points: (N, 2) the clicks that the masks came from, likewise.

        Returns:
            (N, h, w) float32 refined logits in the same frame, on the refiner's device.

        Raises:
            InputError: shapes or values that do not fit, or an embedding of another model.
        """
        return self.predict(embedding, masks_logits, boxes, points)[0]

    @torch.no_grad()
    def predict(
        self, embedding: Embedding, masks_logits: Tensor, boxes: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `refine`; also (N,) the refiner's own estimate of the IoU of each refined mask."""
        side, count = self.model.low_res, len(masks_logits)
        for name, value, shape in (
            ("masks_logits", masks_logits, (count, side, side)),
            ("boxes", boxes, (count, 4)),
            ("points", points, (count, 2)),
        ):
            check_shape(name, value, shape)
        if embedding.model != self.base.signature:
            raise InputError(
                f"the embedding of {embedding.source} was made by {embedding.model}, but {self.signature} "
                f"refines masks of {self.base.signature}; embed the image again."
            )
        device = self.base.device
        if not count:
            return torch.zeros(0, side, side, device=device), torch.zeros(0, device=device)
        if not bool(boxes.isfinite().all()):
            raise InputError("every mask to refine needs the box around it; an empty mask cannot be refined.")
        labels = torch.ones(count, 1, dtype=torch.long)
        prompts = Prompts(points.float().cpu()[:, None], labels, boxes.float().cpu(), masks_logits.float())
        check_prompts(prompts, embedding.geometry, side)
        features = self.model.fuse(embedding.features.map(lambda part: part.to(device)))
        answer = partial(self._answer, features, embedding, prompts)
        rows = in_chunks(answer, range(count), self.base.at_once)
        logits, scores = zip(*rows, strict=True)
        return torch.stack(logits), torch.stack(scores)

    def refine_masks(self, embedding: Embedding, masks: Masks, prompts: Prompts) -> Masks:
        """Refine the base's answers to prompts.

        The refiner is told what the user said: the prompt's box, and its first click on the object. Where it
        has no box, one is drawn around the mask; where it has no such click, the mask's innermost pixel
        stands in. An empty mask stays as it is.

        Args:
            embedding: of the image, by the base model.
            masks: what the base answered.
            prompts: what it was asked with.

        Returns:
            As many masks, with the refiner's scores. `extras["unrefined_iou"]` has the base's, and
            "unrefined_quality" and so on what its uncertainty heads tell of its own masks.
        """
        places, boxes, points = [], [], []
        for n in range(len(masks)):
            # One prompt at a time: full-size masks of hundreds of prompts would not fit in memory.
            for m, mask in enumerate(masks[n].binary()[0]):
                if mask.any():
                    places.append((n, m))
                    boxes.append(_box(prompts, n, mask))
                    points.append(_click(prompts, n, mask))
        low_res, iou = masks.low_res.clone(), masks.iou.clone()
        if places:
            index = tuple(torch.tensor(places, device=low_res.device).T)
            refined, scores = self.predict(embedding, low_res[index], torch.stack(boxes), torch.stack(points))
            low_res[index], iou[index] = refined.to(low_res), scores.to(iou)
        before = {**masks.extras, "iou": masks.iou}
        extras = {f"unrefined_{name}": value for name, value in before.items()}
        return Masks(low_res, iou, masks.geometry, None, masks.source, extras)

    def _answer(
        self, features: Features, embedding: Embedding, prompts: Prompts, rows: Sequence[int]
    ) -> list[tuple[Tensor, Tensor]]:
        """Logits (h, w) and score of some masks."""
        chosen = slice(rows[0], rows[-1] + 1)
        batch = to_batch(prompts_at(prompts, chosen), embedding.geometry, self.base.device)
        assert batch.masks is not None
        batch = replace(batch, masks=soft_prompt(batch.masks))
        with torch.autocast(self.base.device.type, self.base.dtype, enabled=self.base.dtype != torch.float32):
            decoded = self.model.decode(features, batch)
        logits, scores, _ = select(decoded, multimask=False, hq="sum")
        return list(zip(logits[0, :, 0].float(), scores[0, :, 0].float(), strict=True))


def decoder_of(base: MaskModel) -> MaskModel:
    """A new prompt encoder and decoder that start as the base's, on the CPU: an untrained refiner.

    A refiner decodes in one pass: nano's cascade and SAM 2's way of replacing unstable masks are off.
    """
    config = _single_pass(base.family, base.config_dict())
    encoder = PARTS[base.family].encoder
    # Masks of every task are refined alike, so a refiner has no task prompts.
    others = (*encoder, TASK_PROMPTS)
    state = {name: value for name, value in base.state_dict().items() if not name.startswith(others)}
    return build(Checkpoint(base.family, config, state, "decoder"), base.family, leave_out=encoder)


def save_refiner(model: MaskModel, base: MaskModel, path: Path) -> Path:
    """Write a refiner: its learned weights as float16, and which image encoder it was made for.

    Raises:
        FileError: it cannot be written.
    """
    learned = {name for name, _ in model.named_parameters() if "position" not in name}
    state = {
        # The random positions, which are never learned, stay exact.
        name: value.half() if name in learned else value
        for name, value in model.state_dict().items()
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "part": PART,
        "family": model.family,
        "config": json.dumps(model.config_dict(), sort_keys=True),
        "encoder": encoder_signature(base),
    }
    write_safetensors(path, state, metadata)
    return path


def locate_refiner(path_or_name: str | Path) -> Path:
    """The file of a refiner: a path, the folder of one, or the name of a model whose refiner ships.

    Raises:
        InputError: there is none, with what to do.
    """
    text = str(path_or_name)
    if text in SHIPPED:
        path = PACKAGED / SHIPPED[text]
        if not path.is_file():
            raise InputError(
                f"this package holds no refiner for {text}: train one with `maskwright train refiner --model "
                f"{text} --data KIND:FOLDER` and give its path."
            )
        return path
    path = Path(path_or_name).expanduser()
    if path.is_dir():
        path /= FILE
    if not path.exists():
        hint = nearest_name(path) or suggestion(text, SHIPPED)
        raise InputError(f"the refiner {shown(path)} does not exist.{hint}")
    return path


def soft_prompt(logits: Tensor) -> Tensor:
    """Bring logits to 8-bit probabilities and back: what `io.label_shards` stores and reads, on any device.

    The training, the labelling of stored masks and `segment --refine` all see masks through this. Doing it
    again changes nothing.
    """
    probability = (logits.float().sigmoid() * 255).round() / 255
    # The two ends lie half-way between two steps, so their own probability must not be rounded again.
    end = logits.sign() * LOGIT_LIMIT
    inside = probability.clamp(1 / 510, 1 - 1 / 510).logit()
    return torch.where(logits.abs() > LOGIT_LIMIT - 2e-4, end, inside).float()


def disagreement(masks: Masks, refined: Masks) -> Tensor:
    """The uncertainty u = |σ(s) − σ(r)| (SUM, eq. 3), (N, M, H, W) float32 at the image's size."""
    return (masks.probabilities() - refined.probabilities().to(masks.low_res.device)).abs()


def prompts_at(prompts: Prompts, rows: slice) -> Prompts:
    """Some of the prompts."""
    given = (prompts.points, prompts.labels, prompts.boxes, prompts.masks)
    return Prompts(*(None if part is None else part[rows] for part in given))


def _box(prompts: Prompts, number: int, mask: BoolArray) -> Tensor:
    """The prompt's box, or the one around its mask."""
    if prompts.boxes is not None and bool(prompts.boxes[number].isfinite().all()):
        return prompts.boxes[number].float().cpu()
    return torch.from_numpy(tight_box(mask))


def _click(prompts: Prompts, number: int, mask: BoolArray) -> Tensor:
    if prompts.points is not None and prompts.labels is not None:
        on_object = prompts.points[number][prompts.labels[number] == 1]
        if len(on_object):
            return on_object[0].float().cpu()
    return torch.from_numpy(center_point(mask))


def _single_pass(family: str, config: dict[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(config)
    if family == "nano":
        config["refinements"] = 0
    if family == "sam2":
        config["mask_decoder_config"]["dynamic_multimask_via_stability"] = False
    return config


def _described(checkpoint: Checkpoint) -> str:
    config = checkpoint.config
    side = config.get("image_size", config.get("prompt_encoder_config", {}).get("image_size"))
    return f"{checkpoint.family}, input of {side} px"
