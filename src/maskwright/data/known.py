"""Masks that come with what a model's uncertainty heads expected of them, read without opening any photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from maskwright.io.rle import RLE


@dataclass(frozen=True)
class KnownMask:
    """One mask of an item.

    Args:
        id: among `Sample.ids` of that item.
        mask: at the photo's size.
        quality: expected IoU.
        category: its name, or None.
    """

    id: int
    mask: RLE
    quality: float
    category: str | None = None


@runtime_checkable
class HasQuality(Protocol):
    """A dataset that may hold expected qualities."""

    def known(self, index: int) -> Sequence[KnownMask] | None:
        """The masks of an item; None if the set was made without heads.

        Raises:
            FileError: naming the file, when it cannot be used.
        """
