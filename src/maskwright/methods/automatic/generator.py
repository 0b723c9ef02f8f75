"""SAM's automatic mask generator: masks of everything in an image, from a grid of clicks.

Axes: N masks, M masks a click, H W image or crop, h w low resolution.

Source: Kirillov et al. 2023, section 5 and appendix B; behaviour and defaults of the released generator.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from maskwright.errors import InputError
from maskwright.io.rle import RLE
from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.methods.automatic.crops import Crop, make_crops, point_grid
from maskwright.methods.automatic.filters import Boxes, Measures, cut_off, measure
from maskwright.methods.automatic.held import HeldLogits
from maskwright.methods.automatic.regions import clean
from maskwright.methods.automatic.run_lengths import encode
from maskwright.methods.automatic.suppression import suppress
from maskwright.models.preprocess import ImageLike, to_image
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import QUALITY
from maskwright.types import Embedding, Geometry, Image, Prompts

Box = tuple[int, int, int, int]

DEFAULTS = AutomaticSettings()

# Cells of low-resolution logits that candidates may hold before those are let go that would not stay: 4 MB on
# a CPU; a GPU, which would wait for each suppression, has 256 MB to spare.
CPU_CELLS = 2**20
GPU_CELLS = 2**26

# Pixels of full-size logits held at once: on a CPU few enough for its caches.
CPU_PIXELS = 2**20
GPU_PIXELS = 2**26


@dataclass(frozen=True, eq=False)
class AutomaticMask:
    """One mask of an image; all positions are pixels of the whole image.

    Args:
        rle: the mask.
        low_res: (h, w) float32 logits in the input frame of the crop it was found in, on the CPU; as the
            model gave them, so small regions that were removed from the mask are still in them.
        point: (x, y) of the click.
        box: (x, y, w, h) from the first to the last column and row of the mask. As in the released generator
            and in SA-1B, w is the last column minus the first: one less than the columns it covers.
        crop_box: (x, y, w, h) of the crop.
        predicted_iou: the model's own estimate.
        stability: IoU of the masks at raised and lowered threshold.
        area: object pixels.
        extras: what the model's uncertainty heads tell of `low_res`, by name, such as "quality".
    """

    rle: RLE
    low_res: Tensor
    point: tuple[float, float]
    box: Box
    crop_box: Box
    predicted_iou: float
    stability: float
    area: int
    extras: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A mask that passed the filters, not yet compared with all others.

    `box` (4,) is inclusive, in the image; `rank` is the mask's place among those of its click. `low_res` is
    None where the mask did not stay beside those found so far.
    """

    low_res: Tensor | None
    rank: int
    geometry: Geometry
    crop: Crop
    point: tuple[float, float]
    predicted_iou: float
    stability: float
    box: Boxes
    extras: Mapping[str, float]


def generate(
    segmenter: Segmenter, image: ImageLike, settings: AutomaticSettings = DEFAULTS
) -> list[AutomaticMask]:
    """Find masks of everything in an image.

    Every crop is embedded once and asked with its grid of clicks; each answer is filtered by predicted IoU,
    expected quality if asked for, stability, area and the crop's edge; overlapping masks are suppressed
    within a crop, then between crops, then, if small regions were removed, once more.

    Args:
        segmenter: any model. HQ models of the SAM-HQ family give one mask a click instead of three, unless
            `settings.hq` is "off".
        image: as for `Segmenter.embed`; it is read once.
        settings: see `AutomaticSettings`.

    Returns:
        Masks, best first: of smaller crops before larger ones, then by predicted IoU; with
        `min_mask_region_area`, those that needed no cleaning before the others. The order of equal scores is
        that of the clicks.

    Raises:
        InputError: the value is no image, hq="only" for a model without an HQ token, or `min_quality` for one
            without uncertainty heads.
        ImageError: the file cannot be read.
    """
    check_quality(segmenter, settings)
    photo = to_image(image)
    asked = copy.copy(segmenter)
    if segmenter.device.type != "cpu":
        # A GPU takes the whole batch at once; a CPU is faster with `chunk` of it, which its caches hold.
        asked.chunk = settings.points_per_batch
    masks = [_finished(candidate, photo.size) for candidate in _in_crops(asked, photo, settings)]
    if settings.min_mask_region_area:
        threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
        masks = _without_small_regions(masks, settings.min_mask_region_area, threshold)
    return masks


def check_quality(segmenter: Segmenter, settings: AutomaticSettings) -> None:
    """Refuse to ask for masks of some quality where nothing tells their quality.

    Raises:
        InputError: with what to do.
    """
    told = () if segmenter.heads is None else segmenter.heads.told()
    if settings.min_quality is not None and QUALITY not in told:
        raise InputError(
            f"min_quality is {settings.min_quality}, but {segmenter.name} has no uncertainty heads that tell "
            "the quality of a mask: give their file (--heads FILE), train some (`maskwright train heads`) or "
            "leave min_quality out."
        )


def _in_crops(segmenter: Segmenter, photo: Image, settings: AutomaticSettings) -> list[_Candidate]:
    """The masks of all crops that are not suppressed by others, best first."""
    crops = make_crops(photo.size, settings.crop_n_layers, settings.crop_overlap_ratio)
    held = HeldLogits()
    found = list(chain.from_iterable(_in_crop(segmenter, photo, crop, settings, held) for crop in crops))
    if len(crops) > 1:
        kept = suppress([c.box for c in found], [-c.crop.area for c in found], settings.crop_nms_thresh)
        found = [found[k] for k in kept]
    # Copied together and not where each is finished, for the reason that they were held together.
    return [replace(one, low_res=_logits(one).clone()) for one in found]


def _in_crop(
    segmenter: Segmenter, photo: Image, crop: Crop, settings: AutomaticSettings, held: HeldLogits
) -> list[_Candidate]:
    """The masks of one crop that pass the filters and are not suppressed by others of it, best first."""
    embedding = segmenter.embed(crop.cut(photo))
    per_side = max(1, settings.points_per_side // settings.crop_n_points_downscale_factor**crop.layer)
    points = torch.from_numpy(point_grid(per_side, crop.size))
    found: list[_Candidate] = []
    most = CPU_CELLS if segmenter.device.type == "cpu" else GPU_CELLS
    limit = most
    for batch in points.split(settings.points_per_batch):
        found += _ask(segmenter, embedding, batch, crop, photo.size, settings, held)
        if _cells(found) > limit:
            staying = set(_best(found, settings))
            found = [one if k in staying else _let_go(one, held) for k, one in enumerate(found)]
            limit = max(most, 2 * _cells(found))
    return _staying(segmenter, embedding, found, settings, held)


def _staying(
    segmenter: Segmenter,
    embedding: Embedding,
    found: Sequence[_Candidate],
    settings: AutomaticSettings,
    held: HeldLogits,
) -> list[_Candidate]:
    """A crop's candidates that are not suppressed by others of it, best first; the others are let go."""
    best = _best(found, settings)
    for k in set(range(len(found))).difference(best):
        _let_go(found[k], held)
    staying = [found[k] for k in best]
    lost = [k for k, one in enumerate(staying) if one.low_res is None]
    for first in range(0, len(lost), settings.points_per_batch):
        few = lost[first : first + settings.points_per_batch]
        drawn = _again(segmenter, embedding, [staying[k] for k in few], settings)
        for k, low_res_hw in zip(few, drawn, strict=True):
            staying[k] = replace(staying[k], low_res=held.hold(low_res_hw))
    return staying


def _logits(one: _Candidate) -> Tensor:
    """Those of a candidate that was not let go."""
    assert one.low_res is not None
    return one.low_res


def _cells(found: Sequence[_Candidate]) -> int:
    """Of the logits that candidates hold."""
    return sum(0 if one.low_res is None else one.low_res.numel() for one in found)


def _let_go(one: _Candidate, held: HeldLogits) -> _Candidate:
    """The candidate without its logits."""
    if one.low_res is not None:
        held.let_go(one.low_res)
    return replace(one, low_res=None)


def _best(found: Sequence[_Candidate], settings: AutomaticSettings) -> list[int]:
    """Which candidates stay beside the others, best first."""
    return suppress([one.box for one in found], [one.predicted_iou for one in found], settings.box_nms_thresh)


def _again(
    segmenter: Segmenter, embedding: Embedding, few: Sequence[_Candidate], settings: AutomaticSettings
) -> Tensor:
    """Logits (K, h, w) of masks that stay after all: what suppressed them was suppressed by a later one."""
    points_K12 = torch.tensor([[one.point] for one in few]) - torch.tensor(few[0].crop.box[:2])
    prompts = Prompts(points_K12, torch.ones(len(few), 1, dtype=torch.long))
    masks = segmenter.decode(embedding, prompts, multimask=True, hq=settings.hq)
    return masks.low_res[torch.arange(len(few)), [one.rank for one in few]]


def _ask(
    segmenter: Segmenter,
    embedding: Embedding,
    points_N2: Tensor,
    crop: Crop,
    size: tuple[int, int],
    settings: AutomaticSettings,
    held: HeldLogits,
) -> list[_Candidate]:
    """The candidates among the answers to one batch of clicks."""
    prompts = Prompts(points_N2[:, None].float(), torch.ones(len(points_N2), 1, dtype=torch.long))
    least = settings.thresholds(segmenter.model.family)
    drawn, masks = segmenter.decode_above(embedding, prompts, least.pred_iou, hq=settings.hq)
    # Before anything is made as large as the image. A prediction that is not a number is above nothing.
    believed = masks.iou > least.pred_iou
    if settings.min_quality is not None:
        believed &= masks.extras[QUALITY] >= settings.min_quality
    clicks, ranks = believed.nonzero(as_tuple=True)
    if not len(clicks):
        return []
    points_N2 = points_N2[drawn]
    low_res_Nhw, iou_N = masks.low_res[clicks, ranks], masks.iou[clicks, ranks]
    measures = _measure(low_res_Nhw, embedding.geometry, settings.stability_score_offset)
    boxes_N4 = measures.boxes + np.tile(crop.box[:2], 2)
    keep = (
        (measures.stability >= least.stability)
        & (measures.areas > 0)
        & (measures.areas <= settings.max_area * size[0] * size[1])
        & ~cut_off(boxes_N4, crop.box, size)
    )
    in_image_N2 = points_N2 + torch.tensor(crop.box[:2])
    extras = {name: value[clicks, ranks].tolist() for name, value in masks.extras.items()}
    return [
        _Candidate(
            low_res=held.hold(low_res_Nhw[k]),
            rank=int(ranks[k]),
            geometry=embedding.geometry,
            crop=crop,
            point=(in_image_N2[clicks[k], 0].item(), in_image_N2[clicks[k], 1].item()),
            predicted_iou=iou_N[k].item(),
            stability=float(measures.stability[k]),
            box=boxes_N4[k],
            extras={name: values[k] for name, values in extras.items()},
        )
        for k in np.flatnonzero(keep)
    ]


def _measure(low_res_Nhw: Tensor, geometry: Geometry, offset: float) -> Measures:
    """Measure masks at full size, a few at a time."""
    most = CPU_PIXELS if low_res_Nhw.device.type == "cpu" else GPU_PIXELS
    height, width = geometry.size
    few = max(1, most // max(height * width, geometry.side**2))
    parts = [measure(geometry.to_image(part_Nhw), offset) for part_Nhw in low_res_Nhw.split(few)]
    return Measures(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _finished(candidate: _Candidate, size: tuple[int, int]) -> AutomaticMask:
    """A candidate as a mask of the whole image of `size`."""
    low_res_hw = _logits(candidate)
    inside = candidate.geometry.to_image(low_res_hw[None])[0] > 0
    mask = inside.new_zeros(size)
    mask[candidate.crop.place] = inside
    rle = encode(mask)
    return AutomaticMask(
        rle=rle,
        low_res=low_res_hw.cpu(),
        point=candidate.point,
        box=_box(rle),
        crop_box=candidate.crop.xywh,
        predicted_iou=candidate.predicted_iou,
        stability=candidate.stability,
        area=rle.area,
        extras=candidate.extras,
    )


def _without_small_regions(
    masks: Sequence[AutomaticMask], smallest: int, threshold: float
) -> list[AutomaticMask]:
    """Clean the masks and suppress those that are now alike, preferring the ones that needed no cleaning."""
    result, scores = [], []
    for mask in masks:
        before = mask.rle.decode()
        after = clean(before, smallest)
        if after is not before:
            rle = RLE.encode(after)
            mask = replace(mask, rle=rle, box=_box(rle), area=rle.area)
        result.append(mask)
        scores.append(after is before)
    corners = [(x, y, x + width, y + height) for x, y, width, height in (mask.box for mask in result)]
    return [result[k] for k in suppress(corners, scores, threshold)]


def _box(rle: RLE) -> Box:
    """The box of a mask that is not empty, in the convention of `AutomaticMask.box`."""
    x, y, width, height = rle.box
    return x, y, width - 1, height - 1
