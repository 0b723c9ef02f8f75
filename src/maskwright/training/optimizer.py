"""From a method's parameter groups to a torch optimiser, with everything else frozen."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from maskwright.debug import debug
from maskwright.errors import TrainingError
from maskwright.methods.base import Method, ParameterGroup
from maskwright.methods.settings import OptimizerSettings


def freeze_rest(method: Method) -> dict[str, nn.Parameter]:
    """Let exactly the method's parameters learn; return them by name, in the order of the groups.

    Raises:
        TrainingError: nothing learns.
    """
    learning: dict[str, nn.Parameter] = {}
    for group in method.parameter_groups():
        assert not learning.keys() & group.parameters.keys(), f"group {group.name!r} repeats parameters"
        learning.update(group.parameters)
        _announce(group)
    if not learning:
        raise TrainingError(f"method {method.name!r} lets no parameter learn; check its settings.")
    named = dict(method.model.named_parameters())
    assert learning.keys() <= named.keys(), sorted(learning.keys() - named.keys())[:5]
    for name, parameter in named.items():
        parameter.requires_grad_(name in learning)
    return learning


def _announce(group: ParameterGroup) -> None:
    named = ((name, tuple(parameter.shape)) for name, parameter in group.parameters.items())
    debug(
        lambda: f"learns: {group.name}, rate x {group.lr_scale:g}: {', '.join(f'{n} {s}' for n, s in named)}"
    )


def build_optimizer(groups: list[ParameterGroup], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Make the optimiser; each group remembers its peak rate as "peak", and its end, for the schedule."""
    options = [_options(group, settings) for group in groups]
    if settings.name == "sgd":
        return torch.optim.SGD(options, lr=settings.lr, momentum=settings.betas[0])
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(options, lr=settings.lr, betas=settings.betas, eps=settings.eps)


def set_rate(optimizer: torch.optim.Optimizer, factor: float, done: float) -> None:
    """Set every group's learning rate to factor x its peak, or 0 when its part of the run is done."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"] if done < group["until"] else 0.0


def _options(group: ParameterGroup, settings: OptimizerSettings) -> dict[str, Any]:
    rate = settings.lr * group.lr_scale
    momentum = settings.betas[0] if group.momentum is None else group.momentum
    own = {"momentum": momentum} if settings.name == "sgd" else {"betas": (momentum, settings.betas[1])}
    return {
        "params": list(group.parameters.values()),
        "peak": rate,
        "lr": rate,
        "until": group.until,
        "weight_decay": settings.weight_decay if group.weight_decay is None else group.weight_decay,
        **own,
    }
