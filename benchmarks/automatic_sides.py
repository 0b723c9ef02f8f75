"""One SAM and the embedding of one photo, as Maskwright, transformers and Meta's package have it.

Weights are random. The encoder is left out: whatever asks for it gets the embedding back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from peers import stand_in
from PIL import Image as PILImages
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import MaskGenerationPipeline, SamConfig, SamImageProcessorPil, SamModel
from transformers.models.sam import image_processing_pil_sam

from maskwright.io.rle import RLE
from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.methods.automatic.generator import generate
from maskwright.models.base import Features
from maskwright.models.keys import PROMPT_POSITION, SAM_RULES, original
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter
from maskwright.types import ByteArray, Embedding, Geometry, Prompts

BATCH = 64
SEED = 5
CONTRAST = 64.0
"""Factor of random weights that decides how far logits are from 0."""
SHARPNESS = 1.0
"""Factor of random weights that decide where masks are."""
BELIEVED, STABLE = 1 / 3, 2 / 3
"""Shares of candidates that pass the predicted IoU, and of these, the stability."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a SAM; sent to other processes, so it holds words and numbers only."""

    name: str
    image: int
    channels: int
    heads: int
    hidden: int
    clicks: int = 32

    @property
    def cells(self) -> int:
        """Along a side of the embedding."""
        return self.image // 16

    def config(self) -> dict[str, Any]:
        """Transformers' configuration, with a very small encoder: it is not run."""
        vision: dict[str, Any] = {"hidden_size": 32, "output_channels": self.channels, "num_hidden_layers": 1}
        vision |= {"num_attention_heads": 2, "image_size": self.image, "window_size": 0}
        vision |= {"num_pos_feats": self.channels // 2, "global_attn_indexes": [0], "use_rel_pos": False}
        decoder = {"hidden_size": self.channels, "mlp_dim": self.hidden, "num_attention_heads": self.heads}
        decoder |= {"iou_head_hidden_dim": self.channels}
        prompts = {"hidden_size": self.channels, "image_size": self.image}
        prompts |= {"image_embedding_size": self.cells}
        return {"vision_config": vision, "prompt_encoder_config": prompts, "mask_decoder_config": decoder}


NANO = Shape("nano shapes", 256, 128, 4, 512)
VIT_B = Shape("ViT-B shapes", 1024, 256, 8, 2048)
TINY = Shape("tiny shapes", 64, 32, 2, 64, clicks=6)


@dataclass(frozen=True)
class Thresholds:
    """What a candidate must pass; boxes that overlap more than `overlap` are suppressed, 1: none."""

    iou: float
    stability: float
    overlap: float = 1.0


class Sides:
    """One model with one photo's embedding, as the three packages have it."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.photo: ByteArray = skimage.data.astronaut()[:384]
        torch.manual_seed(0)
        self.model = SAM.from_config(shape.config())
        spread(self.model.net)
        self.segmenter = Segmenter(self.model)
        self.embedding = smooth(shape.channels, shape.cells)
        self.model.encode = lambda _: Features(self.embedding)  # type: ignore[assignment,method-assign]

    def settings(self, least: Thresholds, points: int | None = None) -> AutomaticSettings:
        """Of our generator."""
        per_side = points or self.shape.clicks
        return AutomaticSettings(
            points_per_side=per_side,
            points_per_batch=BATCH,
            pred_iou_thresh=least.iou,
            stability_score_thresh=least.stability,
            box_nms_thresh=least.overlap,
        )

    def thresholds(self) -> Thresholds:
        """Quantiles of what all clicks are answered."""
        everything = AutomaticSettings(
            points_per_side=min(self.shape.clicks, 12),
            pred_iou_thresh=-1e9,
            stability_score_thresh=0,
            box_nms_thresh=1,
        )
        found = generate(self.segmenter, self.photo, everything)
        iou = float(np.quantile([mask.predicted_iou for mask in found], 1 - BELIEVED))
        assert iou > 0, "to the peers, a threshold of 0 or below means all"
        stable = [mask.stability for mask in found if mask.predicted_iou > iou]
        return Thresholds(iou, float(np.quantile(stable, 1 - STABLE)))

    def ours(self, least: Thresholds, points: int | None = None) -> list[RLE]:
        """Run our generator."""
        return [mask.rle for mask in generate(self.segmenter, self.photo, self.settings(least, points))]

    @functools.cached_property
    def net(self) -> Any:  # noqa: ANN401
        """Transformers' model with the same weights, whose norms have the original's eps."""
        config = SamConfig.from_dict(self.model.config_dict())
        net = SamModel(config).eval()
        net.load_state_dict(self.model.net.state_dict())
        net.get_image_embeddings = lambda *_, **__: self.embedding
        return net

    def transformers(self, least: Thresholds, points: int | None = None) -> list[RLE]:
        """Run transformers' pipeline, its own steps all through."""
        square = {"height": self.shape.image, "width": self.shape.image}
        processor = Processor(size={"longest_edge": self.shape.image}, pad_size=square)
        pipeline = MaskGenerationPipeline(model=self.net, image_processor=processor, device="cpu")
        stand_in()  # after transformers has looked for the real one
        found = pipeline(
            PILImages.fromarray(self.photo),
            points_per_batch=BATCH,
            points_per_crop=points or self.shape.clicks,
            pred_iou_thresh=least.iou,
            stability_score_thresh=least.stability,
            crops_nms_thresh=least.overlap,
            output_rle_mask=True,
        )
        return [RLE.from_runs(rle["counts"], tuple(rle["size"])) for rle in found["rle_mask"]]

    @functools.cached_property
    def sam(self) -> Any:  # noqa: ANN401
        """Meta's model with the same weights."""
        stand_in()
        from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

        shape = self.shape
        cells = (shape.cells, shape.cells)
        transformer = TwoWayTransformer(2, shape.channels, shape.heads, shape.hidden)
        decoder = MaskDecoder(
            transformer_dim=shape.channels,
            transformer=transformer,
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=shape.channels,
        )
        prompts = PromptEncoder(shape.channels, cells, (shape.image, shape.image), 16)
        encoder = Encoder(shape.image, self.embedding)
        sam = Sam(encoder, prompts, decoder).eval()
        state = self.model.net.state_dict().items()
        own = ("vision_encoder.", PROMPT_POSITION)
        weights = {original(key, SAM_RULES): value for key, value in state if not key.startswith(own)}
        sam.load_state_dict(weights)
        return sam

    def meta(self, least: Thresholds, points: int | None = None) -> list[RLE]:
        """Run Meta's generator."""
        sam = self.sam  # stands in for torchvision before the package asks for it
        from segment_anything import SamAutomaticMaskGenerator

        generator = SamAutomaticMaskGenerator(
            sam,
            points_per_side=points or self.shape.clicks,
            points_per_batch=BATCH,
            pred_iou_thresh=least.iou,
            stability_score_thresh=least.stability,
            box_nms_thresh=least.overlap,
            output_mode="coco_rle",
        )
        found = generator.generate(self.photo)
        return [
            RLE.trusted(tuple(one["segmentation"]["size"]), one["segmentation"]["counts"]) for one in found
        ]

    @contextmanager
    def in_double(self) -> Iterator[None]:
        """All sides compute in float64, with the same weights."""
        nets, kept = (self.model.net, self.net, self.sam), self.embedding
        for net in nets:
            net.double()
        self.embedding = kept.double()
        torch.set_default_dtype(torch.float64)
        try:
            with InDouble():
                yield
        finally:
            torch.set_default_dtype(torch.float32)
            self.embedding = kept
            for net in nets:
                net.float()

    def decoders(self) -> dict[str, Callable[[], Tensor]]:
        """Decode `BATCH` clicks: (N, 3, h, w) logits, by package."""
        size = self.shape.image
        points = torch.rand(BATCH, 1, 2, generator=torch.Generator().manual_seed(3)) * size
        labels = torch.ones(BATCH, 1, dtype=torch.long)
        embedding = Embedding(
            Features(self.embedding), Geometry((size, size), size), self.segmenter.signature
        )
        net, sam = self.net, self.sam

        @torch.inference_mode()
        def transformers() -> Tensor:
            points_1NP2, labels_1NP = points[None], labels[None]
            given = {"input_points": points_1NP2, "input_labels": labels_1NP}
            found: Tensor = net(image_embeddings=self.embedding, **given).pred_masks[0]
            return found

        @torch.inference_mode()
        def meta() -> Tensor:
            sparse, dense = sam.prompt_encoder((points, labels), None, None)
            position = sam.prompt_encoder.get_dense_pe()
            found = sam.mask_decoder(self.embedding, position, sparse, dense, multimask_output=True)
            masks: Tensor = found[0]
            return masks

        def ours() -> Tensor:
            return self.segmenter.decode(embedding, Prompts(points, labels), multimask=True).low_res

        return {"maskwright": ours, "transformers": transformers, "segment-anything-py": meta}


class Processor(SamImageProcessorPil):  # type: ignore[misc]
    """Transformers' image processor, whose last step would refuse what stands in for torchvision."""

    def post_process_for_mask_generation(self, *given: Any) -> Any:  # noqa: ANN401
        """Suppress overlapping boxes, by transformers' own function."""
        return image_processing_pil_sam._post_process_for_mask_generation(*given)


class Encoder(nn.Module):
    """Meta's encoder, left out."""

    embedding: Tensor

    def __init__(self, size: int, embedding: Tensor) -> None:
        super().__init__()
        self.img_size = size
        self.register_buffer("embedding", embedding, persistent=False)

    def forward(self, _: Tensor) -> Tensor:
        """The embedding of the photo."""
        return self.embedding


class InDouble(TorchFunctionMode):
    """Whoever asks torch for float32 gets float64: positions and logits are cast on every side."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call `func` with the other type."""
        wide: Callable[..., Any] = torch.Tensor.double if func is torch.Tensor.float else func
        given = [torch.float64 if value is torch.float32 else value for value in args]
        named = {
            name: torch.float64 if value is torch.float32 else value for name, value in (kwargs or {}).items()
        }
        return wide(*given, **named)


def smooth(channels: int, cells: int) -> Tensor:
    """(1, C, h, w) an embedding that changes slowly over the image, as of large things, with some detail."""
    generator = torch.Generator().manual_seed(1)
    coarse, fine = (torch.randn(1, channels, side, side, generator=generator) for side in (6, 24))
    grown = (F.interpolate(part, (cells, cells), mode="bicubic") for part in (coarse, fine))
    first, second = grown
    return first + 0.3 * second


@torch.no_grad()
def spread(net: Any) -> None:  # noqa: ANN401
    """Draw weights as large as learned ones, that make a mask of where the click is; scores near 0.6.

    Queries and keys of tokens and image are projected alike, so a click and the cells around it, whose
    positions are encoded alike, attend to each other, and masks are spots around clicks.
    """
    generator = torch.Generator().manual_seed(SEED)
    for name, weight in net.named_parameters():
        if weight.dim() > 1 and "norm" not in name and "positional" not in name:
            fan = weight[0].numel() if weight.dim() == 2 else weight.shape[0]
            weight.normal_(0, 1 if "token" in name or "embed" in name else fan**-0.5, generator=generator)
    decoder = net.mask_decoder
    for name, module in decoder.transformer.named_modules():
        if name.endswith(("token_to_image", "image_to_token")):
            module.q_proj.weight.mul_(SHARPNESS)
            module.k_proj.weight.copy_(module.q_proj.weight)
        if name.endswith("image_to_token"):
            module.out_proj.weight.mul_(SHARPNESS**2)
    for mlp in decoder.output_hypernetworks_mlps:
        mlp.proj_out.weight.mul_(CONTRAST)
    last = decoder.iou_prediction_head.proj_out
    last.weight.mul_(0.1)
    last.bias.fill_(0.6)
