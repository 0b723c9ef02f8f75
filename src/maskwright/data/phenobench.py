"""PhenoBench: beets and weeds from above, with 16-bit maps of plants and leaves (Weyler et al. 2023)."""

from __future__ import annotations

from pathlib import Path

from maskwright.data.tree_sets import numbered
from maskwright.data.trees import CodedPairs, Part, Tree, open_tree

TREE = """\
  FOLDER/
    train/images/NAME.png             val/… for split=val
    train/leaf_instances/NAME.png     16 bits; plant_instances/ or semantics/ with labels=…"""

SPLITS = ("train", "val")
LABELS = ("leaf_instances", "plant_instances", "semantics")
_NAMES = numbered("soil, crop, weed, partial crop, partial weed")


def open_phenobench(root: Path, *, split: str = "train", labels: str = "leaf_instances") -> CodedPairs:
    """PhenoBench's photos with maps of one kind.

    Args:
        root: the folder.
        split: "train" or "val".
        labels: one of `LABELS`; only of "semantics" do samples have categories.

    Raises:
        DatasetError: naming the folder that is missing.
    """
    part = Part(split, ("images",), (labels,))
    tree = Tree(
        splits={split: [part]},
        shape=TREE,
        mode="classes" if labels == "semantics" else "instances",
        names=_NAMES,
    )
    return open_tree("phenobench", tree, root)
