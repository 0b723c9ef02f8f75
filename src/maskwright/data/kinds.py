"""The kinds of datasets that can be opened by name: each one's folder, options and reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from maskwright.data import (
    ade20k,
    bsds,
    coco,
    davis,
    entityseg,
    labelled,
    labels,
    lvis,
    mose,
    pairs,
    perseg,
    sa1b,
    sav,
    sav_frames,
    segmented,
    sum_tar,
)
from maskwright.data.dataset import Dataset
from maskwright.data.options import (
    Option,
    choice,
    fold,
    names,
    natural,
    number,
    number_list,
    text,
    whole,
    yes_no,
)


@dataclass(frozen=True)
class Kind:
    """A dataset family: what it is, the folder it expects, its options and the function that opens it."""

    summary: str
    tree: str
    build: Callable[..., Dataset]
    options: Mapping[str, Option]


_VIDEO_OPTIONS = {
    "sequences": Option(names, "only these sequences, separated by commas"),
    "exclude": Option(names, "all sequences but these"),
    "every": Option(natural, "only frames whose number is a multiple of this"),
}
_DAVIS_OPTIONS = {
    "split": Option(text, "a list of ImageSets, such as train, val or test-dev (default: all frames)"),
    "resolution": Option(
        choice(*davis.RESOLUTIONS), f"{', '.join(davis.RESOLUTIONS)} (default: the first that is there)"
    ),
    **_VIDEO_OPTIONS,
}
_COCO_OPTIONS = {
    "annotations": Option(text, "the JSON file (default the only one)"),
    "crowd": Option(choice("skip", "keep"), "what to do with crowd regions (default skip)"),
    "min_area": Option(number, "leave out objects whose area in the file is smaller, in pixels (default 0)"),
}

_AREA_OPTIONS = {
    "min_ratio": Option(
        number, "smallest mask, in hundreds of pixels with the crop's longer side at 1024 (1)"
    ),
    "max_ratio": Option(number, "largest mask, as a share of its crop (default 0.95)"),
}
_REFINE_OPTION = {
    "min_refine_ratio": Option(number, "smallest mask with an uncertainty, like min_ratio (default 100)")
}


def _hqseg(name: str, summary: str) -> Kind:
    splits = tuple(pairs.HQSEG[name])
    return Kind(
        f"{summary} (HQSeg-44K)",
        pairs.hqseg_tree(name),
        partial(pairs.open_hqseg, name),
        {"split": Option(choice(*splits), f"{' or '.join(splits)} (default {splits[0]})")},
    )


KINDS: dict[str, Kind] = {
    "bsds500": Kind(
        "photos with several human segmentations each",
        bsds.TREE,
        bsds.BSDS500,
        {
            "split": Option(choice(*bsds.SPLITS), "train, val, test (default) or trainval"),
            "annotator": Option(
                choice("all", "first", or_number=True), "first (default), all, or a number from 0"
            ),
        },
    ),
    "davis2016": Kind(
        "video frames with one object",
        davis.TREE,
        partial(davis.DAVIS, multi=False),
        _DAVIS_OPTIONS,
    ),
    "davis2017": Kind(
        "video frames with several objects",
        davis.TREE,
        partial(davis.DAVIS, multi=True),
        _DAVIS_OPTIONS,
    ),
    "mose": Kind(
        "video frames with several objects that hide each other",
        mose.TREE,
        mose.MOSE,
        {"split": Option(choice(*mose.SPLITS), "train (default) or valid"), **_VIDEO_OPTIONS},
    ),
    "sav": Kind(
        "frames of SA-V's videos: MP4 files with masklets (train), or folders of frames (val, test)",
        sav_frames.TREE,
        sav.open_sav,
        {
            "split": Option(choice(*sav.SPLITS), "train (default), val or test"),
            "masklets": Option(choice(*sav.KINDS), "of train: manual (default), auto or both"),
            "subsets": Option(number_list, "of train: only these folders, 0 for sav_000"),
            "every": Option(natural, "only every so many-th annotated frame"),
        },
    ),
    "perseg": Kind("photos with one object each, a folder an object", perseg.TREE, perseg.PerSeg, {}),
    "labels": Kind(
        "photos with one label map each, 8 or 16 bit",
        labels.TREE,
        labels.LabelMaps,
        {
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
        "photos with one binary mask file each",
        pairs.TREE,
        pairs.open_pairs,
        {
            "images": Option(text, "folder of the photos (default images)"),
            "masks": Option(text, "folder of the masks (default masks)"),
            "ending": Option(text, "what follows the photo's stem in a mask's name"),
            "threshold": Option(whole, "values above this are the object (default 128)"),
        },
    ),
    "coco": Kind(
        "photos with a COCO instances file",
        coco.TREE,
        coco.COCOInstances,
        {
            **_COCO_OPTIONS,
            "images": Option(text, "folder of the photos (default after the JSON file's name, or images)"),
        },
    ),
    "lvis": Kind(
        "COCO's photos with outlines of objects of more than a thousand categories",
        lvis.TREE,
        lvis.LVIS,
        {
            **_COCO_OPTIONS,
            "images": Option(text, "folder that holds train2017 and val2017 (default FOLDER)"),
        },
    ),
    "ade20k": Kind(
        "scenes with a map of 150 classes each (ADEChallengeData2016)",
        ade20k.BENCHMARK_TREE,
        ade20k.open_benchmark,
        {
            "split": Option(choice(*ade20k.SPLITS), "train (default) or val"),
            "components": Option(yes_no, "one mask a connected part of a class"),
        },
    ),
    "ade20kfull": Kind(
        "scenes with every object and part outlined (ADE20K_2021_17_01)",
        ade20k.FULL_TREE,
        ade20k.ADE20KFull,
        {
            "split": Option(choice(*ade20k.SPLITS), "train (default) or val"),
            "masks": Option(
                choice("instances", "polygons", "seg"),
                "the mask files (default), the JSON's polygons, or the colour-coded maps",
            ),
            "parts": Option(choice("skip", "keep", "only"), "parts of objects (default skip)"),
            "hidden": Option(yes_no, "of mask files, take what something hides as well"),
        },
    ),
    "labelled": Kind(
        "photos labelled by a model, with soft masks and uncertainty",
        labelled.TREE,
        labelled.LabelledSet,
        {
            **_AREA_OPTIONS,
            **_REFINE_OPTION,
            "target": Option(
                choice("label", "refined"), "whose masks: the model's (default) or the refiner's"
            ),
            "images": Option(text, "folder that holds the photos now, if they have moved"),
            "partial": Option(yes_no, "take the finished part of a run that is still going"),
        },
    ),
    "segmented": Kind(
        "photos that `maskwright segment` or `personalize` has segmented, with its masks",
        segmented.TREE,
        segmented.SegmentedFolder,
        {"images": Option(text, "folder that holds the photos now, if they have moved")},
    ),
    "sa1b": Kind(
        "photos with a JSON file of machine-made masks each, as Meta publishes SA-1B",
        sa1b.TREE,
        sa1b.SA1B,
        {"images": Option(text, "folder of the photos, if not beside the JSON files"), **_AREA_OPTIONS},
    ),
    "sumtar": Kind(
        "photos with an archive of soft masks each, as SUM's released code reads them",
        sum_tar.TREE,
        sum_tar.SumTar,
        {
            "images": Option(text, "folder of the photos, if not beside the archives"),
            "maps": Option(text, "folder of the archives of refined masks (default: no uncertainty)"),
            **_AREA_OPTIONS,
            **_REFINE_OPTION,
            "partial": Option(yes_no, "take photos without refined masks, trusting their labels"),
        },
    ),
    "entityseg": Kind(
        "photos cut into things and stuff by people (EntitySeg)",
        entityseg.TREE,
        entityseg.EntitySeg,
        {
            "split": Option(choice(*entityseg.SPLITS), "train (default) or val"),
            "annotations": Option(names, "JSON files, in place of the split's own"),
            "images": Option(text, "folder of the photos (default images, or images_lr)"),
        },
    ),
    "dis5k": _hqseg("dis5k", "finely structured objects"),
    "thinobject5k": _hqseg("thinobject5k", "thin objects"),
    "fss": _hqseg("fss", "few-shot segmentation, a thousand classes"),
    "duts": _hqseg("duts", "salient objects"),
    "ecssd": _hqseg("ecssd", "salient objects before complex backgrounds"),
    "msra10k": _hqseg("msra10k", "salient objects"),
    "coift": _hqseg("coift", "thin objects"),
    "hrsod": _hqseg("hrsod", "salient objects in large photos"),
}


# What every kind takes, whatever its files look like.
COMMON_OPTIONS: dict[str, Option] = {
    "fold": Option(fold, "1/5: the first of five random parts, split by photo; -1/5: the other four"),
    "video_fold": Option(fold, "like fold, but the frames of a video stay together"),
}
