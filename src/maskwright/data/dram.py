"""DRAM: paintings of four movements and more, labelled for testing (Cohen et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskwright.data.dataset import Problem
from maskwright.data.files import Pair, list_files, read_lines, require_folders
from maskwright.data.tree_sets import VOC_NAMES, VOC_PALETTE, VOC_VOID
from maskwright.data.trees import CodedPairs, Tree
from maskwright.errors import DatasetError, FileError, suggestion
from maskwright.io.files import confine

TREE = """\
  FOLDER/                                     DRAM_processed
    test/realism.txt …                        lists of names, such as realism/painter/NAME
    test/realism/painter/NAME.jpg
    labels/realism/painter/NAME.png           PASCAL VOC's numbers of 11 classes"""


def open_dram(root: Path, *, lists: Sequence[str] = (), components: bool = False) -> CodedPairs:
    """DRAM's test paintings, each once, though several lists may name it.

    Args:
        root: the folder.
        lists: names of text files in `test`, without ".txt"; by default all.
        components: one mask a connected part of a class.

    Raises:
        DatasetError: naming the folder or the list that is missing.
    """
    require_folders("dram", root, ["test", "labels"], TREE)
    files = {path.stem: path for path in list_files(root / "test", [".txt"])}
    if not files:
        raise DatasetError(f"{root / 'test'} has no lists. DRAM looks like this:\n{TREE}")
    for name in lists:
        if name not in files:
            known = ", ".join(files)
            raise DatasetError(f"{root} has no list {name!r}; it has {known}.{suggestion(name, files)}")
    names = dict.fromkeys(line for name in lists or files for line in read_lines(files[name]))
    pairs, problems = [], []
    for name in names:
        pair = Pair(_file(root / "test", f"{name}.jpg"), _file(root / "labels", f"{name}.png"))
        if not pair.image.is_file():
            problems.append(Problem("missing_image", str(pair.image), "is listed, but there is no such file"))
        elif not pair.mask.is_file():
            problems.append(Problem("missing_mask", str(pair.image), f"has no label map {pair.mask}"))
        else:
            pairs.append(pair)
    tree = Tree(
        splits={},
        shape=TREE,
        mode="classes",
        names=VOC_NAMES,
        palette=VOC_PALETTE,
        void=(VOC_VOID,),
    )
    return CodedPairs(pairs, problems, tree, components=components)


def _file(folder: Path, name: str) -> Path:
    try:
        return confine(folder, name)
    except FileError as error:
        raise DatasetError(f"a list of DRAM names {name!a}: {error}") from error
