"""Kinds of datasets of objects, of their parts, and of everything there is."""

from __future__ import annotations

from functools import partial

from maskwright.data import bsds, entityseg, lvis, pairs, perseg, sa1b
from maskwright.data.kind import Kind
from maskwright.data.kinds_layouts import AREA_OPTIONS, COCO_OPTIONS
from maskwright.data.options import Option, choice, names, text


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
            "split": Option(choice(*entityseg.SPLITS), "train (default) or val"),
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
