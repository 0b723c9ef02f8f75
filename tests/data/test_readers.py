import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.miniatures import (
    SIZE,
    coco_content,
    label_map,
    make_bsds,
    make_coco,
    make_davis,
    make_labels,
    make_pairs,
    photo,
    rectangle,
    save,
)
from PIL import Image

from maskwright.data.bsds import BSDS500
from maskwright.data.dataset import SampleError
from maskwright.data.pairs import HQSEG
from maskwright.data.registry import open_dataset
from maskwright.errors import DatasetError, FileError, ImageError, MaskError
from maskwright.io.rle import RLE


def test_bsds_gives_each_annotators_segments_and_boundaries(tmp_path: Path) -> None:
    root = make_bsds(tmp_path, annotators=3)
    first = open_dataset(f"bsds500:{root}")
    assert len(first) == 1
    sample = first[0]
    assert sample.ids == (1, 2)
    assert sample.partition
    assert (sample.masks.sum(axis=0) == 1).all()
    assert "102.mat[0]" in sample.source
    every = open_dataset(f"bsds500:{root}?split=trainval&annotator=all")
    assert [len(item.ids) for item in every] == [2, 3, 4, 2, 3, 4]
    assert every.image_path(0) == every.image_path(2) != every.image_path(3)
    assert isinstance(first, BSDS500)
    assert [int(edges[0].sum()) for edges in first.boundaries(0)] == [1, 2, 3]
    assert [int(segments.max()) for segments in first.segmentations(0)] == [2, 3, 4]
    assert len(open_dataset(f"bsds500:{root}?annotator=2")[0].ids) == 4


def test_bsds_names_the_file_with_too_few_annotators_or_damaged(tmp_path: Path) -> None:
    root = make_bsds(tmp_path)
    with pytest.raises(SampleError, match=r"102\.mat: has 2 annotators"):
        open_dataset(f"bsds500:{root}?annotator=2")[0]
    truth = root / "groundTruth/test/102.mat"
    for damaged in (b"", truth.read_bytes()[:200], b"not Matlab at all"):
        truth.write_bytes(damaged)
        with pytest.raises(SampleError, match=r"102\.mat: cannot be read"):
            open_dataset(f"bsds500:{root}")[0]


def test_davis_lists_frames_from_files(tmp_path: Path) -> None:
    root = make_davis(tmp_path, {"goat": [0, 3, 20, 41], "cow": [10, 40]}, label_map())
    frames = [path.stem for path in map(open_dataset(f"davis2016:{root}").image_path, range(6))]
    assert frames == ["00010", "00040", "00000", "00003", "00020", "00041"]
    assert len(open_dataset(f"davis2016:{root}?every=20")) == 3
    assert len(open_dataset(f"davis2016:{root}?sequences=goat")) == 4
    assert len(open_dataset(f"davis2016:{root}?exclude=goat&every=40")) == 1
    with pytest.raises(DatasetError, match="Did you mean 'goat'"):
        open_dataset(f"davis2016:{root}?sequences=goad")


def test_davis_2016_has_one_object_and_2017_several(tmp_path: Path) -> None:
    root = make_davis(tmp_path, {"goat": [0]}, label_map())
    (one,) = open_dataset(f"davis2016:{root}")
    assert one.ids == (1,)
    assert (one.masks[0] == (label_map() > 0)).all()
    (several,) = open_dataset(f"davis2017:{root}")
    assert several.ids == (1, 2, 3)
    assert (several.masks[2] == (label_map() == 3)).all()


def test_davis_frames_need_no_annotation_but_annotations_need_a_frame(
    tmp_path: Path,
) -> None:
    root = make_davis(tmp_path, {"goat": [0, 1]}, label_map())
    (root / "Annotations/480p/goat/00001.png").unlink()
    assert len(open_dataset(f"davis2017:{root}")) == 1
    (root / "JPEGImages/480p/goat/00000.jpg").unlink()
    with pytest.raises(DatasetError, match=r"00000\.png: belongs to no image"):
        open_dataset(f"davis2017:{root}")


def test_a_frame_without_object_has_no_masks(tmp_path: Path) -> None:
    root = make_davis(tmp_path, {"goat": [0]}, np.zeros(SIZE, np.uint8))
    assert open_dataset(f"davis2016:{root}")[0].masks.shape == (0, *SIZE)


def test_label_maps_of_16_bits_are_instances(tmp_path: Path) -> None:
    labels = label_map().astype(np.uint16) * 1000
    (sample,) = open_dataset(f"labels:{make_labels(tmp_path, ['a'], labels)}")
    assert sample.ids == (1000, 2000, 3000)
    assert sample.categories is None
    assert (sample.masks[0] == (labels == 1000)).all()


def test_label_maps_as_classes_with_parts_and_doubtful_pixels(tmp_path: Path) -> None:
    root = make_labels(tmp_path, ["a"])
    (sample,) = open_dataset(f"labels:{root}?mode=classes&components=true&uncertain=2")
    assert sample.ids == (1, 2, 3)
    assert sample.categories == (1, 1, 3)
    assert sample.uncertainty is not None
    assert (sample.uncertainty == (label_map() == 2)).all()
    assert not sample.partition
    (whole,) = open_dataset(f"labels:{root}?mode=classes&background=")
    assert whole.categories == (0, 1, 2, 3)
    assert whole.uncertainty is None
    assert whole.partition


def test_label_maps_in_the_photos_folder_with_an_ending(tmp_path: Path) -> None:
    save(tmp_path / "x.png", photo())
    save(tmp_path / "x_mask.png", label_map())
    (sample,) = open_dataset(f"labels:{tmp_path}?images=.&labels=.&ending=_mask.png&ignore=2,3")
    assert sample.ids == (1,)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (photo(), {}, "colours, not label numbers"),
        (label_map().astype(np.float32) / 2, {"format": "TIFF"}, "fractions"),
        (label_map()[:-1], {}, "is 32×23, but a.jpg is 32×24"),
        (label_map().T.copy(), {}, "before its EXIF rotation"),
    ],
)
def test_a_label_map_that_is_none_is_refused_by_name(
    tmp_path: Path, labels: np.ndarray[Any, Any], options: dict[str, str], message: str
) -> None:
    ending = ".tif" if options else ".png"
    save(tmp_path / "images/a.jpg", photo())
    path = save(tmp_path / f"labels/a{ending}", labels, **options)
    with pytest.raises(FileError, match=message) as caught:
        open_dataset(f"labels:{tmp_path}")[0]
    assert str(path) in str(caught.value)


def test_a_jpeg_label_map_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", photo())
    save(tmp_path / "labels/a.jpg", label_map())
    with pytest.raises(MaskError, match="is a JPEG"):
        open_dataset(f"labels:{tmp_path}?ending=.jpg")[0]


def test_a_truncated_photo_is_refused_by_name(tmp_path: Path) -> None:
    dataset = open_dataset(f"labels:{make_labels(tmp_path, ['a', 'b'])}")
    path = tmp_path / "images/b.jpg"
    path.write_bytes(path.read_bytes()[:300])
    assert dataset[0].ids
    with pytest.raises(ImageError, match=r"b\.jpg"):
        dataset[1]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_pairs_read_the_first_channel_of_any_mask(tmp_path: Path, mode: str) -> None:
    make_pairs(tmp_path / "images", tmp_path / "masks", ["a"])
    path = tmp_path / "masks/a.png"
    with Image.open(path) as image:
        image.convert(mode).save(path)
    (sample,) = open_dataset(f"pairs:{tmp_path}")
    assert sample.ids == (1,)
    assert (sample.masks[0] == rectangle(4, 4, 20, 16)).all()


def test_masks_of_zero_and_one_are_refused_with_the_way_out(tmp_path: Path) -> None:
    make_pairs(tmp_path / "images", tmp_path / "masks", ["a"], value=1)
    with pytest.raises(SampleError, match=r"a\.png: its largest value is 1.*add threshold=0"):
        open_dataset(f"pairs:{tmp_path}")[0]
    assert open_dataset(f"pairs:{tmp_path}?threshold=0")[0].masks.sum() == 16 * 12


def test_the_threshold_is_strict(tmp_path: Path) -> None:
    make_pairs(tmp_path / "images", tmp_path / "masks", ["a"], value=129)
    assert len(open_dataset(f"pairs:{tmp_path}")[0].masks) == 1
    make_pairs(tmp_path / "images", tmp_path / "masks", ["a"], value=128)
    with pytest.raises(SampleError, match="nothing is above the threshold 128"):
        open_dataset(f"pairs:{tmp_path}")[0]


def test_pairs_in_one_folder_need_an_ending(tmp_path: Path) -> None:
    make_pairs(tmp_path, tmp_path, ["a", "b"])
    with pytest.raises(DatasetError, match="share a folder"):
        open_dataset(f"pairs:{tmp_path}?images=.&masks=.")
    assert len(open_dataset(f"pairs:{tmp_path}?images=.&masks=.&ending=.png")) == 2


@pytest.mark.parametrize(
    ("name", "split"), [(name, split) for name, splits in HQSEG.items() for split in splits]
)
def test_hqseg_layouts(tmp_path: Path, name: str, split: str) -> None:
    count = 0
    for folder, images, masks in HQSEG[name][split]:
        make_pairs(
            tmp_path / folder / images, tmp_path / folder / masks, [f"{folder[-2:]}_1", f"{folder[-2:]}_2"]
        )
        count += 2
    dataset = open_dataset(f"{name}:{tmp_path}?split={split}")
    assert len(dataset) == count
    assert (dataset[0].masks[0] == rectangle(4, 4, 20, 16)).all()
    top = HQSEG[name][split][0][0].split("/")[0]
    assert len(open_dataset(f"{name}:{tmp_path / top}?split={split}")) == count


def test_coco_reads_polygons_and_both_kinds_of_runs(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    dataset = open_dataset(f"coco:{root}")
    assert len(dataset) == 2
    sample = dataset[0]
    assert sample.ids == (11, 12)
    assert sample.categories == ("cat", "toothbrush")
    assert (sample.masks[0] == rectangle(4, 4, 20, 16)).all()
    assert (sample.masks[1] == rectangle(16, 0, 17, 24)).all()
    assert dataset[1].masks.shape == (0, *SIZE)
    assert open_dataset(f"coco:{root}?crowd=keep")[0].ids == (11, 12, 13)


def test_coco_compressed_runs(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"] = content["annotations"][:1]
    content["annotations"][0]["segmentation"] = RLE.encode(rectangle(1, 2, 3, 4)).to_coco()
    sample = open_dataset(f"coco:{make_coco(tmp_path, content)}")[0]
    assert (sample.masks[0] == rectangle(1, 2, 3, 4)).all()


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [24, 32], "counts": [5]},
        {"size": [24, 31], "counts": [0, 744]},
        {"size": [10**9, 10**9], "counts": [0, 10**18]},
        {"size": [24, 32], "counts": "\x7fgarbage"},
        [[1, 2, 3]],
        [[1, 2, 3, float("nan"), 4, 5]],
        {"counts": [768]},
    ],
)
def test_a_malformed_segmentation_names_file_and_annotation(tmp_path: Path, segmentation: Any) -> None:
    content = coco_content()
    content["annotations"][0]["segmentation"] = segmentation
    dataset = open_dataset(f"coco:{make_coco(tmp_path, content)}")
    with pytest.raises(SampleError, match=r"instances_val2017\.json: annotation 11"):
        dataset[0]


@pytest.mark.parametrize(
    ("table", "entry", "message"),
    [
        (
            "annotations",
            {"id": 5, "image_id": 1, "category_id": 3},
            "image 1, which is not listed",
        ),
        ("annotations", {"id": 5, "image_id": 7, "category_id": 4}, "category 4, which is not listed"),
        ("annotations", {"id": 5, "image_id": 7}, r"annotations\[4\] lacks category_id"),
        ("images", {"id": 8, "file_name": "c.jpg", "height": 1, "width": 1}, r"c\.jpg: is listed in"),
        ("images", {"id": 8, "file_name": "../c.jpg", "height": 1, "width": 1}, "may not leave"),
    ],
)
def test_inconsistent_coco_tables_are_refused(
    tmp_path: Path, table: str, entry: dict[str, Any], message: str
) -> None:
    content = coco_content()
    content[table].append(entry)
    with pytest.raises(DatasetError, match=message):
        open_dataset(f"coco:{make_coco(tmp_path, content)}")


def test_coco_asks_which_file_when_there_are_several(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    other = root / "annotations/instances_train2017.json"
    other.write_text(json.dumps(coco_content()))
    with pytest.raises(DatasetError, match="annotations=FILE"):
        open_dataset(f"coco:{root}")
    assert len(open_dataset(f"coco:{root}?annotations=annotations/instances_val2017.json")) == 2
    other.write_text("[]")
    with pytest.raises(DatasetError, match="has no list 'images'"):
        open_dataset(f"coco:{root}?annotations=annotations/instances_train2017.json&images=val2017")


def test_a_photo_of_another_size_than_coco_says_is_refused(tmp_path: Path) -> None:
    content = coco_content()
    content["images"][0].update(height=32, width=24)
    with pytest.raises(SampleError, match="EXIF rotation"):
        open_dataset(f"coco:{make_coco(tmp_path, content)}")[0]
