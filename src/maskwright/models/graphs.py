"""The networks of a model as plain functions of tensors, to be written as graphs for other runtimes.

Prompts enter as SAM's own ONNX decoder has them: a row of coordinates and a label for each prompt token, and
one mask of logits with a flag that says whether it counts. Which tokens a prompt has is a family's own affair
(`prompt_rows`), so that one graph serves for points, boxes and masks, and both together.

Axes: B images, N prompts, A = B·N, P prompt tokens, M masks, T tokens, C channels, H W h w sizes, S side.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.errors import InputError
from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch
from maskwright.models.nano import Nano
from maskwright.models.nano_prompts import cell_centres, draw_boxes, draw_masks, draw_points
from maskwright.models.sam import SAM, encode_positions
from maskwright.models.sam2 import SAM2
from maskwright.models.sam_hq import SAMHQ

# Labels of prompt tokens: 0 background click, 1 object click, 2 and 3 corners of the box. Nano alone has
# tokens that stand for a box that is not there.
NOT_A_POINT, CORNERS, NO_BOX = -1, (2, 3), (4, 5)
LABELS = 4  # those below it lie somewhere
PIXELS = "pixels"
PROMPTS = ("point_coords", "point_labels", "mask_input", "has_mask_input")
# An annotator sends photos of this height and width, padded at the bottom or on the right, and asks for masks
# of the same.
ANNOTATOR_SIZE = (684, 1024)


def map_names(count: int) -> list[str]:
    """What so many maps of an encoder are called in graphs."""
    return ["image_embeddings", *(f"high_res_feats_{number}" for number in range(count - 1))]


class EncoderGraph(nn.Module):
    """Normalised images (B, 3, S, S) to the image embedding and the finer maps, as `Features` has them."""

    def __init__(self, model: MaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels_B3SS: Tensor) -> tuple[Tensor, ...]:
        """The embedding (B, C, h, w), then the finer maps."""
        features = self.model.encode(pixels_B3SS)
        return (features.image, *features.high_res)


class DecoderGraph(nn.Module):
    """Maps of B images and A = B·N prompts, those of the first image first, to all that the decoder gives."""

    def __init__(self, model: MaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Decode.

        Args:
            inputs: the encoder's maps; coordinates (A, P, 2) in pixels of the input square; labels (A, P)
                float; a mask (A or 1, 1, h, w) of logits; a flag (A or 1,), 1 where the mask counts.

        Returns:
            Masks (A, M, h, w), scores (A, M), tokens (A, T, C), and the HQ token's masks where it has some.
        """
        *maps, coords_AP2, labels_AP, mask, has_mask = inputs
        prompts = coords_AP2.shape[0]
        image, *high_res = (_for_prompts(each, prompts) for each in maps)
        embedded = _embed(self.model, coords_AP2, labels_AP, mask, has_mask)
        decoded = self.model.network(
            Features(image, high_res=tuple(high_res)), PromptBatch(embedded=embedded)
        )
        parts = [decoded.masks, decoded.iou, decoded.tokens]
        parts += [] if decoded.hq is None else [decoded.hq]
        return tuple(part[:, 0] for part in parts)


class AnnotatorEncoder(nn.Module):
    """A photo (H, W, 3), RGB in 0…255 as float32, to the embedding, and of SAM-HQ the early map.

    What annotation tools call SAM's encoder: normalising and padding are inside. The early map has an axis
    in front, (1, 1, h, w, D), for tools that stack several of them put one there.
    """

    def __init__(self, model: SAM) -> None:
        super().__init__()
        self.model = model

    def forward(self, photo_HW3: Tensor) -> tuple[Tensor, ...]:
        """The embedding (1, C, h, w), then the early map (1, h, w, D)."""
        mean, std = photo_HW3.new_tensor(self.model.pixel_mean), photo_HW3.new_tensor(self.model.pixel_std)
        pixels = ((photo_HW3 - mean) / std).permute(2, 0, 1)[None]
        side = self.model.image_size
        square = F.pad(pixels, (0, side - pixels.shape[3], 0, side - pixels.shape[2]))
        image, early = self.model._encode(square)
        return (image, early) if early is not None and self.model.has_hq else (image,)


class AnnotatorDecoder(nn.Module):
    """The prompts of one photo to its masks at the photo's size: the calls and results of SAM's own export.

    The single mask is returned, of SAM-HQ with the HQ logits added.
    """

    def __init__(self, model: SAM) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decode.

        Args:
            inputs: the embedding (1, C, h, w); of SAM-HQ the early map (1, 1, h, w, D); then as
                `DecoderGraph`; and (height, width) float of the wanted masks, from which follows what
                part of the square is the photo: its longer side was brought to the square's.

        Returns:
            Masks (A, 1, H, W), scores (A, 1) and masks (A, 1, h, w), all of them logits.
        """
        *maps, coords_AP2, labels_AP, mask, has_mask, size = inputs
        features = Features(maps[0])
        if isinstance(self.model, SAMHQ):
            features = self.model.fuse(Features(maps[0], maps[1][0]))
        features = features.map(lambda each: _for_prompts(each, coords_AP2.shape[0]))
        embedded = _embed(self.model, coords_AP2, labels_AP, mask, has_mask)
        decoded = self.model.network(features, PromptBatch(embedded=embedded))
        low_res = decoded.masks[:, 0, :1] + (0 if decoded.hq is None else decoded.hq[:, 0])
        side = self.model.image_size
        large = F.interpolate(low_res, (side, side), mode="bilinear", align_corners=False)
        height, width = (size * (side / size.max()) + 0.5).long().unbind()
        large = large[:, :, :height, :width]
        wanted: Any = tuple(size.long().unbind())
        masks = F.interpolate(large, wanted, mode="bilinear", align_corners=False)
        return masks, decoded.iou[:, 0, :1], low_res


def prompt_rows(family: str, prompts: PromptBatch) -> tuple[Tensor, Tensor]:
    """Coordinates (A, P, 2) in pixels of the input square and labels (A, P) float of a decoder's prompts.

    The tokens are those of the family's own prompt encoder: SAM appends "not a point" to points without a
    box, SAM 2 to all but masks, nano always; of a mask alone, SAM and SAM 2 have none.
    """
    images, count = prompts.shape
    total = images * count
    rows: list[tuple[Tensor, tuple[int, ...] | Tensor]] = []
    if prompts.points is not None and prompts.labels is not None:
        rows.append((prompts.points.flatten(0, 1), prompts.labels.flatten(0, 1)))
    corners = None if prompts.boxes is None else prompts.boxes.reshape(total, 2, 2)
    nowhere = torch.zeros(total, 1, 2)
    if family == "nano" or (rows and corners is None) or (family == "sam2" and corners is not None):
        rows.append((nowhere, (NOT_A_POINT,)))
    if corners is not None:
        rows.append((corners, CORNERS))
    elif family == "nano":
        rows.append((nowhere.expand(-1, 2, -1), NO_BOX))
    coords = [xy.float() for xy, _ in rows]
    labels = [
        label.float() if isinstance(label, Tensor) else torch.tensor(label).float().expand(total, -1)
        for _, label in rows
    ]
    return torch.cat([nowhere[:, :0], *coords], dim=1), torch.cat([nowhere[:, :0, 0], *labels], dim=1)


def decoded_of(parts: list[Tensor], images: int, *, has_hq: bool) -> Decoded:
    """What `DecoderGraph` returned for the prompts of so many images."""
    masks, iou, tokens, *hq = (part.unflatten(0, (images, -1)) for part in parts)
    return Decoded(masks, iou, tokens, hq[0] if has_hq else None)


def _for_prompts(map_BCHW: Tensor, prompts: int) -> Tensor:
    """Each image's map for each of its prompts: (B, …) → (A, …); B may be 1 and A 0."""
    images = map_BCHW.shape[0]
    return map_BCHW[:, None].expand(-1, prompts // images, -1, -1, -1).flatten(0, 1)


def _embed(
    model: MaskModel, coords_AP2: Tensor, labels_AP: Tensor, mask: Tensor, has_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Tokens (A, P, C) and the dense map (A or 1, C, h, w) as the family embeds prompts."""
    embed = next((made for kind, made in _EMBED if isinstance(model, kind)), None)
    if embed is None:
        raise InputError(f"models of the family {model.family} have no graph for prompts.")
    made: tuple[Tensor, Tensor] = embed(model, coords_AP2, labels_AP, mask, has_mask[:, None, None, None] > 0)
    return made


def _embed_sam(
    model: SAM | SAM2, coords: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
) -> tuple[Tensor, Tensor]:
    encoder = model.net.prompt_encoder
    kinds: Any = encoder.point_embed  # SAM has a module for each, SAM 2 one for all
    weights = [kind.weight for kind in (kinds if isinstance(model, SAM) else [kinds])]
    table = torch.cat([encoder.not_a_point_embed.weight, *weights])
    positions = (coords + 0.5) / model.image_size  # of the centres of pixels
    placed = encode_positions(encoder.shared_embedding.positional_embedding, positions)
    dense = torch.where(has_mask, encoder.mask_embed(mask), encoder.no_mask_embed.weight[:, :, None, None])
    return _tokens(table, placed, labels), dense


def _embed_nano(
    model: Nano, coords: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
) -> tuple[Tensor, Tensor]:
    prompts = model.prompts
    kinds = prompts.kinds
    # The rows of `kinds` are the labels 0…3, "no point", and "no box" twice.
    table = torch.cat([kinds[LABELS : LABELS + 1], kinds[:LABELS], kinds[LABELS + 1 :]])
    tokens = _tokens(table, prompts.position((coords + 0.5) / model.image_size), labels)
    corners = [torch.where((labels == corner)[..., None], coords, 0.0).sum(1) for corner in CORNERS]
    given = (labels == CORNERS[0]).any(dim=1)
    xy = cell_centres(model.low_res, model.low_res, kinds)
    side = model.image_size
    masks = (draw_masks(mask) * has_mask).expand(coords.shape[0], -1, -1, -1)
    boxes = draw_boxes(torch.cat(corners, dim=1) / side, given, xy)
    raster = torch.cat([boxes, draw_points(coords / side, labels, xy), masks], dim=1)
    return tokens, prompts.draw(raster)


_EMBED: tuple[tuple[type[MaskModel], Any], ...] = (
    (SAM, _embed_sam),
    (SAM2, _embed_sam),
    (Nano, _embed_nano),
)


def _tokens(table_KC: Tensor, positions_APC: Tensor, labels_AP: Tensor) -> Tensor:
    """(A, P, C): what each label stands for, and for those that lie somewhere, where. Row 0 is for −1."""
    placed = (labels_AP >= 0) & (labels_AP < LABELS)
    return table_KC[labels_AP.long() + 1] + torch.where(placed[..., None], positions_APC, 0.0)
