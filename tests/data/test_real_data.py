"""The readers on the real files: counts and facts that are known of these datasets."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskwright.data.bsds import BSDS500
from maskwright.data.dataset import SampleError
from maskwright.data.registry import open_dataset


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ("bsds500:BSDS500", 200),
        ("bsds500:BSDS500?split=trainval", 300),
        ("davis2016:DAVIS2016", 414),
        ("davis2016:DAVIS2016?sequences=blackswan,goat,parkour", 165),
        ("davis2016:DAVIS2016?every=20", 53),
        ("davis2017:samples/davis2017_multi?sequences=bike", 1),
        ("labels:DSB2018", 260),
        ("labels:CamVid?images=val&labels=valannot&mode=classes&ignore=11", 101),
        ("labels:OxfordPets128?background=1&uncertain=2", 1840),
        ("labels:samples/penn_fudan?images=.&labels=.&ending=_mask.png", 1),
    ],
)
def test_real_datasets_open_and_read(data_root: Path, spec: str, count: int) -> None:
    kind, _, rest = spec.partition(":")
    dataset = open_dataset(f"{kind}:{data_root}/{rest}")
    assert len(dataset) == count
    for index in (0, count // 2):
        sample = dataset[index]
        assert len(sample.masks) > 0
        assert sample.masks.any(axis=(1, 2)).all()


def test_bsds_segments_agree_with_the_boundaries_of_the_same_annotator(data_root: Path) -> None:
    dataset = open_dataset(f"bsds500:{data_root}/BSDS500?annotator=all&split=val")
    assert isinstance(dataset, BSDS500)
    assert len(dataset) == 546
    for segments, boundary in zip(dataset.segmentations(0), dataset.boundaries(0), strict=True):
        edges = np.zeros_like(boundary)
        edges[:, 1:] |= segments[:, 1:] != segments[:, :-1]
        edges[1:] |= segments[1:] != segments[:-1]
        near = cv2.dilate(edges.astype(np.uint8), np.ones((5, 5), np.uint8))
        assert (boundary & (near == 0)).sum() <= 0.01 * boundary.sum()


def test_a_real_frame_with_a_mask_of_another_width_is_refused(data_root: Path) -> None:
    dataset = open_dataset(f"davis2017:{data_root}/samples/davis2017_multi?sequences=judo")
    with pytest.raises(SampleError, match=r"00005\.png: is 853×480, but 00005.jpg is 854×480"):
        list(dataset)


def test_pets_are_label_0_with_uncertain_borders_and_camvid_all_twelve_classes(data_root: Path) -> None:
    pet = open_dataset(f"labels:{data_root}/OxfordPets128?background=1&uncertain=2")[5]
    assert pet.ids == (0,)
    assert pet.masks[0, 60:68, 60:68].mean() > pet.masks[0, ::127, ::127].mean()
    assert isinstance(pet.uncertainty, np.ndarray)
    assert 0.02 < pet.uncertainty.mean() < 0.4
    assert not (pet.masks & (pet.uncertainty == 1)).any()
    street = open_dataset(f"labels:{data_root}/CamVid?images=val&labels=valannot&mode=classes&background=")[0]
    assert street.ids == tuple(range(12))
    assert street.partition


def test_panoptic_maps_hold_the_segments_that_their_file_lists(data_root: Path) -> None:
    folder = data_root / "samples/coco_panoptic"
    options = "images=input_images&maps=panoptic_examples&annotations=panoptic_examples.json"
    listed = json.loads((folder / "panoptic_examples.json").read_text())["annotations"]
    dataset = open_dataset(f"panoptic:{folder}?{options}")
    assert len(dataset) == len(listed) == 2
    for sample, entry in zip(dataset, sorted(listed, key=lambda entry: entry["file_name"]), strict=True):
        areas = dict(zip(sample.ids, sample.masks.sum(axis=(1, 2)).tolist(), strict=True))
        assert areas == {segment["id"]: segment["area"] for segment in entry["segments_info"]}
        assert sample.categories is not None
        assert "person" in sample.categories
