"""Panoptic maps, parts, Cityscapes: each set in the layout of its release."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data.miniatures import photo, rectangle, save
from data.part_sets import (
    MAKERS,
    SEGMENTS,
    UIDS,
    make_cityscapes,
    make_paco,
    make_parts,
    make_pascal_parts,
    make_spin,
    packed,
    stripes,
)
from data.test_entityseg import content, write

from maskwright.data.boundary_targets import boundary_target
from maskwright.data.check import check_dataset
from maskwright.data.outlines import Patch, Shapes, outline
from maskwright.data.panoptic_parts import at_level
from maskwright.data.registry import build_dataset, open_dataset
from maskwright.errors import DatasetError, FileError


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_reads_its_miniature_and_the_check_passes(tmp_path: Path, kind: str) -> None:
    spec = f"{kind}:{MAKERS[kind](tmp_path)}"
    report = check_dataset(spec)
    assert report.ok, report.errors
    assert report.masks
    dataset = open_dataset(spec)
    paths = [str(dataset.mask_path(k)) for k in range(len(dataset))]
    assert paths == sorted(paths)
    for k, sample in enumerate(dataset):
        assert str(dataset.image_path(k)) in sample.image.source
        assert str(dataset.mask_path(k)) in sample.source
        dataset.probe(k)


@pytest.mark.parametrize("kind", MAKERS)
def test_outlines_of_shapes_are_those_of_the_masks(tmp_path: Path, kind: str) -> None:
    for query in ("", "?crowd=skip") if kind == "coconut-s" else ("",):
        dataset = open_dataset(f"{kind}:{MAKERS[kind](tmp_path)}{query}")
        for k, sample in enumerate(dataset):
            masks = Shapes(sample.image.size, [Patch.of(mask) for mask in sample.masks])
            expected, found = (outline(shapes, thickness=1) for shapes in (masks, dataset.shapes(k)))
            assert expected.any() == bool(sample.ids)
            assert (found == expected).all()
            target = boundary_target(
                dataset, k, resolution=None, keep_aspect=True, thickness=1, style="exact"
            )
            assert (target.image.pixels == sample.image.pixels).all()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path, kind: str) -> None:
    spec = f"{kind}:{MAKERS[kind](tmp_path)}"
    victim = build_dataset(spec).image_path(0)
    victim.write_bytes(victim.read_bytes()[:60])
    problems = check_dataset(spec).errors
    assert problems
    assert all(victim.name in str(problem) for problem in problems)


class TestPanoptic:
    def test_all_three_channels_tell_segments_apart(self, tmp_path: Path) -> None:
        (sample,) = open_dataset(f"coconut-s:{MAKERS['coconut-s'](tmp_path)}")
        assert sample.ids == (1, 257, 65537)
        assert sample.categories == ("cat", "sky", "cat")
        assert (sample.masks == [SEGMENTS == number for number in sample.ids]).all()
        assert not sample.partition

    def test_crowds_are_skipped_on_request_and_the_file_is_left_out(self, tmp_path: Path) -> None:
        root = MAKERS["coconut-s"](tmp_path)
        assert open_dataset(f"coconut-s:{root}?crowd=skip")[0].ids == (1, 257)
        assert open_dataset(f"coconut-s:{root}?annotations=")[0].categories is None

    def test_a_map_without_gaps_is_a_partition(self, tmp_path: Path) -> None:
        save(tmp_path / "images/a.jpg", photo())
        save(tmp_path / "panoptic/a.png", packed(stripes(3, 800)))
        (sample,) = open_dataset(f"panoptic:{tmp_path}")
        assert sample.ids == (3, 800)
        assert sample.partition

    def test_objects365_is_walked_and_numbers_find_its_photos(self, tmp_path: Path) -> None:
        dataset = open_dataset(f"coconut-l:{MAKERS['coconut-l'](tmp_path)}")
        assert [dataset.image_path(k).name for k in range(2)] == [
            "objects365_v2_00908726.jpg",
            "objects365_v1_00420917.jpg",
        ]
        save(tmp_path / "objects365/val/objects365_v1_00420917.jpg", photo())
        with pytest.raises(DatasetError, match="belongs to several photos"):
            open_dataset(f"coconut-l:{tmp_path}")

    def test_coconut_b_looks_for_photos_in_both_folders(self, tmp_path: Path) -> None:
        dataset = open_dataset(f"coconut-b:{MAKERS['coconut-b'](tmp_path)}")
        assert [dataset.image_path(k).parent.name for k in range(2)] == ["unlabeled2017", "train2017"]

    def test_photos_and_maps_may_lie_elsewhere(self, tmp_path: Path) -> None:
        root = MAKERS["coconut-s"](tmp_path)
        (root / "train2017").rename(root / "photos")
        (root / "coconut_s").rename(root / "m")
        assert len(open_dataset(f"coconut-s:{root}?images=photos&maps=m")) == 1

    def test_photos_without_a_map_are_no_items(self, tmp_path: Path) -> None:
        root = MAKERS["coconut-s"](tmp_path)
        save(root / "train2017/000000000010.jpg", photo())
        assert len(open_dataset(f"coconut-s:{root}")) == 1

    def test_what_lacks_its_partner_is_named(self, tmp_path: Path) -> None:
        root = MAKERS["coconut-s"](tmp_path)
        save(root / "coconut_s/000000000010.png", packed(SEGMENTS))
        content = json.loads((root / "coconut_s.json").read_text())
        content["annotations"].append({"file_name": "000000000011.png", "segments_info": []})
        (root / "coconut_s.json").write_text(json.dumps(content))
        found = {problem.code: str(problem) for problem in build_dataset(f"coconut-s:{root}").unpaired}
        assert sorted(found) == ["missing_image", "missing_mask", "missing_segments"]
        assert "000000000010.png: belongs to no image" in found["missing_image"]
        assert "000000000011.png: is listed" in found["missing_mask"]

    def test_segments_that_the_file_does_not_list_are_named(self, tmp_path: Path) -> None:
        root = MAKERS["coconut-s"](tmp_path)
        save(root / "coconut_s/000000000009.png", packed(stripes(1, 77)))
        with pytest.raises(FileError, match=r"000000000009\.png.*does not list: 77.*annotations="):
            open_dataset(f"coconut-s:{root}")[0]

    @pytest.mark.parametrize("segment", [{"id": 1}, {"id": 1, "category_id": 5}, {"id": None}, 7])
    def test_a_broken_file_is_refused(self, tmp_path: Path, segment: object) -> None:
        root = MAKERS["coconut-s"](tmp_path)
        content = json.loads((root / "coconut_s.json").read_text())
        content["annotations"][0]["segments_info"] = [segment]
        (root / "coconut_s.json").write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=r"coconut_s\.json.*lacks its id or a category"):
            open_dataset(f"coconut-s:{root}")


def test_paco_reads_objects_and_parts(tmp_path: Path) -> None:
    dataset = open_dataset(f"paco:{make_paco(tmp_path)}")
    assert dataset.image_path(1).parts[-2:] == ("val2017", "b.jpg")
    assert dataset[0].categories == ("cup", "cup:handle")
    assert (dataset[0].masks[0] == rectangle(4, 4, 20, 16)).all()


class TestPartImageNetPP:
    def test_each_class_keeps_its_last_tenth_for_validation(self, tmp_path: Path) -> None:
        train = open_dataset(f"partimagenetpp:{make_parts(tmp_path)}")
        val = open_dataset(f"partimagenetpp:{tmp_path}?split=val")
        assert (len(train), len(val)) == (20, 2)
        assert train.image_path(0).parts[-2:] == ("n01440764", "n01440764_100.JPEG")
        assert val.image_path(0).name == "n01440764_90.JPEG"
        # A photo has its own parts, not its neighbour's.
        assert [sample.ids for sample in train][:10] == [(k + 50,) for k in range(10)]
        assert [sample.masks[0].any(axis=0).sum() for sample in train[10:]] == list(range(1, 11))
        assert val[1].ids == (60,)
        assert val[1].categories == ("fin",)

    @pytest.mark.parametrize("folder", ["ImageNet", "train"])
    def test_imagenet_may_lie_in_several_places(self, tmp_path: Path, folder: str) -> None:
        assert len(open_dataset(f"partimagenetpp:{make_parts(tmp_path, folder)}")) == 20

    def test_a_missing_photo_and_stray_entries_are_named(self, tmp_path: Path) -> None:
        make_parts(tmp_path)
        (tmp_path / "ImageNet/train/n01443537/n01443537_100.JPEG").unlink()
        file = tmp_path / "json/n01440764.json"
        content = json.loads(file.read_text())
        content["annotations"][0]["image_id"] = 99
        content["annotations"][1]["category_id"] = 99
        file.write_text(json.dumps(content))
        problems = build_dataset(f"partimagenetpp:{tmp_path}").unpaired
        assert [problem.code for problem in problems] == [
            "missing_image",
            "unknown_category",
            "missing_image",
        ]
        assert "n01443537_100.JPEG" in str(problems[2])

    def test_a_name_may_not_lead_out_of_the_folder(self, tmp_path: Path) -> None:
        make_parts(tmp_path)
        file = tmp_path / "json/n01440764.json"
        file.write_text(file.read_text().replace("n01440764_100.JPEG", ".._x.JPEG"))
        with pytest.raises(DatasetError, match=r"n01440764\.json: image 1"):
            open_dataset(f"partimagenetpp:{tmp_path}")

    def test_a_malformed_outline_is_named(self, tmp_path: Path) -> None:
        make_parts(tmp_path)
        file = tmp_path / "json/n01440764.json"
        content = json.loads(file.read_text())
        content["annotations"][0]["segmentation"] = [[1, 2]]
        file.write_text(json.dumps(content))
        (error,) = check_dataset(f"partimagenetpp:{tmp_path}").errors
        assert error.code == "malformed_mask"
        assert "annotation 50" in error.path


def test_spin_finds_photos_by_their_class(tmp_path: Path) -> None:
    make_spin(tmp_path)
    (sample,) = open_dataset(f"spin:{tmp_path}")
    assert sample.image.source.endswith("ImageNet/n01440764/n01440764_7.JPEG")
    assert sample.ids == (3, 4, 202)
    assert len(open_dataset(f"spin:{tmp_path}?split=test")) == 1
    (tmp_path / "ImageNet/n01440764/n01440764_7.JPEG").unlink()
    with pytest.raises(DatasetError, match=r"n01440764_7\.png: belongs to .*which is not there"):
        open_dataset(f"spin:{tmp_path}")


class TestPascalPanopticParts:
    @pytest.mark.parametrize(
        ("level", "ids"),
        [
            ("parts", (2, 15, 15001, 15002, 1500103, 1500203)),
            ("instances", (2, 15, 15001, 15002)),
            ("classes", (2, 15)),
        ],
    )
    def test_levels(self, tmp_path: Path, level: str, ids: tuple[int, ...]) -> None:
        (sample,) = open_dataset(f"pascalparts:{make_pascal_parts(tmp_path)}?level={level}")
        assert sample.ids == ids
        assert set(sample.categories or ()) == {2, 15}

    def test_a_part_without_a_name_is_the_rest_of_its_object(self) -> None:
        assert (at_level(UIDS, "parts")[0, 12:16] == 15001).all()

    def test_split_and_other_places(self, tmp_path: Path) -> None:
        make_pascal_parts(tmp_path)
        (tmp_path / "labels/validation").rename(tmp_path / "validation")
        (sample,) = open_dataset(f"pascalparts:{tmp_path}?split=val")
        assert sample.source.endswith("2008_000015.tif")

    @pytest.mark.parametrize("number", [100, 999, 10_000_000])
    def test_numbers_that_encode_nothing_are_refused(self, tmp_path: Path, number: int) -> None:
        make_pascal_parts(tmp_path)
        save(tmp_path / "labels/training/2008_000008.tif", stripes(1, number))
        with pytest.raises(FileError, match=rf"2008_000008\.tif: has the number {number}"):
            open_dataset(f"pascalparts:{tmp_path}")[0]

    def test_a_map_without_a_photo_is_named(self, tmp_path: Path) -> None:
        make_pascal_parts(tmp_path)
        (tmp_path / "VOC2012/JPEGImages/2008_000008.jpg").unlink()
        with pytest.raises(DatasetError, match=r"2008_000008\.tif: belongs to no image"):
            open_dataset(f"pascalparts:{tmp_path}")


class TestCityscapes:
    def test_objects_and_their_classes(self, tmp_path: Path) -> None:
        dataset = open_dataset(f"cityscapes:{make_cityscapes(tmp_path)}")
        assert [dataset.image_path(k).parent.name for k in range(2)] == ["aachen", "zurich"]
        sample = dataset[0]
        assert sample.ids == (7, 26000, 26001)
        assert sample.categories == ("road", "car", "car")
        assert sample.uncertainty is not None
        border = stripes(1, 0, 0, 0)
        assert (np.asarray(sample.uncertainty[0]) == border).all()

    def test_classes_and_their_parts(self, tmp_path: Path) -> None:
        make_cityscapes(tmp_path)
        assert open_dataset(f"cityscapes:{tmp_path}?labels=classes")[0].ids == (7, 26)
        (val,) = open_dataset(f"cityscapes:{tmp_path}?labels=classes&split=val&components=true")
        assert val.categories == ("road", "car")

    @pytest.mark.parametrize(
        ("gone", "code"), [("leftImg8bit", "missing_image"), ("gtFine_instanceIds", "missing_mask")]
    )
    def test_what_lacks_its_partner_is_named(self, tmp_path: Path, gone: str, code: str) -> None:
        make_cityscapes(tmp_path)
        next(tmp_path.rglob(f"aachen*{gone}.png")).unlink()
        (problem,) = build_dataset(f"cityscapes:{tmp_path}").unpaired
        assert problem.code == code
        assert "aachen_000000_000019" in problem.path


def test_entityseg_scaled_down_is_found_by_its_name(tmp_path: Path) -> None:
    save(tmp_path / "images_lr/entity_01/a.jpg", photo())
    save(tmp_path / "images_lr/entity_01/v.jpg", photo())
    write(tmp_path / "entityseg_train_lr.json", content("entity_01/a.jpg"))
    write(tmp_path / "entityseg_val_lr.json", content("entity_01/v.jpg"))
    assert open_dataset(f"entityseg:{tmp_path}").image_path(0).name == "a.jpg"
    assert open_dataset(f"entityseg:{tmp_path}?split=val").image_path(0).name == "v.jpg"


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("images", "height", "tall"),
        ("images", "width", 0),
        ("images", "width", float("nan")),
        ("images", "id", "a"),
        ("images", "id", []),
        ("annotations", "id", "a"),
        ("annotations", "image_id", {}),
        ("annotations", "category_id", None),
        ("categories", "id", [1]),
    ],
)
@pytest.mark.parametrize("kind", ["paco", "partimagenetpp"])
def test_hostile_tables_are_refused_by_name(
    tmp_path: Path, kind: str, table: str, key: str, value: object
) -> None:
    root = MAKERS[kind](tmp_path)
    (file, *_) = sorted(root.rglob("*.json"))
    content = json.loads(file.read_text())
    content[table][0][key] = value
    file.write_text(json.dumps(content))
    if kind == "paco" and value == "a":  # COCO's ids may be text
        assert build_dataset(f"{kind}:{root}").unpaired or table == "annotations"
        return
    with pytest.raises(DatasetError, match=rf"{file.name}: {table}"):
        open_dataset(f"{kind}:{root}")
