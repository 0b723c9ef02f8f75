"""Learning-rate schedules as pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math

from maskwright.methods.settings import ScheduleSettings


def rate_factor(schedule: ScheduleSettings, step: int, steps: int) -> float:
    """The factor on the peak learning rate for optimiser step `step` (0-based) of `steps`.

    After a linear warm-up: `constant` stays at 1; `step` is multiplied by gamma at each milestone (HQ-SAM:
    x 0.1 after 10 of 12 epochs); `cosine` falls to `final` over the whole run (Loshchilov & Hutter 2017);
    `wsd` stays at 1 and falls linearly to `final` in the last `decay` part of the run.
    """
    warm = min(1.0, (step + 1) / (schedule.warmup + 1))
    return warm * _shape(schedule, step, steps)


def _shape(schedule: ScheduleSettings, step: int, steps: int) -> float:
    if schedule.name == "step":
        passed = sum(step >= round(milestone * steps) for milestone in schedule.milestones)
        return schedule.gamma**passed
    if schedule.name == "cosine":
        length = max(1, steps - schedule.warmup)
        done = min(1.0, max(0.0, (step - schedule.warmup) / length))
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * done))
    if schedule.name == "wsd":
        length = max(1, round(schedule.decay * steps))
        left = min(1.0, (steps - step) / length)
        return schedule.final + (1 - schedule.final) * left
    return 1.0
