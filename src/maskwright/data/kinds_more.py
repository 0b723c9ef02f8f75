"""Kinds of datasets of people, of land from above, and of special subjects."""

from __future__ import annotations

from functools import partial

from maskwright.data import aerial, dram, people, phenobench, seginw, soba, wireframe
from maskwright.data.colours import UNKNOWN, Unknown
from maskwright.data.kind import Kind
from maskwright.data.options import Option, choice, names, one_of, text, yes_no
from maskwright.data.tree_sets import TREES
from maskwright.data.trees import open_tree

_COMPONENTS = {"components": Option(yes_no, "one mask a connected part of a class")}
_UNKNOWN = {
    "unknown": Option(
        choice(*UNKNOWN), "colours of no class: refuse the map, keep each as a label, or take the nearest"
    )
}


def _tree(
    name: str, summary: str, task: str, images: str, licence: str = "unknown", unknown: Unknown = "refuse"
) -> Kind:
    """An entry of the table of trees, with the options that it has a use for."""
    tree = TREES[name]
    options: dict[str, Option] = {}
    if len(tree.splits) > 1:
        options["split"] = one_of(*tree.splits)
    if tree.mode == "classes":
        options |= _COMPONENTS
    if tree.palette:
        option = _UNKNOWN["unknown"]
        options["unknown"] = Option(option.parse, f"{option.help} (default {unknown})")
    return Kind(
        summary=summary,
        task=task,
        images=images,
        licence=licence,
        tree=tree.shape,
        build=partial(open_tree, name, tree, unknown=unknown),
        options=options,
    )


_PEOPLE: dict[str, Kind] = {
    "lip": _tree(
        "lip", "one person each (LIP)", "human parsing", "30,462 train, 10,000 val", "non-commercial research"
    ),
    "cihp": Kind(
        summary="several people each, part by part (CIHP)",
        task="human parsing",
        images="28,280 train, 5,000 val",
        licence="non-commercial research",
        tree=people.CIHP_TREE,
        build=people.open_cihp,
        options={
            "split": one_of(*people.SPLITS),
            "labels": Option(
                choice(*people.CIHP_LABELS),
                "a mask a part of a person (instances, default), a class (categories) or a person (humans)",
            ),
        },
    ),
    "celeba": Kind(
        summary="faces with one mask a part (CelebAMask-HQ)",
        task="face parsing",
        images="30,000",
        licence="non-commercial research and education",
        tree=people.CELEBA_TREE,
        build=people.CelebAMaskHQ,
        options={},
    ),
    "fashionpedia": Kind(
        summary="clothes with outlines of garments and their parts",
        task="garments",
        images="45,623 train, 1,158 val",
        licence="annotations CC BY 4.0, photos under their owners' terms",
        tree=people.FASHIONPEDIA_TREE,
        build=people.open_fashionpedia,
        options={
            "split": one_of(*people.SPLITS),
            "crowd": Option(
                choice("keep", "skip"), "objects drawn as run lengths, marked iscrowd (default keep)"
            ),
            "images": Option(text, "folder of the photos"),
        },
    ),
    "egohos": _tree(
        "egohos",
        "hands and the objects they hold, seen by who holds them (EgoHOS)",
        "hands and objects",
        "8,993 train, 1,124 val",
    ),
}

_AERIAL: dict[str, Kind] = {
    "loveda": Kind(
        summary="land cover of Chinese cities and countryside (LoveDA)",
        task="land cover",
        images="2,522 train, 1,669 val",
        licence="CC BY-NC-SA 4.0, academic use only",
        tree=aerial.LOVEDA_TREE,
        build=aerial.open_loveda,
        options={
            "split": one_of(*aerial.SPLITS),
            "area": one_of(*aerial.AREAS),
            **_COMPONENTS,
        },
    ),
    "isaid": Kind(
        summary="objects in large aerial photos (iSAID)",
        task="aerial objects",
        images="1,411 train, 458 val; DirectSAM's crops 4,792 train",
        licence="academic use only, photos under the terms of DOTA",
        tree=aerial.ISAID_TREE,
        build=aerial.open_isaid,
        options={
            "split": one_of(*aerial.SPLITS),
            "masks": Option(
                choice("cropped", "instances", "classes", "outlines"),
                "crops (default), or the release's maps of objects or classes, or its JSON file",
            ),
            "ending": Option(text, "of crops, what follows the photo's stem in a map's name"),
            "unknown": Option(choice(*UNKNOWN), f"of masks=classes, {_UNKNOWN['unknown'].help}"),
        },
    ),
    "openearthmap": Kind(
        summary="land cover of 97 regions of the world (OpenEarthMap)",
        task="land cover",
        images="5,000; DirectSAM's copy 10,748",
        licence="maps CC BY-NC-SA 4.0, photos under the terms of their sources",
        tree=aerial.OPENEARTHMAP_TREE,
        build=aerial.open_openearthmap,
        options={
            "split": Option(
                choice(*aerial.LISTS), "all (default), or what train.txt, val.txt or test.txt list"
            ),
            "partial": Option(yes_no, "leave out maps without photo, such as those of xBD's regions"),
            **_COMPONENTS,
        },
    ),
    "uavid": _tree(
        "uavid", "streets filmed by drones (UAVid)", "street scenes", "200 train, 70 val", "CC BY-NC-SA 4.0"
    ),
    "treecount": _tree("treecount", "trees from above (TreeCount)", "trees", "83"),
}

_SPECIAL: dict[str, Kind] = {
    "gta5": _tree(
        "gta5",
        "streets of a computer game (GTA5, Playing for Data)",
        "street scenes",
        "24,966; DirectSAM's copy 10,000",
        "research and education",
    ),
    "metropolis": _tree(
        "metropolis",
        "streets of a city, prepared as photos and maps (Mapillary Metropolis)",
        "street scenes",
        "3,000 val in DirectSAM's copy",
        "Mapillary's terms, research",
    ),
    "wireframe": Kind(
        summary="rooms and buildings with their lines drawn (WireFrame)",
        task="boundaries",
        images="5,000 train, 462 val",
        licence="unknown",
        tree=wireframe.TREE,
        build=wireframe.open_wireframe,
        options={"split": one_of(*wireframe.SPLITS)},
    ),
    "seginw": Kind(
        summary="25 small sets of very different subjects (Segmentation in the Wild)",
        task="objects",
        images="10,639 train, 2,270 val in DirectSAM's copy, without Salmon-Fillet",
        licence="that of each set",
        tree=seginw.TREE,
        build=seginw.open_seginw,
        options={
            "split": one_of(*seginw.SPLITS),
            "subsets": Option(names, "only these, separated by commas (default all)"),
            "exclude": Option(names, "all but these; DirectSAM leaves out Salmon-Fillet"),
        },
    ),
    "phenobench": Kind(
        summary="sugar beets and weeds with every leaf numbered (PhenoBench)",
        task="plants and leaves",
        images="1,407 train, 772 val",
        licence="CC BY-SA 4.0",
        tree=phenobench.TREE,
        build=phenobench.open_phenobench,
        options={
            "split": one_of(*phenobench.SPLITS),
            "labels": one_of(*phenobench.LABELS),
        },
    ),
    "suim": _tree(
        "suim",
        "life and wrecks under water (SUIM); its maps have stray colours at edges",
        "underwater scenes",
        "1,525 train_val, 110 test",
        unknown="nearest",
    ),
    "myfood": _tree("myfood", "Brazilian dishes (MyFood)", "food", "750 train, 250 val"),
    "soba": Kind(
        summary="objects and the shadows they cast (SOBA)",
        task="shadows",
        images="933 train, 180 val",
        licence="unknown",
        tree=soba.TREE,
        build=soba.SOBA,
        options={
            "split": one_of(*soba.SPLITS),
            "shadows": Option(choice(*soba.SHADOWS), "keep (default) shadows as masks, skip, or only them"),
        },
    ),
    "dram": Kind(
        summary="paintings with objects of 11 classes (DRAM)",
        task="objects in art",
        images="2,020 val in DirectSAM's copy",
        licence="unknown",
        tree=dram.TREE,
        build=dram.open_dram,
        options={
            "lists": Option(names, "of test/*.txt, only these, without .txt (default all)"),
            **_COMPONENTS,
        },
    ),
}

MORE: dict[str, Kind] = {**_PEOPLE, **_AERIAL, **_SPECIAL}
