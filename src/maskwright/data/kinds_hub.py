"""Kinds of datasets in Parquet shards, as the Hugging Face hub keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from maskwright.data import parquet
from maskwright.data.kind import Kind
from maskwright.data.labels import Mode
from maskwright.data.options import Option, choice, number_list, text, yes_no


def _options(image: str, label: str, mode: str) -> Mapping[str, Option]:
    return {
        "split": Option(text, "train (default), or another that shards are named after; all: every shard"),
        "image": Option(text, f"column of the photos (default {image})"),
        "label": Option(text, f"column of the label maps (default {label})"),
        "encoding": Option(
            choice("numbers", "colours"), "what a label is: a pixel's number (default) or its colour"
        ),
        "mode": Option(choice("instances", "classes"), f"what a label stands for (default {mode})"),
        "components": Option(yes_no, "in classes mode, one mask a connected part"),
        "background": Option(number_list, "labels that are no object (default 0; none: empty)"),
        "ignore": Option(number_list, "labels of pixels nobody labelled: uncertainty 1"),
    }


def _hub(
    repository: str,
    summary: str,
    *,
    task: str,
    images: str,
    licence: str,
    label: str = "label",
    image: str = "image",
    mode: Mode = "classes",
) -> Kind:
    return Kind(
        summary=f"{summary} ({repository})",
        task=task,
        images=images,
        licence=licence,
        tree=f"{parquet.TREE}\n  columns {image} and {label}",
        build=partial(parquet.ParquetMaps, image=image, label=label, mode=mode),
        options=_options(image, label, mode),
    )


HUB: dict[str, Kind] = {
    "parquet": Kind(
        summary="photos and label maps in Parquet shards of the Hugging Face hub",
        task="objects or classes",
        images="any",
        licence="that of the files",
        tree=parquet.TREE,
        build=parquet.ParquetMaps,
        options=_options("image", "label", "classes"),
    ),
    "ade20k-hf": _hub(
        "zhoubolei/scene_parse_150",
        "scenes with a map of 150 classes each",
        task="scene parsing",
        images="20,210 train, 2,000 validation, 3,352 test without labels",
        licence="BSD-3-Clause; photos for non-commercial research and education",
        label="annotation",
    ),
    "cityscapes-hf": _hub(
        "Chris1/cityscapes",
        "streets of fifty cities, a mirror of Cityscapes without its objects",
        task="street scenes",
        images="2,975 train, 500 validation",
        licence="Cityscapes terms, non-commercial; the mirror states none of its own",
        label="semantic_segmentation",
    ),
    "sidewalk": _hub(
        "segments/sidewalk-semantic",
        "sidewalks of Belgium with 34 classes",
        task="street scenes",
        images="1,000 train",
        licence="unknown",
        image="pixel_values",
    ),
    "nyudepthv2": _hub(
        "wyrx/NYUDepthv2_seg",
        "rooms, of NYU Depth v2",
        task="scene parsing",
        images="795 train, 654 test",
        licence="unknown",
    ),
    "plantorgans": _hub(
        "farmaieu/plantorgans",
        "plants with fruits, leaves, flowers and stems",
        task="parts of plants",
        images="5,745 train, 1,437 validation",
        licence="CDLA-Permissive-2.0",
    ),
    "vegann": _hub(
        "simonMadec/VegAnn",
        "fields with vegetation and ground",
        task="vegetation",
        images="3,775",
        licence="CC BY 4.0",
        label="mask",
    ),
    "tcd": _hub(
        "restor/tcd",
        "trees and groups of trees from the air (OAM-TCD)",
        task="aerial images",
        images="4,169 train, 439 test",
        licence="CC BY 4.0",
        label="annotation",
        mode="instances",
    ),
    "foodseg103": _hub(
        "EduardoPacheco/FoodSeg103",
        "dishes with 103 ingredients",
        task="food",
        images="4,983 train, 2,135 validation",
        licence="Apache-2.0",
    ),
}
