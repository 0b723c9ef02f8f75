"""The values of options in a dataset's one-line name: each parser raises ValueError with what it wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """How to read an option's text, and one line of help."""

    parse: Callable[[str], Any]
    help: str


def text(value: str) -> str:
    """Any text."""
    return value


def names(value: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(filter(None, value.split(",")))


def whole(value: str) -> int:
    """A whole number from 0."""
    if not value.isdecimal():
        raise ValueError("must be a whole number from 0")
    return int(value)


def natural(value: str) -> int:
    """A whole number from 1."""
    if not value.isdecimal() or not int(value):
        raise ValueError("must be a whole number from 1")
    return int(value)


def number(value: str) -> float:
    """A number from 0, such as 0.95."""
    try:
        parsed = float(value)
    except ValueError:
        parsed = -1.0
    if not 0 <= parsed < float("inf"):
        raise ValueError("must be a number from 0")
    return parsed


def number_list(value: str) -> tuple[int, ...]:
    """Whole numbers separated by commas; empty text is no number."""
    try:
        return tuple(int(part) for part in value.split(",") if part)
    except ValueError:
        raise ValueError("must be whole numbers separated by commas") from None


def yes_no(value: str) -> bool:
    """True or false."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in known:
        raise ValueError("must be true or false")
    return known[value.lower()]


def choice(*known: str, or_number: bool = False) -> Callable[[str], str | int]:
    """One of the known words, or a whole number where that is allowed."""

    def parse(value: str) -> str | int:
        if or_number and value.isdecimal():
            return int(value)
        if value not in known:
            raise ValueError("must be " + ", ".join(known) + (" or a whole number" if or_number else ""))
        return value

    return parse


def one_of(*known: str) -> Option:
    """An option that is one of the known words, of which the first is the default."""
    first, *between, last = known
    listed = ", ".join((f"{first} (default)", *between))
    return Option(choice(*known), f"{listed} or {last}")


def fold(value: str) -> tuple[int, int]:
    """`2/5` as (2, 5): the second of five parts; `-2/5` as (-2, 5): all but the second."""
    number, slash, parts = value.partition("/")
    if not slash or not parts.isdecimal() or not number.removeprefix("-").isdecimal():
        raise ValueError("must look like 1/5 (the first of five parts) or -1/5 (all but it)")
    if not 1 <= abs(int(number)) <= int(parts) or int(parts) < 2:
        raise ValueError("there is no such part: count from 1, with at least two parts")
    return int(number), int(parts)
