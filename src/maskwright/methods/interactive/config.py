"""Settings of SUM's training, and what it shares with its variant on the HQ-SAM architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from maskwright.config import Settings
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.settings import Fraction, Positive, TrainSettings

Weight = Annotated[float, Field(ge=0)]


class MachineLabelSettings(Settings):
    """Which machine-made labels are learned from, and how far they are believed."""

    unlabeled: tuple[str, ...] = ()
    """photos with machine-made labels: folders of `maskwright label masks`, or KIND:FOLDER each; the next
    four are their options, where the kind has them and they are not given there"""
    min_ratio: Weight = 1.0
    """leave out masks of fewer than 100 times this many pixels, counted where the photo (or the crop
    in which they were found) has a longest side of 1024"""
    min_refine_ratio: Weight = 100.0
    """masks smaller than this, measured alike, are trusted as they are"""
    max_ratio: Fraction = 0.95
    """leave out masks that cover more than this part of their crop"""
    target: Literal["label", "refined"] = "label"
    """what is learned, the labels or the refined masks, and so which certainty is used: that of the label
    (1 - |σ(s) - σ(r)|), or the refiner's of its own mask (|2 σ(r) - 1|)"""
    max_masks: Positive = 30
    """at most this many masks of a photo, drawn at random"""
    use_uncertainty_loss: bool = True
    """pixels of machine-made labels count by their certainty"""
    use_uncertainty_clicks: bool = True
    """clicks fall on pixels of machine-made labels with probability proportional to their certainty"""
    theta: Annotated[float, Field(ge=0, lt=1)] = 0.6
    """certainty a pixel must exceed to count in the Dice loss (paper 0.6, released code 0.5)"""
    focal_weight: Weight = 20.0
    """weight of the focal loss"""
    dice_weight: Weight = 1.0
    """weight of the Dice loss"""
    loss_at: Literal["input", "masks"] = "input"
    """resolution of the loss on machine-made labels and in interactive rounds: that of the model's input, as
    published, or of the decoder's masks, which is a quarter of it and much cheaper on a CPU"""
    task_prompts: Literal["none", "embedding", "tokens", "both"] = "none"
    """learn a prompt for each task: added to the dense prompt, to the mask tokens, or to both"""
    val_clicks: Positive = 3
    """clicks after which an object is also measured, when the first prompt is a click"""
    freeze_unlabeled_task: bool = False
    """the prompt of machine-made labels stays zero: asking without a task is then asking for their kind"""


class InteractiveSettings(MachineLabelSettings, TrainSettings):
    """SUM: fine-tune a model on rounds of prompts and corrections, with human and machine-made labels."""

    model: str = "nano"
    """name or path of the model to start from"""
    base: str | None = None
    """for decoder-only files: the SAM they belong to"""
    num_heads: Positive | None = None
    """attention heads of the decoder, where the file does not tell and they are not eight"""
    root: Path | None = None
    """folder below which the folders of labeled, unlabeled and val lie, unless they are absolute"""
    labeled: tuple[str, ...] = ()
    """photos with human masks, KIND:FOLDER?task=NAME&weight=NUMBER each: a photo of weight 2 comes twice as
    often as one of weight 1"""
    unlabeled_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """part of the photos that come from unlabeled, when labeled is given too"""
    val: tuple[str, ...] = ()
    """validation data, KIND:FOLDER?task=NAME each; none: val_share of the labeled photos are held out"""
    val_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """part of the labeled photos held out when val is not given; 0: train without validation"""
    val_images: Positive = 60
    """at most this many photos of each validation set, spread evenly over it"""
    val_masks: Positive = 3
    """at most this many objects of each"""
    train: Literal["decoder", "all"] = "all"
    """what learns: prompt encoder and decoder, or everything"""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """train = "all": factor on the learning rate from each block of the image encoder to the one before it"""
    min_area: Fraction = 0.0003
    """human masks smaller than this part of the photo are left out, in training and validation"""
    first: Literal["box", "click", "either"] = "either"
    """the first prompt: the mask's box, a click on it, or one of the two at random for each photo"""
    box_noise: Weight = 0.1
    """standard deviation of each side of the box, as a part of its length"""
    rounds: Positive = 7
    """passes of the decoder for each photo: the first prompt, corrective clicks with the logits before, and
    (from three rounds on) a last one with these logits and no new click"""
    iou_weight: Weight = 1.0
    """weight of the squared error of the predicted IoU"""
    augment: Literal["jitter", "flip", "none"] = "none"
    """large-scale jitter and mirroring, mirroring alone, or neither, as published"""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)
    """jitter: range of the photo's size against the model's input"""
    color: bool = True
    """jitter: also change brightness, contrast, saturation and hue"""
    cache: Literal["auto", "off", "memory", "disk"] = "auto"
    """where image embeddings are kept (disk: in --out), which needs a frozen encoder and no jitter; auto: in
    memory if that is so"""

    @model_validator(mode="after")
    def _consistent(self) -> InteractiveSettings:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale is (smallest, largest)")
        if self.cache in ("memory", "disk") and not self.embeddings_stay:
            raise ValueError('cache needs train = "decoder", and augment = "flip" or "none"')
        return self

    @property
    def embeddings_stay(self) -> bool:
        """Whether a photo is embedded alike each time it comes."""
        return self.train != "all" and self.augment != "jitter"


class AlternatingSettings(MachineLabelSettings, FinetuneSettings):
    """SUM on the HQ-SAM architecture: a step on human masks as HQ-SAM's, then one on machine-made labels."""

    unlabeled_photos: Positive = 1
    """photos with machine-made labels in a batch of their own steps; at most batch_size"""

    @model_validator(mode="after")
    def _fits(self) -> AlternatingSettings:
        if self.unlabeled_photos > self.batch_size:
            raise ValueError("unlabeled_photos is at most batch_size")
        return self
