"""Kinds of datasets of whole scenes: rooms, streets, landscapes."""

from __future__ import annotations

from maskwright.data import ade20k, cityscapes
from maskwright.data.kind import Kind
from maskwright.data.options import Option, choice, one_of, yes_no

_ADE20K_LICENCE = "non-commercial research and education"

SCENES: dict[str, Kind] = {
    "ade20k": Kind(
        summary="scenes with a map of 150 classes each (ADEChallengeData2016)",
        task="scene parsing",
        images="20,210 train, 2,000 val",
        licence=f"{_ADE20K_LICENCE}; annotations BSD-3-Clause",
        tree=ade20k.BENCHMARK_TREE,
        build=ade20k.open_benchmark,
        options={
            "split": one_of(*ade20k.SPLITS),
            "components": Option(yes_no, "one mask a connected part of a class"),
        },
    ),
    "ade20kfull": Kind(
        summary="scenes with every object and part outlined (ADE20K_2021_17_01)",
        task="objects and parts",
        images="25,574 train, 2,000 val",
        licence=_ADE20K_LICENCE,
        tree=ade20k.FULL_TREE,
        build=ade20k.ADE20KFull,
        options={
            "split": one_of(*ade20k.SPLITS),
            "masks": Option(
                choice("instances", "polygons", "seg"),
                "the mask files (default), the JSON's polygons, or the colour-coded maps",
            ),
            "parts": Option(choice("skip", "keep", "only"), "parts of objects (default skip)"),
            "hidden": Option(yes_no, "of mask files, take what something hides as well"),
        },
    ),
    "cityscapes": Kind(
        summary="streets of fifty cities, with every object of eight classes (leftImg8bit and gtFine)",
        task="street scenes",
        images="2,975 train, 500 val",
        licence="Cityscapes terms, non-commercial",
        tree=cityscapes.TREE,
        build=cityscapes.Cityscapes,
        options={
            "split": Option(choice(*cityscapes.SPLITS), "train (default), val, or test (dummy maps)"),
            "labels": Option(choice("instances", "classes"), "which maps (default instances)"),
            "components": Option(yes_no, "of classes, one mask a connected part"),
        },
    ),
}
