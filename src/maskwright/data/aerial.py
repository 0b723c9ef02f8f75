"""Land from above: LoveDA (Wang et al. 2021), OpenEarthMap (Xia et al. 2023), iSAID (Zamir et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from maskwright.data.coco import COCOInstances
from maskwright.data.colours import Unknown
from maskwright.data.dataset import Problem
from maskwright.data.files import Pair, read_lines, require_folders
from maskwright.data.tree_sets import ISAID_NAMES, ISAID_PALETTE, numbered
from maskwright.data.trees import CodedPairs, Part, Tree, open_tree, pair_parts
from maskwright.errors import DatasetError

LOVEDA_TREE = """\
  FOLDER/
    Train/Urban/images_png/0.png      Rural/… as well; Val/… for split=val
    Train/Urban/masks_png/0.png       0 no data, 1 background, 2 to 7 classes"""

OPENEARTHMAP_TREE = """\
  FOLDER/
    REGION/images/REGION_1.tif        in many regions; train.txt, val.txt and test.txt list names
    REGION/labels/REGION_1.tif        0 unknown, 1 to 8 classes
or all in one: image/NAME.tif and label/NAME.tif"""

ISAID_TREE = """\
  FOLDER/
    cropped/train/images/NAME.png     val/… for split=val
    cropped/train/labels/NAME.png     a number or colour for each object; another ending: ending=_x.png
or, with masks=instances, classes or outlines, the release:
    train/images/P0000.png            or train/images/images/
    train/Instance_masks/images/P0000_instance_id_RGB.png         beside the photo, or in Instance_masks/
    train/Semantic_masks/images/P0000_instance_color_RGB.png      likewise
    train/Annotations/iSAID_train.json"""

AREAS = {"both": ("Urban", "Rural"), "urban": ("Urban",), "rural": ("Rural",)}
SPLITS = ("train", "val")
LISTS = ("all", "train", "val", "test")

ISAIDMasks = Literal["cropped", "instances", "classes", "outlines"]
_ID, _COLOUR = "_instance_id_RGB.png", "_instance_color_RGB.png"
_LOVEDA_NAMES = numbered("no data, background, building, road, water, barren, forest, agriculture")
_OPENEARTHMAP_NAMES = numbered(
    "bareland, rangeland, developed space, road, tree, water, agriculture land, building", 1
)


def open_loveda(
    root: Path, *, split: str = "train", area: str = "both", components: bool = False
) -> CodedPairs:
    """LoveDA's photos and maps, paired by area and name; where there is no data, labels are not trusted.

    Args:
        root: the folder.
        split: "train" or "val".
        area: "urban", "rural" or "both".
        components: one mask a connected part of a class.

    Raises:
        DatasetError: naming the folder that is missing.
    """
    parts = [Part(f"{split.title()}/{name}", ("images_png",), ("masks_png",)) for name in AREAS[area]]
    tree = Tree(
        splits={split: parts},
        shape=LOVEDA_TREE,
        mode="classes",
        names=_LOVEDA_NAMES,
        background=(1,),
        void=(0,),
    )
    return open_tree("loveda", tree, root, components=components)


def open_openearthmap(
    root: Path, *, split: str = "all", partial: bool = False, components: bool = False
) -> CodedPairs:
    """OpenEarthMap's photos and maps, region by region.

    Args:
        root: the folder.
        split: "train", "val" or "test", as the text file of that name lists them, or "all" there are.
        partial: leave out maps without photos: those of xBD's regions come apart from the maps.
        components: one mask a connected part of a class.

    Raises:
        DatasetError: naming the folder or list that is missing, or names in the list without any file.
    """
    parts = [Part("", ("image", "images"), ("label", "labels")), Part("*", ("images",), ("labels",))]
    used = [part for part in parts if part.folders(root)][:1] or parts[1:]
    tree = Tree(splits={split: used}, shape=OPENEARTHMAP_TREE, mode="classes", names=_OPENEARTHMAP_NAMES)
    pairs, problems = pair_parts("openearthmap", root, used, OPENEARTHMAP_TREE)
    if split != "all":
        pairs, problems = _listed(root / f"{split}.txt", pairs, problems)
    if partial:
        problems = [problem for problem in problems if problem.code != "missing_image"]
    return CodedPairs(pairs, problems, tree, components=components)


def _listed(
    file: Path, pairs: Sequence[Pair], problems: Sequence[Problem]
) -> tuple[list[Pair], list[Problem]]:
    """Those whose names a text file lists, and a problem for each name that no file has."""
    wanted = {Path(line).name: line for line in read_lines(file)}
    kept = [pair for pair in pairs if pair.mask.name in wanted]
    alone = [problem for problem in problems if Path(problem.path).name in wanted]
    known = {pair.mask.name for pair in kept} | {Path(problem.path).name for problem in alone}
    lost = [
        Problem("missing_mask", f"{file}: {line}", "is listed, but there is no such file")
        for name, line in wanted.items()
        if name not in known
    ]
    return kept, [*alone, *lost]


def open_isaid(
    root: Path,
    *,
    split: str = "train",
    masks: ISAIDMasks = "cropped",
    ending: str = "",
    unknown: Unknown = "refuse",
) -> CodedPairs | COCOInstances:
    """iSAID: crops with a label map each, or the release's own large photos.

    Args:
        root: the folder.
        split: "train" or "val".
        masks: "cropped": crops and their maps; of the release "instances": maps with a colour an object,
            "classes": maps with a colour a class, "outlines": the polygons in the JSON file.
        ending: of crops, what follows the photo's stem in a map's name.
        unknown: of class maps, see `CodedPairs`.

    Raises:
        DatasetError: naming the folder or file that is missing.
    """
    if ending and masks != "cropped":
        raise DatasetError(f"ending={ending} is for masks=cropped, not for masks={masks}.")
    if masks == "outlines":
        return _outlines(root, split)
    beside = (_ID, _COLOUR)
    if masks == "cropped":
        part = Part(split, ("images",), ("labels",), ending, wrapper="cropped")
    else:
        folder = "Instance_masks" if masks == "instances" else "Semantic_masks"
        maps = (f"{folder}/images", folder, "images")
        part = Part(
            split, ("images/images", "images"), maps, _ID if masks == "instances" else _COLOUR, beside
        )
    classes = masks == "classes"
    tree = Tree(
        splits={split: [part]},
        shape=ISAID_TREE,
        mode="classes" if classes else "instances",
        names=ISAID_NAMES,
        palette=ISAID_PALETTE if classes else None,
        packed=not classes,
    )
    return open_tree("isaid", tree, root, unknown=unknown)


def _outlines(root: Path, split: str) -> COCOInstances:
    images = next(
        (f"{split}/images{end}" for end in ("/images", "") if (root / f"{split}/images{end}").is_dir()), ""
    )
    require_folders("isaid", root, [f"{split}/images"], ISAID_TREE)
    annotations = f"{split}/Annotations/iSAID_{split}.json"
    return COCOInstances(root, annotations=annotations, images=images)
