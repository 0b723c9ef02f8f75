"""The one predictor for every model family: encode an image once, then decode any number of prompts.

Nothing is remembered between calls, so one segmenter serves any number of threads.

Axes: B images, N prompts, M masks, T tokens, C channels, h w low resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self, overload

import torch
from torch import Tensor

from maskwright.data.tasks import Task, task_id
from maskwright.debug import debug, shapes
from maskwright.errors import InputError, suggestion
from maskwright.models.base import Decoded, MaskModel
from maskwright.models.decoding import Asked, Keep, Parts, answer_all, usual_chunk
from maskwright.models.digests import weights_digest as weights_digest
from maskwright.models.guidance import Guidance
from maskwright.models.preprocess import ImageLike, preprocess, to_image
from maskwright.models.prompts import check_per_image, make_prompts
from maskwright.models.selection import select
from maskwright.models.sessions import check_device
from maskwright.models.uncertainty import UncertaintyHeads
from maskwright.runtime import arithmetic_record
from maskwright.types import Embedding, Geometry, HQMode, Image, Masks, Prompts

# Images encoded at once; more brings nothing on a CPU and little on a GPU at 1024 px.
IMAGE_BATCH = 4

_PROMPT_KINDS = ("points", "labels", "boxes", "masks")


class Segmenter:
    """A model made easy to ask.

    The model is set to evaluation mode. Its weights must not change while embeddings of it are kept.

    Args:
        model: any family.
        name: what to call it in messages; the family's name by default.
        dtype: arithmetic of the forward pass: torch.float32, or torch.bfloat16 / torch.float16 for automatic
            mixed precision. Positions of prompts and all outputs stay float32.
        chunk: prompts decoded at once; bounds the memory and does not change the result. None: as many as
            suit the device.
        image_batch: images encoded at once.
        heads: tell what is uncertain about each mask, in its `extras`; None leaves them empty.

    Raises:
        InputError: a chunk or batch of nothing.
        WeightsError: the heads were made for another model.
    """

    def __init__(
        self,
        model: MaskModel,
        name: str | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        chunk: int | None = None,
        image_batch: int = IMAGE_BATCH,
        heads: UncertaintyHeads | None = None,
    ) -> None:
        if (chunk is not None and chunk < 1) or image_batch < 1:
            raise InputError(f"chunk and image_batch must be at least 1, not {chunk} and {image_batch}.")
        self.model = model.eval()
        self.name = name or model.family
        self.dtype = dtype
        self.chunk = chunk
        self.image_batch = image_batch
        self.digest = model.digest()
        self.signature = f"{self.name}:{self.digest}"
        self.heads = None if heads is None else heads.bound_to(self.digest, self.name).to(self.device)

    def __repr__(self) -> str:
        where = f"device={str(self.device)!r}, dtype={self.dtype}"
        return f"Segmenter({self.name!r}, family={self.model.family!r}, {where})"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def arithmetic(self) -> dict[str, str]:
        """How it computes, for records of runs; empty for torch in float32."""
        return arithmetic_record(self.model.backend, self.dtype)

    @property
    def at_once(self) -> int:
        """Prompts that are decoded at once."""
        return self.chunk or usual_chunk(self.model)

    def to(self, device: str | torch.device) -> Self:
        """Move the model.

        Raises:
            InputError: an exported model, which computes on the CPU.
        """
        check_device(self.model.backend, device)
        self.model.to(device)
        if self.heads is not None:
            self.heads.to(device)
        return self

    @overload
    def embed(self, images: ImageLike) -> Embedding: ...  # type: ignore[overload-overlap]
    @overload
    def embed(self, images: Sequence[ImageLike]) -> list[Embedding]: ...
    def embed(self, images: ImageLike | Sequence[ImageLike]) -> Embedding | list[Embedding]:
        """Encode an image, or several of any sizes.

        Args:
            images: a path, PIL image, uint8 array (H, W, 3) or (H, W), or `types.Image`; or a list of such.

        Raises:
            InputError: the value is no image.
            ImageError: a file cannot be read.
        """
        if isinstance(images, list | tuple):
            batches = (images[i : i + self.image_batch] for i in range(0, len(images), self.image_batch))
            return [embedding for batch in batches for embedding in self._embed(batch)]
        return self._embed([images])[0]  # type: ignore[list-item]

    @torch.no_grad()
    def _embed(self, images: Sequence[ImageLike]) -> list[Embedding]:
        read = [to_image(image) for image in images]
        inputs, geometries = zip(*(preprocess(image, self.model) for image in read), strict=True)
        with self._precision():
            features = self.model.encode(torch.stack(inputs).to(self.device))
        features = features.map(lambda part: part.float())
        debug(lambda: f"encoded {', '.join(f'{i.source} {i.size}' for i in read)}: {shapes(features)}")
        return [
            Embedding(features.map(partial(_one, index=i)), geometry, self.signature, image.source)
            for i, (image, geometry) in enumerate(zip(read, geometries, strict=True))
        ]

    @overload
    def decode(
        self,
        embeddings: Embedding,
        prompts: Prompts,
        *,
        multimask: bool = False,
        hq: HQMode = "sum",
        task: Task | int | None = None,
    ) -> Masks: ...
    @overload
    def decode(
        self,
        embeddings: Sequence[Embedding],
        prompts: Sequence[Prompts],
        *,
        multimask: bool = False,
        hq: HQMode = "sum",
        task: Task | int | None = None,
    ) -> list[Masks]: ...
    def decode(
        self,
        embeddings: Embedding | Sequence[Embedding],
        prompts: Prompts | Sequence[Prompts],
        *,
        multimask: bool = False,
        hq: HQMode = "sum",
        task: Task | int | None = None,
    ) -> Masks | list[Masks]:
        """Decode the prompts of one image, or of several.

        Args:
            embeddings: from `embed` of this very model.
            prompts: N prompts of any kinds; one `Prompts` per embedding. None at all (N = 0) gives no masks.
            multimask: three masks for ambiguous prompts in place of one. SAM-HQ as published returns the best
                of the three with its HQ logits added; `hq="off"` gives SAM's own three.
            hq: for models with an HQ token: "sum" adds its logits to SAM's, "only" takes them alone, "off"
                leaves them out. SAM-HQ's scores are always SAM's prediction for SAM's mask; nano's are of the
                sum.
            task: which kind of mask is wanted, for models with task prompts: "salient", "entity", "part" or
                "unlabeled". None is what such a model is trained with where nothing is known: "unlabeled" for
                prompts without a mask, no task for those with one, which has been told before.

        Raises:
            InputError: prompts that do not fit the image, an embedding of another model, hq="only" for a
                model without an HQ token, or a task for a model without task prompts.
            ConfigError: an unknown task.
        """
        if hq not in ("sum", "only", "off"):
            raise InputError(f"hq must be 'sum', 'only' or 'off', not {hq!r}.")
        how = Asked(multimask, hq, self.task_number(task))
        if isinstance(embeddings, Embedding):
            if not isinstance(prompts, Prompts):
                raise InputError(f"one embedding needs one Prompts, not {type(prompts).__name__}.")
            return self._decode(embeddings, prompts, how)
        if isinstance(prompts, Prompts) or len(prompts) != len(embeddings):
            given = 1 if isinstance(prompts, Prompts) else len(prompts)
            raise InputError(f"{len(embeddings)} embeddings need as many Prompts in a list, not {given}.")
        pairs = zip(embeddings, prompts, strict=True)
        return [self._decode(embedding, prompt, how) for embedding, prompt in pairs]

    def decode_all(
        self,
        embedding: Embedding,
        prompts: Prompts,
        *,
        multimask: bool = False,
        guidance: Guidance | None = None,
    ) -> Decoded:
        """Decode the prompts of one image and choose nothing: SAM's masks and the HQ token's apart.

        Args:
            embedding: from `embed` of this very model.
            prompts: N prompts, at least one.
            multimask: only the ambiguous masks (1…) are wanted; mask 0 is then whatever costs least.
            guidance: PerSAM's, of the N prompts.

        Returns:
            Batch size one, float32.

        Raises:
            InputError: prompts that do not fit the image, or an embedding of another model.
        """
        _, parts = self._ask(embedding, prompts, Asked(multimask, "sum", None, guidance), Decoded.parts)
        return Decoded.of_parts(*(part[None] for part in parts))

    def decode_above(
        self, embedding: Embedding, prompts: Prompts, least_iou: float, *, hq: HQMode = "sum"
    ) -> tuple[Tensor, Masks]:
        """The ambiguous masks of prompts of which at least one is worth drawing, as `decode` gives them.

        Most of a decoder's time goes into drawing masks, and their scores are known before that.

        Args:
            embedding: from `embed` of this very model.
            prompts: N prompts, at least one.
            least_iou: a prompt is left out if the predicted IoU of none of its masks is above this.
            hq: as for `decode`.

        Returns:
            Numbers (K,) of the prompts that are not left out, in order, and their K masks.

        Raises:
            InputError: as `decode`.
        """
        how = Asked(True, hq, None, above=least_iou)
        drawn, parts = self._ask(embedding, prompts, how, partial(_selected, how=how))
        return drawn, self._masks(embedding, parts) if parts else self._none(embedding, how)

    def check(self, embedding: Embedding) -> None:
        """Refuse what another model made of an image.

        Raises:
            InputError: naming the image and both models.
        """
        if embedding.model != self.signature:
            raise InputError(
                f"the embedding of {embedding.source} was made by {embedding.model}, "
                f"not by {self.signature}; embed the image again."
            )

    def task_number(self, task: Task | int | None) -> int | None:
        """The number of a task for this model; None for None.

        Raises:
            InputError: the model has no task prompts.
            ConfigError: an unknown task.
        """
        if task is None:
            return None
        number = task_id(task)
        if self.model.task_prompts is None:
            raise InputError(
                f"{self.name} has no task prompts, so it cannot be asked for the task {task!r}: leave the "
                "task out, or choose a model that was trained with them."
            )
        return number

    def _decode(self, embedding: Embedding, prompts: Prompts, how: Asked) -> Masks:
        if not len(prompts):
            return self._none(embedding, how)
        return self._masks(embedding, self._ask(embedding, prompts, how, partial(_selected, how=how))[1])

    def _none(self, embedding: Embedding, how: Asked) -> Masks:
        """No masks, in the shapes of some: any prompt tells them, and none of its masks is kept."""
        middle = torch.tensor([[embedding.geometry.size[::-1]]]) / 2
        one = Prompts(middle, torch.ones(1, 1, dtype=torch.long))
        return self._decode(embedding, one, replace(how, above=None))[:0]

    def _masks(self, embedding: Embedding, parts: Parts) -> Masks:
        low_res, iou, made_by, tokens = parts
        masks = Masks(low_res, iou, embedding.geometry, tokens, embedding.source, mask_token=made_by)
        return self.annotate(masks)

    def annotate(self, masks: Masks) -> Masks:
        """The masks with what the heads tell of each among their `extras`; as they are where there are none.

        Raises:
            InputError: there are heads, and the masks carry no tokens.
        """
        return masks if self.heads is None else self.heads.annotate(masks)

    def _ask(self, embedding: Embedding, prompts: Prompts, how: Asked, keep: Keep) -> tuple[Tensor, Parts]:
        """Numbers of the prompts that are worth drawing, and what `keep` takes of their answers."""
        self.check(embedding)
        with self._precision():
            return answer_all(self.model, embedding, prompts, how, keep, self.at_once)

    @overload
    def __call__(self, images: ImageLike | Embedding, **prompts: Any) -> Masks: ...  # noqa: ANN401
    @overload
    def __call__(self, images: Sequence[ImageLike | Embedding], **prompts: Any) -> list[Masks]: ...  # noqa: ANN401
    def __call__(
        self,
        images: ImageLike | Embedding | Sequence[ImageLike | Embedding],
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        multimask: bool = False,
        hq: HQMode = "sum",
        task: Task | int | None = None,
        **unknown: Any,
    ) -> Masks | list[Masks]:
        """Segment an image, or several: `embed` and `decode` in one.

        Args:
            images: as for `embed`, or an embedding in place of an image; or a list of such. For a list, each
                kind of prompt is a list of the same length, one entry per image.
            points: (2,) for one click, (P, 2) for one prompt, (N, P, 2) or a list of N of any lengths; each
                (x, y) in pixels.
            labels: shaped as the points: 1 for the object (the default), 0 for background.
            boxes: (4,) or (N, 4) as (x0, y0, x1, y1).
            masks: bool at the image's size, or float logits such as an earlier result's `low_res`; see
                `prompts.make_prompts`. In lists of N, None stands for "not for this prompt".
            multimask: see `decode`.
            hq: see `decode`.
            task: see `decode`.
            unknown: refused, with a suggestion.

        Returns:
            The masks of the N prompts, indexed by prompt, then mask; a list of such for a list of images.

        Raises:
            InputError: prompts that do not fit the image, which the message names, or a task for a model
                without task prompts.
            ConfigError: an unknown task.
            ImageError: a file cannot be read.
            TypeError: a keyword is unknown.
        """
        for name in unknown:
            hint = suggestion(name, (*_PROMPT_KINDS, "multimask", "hq", "task"))
            raise TypeError(f"a segmenter takes no keyword {name!r}.{hint}")
        self.task_number(task)
        given = {"points": points, "labels": labels, "boxes": boxes, "masks": masks}
        single = not isinstance(images, list | tuple)
        several: Sequence[Any] = [images] if single else images  # type: ignore[assignment]
        if not single:
            check_per_image(given, len(several))
        # Every prompt is checked before the first image is encoded, which is what takes long.
        read = [image if isinstance(image, Embedding) else to_image(image) for image in several]
        asked = [
            self._prompts(image, {k: v if single or v is None else v[i] for k, v in given.items()})
            for i, image in enumerate(read)
        ]
        made = iter(self.embed([image for image in read if isinstance(image, Image)]))
        embeddings = [next(made) if isinstance(image, Image) else image for image in read]
        results = self.decode(embeddings, asked, multimask=multimask, hq=hq, task=task)
        return results[0] if single else results

    def _prompts(self, image: Image | Embedding, given: dict[str, Any]) -> Prompts:
        if isinstance(image, Embedding):
            geometry = image.geometry
        else:
            geometry = Geometry(image.size, self.model.image_size, self.model.resize)
        return make_prompts(geometry, self.model.low_res, **given)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def _selected(decoded: Decoded, how: Asked) -> Parts:
    return *select(decoded, how.multimask, how.hq), decoded.tokens


def _one(part: Tensor, index: int) -> Tensor:
    # A copy, so that one image's embedding does not keep the whole batch in memory.
    return part[index : index + 1].clone()
