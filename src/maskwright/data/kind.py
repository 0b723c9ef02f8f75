"""What the registry knows of a family of datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from maskwright.data.dataset import Dataset
from maskwright.data.options import Option


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A dataset family.

    Args:
        summary: what it is, in a few words.
        task: what it is annotated for, such as "salient objects" or "scene parsing".
        images: how many there are, such as "20,210 train, 2,000 val"; "any" for a layout of one's own files.
        licence: a short note on the terms; "unknown" where nobody says.
        tree: the folder it expects.
        build: opens it; called with `root` and the options.
        options: what can be chosen.
    """

    summary: str
    task: str
    images: str
    licence: str
    tree: str
    build: Callable[..., Dataset]
    options: Mapping[str, Option]
