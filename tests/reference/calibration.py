"""Calibration of certainty maps as written in the papers, pixel by pixel; slow and obvious."""

from __future__ import annotations

from collections.abc import Sequence


def accuracy_above(certainty: Sequence[float], correct: Sequence[bool], threshold: float) -> float:
    kept = [right for sure, right in zip(certainty, correct, strict=True) if sure > threshold]
    return sum(kept) / len(kept) if kept else float("nan")


def accuracy_below(certainty: Sequence[float], correct: Sequence[bool], threshold: float) -> float:
    kept = [right for sure, right in zip(certainty, correct, strict=True) if not sure > threshold]
    return sum(kept) / len(kept) if kept else float("nan")


def expected_calibration_error(certainty: Sequence[float], correct: Sequence[bool], bins: int) -> float:
    """Bin b holds certainty in [b / bins, (b + 1) / bins), the last bin 1 as well."""
    error = 0.0
    for number in range(bins):
        members = [
            (sure, right)
            for sure, right in zip(certainty, correct, strict=True)
            if min(int(sure * bins), bins - 1) == number
        ]
        if members:
            confidence = sum(sure for sure, _ in members) / len(members)
            accuracy = sum(right for _, right in members) / len(members)
            error += len(members) / len(certainty) * abs(accuracy - confidence)
    return error
