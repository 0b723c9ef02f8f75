"""Settings of the boundary model's training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from maskwright.methods.settings import FREE, Fraction, Positive, TrainSettings

Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class BoundarySettings(TrainSettings):
    """Train a boundary model: the outlines of everything that was annotated, without a prompt."""

    model: str = "nvidia/segformer-b0-finetuned-cityscapes-1024-1024"
    """where to start: a boundary model (name, file, folder or hub id), or a SegFormer for anything else"""
    from_scratch: bool = False
    """random weights: only the architecture is the model's; segformer-b0 to segformer-b5 need no file then"""
    data: tuple[str, ...] = ()
    """photos with masks or outlines, each KIND:FOLDER (see `maskwright data list`), put together"""
    val: tuple[str, ...] = ()
    """validation data; none: val_share of the training photos are held out"""
    val_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """part of the training photos held out when val is not given; 0: train without validation"""
    val_images: Positive = 40
    """at most this many validation photos, spread evenly over the data"""
    resolution: Positive | None = None
    """side to which photos are stretched, or their longest side with keep_aspect; none: as they are"""
    keep_aspect: bool = False
    """with a resolution, keep the shape of photos; without one they keep it anyway"""
    thickness: Positive = 3
    """width of the outlines to learn, in pixels of the training resolution"""
    style: Literal["exact", "official", "original"] = "exact"
    """exact: lines of this very width; official: as published, with a line around the image; original: the
    same as first published"""
    augment: Literal["strong", "published", "none"] = "strong"
    """strong: a random window, turned, scaled, mirrored, its colours changed; published: blur, colours and
    gray together in a quarter of the photos; or none"""
    crop: Positive = 512
    """strong: side of the random window of a photo that a batch holds"""
    scale: tuple[Rate, Rate] = (0.5, 1.5)
    """strong: range of a photo's size against the training resolution"""
    degrees: Annotated[float, Field(ge=0, le=180)] = 180.0
    """strong: photos are turned by up to this much, either way"""
    turned: Fraction = 0.5
    """strong: share of the photos that are turned"""
    flips: Literal["both", "horizontal", "none"] = "both"
    """strong: mirror photos in both directions, left and right only, or not"""
    color: bool = True
    """strong: also change brightness, contrast, saturation, hue and gamma, blur, and add noise"""
    annotators: Literal["all", "one"] = "all"
    """several annotators of a photo: the share that drew each pixel, or one at random a step (strong)"""
    loss: Literal["bce", "balanced", "consensus", "soft"] = "balanced"
    """bce: published; balanced: by class (HED); consensus: balanced, disputed pixels left out (RCF);
    soft: cross-entropy to the share of annotators"""
    eta: Fraction = 0.5
    """consensus: pixels that more than this share of the annotators drew are boundary"""
    negatives: Rate = 1.1
    """consensus: factor on the weight of pixels without boundary (RCF's lambda)"""
    dice: Weight = 0.0
    """weight of a Dice loss beside it"""
    encoder_rate: Rate = 1.0
    """factor on the encoder's learning rate"""
    cache: Annotated[float, Field(ge=0, json_schema_extra=FREE)] = 2.0
    """GiB of memory for photos that are decoded and ready, over all workers; the others are read each time"""

    @model_validator(mode="after")
    def _consistent(self) -> BoundarySettings:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale is (smallest, largest)")
        if self.annotators == "one" and self.augment != "strong":
            raise ValueError('annotators = "one" needs augment = "strong"')
        if self.style != "exact" and self.augment == "strong":
            raise ValueError(f'style = "{self.style}" paints the frame of the image: use another augment')
        return self
