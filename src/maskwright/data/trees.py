"""Datasets that are a tree of photos and label maps with equal names: one table entry each.

Which folders and encodings: DirectSAM's list of datasets, and each set's own release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maskwright.data.colours import KEPT, Palette, Unknown, colour_name, read_codes
from maskwright.data.dataset import Problem
from maskwright.data.files import (
    MASK_SUFFIXES,
    Pair,
    list_files,
    list_photos,
    pair_files,
    require_folders,
)
from maskwright.data.labels import LabelPairs, Mode
from maskwright.io.masks import LabelMap


@dataclass(frozen=True)
class Part:
    """Where photos and their label maps lie.

    Args:
        folder: below the dataset's folder, with * for every folder of a level.
        images: folder of the photos in it; of several, the first that is there.
        labels: folder of the label maps, likewise.
        ending: what follows the photo's stem in a label map's name; empty means an extension.
        beside: endings of files in the photos' folder that are no photos.
        wrapper: a folder around `folder` that may be missing.
    """

    folder: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    ending: str = ""
    beside: tuple[str, ...] = ()
    wrapper: str = ""

    def folders(self, root: Path) -> list[tuple[Path | None, Path | None]]:
        """The folders of photos and of label maps, in order; one of a pair may be missing, but not of all."""
        for pattern in (f"{self.wrapper}/{self.folder}".strip("/"), self.folder):
            bases = sorted(root.glob(pattern)) if pattern else [root]
            found = [(_first(base, self.images), _first(base, self.labels)) for base in bases]
            if any(images and labels for images, labels in found):
                return [(images, labels) for images, labels in found if images or labels]
        return []


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One dataset.

    Args:
        splits: the parts of each split; the first is the default.
        shape: the expected folders, for people.
        mode: what a label stands for.
        names: of classes.
        palette: of colour-coded maps.
        packed: whether maps may be in colour without a palette, each colour a label; else such are refused.
        background: labels that are no object.
        void: labels of pixels that nobody labelled.
    """

    splits: Mapping[str, Sequence[Part]]
    shape: str
    mode: Mode = "instances"
    names: Mapping[int, str] = field(default_factory=dict)
    palette: Palette | None = None
    packed: bool = False
    background: Sequence[int] = (0,)
    void: Sequence[int] = ()


class CodedPairs(LabelPairs):
    """Photos with maps of numbers or colours.

    A colour that stands for no class, where such are kept, is a category of its own, such as "#ff8000".

    Args:
        pairs: the files.
        unpaired: files without a partner.
        tree: what the maps hold.
        unknown: what becomes of colours that stand for no class: "refuse" the map, "keep" each as a label of
            its own, or count it to the "nearest".
        components: as in `LabelPairs`.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        unpaired: Sequence[Problem],
        tree: Tree,
        *,
        unknown: Unknown = "refuse",
        components: bool = False,
    ) -> None:
        super().__init__(
            pairs,
            unpaired,
            mode=tree.mode,
            names=tree.names,
            components=components,
            background=tree.background,
            void=tree.void,
        )
        self.palette, self.packed, self.unknown = tree.palette, tree.packed, unknown

    def labels(self, index: int) -> LabelMap:
        """The (H, W) label map of item `index`."""
        if not (self.palette or self.packed):
            return super().labels(index)
        return read_codes(self.pairs[index].mask, self.palette, self.unknown)

    def category(self, label: int) -> str | int:
        """What a label stands for, where labels are classes."""
        return colour_name(label - KEPT) if self.palette and label >= KEPT else super().category(label)


def open_tree(
    kind: str,
    tree: Tree,
    root: Path,
    *,
    split: str | None = None,
    unknown: Unknown = "refuse",
    components: bool = False,
) -> CodedPairs:
    """Open a split of a dataset in the table.

    Args:
        kind: its name.
        tree: its entry.
        root: the folder.
        split: one of the entry's splits; by default the first.
        unknown: see `CodedPairs`.
        components: see `CodedPairs`.

    Raises:
        DatasetError: naming the folder that is missing.
    """
    parts = tree.splits[split or next(iter(tree.splits))]
    return CodedPairs(
        *pair_parts(kind, root, parts, tree.shape), tree, unknown=unknown, components=components
    )


def pair_parts(kind: str, root: Path, parts: Sequence[Part], shape: str) -> tuple[list[Pair], list[Problem]]:
    """Pair the photos and the label maps of all parts, by folder and name.

    Raises:
        DatasetError: naming the folder of a part that is missing.
    """
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for part in parts:
        folders = list(part.folders(root))
        if not folders:
            wanted = [str(Path(part.wrapper, part.folder, name[0])) for name in (part.images, part.labels)]
            require_folders(kind, root, [name for name in wanted if not any(root.glob(name))], shape)
        for images, labels in folders:
            photos = list_photos(images, but=list_files(images, part.beside)) if images else []
            maps = list_files(labels, [part.ending] if part.ending else MASK_SUFFIXES) if labels else []
            found, alone = pair_files(photos, maps, mask_ending=part.ending)
            pairs += found
            problems += alone
    return pairs, problems


def _first(base: Path, names: Sequence[str]) -> Path | None:
    return next((base / name for name in names if (base / name).is_dir()), None)
