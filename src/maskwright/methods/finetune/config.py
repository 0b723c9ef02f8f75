"""Settings of HQ-SAM training and of fine-tuning any family on one's own data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from maskwright.methods.settings import Fraction, Positive, TrainSettings

PromptName = Literal["box", "jittered_box", "click", "points", "mask"]


class FinetuneSettings(TrainSettings):
    """Fine-tune a promptable model: which part of it learns, from which data, asked with which prompts."""

    model: str = "nano"
    """name or path of the model to start from; train = "hq" gives a plain SAM fresh HQ layers"""
    base: str | None = None
    """for decoder-only files: the SAM they belong to"""
    num_heads: Positive | None = None
    """attention heads of the decoder, where the file does not tell and they are not eight"""
    from_scratch: bool = False
    """draw the weights at random; of the model only the architecture is taken"""
    input_size: Positive | None = None
    """from_scratch: side of the model's input in pixels, a multiple of 32; none: the architecture's own"""
    add_hq: bool = False
    """give a plain SAM fresh HQ layers, as train = "hq" always does"""
    data: tuple[str, ...] = ()
    """training data, each KIND:FOLDER (see `maskwright data list`); several are put together"""
    val: tuple[str, ...] = ()
    """validation data; none: val_share of the training photos are held out"""
    val_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """part of the training photos held out when val is not given; 0: train without validation"""
    val_images: Positive = 60
    """at most this many validation photos, spread evenly over the data"""
    val_masks: Positive = 3
    """at most this many objects of each"""
    train: Literal["hq", "decoder", "all"] = "all"
    """what learns: the HQ token and its layers (HQ-SAM); prompt encoder and decoder; or everything"""
    freeze: tuple[str, ...] = ()
    """what of that shall not learn: encoder, encoder.blocks.A-B, prompt_encoder, decoder (SAM's own), hq, or
    patterns of parameter names with *, as `maskwright models memory` lists them"""
    encoder_rate: Annotated[float, Field(gt=0)] = 0.3
    """train = "all": factor on the image encoder's learning rate"""
    masks_per_image: Positive = 8
    """objects asked for in each photo of a batch; a photo with fewer has some asked for again"""
    min_area: Fraction = 0.0003
    """objects smaller than this part of the photo are left out, in training and validation"""
    prompts: tuple[PromptName, ...] = ("box", "jittered_box", "click", "points", "mask")
    """each photo of a batch is asked with one of these, drawn uniformly"""
    points: Positive = 10
    """clicks of the prompt "points", all on the object"""
    augment: Literal["jitter", "flip", "none"] = "jitter"
    """large-scale jitter and mirroring, mirroring alone, or neither"""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)
    """jitter: range of the photo's size against the model's input"""
    color: bool = True
    """jitter: also change brightness, contrast, saturation and hue"""
    loss: Literal["auto", "hq", "all"] = "auto"
    """hq: the loss of the HQ token's mask alone, which is then the one that is evaluated; all: that of every
    mask and score; auto: hq for train = "hq" (but evaluated in sum), else all"""
    loss_points: Positive = 112 * 112
    """points per mask at which the loss is taken"""
    cache: Literal["auto", "off", "memory", "disk"] = "auto"
    """where image embeddings are kept (disk: in --out), which needs a frozen encoder and no jitter; auto: in
    memory if that is so"""

    @model_validator(mode="after")
    def _consistent(self) -> FinetuneSettings:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale is (smallest, largest)")
        if not self.prompts:
            raise ValueError("prompts names at least one kind")
        if self.input_size is not None and not self.from_scratch:
            raise ValueError("input_size needs from_scratch: stored weights have a size of their own")
        if self.cache in ("memory", "disk") and not self.embeddings_stay:
            raise ValueError('cache needs train = "hq" or "decoder", and augment = "flip" or "none"')
        return self

    @property
    def embeddings_stay(self) -> bool:
        """Whether a photo is embedded alike each time it comes."""
        return (self.train != "all" or "encoder" in self.freeze) and self.augment != "jitter"

    @property
    def hq_only(self) -> bool:
        """Whether only the HQ token's mask has a loss."""
        return self.loss == "hq" or (self.loss == "auto" and self.train == "hq")
