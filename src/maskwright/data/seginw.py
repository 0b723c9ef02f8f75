"""Segmentation in the Wild: a folder of COCO sets of very different subjects (Zou et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maskwright.data.coco import COCOInstances
from maskwright.data.dataset import Dataset
from maskwright.data.files import require_folders
from maskwright.data.mixture import Mixture
from maskwright.errors import DatasetError, suggestion
from maskwright.types import Sample

TREE = """\
  FOLDER/                                              seginw
    Elephants/train/_annotations_min1cat.coco.json     valid/… for split=val
    Elephants/train/NAME.jpg"""

SPLITS = ("train", "val")
# The original ZIPs hold both; the first has no class without an object and numbers classes from 1.
_FILES = ("_annotations_min1cat.coco.json", "_annotations.coco.json", "*.json")


def open_seginw(
    root: Path, *, split: str = "train", subsets: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Dataset:
    """The subsets of Segmentation in the Wild one after the other; categories are "SUBSET: NAME".

    Args:
        root: the folder.
        split: "train" or "val".
        subsets: only these; by default all that have the split.
        exclude: all but these (DirectSAM's list leaves out Salmon-Fillet).

    Raises:
        DatasetError: naming the subset or the folder that is missing.
    """
    require_folders("seginw", root, [], TREE)
    folder = {"train": "train", "val": "valid"}[split]
    found = sorted(path.parent.name for path in root.glob(f"*/{folder}") if path.is_dir())
    for name in (*subsets, *exclude):
        if name not in found:
            hint = suggestion(name, found)
            raise DatasetError(
                f"{root} has no subset {name!r} with {folder}; it has {', '.join(found)}.{hint}"
            )
    chosen = [name for name in (subsets or found) if name not in exclude]
    if not chosen:
        raise DatasetError(f"{root} has no subset to read. SeginW looks like this:\n{TREE}")
    parts = [_Subset(root / name, folder) for name in chosen]
    return parts[0] if len(parts) == 1 else Mixture([(part, len(part)) for part in parts])


class _Subset(COCOInstances):
    """One subset: a JSON file beside its photos."""

    kind, tree = "seginw", TREE

    def __init__(self, root: Path, folder: str) -> None:
        files = next((found for name in _FILES if (found := sorted((root / folder).glob(name)))), [])
        if len(files) != 1:
            listed = ", ".join(path.name for path in files) or "none"
            raise DatasetError(f"{root / folder} should have one JSON file; found {listed}.\n{TREE}")
        super().__init__(root, annotations=f"{folder}/{files[0].name}", images=folder)
        self.name = root.name

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        sample = super().read(index)
        names = tuple(f"{self.name}: {category}" for category in sample.categories or ())
        return replace(sample, categories=names)
