"""Kinds that are a layout rather than one set: one's own files, what Maskwright writes, and COCO's form."""

from __future__ import annotations

from maskwright.data import coco, dsa, labelled, labels, pairs, photos, segmented, sum_tar
from maskwright.data.kind import Kind
from maskwright.data.options import Option, choice, names, number, number_list, text, whole, yes_no

_OWN = {"images": "any", "licence": "that of the files"}

COCO_OPTIONS = {
    "annotations": Option(text, "the JSON file (default the only one)"),
    "crowd": Option(choice("skip", "keep"), "what to do with crowd regions (default skip)"),
    "min_area": Option(number, "leave out objects whose area in the file is smaller, in pixels (default 0)"),
}
AREA_OPTIONS = {
    "min_ratio": Option(
        number, "smallest mask, in hundreds of pixels with the crop's longer side at 1024 (1)"
    ),
    "max_ratio": Option(number, "largest mask, as a share of its crop (default 0.95)"),
}
_REFINE_OPTION = {
    "min_refine_ratio": Option(number, "smallest mask with an uncertainty, like min_ratio (default 100)")
}

LAYOUTS: dict[str, Kind] = {
    "labels": Kind(
        summary="photos with one label map each, 8 or 16 bit",
        task="objects or classes",
        **_OWN,
        tree=labels.TREE,
        build=labels.LabelMaps,
        options={
            "images": Option(text, "folder of the photos (default images)"),
            "labels": Option(text, "folder of the label maps (default labels, or else masks)"),
            "ending": Option(text, "what follows the photo's stem in a label map's name"),
            "mode": Option(choice("instances", "classes"), "what a label stands for (default instances)"),
            "components": Option(yes_no, "in classes mode, one mask a connected part"),
            "background": Option(number_list, "labels that are no object (default 0; none: empty)"),
            "ignore": Option(number_list, "labels of pixels nobody labelled: uncertainty 1"),
            "uncertain": Option(number_list, "labels of doubtful pixels such as borders: uncertainty 1"),
        },
    ),
    "pairs": Kind(
        summary="photos with one binary mask file each",
        task="one object",
        **_OWN,
        tree=pairs.TREE,
        build=pairs.open_pairs,
        options={
            "images": Option(text, "folder of the photos (default images)"),
            "masks": Option(text, "folder of the masks (default masks)"),
            "ending": Option(text, "what follows the photo's stem in a mask's name"),
            "threshold": Option(whole, "values above this are the object (default 128)"),
        },
    ),
    "coco": Kind(
        summary="photos with a COCO instances file",
        task="objects",
        images="any; of COCO 2017 118,287 train, 5,000 val",
        licence="that of the files; of COCO 2017 CC BY 4.0, photos under Flickr's terms",
        tree=coco.TREE,
        build=coco.COCOInstances,
        options={
            **COCO_OPTIONS,
            "images": Option(text, "folder of the photos (default after the JSON file's name, or images)"),
        },
    ),
    "labelled": Kind(
        summary="photos labelled by a model, with soft masks and uncertainty",
        task="everything",
        **_OWN,
        tree=labelled.TREE,
        build=labelled.LabelledSet,
        options={
            **AREA_OPTIONS,
            **_REFINE_OPTION,
            "target": Option(
                choice("label", "refined"), "whose masks: the model's (default) or the refiner's"
            ),
            "images": Option(text, "folder that holds the photos now, if they have moved"),
            "partial": Option(yes_no, "take the finished part of a run that is still going"),
        },
    ),
    "segmented": Kind(
        summary="photos that `maskwright segment` or `personalize` has segmented, with its masks",
        task="objects",
        **_OWN,
        tree=segmented.TREE,
        build=segmented.SegmentedFolder,
        options={"images": Option(text, "folder that holds the photos now, if they have moved")},
    ),
    "photos": Kind(
        summary="photos without annotations, to be labelled",
        task="none",
        **_OWN,
        tree=photos.TREE,
        build=photos.Photos,
        options={},
    ),
    "dsa": Kind(
        summary="photos with boundaries by models and people (DirectSAM's self-annotation)",
        task="boundaries",
        **_OWN,
        tree=dsa.TREE,
        build=dsa.DSA,
        options={
            "label": Option(
                choice(*dsa.LABELS), "whose lines: merged (default: the model's and people's), pseudo, human"
            ),
            "pseudo": Option(text, "which model's pseudo-labels (default the newest of each photo)"),
            "human": Option(names, "people's labels of these sources only (default all)"),
            "width": Option(
                choice("equal", "stored"), "equal (default): all lines drawn alike; stored: as they are"
            ),
            "split": Option(
                choice(*dsa.SPLITS), "all (default), train (first 99 % of each subset) or val (the rest)"
            ),
            "images": Option(text, "folder that holds the photos now, if they have moved"),
            "partial": Option(yes_no, "take the finished part of a run that is still going"),
        },
    ),
    "sumtar": Kind(
        summary="photos with an archive of soft masks each, as SUM's released code reads them",
        task="everything",
        **_OWN,
        tree=sum_tar.TREE,
        build=sum_tar.SumTar,
        options={
            "images": Option(text, "folder of the photos, if not beside the archives"),
            "maps": Option(text, "folder of the archives of refined masks (default: no uncertainty)"),
            **AREA_OPTIONS,
            **_REFINE_OPTION,
            "partial": Option(yes_no, "take photos without refined masks, trusting their labels"),
        },
    ),
}
