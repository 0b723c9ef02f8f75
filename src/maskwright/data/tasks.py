"""The kinds of masks that training tells apart, and their numbers in a model's task prompts.

SUM (Liu et al. 2024), section 3.2.4: what counts as one mask differs between datasets, so a prompt says which
kind is wanted. The numbers are those of the released code.
"""

from __future__ import annotations

from typing import Literal, get_args

from maskwright.errors import ConfigError, suggestion

Task = Literal["unlabeled", "salient", "entity", "part"]

TASKS: dict[str, int] = {name: number for number, name in enumerate(get_args(Task))}
"""unlabeled: machine-made masks of any kind; salient: the object of a photo; entity: all things and stuff;
part: parts of things."""


def task_id(task: str | int) -> int:
    """The number of a task, given by name or by its number.

    Raises:
        ConfigError: for any other value, with the known names.
    """
    if isinstance(task, str) and task in TASKS:
        return TASKS[task]
    if not isinstance(task, str) and task in TASKS.values():
        return int(task)
    known = ", ".join(f"{name} ({number})" for name, number in TASKS.items())
    raise ConfigError(f"unknown task {task!r}; there are {known}.{suggestion(str(task), TASKS)}")
