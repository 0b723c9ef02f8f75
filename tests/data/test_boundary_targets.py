"""Boundary targets: regions of every reader, drawn boundaries, sizes, and what is ignored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data import test_entityseg, test_lvis, test_sa1b
from data.label_sets import disc, made, make_label_set
from data.miniatures import (
    SIZE,
    label_map,
    make_bsds,
    make_coco,
    make_davis,
    make_labels,
    make_pairs,
    photo,
    save,
)

from maskwright.data.boundary_targets import (
    boundary_target,
    known_boundaries,
    resize_lines,
    resize_photo,
    target_size,
)
from maskwright.data.dataset import Contours, Dataset, SampleError
from maskwright.data.mixture import Mixture
from maskwright.data.outlines import Patch, Shapes, frame, outline, thicken
from maskwright.data.registry import open_dataset
from maskwright.types import BoolArray, Image, Sample


def sa1b(root: Path) -> str:
    test_sa1b.make(root, "sa_1")
    return f"sa1b:{root}"


def labelled(root: Path) -> str:
    masks = [made(SIZE, disc(16, 12, 6)), made(SIZE, disc(8, 8, 4))]
    return f"labelled:{make_label_set(root, {'a.png': masks}, refined=False)}?min_ratio=0&max_ratio=1"


def pairs(root: Path) -> str:
    make_pairs(root / "images", root / "masks", ["a"])
    return f"pairs:{root}"


READERS: dict[str, Callable[[Path], str]] = {
    "bsds500": lambda root: f"bsds500:{make_bsds(root)}?annotator=1",
    "davis2017": lambda root: f"davis2017:{make_davis(root, {'goat': [0, 3]}, label_map())}",
    "labels": lambda root: f"labels:{make_labels(root, ['a'])}",
    "pairs": pairs,
    "coco": lambda root: f"coco:{make_coco(root)}",
    "lvis": lambda root: f"lvis:{test_lvis.make_lvis(root)}",
    "entityseg": lambda root: f"entityseg:{test_entityseg.make(root)}",
    "sa1b": sa1b,
    "labelled": labelled,
}


@pytest.mark.parametrize("kind", READERS)
def test_shapes_have_the_outlines_of_the_masks(kind: str, tmp_path: Path) -> None:
    dataset = open_dataset(READERS[kind](tmp_path))
    sample = dataset[0]
    assert len(sample.ids)
    expected = outline(Shapes(SIZE, [Patch(mask) for mask in sample.masks]), thickness=1)
    assert expected.any()
    for several in (dataset, dataset[:1], Mixture([(dataset, 1.0)])):
        shapes = several.shapes(0)
        assert shapes.size == SIZE
        np.testing.assert_array_equal(outline(shapes, thickness=1), expected)


class Drawn(Dataset):
    """One photo with boundaries of some annotators, or with regions."""

    def __init__(self, path: Path, contours: Contours | None, shapes: Shapes | None = None) -> None:
        super().__init__()
        self.path, self.drawn, self.regions = path, contours, shapes
        save(path, photo())

    def __len__(self) -> int:
        return 1

    def image_path(self, index: int) -> Path:
        return self.path

    def mask_path(self, index: int) -> Path:
        return self.path.with_name("truth")

    def read(self, index: int) -> Sample:
        raise AssertionError("nobody asks for masks")

    def shapes(self, index: int) -> Shapes:
        assert self.regions is not None
        return self.regions

    def contours(self, index: int) -> Contours | None:
        return self.drawn


def line(column: int, size: tuple[int, int] = SIZE) -> BoolArray:
    result = np.zeros(size, bool)
    result[:, column] = True
    return result


def test_the_share_of_annotators_who_drew_a_boundary(tmp_path: Path) -> None:
    dataset = Drawn(tmp_path / "a.png", Contours([line(5), line(5), line(6), line(20)], thin=True))
    target = boundary_target(dataset, 0, thickness=1)
    assert target.fraction.dtype == np.float32
    assert target.fraction[10, [4, 5, 6, 7, 20]].tolist() == [0, 0.5, 0.25, 0, 0.25]
    thick = boundary_target(dataset, 0, thickness=3)
    assert thick.fraction[10, 3:9].tolist() == [0, 0.5, 0.75, 0.75, 0.25, 0]


def test_stored_lines_keep_their_width(tmp_path: Path) -> None:
    dataset = Drawn(tmp_path / "a.png", Contours([line(5)]))
    assert boundary_target(dataset, 0, thickness=5).fraction.sum() == SIZE[0]


def test_bsds_targets_are_all_annotators_boundaries(tmp_path: Path) -> None:
    dataset = open_dataset(f"bsds500:{make_bsds(tmp_path, annotators=3)}")
    drawn = dataset.contours(0)
    assert drawn is not None
    assert len(drawn.maps) == 3
    target = boundary_target(dataset, 0, thickness=1)
    np.testing.assert_allclose(target.fraction, np.mean(drawn.maps, axis=0), atol=1e-6)


def test_the_frame_and_unlabelled_areas_are_ignored_in_exact_style_only(tmp_path: Path) -> None:
    labels = np.ones(SIZE, np.int32)
    labels[:, 8:] = 2
    void = np.zeros(SIZE, bool)
    void[10:14, 20:24] = True
    labels[void] = 9
    dataset = Drawn(tmp_path / "a.png", None, Shapes(SIZE, [labels], void=void))
    for thickness in (1, 2, 3, 4):
        target = boundary_target(dataset, 0, thickness=thickness)
        assert target.ignore[frame(SIZE, thickness)].all()
        assert target.ignore[void].all()
        # What is left of the lines is that between the two regions.
        known = outline(Shapes(SIZE, [np.where(void, 2, labels)]), thickness=thickness)
        np.testing.assert_array_equal((target.fraction > 0) & ~target.ignore, known & ~target.ignore)
        assert not target.ignore[9:12, 6:10].any() or thickness == 4
    official = boundary_target(dataset, 0, thickness=3, style="official")
    assert not official.ignore.any()
    assert (official.fraction[frame(SIZE, 3)] == 1).all()


@pytest.mark.parametrize(
    ("resolution", "keep_aspect", "size"), [(None, False, SIZE), (16, False, (16, 16)), (16, True, (12, 16))]
)
def test_targets_at_a_resolution(
    tmp_path: Path, resolution: int | None, keep_aspect: bool, size: tuple[int, int]
) -> None:
    dataset = open_dataset(f"coco:{make_coco(tmp_path)}")
    target = boundary_target(dataset, 0, resolution=resolution, keep_aspect=keep_aspect, thickness=1)
    assert target.image.size == target.fraction.shape == target.ignore.shape == size
    assert target_size(SIZE, resolution, keep_aspect=keep_aspect) == size
    expected = outline(dataset.shapes(0), thickness=1, resolution=size)
    np.testing.assert_array_equal(target.fraction > 0, expected)


def test_known_boundaries_are_drawn_several_times(tmp_path: Path) -> None:
    known = known_boundaries(open_dataset(f"coco:{make_coco(tmp_path)}"), 0)
    first, second = known.fraction((20, 20), 2), known.fraction((20, 20), 2)
    np.testing.assert_array_equal(first, second)
    assert first.any()


@pytest.mark.parametrize("size", [(7, 9), (30, 40), (24, 9), (50, 32)])
def test_a_shrunken_line_stays_whole_and_an_enlarged_one_too(size: tuple[int, int]) -> None:
    for column in range(SIZE[1]):
        found = resize_lines(line(column), size)
        assert found.shape == size
        assert found.any(axis=1).all()
    diagonal = np.eye(40, dtype=bool)
    assert resize_lines(diagonal, (13, 13)).diagonal().all()
    assert not resize_lines(np.zeros((40, 40), bool), size).any()
    assert resize_lines(np.ones((40, 40), bool), size).all()


def test_photos_of_the_right_size_are_left_alone() -> None:
    image = Image(photo())
    assert resize_photo(image, SIZE) is image
    assert resize_photo(image, (10, 20)).pixels.shape == (10, 20, 3)


def test_masks_of_another_size_name_the_file(tmp_path: Path) -> None:
    for shapes in (Shapes((4, 4), []), Shapes(SIZE, [np.ones((4, 4), np.int32)])):
        dataset = Drawn(tmp_path / "a.png", None, shapes)
        with pytest.raises(SampleError, match=r"truth: .*a\.png"):
            boundary_target(dataset, 0)


def test_thin_lines_of_width_one_stay() -> None:
    np.testing.assert_array_equal(thicken(line(3), 1), line(3))
