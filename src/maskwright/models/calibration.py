"""Maps from what a head says to what it should have said: a calibrated value, for K heads in one go.

Only their use is here, since a model carries them; they are fitted in `methods/uncertainty/calibrators.py`.
Axes: A masks, K heads, J knots. Everything is computed in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from maskwright.errors import WeightsError

EPSILON = 1e-6
"""Where the logit of a value near 0 or 1 is cut off."""
TINY = 1e-12
"""In place of the width of a step without any."""


@dataclass(frozen=True, eq=False)
class IdentityCalibrator:
    """Leaves values as they are."""

    def __call__(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def to_state(self) -> dict[str, Tensor]:
        """Nothing, for a file of tensors."""
        return {}


@dataclass(frozen=True, eq=False)
class TemperatureCalibrator:
    """q = σ(logit(p) / T + b): Platt scaling of a probability, temperature scaling where b is 0.

    Strictly rising, so it never changes an order (Guo et al., ICML 2017).

    Args:
        temperature: () T > 0.
        bias: () b.
    """

    temperature: Tensor
    bias: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Calibrate values in [0, 1] of any shape."""
        return torch.sigmoid(torch.logit(values.float(), eps=EPSILON) / self.temperature + self.bias)

    def to_state(self) -> dict[str, Tensor]:
        """As tensors for a file."""
        return {"temperature": self.temperature, "bias": self.bias}


@dataclass(frozen=True, eq=False)
class IsotonicCalibrator:
    """Linear between knots, never falling; values outside [0, 1] are taken as the nearest end.

    Args:
        knots: (J,) rising strictly from 0 to 1.
        heights: (J,) in [0, 1], never falling.
    """

    knots: Tensor
    heights: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Calibrate values of any shape."""
        flat = values.float().reshape(1, -1)
        return _interpolate(flat, self.knots[None], self.heights[None]).reshape(values.shape)

    def to_state(self) -> dict[str, Tensor]:
        """As tensors for a file."""
        return {"knots": self.knots, "heights": self.heights}


Calibrator = IdentityCalibrator | TemperatureCalibrator | IsotonicCalibrator


def calibrator_from_state(state: Mapping[str, Tensor]) -> Calibrator:
    """The calibrator whose `to_state` this is; it may come from a file of anybody's.

    Raises:
        WeightsError: for tensors that are no calibrator's: other names, shapes, or values that would not
            give a map from [0, 1] to [0, 1].
    """
    names = set(state)
    tensors = {name: tensor.float() for name, tensor in state.items()}
    if not names:
        return IdentityCalibrator()
    if names == {"temperature", "bias"}:
        if any(tensor.ndim for tensor in tensors.values()) or not tensors["temperature"] > 0:
            raise WeightsError(
                "a calibration's temperature and bias must be scalars, the temperature above 0."
            )
        return TemperatureCalibrator(**tensors)
    if names == {"knots", "heights"}:
        knots, heights = tensors["knots"], tensors["heights"]
        if knots.ndim != 1 or len(knots) < 2 or knots.shape != heights.shape or not _is_map(knots, heights):
            raise WeightsError("a calibration's knots must rise from 0 to 1, and its heights stay in [0, 1].")
        return IsotonicCalibrator(knots, heights)
    raise WeightsError(f"no calibration has the tensors {', '.join(sorted(names))}.")


class GroupedCalibrator(nn.Module):
    """K calibrators of whatever kinds on K columns in one call; not part of a model's `state_dict`.

    Args:
        calibrators: one for each head.
    """

    temperature_K: Tensor
    bias_K: Tensor
    knots_KJ: Tensor
    heights_KJ: Tensor
    warm_K: Tensor
    stepped_K: Tensor

    def __init__(self, calibrators: Sequence[Calibrator]) -> None:
        super().__init__()
        plain = TemperatureCalibrator(torch.tensor(1.0), torch.tensor(0.0))
        straight = IsotonicCalibrator(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
        warm, stepped = _kind(calibrators, plain), _kind(calibrators, straight)
        longest = max((len(part.knots) for part in stepped), default=2)
        tables = {
            "temperature_K": _stack([part.temperature for part in warm]),
            "bias_K": _stack([part.bias for part in warm]),
            "knots_KJ": _stack([_lengthened(part.knots, longest) for part in stepped]),
            "heights_KJ": _stack([_lengthened(part.heights, longest) for part in stepped]),
            "warm_K": torch.tensor([part is not plain for part in warm], dtype=torch.bool),
            "stepped_K": torch.tensor([part is not straight for part in stepped], dtype=torch.bool),
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)
        # Asked here once, not of the tensors on a GPU with every mask.
        self._any_warm, self._any_stepped = bool(self.warm_K.any()), bool(self.stepped_K.any())

    def forward(self, values_AK: Tensor) -> Tensor:
        """Calibrate (A, K) values, each column by its own calibrator."""
        result_AK = values_AK
        if self._any_warm:
            logits_AK = torch.logit(values_AK.float(), eps=EPSILON)
            warmed_AK = torch.sigmoid(logits_AK / self.temperature_K + self.bias_K)
            result_AK = torch.where(self.warm_K, warmed_AK, result_AK)
        if self._any_stepped:
            columns_KA = values_AK.float().T.contiguous()
            stepped_AK = _interpolate(columns_KA, self.knots_KJ, self.heights_KJ).T
            result_AK = torch.where(self.stepped_K, stepped_AK, result_AK)
        return result_AK


C = TypeVar("C", TemperatureCalibrator, IsotonicCalibrator)


def _kind(calibrators: Sequence[Calibrator], neutral: C) -> list[C]:
    """The calibrators of one kind, in place of the others one that does nothing."""
    return [part if isinstance(part, type(neutral)) else neutral for part in calibrators]


def _stack(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts) if parts else torch.empty(0)


def _lengthened(table: Tensor, length: int) -> Tensor:
    """Repeat the last entry: steps without width at the end of the knots."""
    return torch.cat([table, table[-1:].expand(length - len(table))])


def _is_map(knots: Tensor, heights: Tensor) -> bool:
    rising = bool((knots.diff() > 0).all()) and knots[0] == 0 and knots[-1] == 1
    return bool(rising and (heights.diff() >= 0).all() and heights[0] >= 0 and heights[-1] <= 1)


def _interpolate(values_KA: Tensor, knots_KJ: Tensor, heights_KJ: Tensor) -> Tensor:
    """(K, A) heights of the broken lines at the values, which are taken into [0, 1]."""
    values_KA = values_KA.clamp(0, 1)
    left_KA = torch.searchsorted(knots_KJ[:, 1:-1].contiguous(), values_KA, right=True)
    start_KA, low_KA = knots_KJ.gather(1, left_KA), heights_KJ.gather(1, left_KA)
    end_KA, high_KA = knots_KJ.gather(1, left_KA + 1), heights_KJ.gather(1, left_KA + 1)
    return torch.lerp(low_KA, high_KA, (values_KA - start_KA) / (end_KA - start_KA).clamp_min(TINY))
