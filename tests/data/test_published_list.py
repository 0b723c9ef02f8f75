"""DirectSAM's list of datasets: each key, and the kind and options that read it.

As published by October 2024: the sets to train on, those only evaluated on, and what earlier lists had. A key
that is only another part of a set has the set's kind.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskwright.cli.data import main
from maskwright.data.kinds import KINDS
from maskwright.data.registry import parse_spec

PUBLISHED = {
    "SA1B": "sa1b:F",
    "SA1B_116": "sa1b:F",
    "COCONut-s": "coconut-s:F",
    "COCONut-b": "coconut-b:F",
    "COCONut-l": "coconut-l:F",
    "COCONut_relabeld_COCO_val": "coconut-cocoval:F",
    "LVIS": "lvis:F?annotations=lvis_v1_train.json",
    "PACO": "paco:F?annotations=paco_lvis_v1_train.json",
    "EntitySeg": "entityseg:F?split=train&images=images_lr",
    "PartImageNetPP": "partimagenetpp:F?split=train",
    "SPIN": "spin:F?split=train",
    "PascalPanopticParts": "pascalparts:F?split=train",
    "ADE20k": "ade20k-hf:F?split=train",
    "cityscapes": "cityscapes-hf:F?split=train",
    "plantorgans": "plantorgans:F?split=train",
    "NYUDepthv2": "nyudepthv2:F?split=train",
    "VegAnn": "vegann:F",
    "tcd": "tcd:F?split=train",
    "sidewalk": "sidewalk:F?split=train",
    "FoodSeg103": "foodseg103:F?split=train",
    "Fashionpedia": "fashionpedia:F?split=train",
    "SeginW": "seginw:F?split=train&exclude=Salmon-Fillet",
    "LIP": "lip:F?split=train",
    "CIHP": "cihp:F?split=train&labels=instances",
    "CelebA": "celeba:F",
    "GTA5": "gta5:F",
    "DUTS-TR": "duts:F?split=tr",
    "DUTS-TE": "duts:F?split=te",
    "MSRA_10K": "msra10k:F",
    "fss_all": "fss:F",
    "ecssd": "ecssd:F",
    "ThinObject5K": "thinobject5k:F?split=train",
    "DIS5K-DIS-TR": "dis5k:F?split=train",
    "DIS5K-DIS-VD": "dis5k:F?split=val",
    "COIFT": "coift:F",
    "HRSOD": "hrsod:F",
    "LoveDA": "loveda:F?split=train&area=both",
    "iSAID": "isaid:F?split=train&masks=cropped",
    "OpenEarthMap": "openearthmap:F",
    "WireFrame": "wireframe:F?split=train",
    "MapillaryMetropolis": "metropolis:F?split=val",
    "TreeCount": "treecount:F",
    "PhenoBench": "phenobench:F?split=train&labels=leaf_instances",
    "EgoHOS": "egohos:F?split=train",
    "UAVID": "uavid:F?split=train",
    "SUIM": "suim:F?split=train",
    "MyFood": "myfood:F?split=train",
    "SOBA": "soba:F?split=train&shadows=keep",
    "DRAM": "dram:F",
    "COCO2017": "coco:F",
}


@pytest.mark.parametrize("key", PUBLISHED)
def test_every_published_set_has_a_kind_and_its_options_exist(key: str) -> None:
    kind, _, _ = parse_spec(PUBLISHED[key])
    described = KINDS[kind]
    assert described.tree.startswith("  FOLDER")
    assert all((described.summary, described.task, described.images, described.licence))


def test_the_command_lists_them_all(tmp_path: Path) -> None:
    result = tmp_path / "kinds.json"
    assert main(["list", "--json", str(result)]) == 0
    listed = json.loads(result.read_text())
    for spec in PUBLISHED.values():
        kind = listed[spec.partition(":")[0]]
        assert {"summary", "task", "images", "licence", "tree"} <= kind.keys()
