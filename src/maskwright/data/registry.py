"""Open a dataset from one line: `kind:FOLDER?option=value&option=value`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from maskwright.data import bsds, coco, davis, entityseg, labelled, labels, pairs, perseg, sa1b, sum_tar
from maskwright.data.dataset import Dataset
from maskwright.data.mixture import fold_by_image
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
from maskwright.errors import DatasetError, suggestion


@dataclass(frozen=True)
class Kind:
    """A dataset family: what it is, the folder it expects, its options and the function that opens it."""

    summary: str
    tree: str
    build: Callable[..., Dataset]
    options: Mapping[str, Option]


_DAVIS_OPTIONS = {
    "sequences": Option(names, "only these sequences, separated by commas"),
    "exclude": Option(names, "all sequences but these"),
    "every": Option(natural, "only frames whose number is a multiple of this"),
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
            "annotations": Option(text, "the JSON file (default the only one)"),
            "images": Option(text, "folder of the photos (default after the JSON file's name, or images)"),
            "crowd": Option(choice("skip", "keep"), "what to do with crowd regions (default skip)"),
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
}


def open_dataset(spec: str) -> Dataset:
    """Open `kind:FOLDER?option=value&…`, such as `bsds500:data/BSDS500?split=val&annotator=all`.

    Raises:
        DatasetError: for an unknown kind or option, a folder without the expected tree, or files that lack
            their partner.
    """
    dataset = build_dataset(spec)
    if dataset.unpaired:
        shown = "".join(f"\n  {problem}" for problem in dataset.unpaired[:5])
        more = len(dataset.unpaired) - 5
        raise DatasetError(
            f"{spec}: {len(dataset.unpaired)} files lack their partner:{shown}"
            + (f"\n  and {more} more" if more > 0 else "")
            + f"\n`maskwright data check '{spec}'` lists them all."
        )
    if not len(dataset):
        kind = KINDS[spec.partition(":")[0]]
        raise DatasetError(f"{spec} holds no items. A dataset of this kind looks like this:\n{kind.tree}")
    return dataset


def build_dataset(spec: str) -> Dataset:
    """Like `open_dataset`, but files without a partner are left in `Dataset.unpaired` for a report.

    Raises:
        DatasetError: for an unknown kind or option, or a folder without the expected tree.
    """
    name, folder, values = parse_spec(spec)
    part = values.pop("fold", None)
    dataset = KINDS[name].build(root=folder, **values)
    if part is None or dataset.unpaired:
        return dataset  # files without a partner are an error or a report: there is nothing to split yet
    return fold_by_image(dataset, *part)


def parse_spec(spec: str) -> tuple[str, Path, dict[str, Any]]:
    """Take `kind:FOLDER?option=value&…` apart: the kind, the folder, and the options that were given.

    Raises:
        DatasetError: for an unknown kind or option.
    """
    name, colon, rest = spec.partition(":")
    if not colon or not rest:
        raise DatasetError(
            f"{spec!r} is not a dataset: write KIND:FOLDER, with KIND one of {', '.join(KINDS)}."
        )
    if name not in KINDS:
        known = f"{', '.join(KINDS)}.{suggestion(name, KINDS)}"
        raise DatasetError(f"unknown kind of dataset {name!r} in {spec!r}; known: {known}")
    folder, _, query = rest.partition("?")
    values = _parse_options(name, {**KINDS[name].options, **COMMON_OPTIONS}, query)
    return name, Path(folder).expanduser(), values


def _parse_options(kind: str, known: Mapping[str, Option], query: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if name not in known:
            raise DatasetError(
                f"{kind} has no option {name!r}; it has {', '.join(known)}.{suggestion(name, known)}"
            )
        if not equals or name in values:
            raise DatasetError(f"write {name}=VALUE once: {known[name].help}.")
        try:
            values[name] = known[name].parse(value)
        except ValueError as error:
            raise DatasetError(f"{kind} option {name}={value}: {error}") from None
    return values
