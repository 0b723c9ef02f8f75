"""Kinds of datasets of objects, of their parts, and of everything there is."""

from __future__ import annotations

from functools import partial

from maskwright.data import (
    bsds,
    entityseg,
    imagenet_parts,
    lvis,
    pairs,
    panoptic,
    panoptic_parts,
    perseg,
    sa1b,
)
from maskwright.data.kind import Kind
from maskwright.data.kinds_layouts import AREA_OPTIONS, COCO_OPTIONS
from maskwright.data.options import Option, choice, names, one_of, text


def _hqseg(name: str, summary: str, images: str, licence: str = "unknown") -> Kind:
    splits = tuple(pairs.HQSEG[name])
    return Kind(
        summary=f"{summary} (HQSeg-44K)",
        task="salient objects" if "salient" in summary else "fine objects",
        images=images,
        licence=licence,
        tree=pairs.hqseg_tree(name),
        build=partial(pairs.open_hqseg, name),
        options={"split": Option(choice(*splits), f"{' or '.join(splits)} (default {splits[0]})")},
    )


_IMAGENET = Option(text, "folder of ImageNet's classes (default ImageNet/train, ImageNet or train)")


def _panoptic(
    name: str,
    summary: str,
    *,
    images: str,
    licence: str = "Creative Commons, which one is not said; photos under the terms of COCO or Objects365",
) -> Kind:
    return Kind(
        summary=summary if name == "panoptic" else f"{summary} (COCONut)",
        task="panoptic",
        images=images,
        licence=licence,
        tree=panoptic.LAYOUTS[name].tree,
        build=partial(panoptic.Panoptic, name),
        options={
            "images": Option(names, "folders of the photos, separated by commas"),
            "maps": Option(text, "folder of the maps"),
            "annotations": Option(text, "JSON file with the segments' classes; empty: do without"),
            "crowd": Option(choice("keep", "skip"), "what to do with crowd segments (default keep)"),
        },
    )


OBJECTS: dict[str, Kind] = {
    "bsds500": Kind(
        summary="photos with several human segmentations each",
        task="boundaries",
        images="200 train, 100 val, 200 test",
        licence="non-commercial research and education",
        tree=bsds.TREE,
        build=bsds.BSDS500,
        options={
            "split": Option(choice(*bsds.SPLITS), "train, val, test (default) or trainval"),
            "annotator": Option(
                choice("all", "first", or_number=True), "first (default), all, or a number from 0"
            ),
        },
    ),
    "sa1b": Kind(
        summary="photos with a JSON file of machine-made masks each, as Meta publishes SA-1B",
        task="everything",
        images="11,185,362",
        licence="SA-1B research licence",
        tree=sa1b.TREE,
        build=sa1b.SA1B,
        options={
            "images": Option(text, "folder of the photos, if not beside the JSON files"),
            **AREA_OPTIONS,
        },
    ),
    "entityseg": Kind(
        summary="photos cut into things and stuff by people (EntitySeg)",
        task="everything",
        images="31,913 train, 1,314 val",
        licence="CC BY-NC 4.0",
        tree=entityseg.TREE,
        build=entityseg.EntitySeg,
        options={
            "split": one_of(*entityseg.SPLITS),
            "annotations": Option(names, "JSON files, in place of the split's own"),
            "images": Option(text, "folder of the photos (default images, or images_lr)"),
        },
    ),
    "lvis": Kind(
        summary="COCO's photos with outlines of objects of more than a thousand categories",
        task="objects",
        images="100,170 train, 19,809 val",
        licence="CC BY 4.0, photos under Flickr's terms",
        tree=lvis.TREE,
        build=lvis.LVIS,
        options={
            **COCO_OPTIONS,
            "images": Option(text, "folder that holds train2017 and val2017 (default FOLDER)"),
        },
    ),
    "paco": Kind(
        summary="COCO's photos with outlines of objects and of their parts (PACO-LVIS)",
        task="objects and parts",
        images="45,790 train, 2,410 val",
        licence="MIT; photos under Flickr's terms",
        tree=lvis.PACO_TREE,
        build=lvis.PACO,
        options={
            **COCO_OPTIONS,
            "images": Option(text, "folder that holds train2017 and val2017 (default FOLDER)"),
        },
    ),
    "panoptic": _panoptic(
        "panoptic",
        "photos with a panoptic map each, in COCO's form",
        images="any; of COCO 2017 118,287 train, 5,000 val",
        licence="that of the files; of COCO 2017 CC BY 4.0, photos under Flickr's terms",
    ),
    "coconut-s": _panoptic("coconut-s", "COCO's training photos, labelled anew", images="118,287"),
    "coconut-b": _panoptic("coconut-b", "COCO's unlabelled photos, labelled", images="123,403"),
    "coconut-l": _panoptic("coconut-l", "photos of Objects365, labelled with masks", images="63,256"),
    "coconut-cocoval": _panoptic(
        "coconut-cocoval", "COCO's validation photos, labelled anew", images="5,000"
    ),
    "partimagenetpp": Kind(
        summary="a hundred photos of each of ImageNet's thousand classes, with the objects' parts outlined",
        task="parts",
        images="90,000 train, 10,000 val",
        licence="MIT; photos under ImageNet's terms, non-commercial research and education",
        tree=imagenet_parts.PARTS_TREE,
        build=imagenet_parts.PartImageNetPP,
        options={
            "split": one_of(*imagenet_parts.PARTS_SPLITS),
            "images": _IMAGENET,
        },
    ),
    "spin": Kind(
        summary="ImageNet's photos with maps of parts and parts of parts (SubPartImageNet)",
        task="parts",
        images="8,828 train, 1,040 test; 10,387 in all",
        licence="CC BY 4.0; photos under ImageNet's terms, non-commercial research and education",
        tree=imagenet_parts.SPIN_TREE,
        build=imagenet_parts.SPIN,
        options={
            "split": one_of(*imagenet_parts.SPIN_SPLITS),
            "images": _IMAGENET,
        },
    ),
    "pascalparts": Kind(
        summary="photos of PASCAL VOC with classes, objects and their parts (PASCAL Panoptic Parts)",
        task="objects and parts",
        images="4,998 train, 5,105 val",
        licence="unknown; photos under Flickr's terms",
        tree=panoptic_parts.TREE,
        build=panoptic_parts.PanopticParts,
        options={
            "split": one_of(*panoptic_parts.SPLITS),
            "level": one_of(*panoptic_parts.LEVELS),
            "images": Option(text, "folder of the photos (default VOC2012/JPEGImages, or what is there)"),
        },
    ),
    "perseg": Kind(
        summary="photos with one object each, a folder an object",
        task="one object",
        images="40 objects",
        licence="MIT",
        tree=perseg.TREE,
        build=perseg.PerSeg,
        options={},
    ),
    "dis5k": _hqseg(
        "dis5k", "finely structured objects", "3,000 train, 470 val", "DIS5K terms, non-commercial research"
    ),
    "thinobject5k": _hqseg("thinobject5k", "thin objects", "4,748 train, 500 val"),
    "fss": _hqseg("fss", "few-shot segmentation, a thousand classes", "10,000"),
    "duts": _hqseg("duts", "salient objects", "15,572 (10,553 DUTS-TR, 5,019 DUTS-TE)"),
    "ecssd": _hqseg("ecssd", "salient objects before complex backgrounds", "1,000"),
    "msra10k": _hqseg("msra10k", "salient objects", "10,000"),
    "coift": _hqseg("coift", "thin objects", "280"),
    "hrsod": _hqseg("hrsod", "salient objects in large photos", "287"),
}
