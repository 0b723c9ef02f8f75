"""Settings of the mask refiner's training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from maskwright.choices import HQMode
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.settings import Fraction, Positive, TrainSettings


class RefinerSettings(TrainSettings):
    """Train a mask refiner: a prompt encoder and decoder that turn a model's own masks into human ones."""

    model: str = "nano"
    """name or path of the model whose masks are refined; it stays as it is, and its encoder is shared"""
    base: str | None = None
    """for decoder-only files: the SAM they belong to"""
    num_heads: Positive | None = None
    """attention heads of the decoder, where the file does not tell and they are not eight"""
    data: tuple[str, ...] = ()
    """photos with human masks, each KIND:FOLDER (see `maskwright data list`); several are put together"""
    val: tuple[str, ...] = ()
    """validation data; none: val_share of the training photos are held out"""
    val_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """part of the training photos held out when val is not given; 0: train without validation"""
    val_images: Positive = 60
    """at most this many validation photos, spread evenly over the data"""
    val_masks: Positive = 3
    """at most this many objects of each"""
    masks_per_image: Positive = 8
    """objects clicked on in each photo of a batch; a photo with fewer has some clicked on again, elsewhere"""
    min_area: Fraction = 0.0003
    """objects smaller than this part of the photo are left out, in training and validation"""
    max_area: Fraction = 0.95
    """masks of the model that cover more than this part of the photo are left out, as in pseudo-labels"""
    min_iou: Fraction = 0.7
    """the best of the model's masks for a click is refined if its IoU with the human mask is at least this"""
    pred_iou_thresh: Annotated[float, Field(ge=0)] = 0.88
    """and if the model's own estimate of that IoU is at least this (the mask generator's filter)"""
    stability_score_thresh: Fraction = 0.95
    """and if its stability is at least this (the mask generator's filter)"""
    stability_score_offset: Annotated[float, Field(gt=0)] = 1.0
    """stability: IoU of the mask at logits above this and above minus this"""
    hq: HQMode = "sum"
    """which of an HQ model's logits are refined, as for `maskwright label masks`"""
    focal_weight: Annotated[float, Field(ge=0)] = 20.0
    """weight of the focal loss"""
    focal_alpha: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """weight of object pixels in it, background's being the rest; below 0.5, masks shrink where in doubt"""
    dice_weight: Annotated[float, Field(ge=0)] = 1.0
    """weight of the Dice loss"""
    augment: Literal["jitter", "flip", "none"] = "flip"
    """large-scale jitter and mirroring, mirroring alone, or neither"""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)
    """jitter: range of the photo's size against the model's input"""
    color: bool = True
    """jitter: also change brightness, contrast, saturation and hue"""
    cache: Literal["auto", "off", "memory", "disk"] = "auto"
    """where image embeddings are kept (disk: in --out), for training only without jitter; auto: in memory"""

    @model_validator(mode="after")
    def _consistent(self) -> RefinerSettings:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale is (smallest, largest)")
        if self.cache in ("memory", "disk") and self.augment == "jitter":
            raise ValueError('cache needs augment = "flip" or "none": with jitter no photo comes twice')
        return self

    def photos(self) -> FinetuneSettings:
        """How photos are read and augmented: as in fine-tuning, each object with one click anywhere on it."""
        return FinetuneSettings(
            steps=1,
            seed=self.seed,
            model=self.model,
            base=self.base,
            num_heads=self.num_heads,
            data=self.data,
            val=self.val,
            val_share=self.val_share,
            train="decoder",
            masks_per_image=self.masks_per_image,
            min_area=self.min_area,
            prompts=("points",),
            points=1,
            augment=self.augment,
            scale=self.scale,
            color=self.color,
        )
