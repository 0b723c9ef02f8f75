"""The settings that every training run has; a method's own settings class inherits them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from maskwright.config import Settings

# A field that may change when a run is resumed: the result does not depend on it, or (device and precision)
# what it stands for is in the run's record by itself.
FREE = {"free": True}

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class OptimizerSettings(Settings):
    """The optimiser of all parameter groups."""

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    """adam (L2 in the gradient), adamw (decoupled decay), or sgd (with momentum betas[0])"""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """peak learning rate; a parameter group may scale it"""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """decay of the gradient's mean and variance"""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """added to the denominator"""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """decay of weights; biases, norms and embeddings are spared where the method says so"""


class ScheduleSettings(Settings):
    """How the learning rate moves over the run, as a factor of the peak."""

    name: Literal["constant", "step", "cosine", "wsd"] = "constant"
    """constant; step (x gamma at milestones); cosine (down to final); wsd (warm up, stay, decay linearly)"""
    warmup: Annotated[int, Field(ge=0)] = 0
    """optimiser steps of linear warm-up from zero"""
    milestones: tuple[Fraction, ...] = ()
    """step: the parts of the run (0 to 1) after which the rate is multiplied by gamma"""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """step: the factor at each milestone"""
    decay: Fraction = 0.2
    """wsd: the part of the run, at its end, in which the rate falls to final"""
    final: Fraction = 0.0
    """cosine, wsd: the last factor"""

    @model_validator(mode="after")
    def _steps_somewhere(self) -> ScheduleSettings:
        if self.name == "step" and not self.milestones:
            raise ValueError("a step schedule needs milestones; without any, use constant")
        return self


class TrainSettings(Settings):
    """What the training loop itself needs to know, whatever the method."""

    seed: Annotated[int, Field(ge=0)] = 42
    """seed of every random choice"""
    steps: Positive | None = None
    """length of the run in optimiser steps; give this or epochs"""
    epochs: Positive | None = None
    """length of the run in passes over the training data; give this or steps"""
    batch_size: Positive = 4
    """images a process takes through the model at once"""
    accumulate: Positive = 1
    """batches whose gradients are averaged into one optimiser step"""
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """the gradient's norm is clipped to this; none: not clipped"""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of the moving average of weights that is evaluated and exported; 0: off"""
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Field(json_schema_extra=FREE)] = "auto"
    """arithmetic of the forward pass; auto: bf16 where the GPU has it, else fp32"""
    device: Annotated[str, Field(json_schema_extra=FREE)] = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    workers: Annotated[int, Field(ge=0, json_schema_extra=FREE)] = 0
    """processes that prepare batches; 0: the training process itself (the batches are the same)"""
    worker_timeout: Annotated[float, Field(gt=0, json_schema_extra=FREE)] = 180.0
    """seconds to wait for a batch from a worker before giving up"""
    evaluate_every: Positive | None = None
    """optimiser steps between evaluations; none: at the end of each epoch"""
    save_every: Annotated[Positive | None, Field(json_schema_extra=FREE)] = None
    """optimiser steps between checkpoints; none: at each evaluation"""
    save_models: Annotated[Positive | None, Field(json_schema_extra=FREE)] = None
    """epochs after which the model is kept, by itself, below epochs/; none: only the best, at the end"""
    keep_models: Annotated[Positive | None, Field(json_schema_extra=FREE)] = None
    """keep only so many of them, the newest; none: all"""
    log_every: Annotated[Positive, Field(json_schema_extra=FREE)] = 10
    """optimiser steps between lines in the log"""

    @model_validator(mode="after")
    def _one_length(self) -> TrainSettings:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs: one of them, not both")
        return self
