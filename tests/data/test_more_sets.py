"""The sets of people, of land from above and of special subjects, each from a miniature of its layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from data.miniatures import SIZE, photo, rectangle, save
from data.more_miniatures import BLOCKS, SETS, Miniature, colours, numbers8, palette_png

from maskwright.data.boundary_targets import boundary_target
from maskwright.data.check import check_dataset
from maskwright.data.outlines import Patch, Shapes, outline
from maskwright.data.registry import build_dataset, open_dataset
from maskwright.data.soba import SHADOW
from maskwright.errors import DatasetError, FileError
from maskwright.types import Sample


@pytest.fixture
def made(tmp_path: Path, name: str) -> Miniature:
    SETS[name].make(tmp_path)
    return SETS[name]


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_read_and_sound(tmp_path: Path, made: Miniature) -> None:
    spec = made.spec.format(tmp_path)
    dataset = open_dataset(spec)
    assert len(dataset) == made.photos
    assert dataset.image_path(0) == tmp_path / made.image
    sample = dataset[0]
    assert len(sample.masks) == made.masks
    assert sample.categories == made.categories
    names = [dataset.image_path(index) for index in range(len(dataset))]
    assert len(set(names)) == made.photos
    report = check_dataset(spec)
    assert report.errors == []
    assert report.items == made.photos


@pytest.mark.parametrize(
    "name", [name for name, made in SETS.items() if made.masks == 3 and name != "celeba"]
)
def test_every_region_is_one_mask(tmp_path: Path, made: Miniature) -> None:
    sample = open_dataset(made.spec.format(tmp_path))[0]
    found = {mask.tobytes() for mask in sample.masks}
    assert found == {rectangle(*block).tobytes() for block in BLOCKS}


@pytest.mark.parametrize("name", SETS)
def test_a_photo_without_masks_is_named(tmp_path: Path, made: Miniature) -> None:
    path = tmp_path / made.mask
    if path.suffix == ".json":
        (tmp_path / made.image).unlink()
    elif made.spec.startswith("celeba"):
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    dataset = build_dataset(made.spec.format(tmp_path))
    assert any(problem.path == str(tmp_path / made.image) for problem in dataset.unpaired)
    with pytest.raises(DatasetError, match="lack their partner"):
        open_dataset(made.spec.format(tmp_path))


@pytest.mark.parametrize("name", [name for name, made in SETS.items() if not made.mask.endswith(".json")])
def test_a_mask_without_photo_is_named(tmp_path: Path, made: Miniature) -> None:
    (tmp_path / made.image).unlink()
    dataset = build_dataset(made.spec.format(tmp_path))
    # DRAM's photos are known from its lists.
    lost = made.image if made.spec.startswith("dram") else made.mask
    assert any(problem.path == str(tmp_path / lost) for problem in dataset.unpaired)


def read(spec: str) -> Sample:
    return open_dataset(spec)[0]


def test_colours_that_differ_only_in_green_and_blue_are_different_objects(tmp_path: Path) -> None:
    SETS["isaid instances"].make(tmp_path)
    sample = read(f"isaid:{tmp_path}?masks=instances")
    assert sample.ids == (255, 255 + 256, 255 + 65536)
    assert (sample.masks[1] == rectangle(*BLOCKS[1])).all()


def test_unknown_colours_are_refused_kept_or_the_nearest(tmp_path: Path) -> None:
    SETS["uavid"].make(tmp_path)
    path = tmp_path / SETS["uavid"].mask
    save(path, colours((128, 0, 0), (128, 60, 130), (1, 2, 3), rest=(64, 0, 128)))
    with pytest.raises(FileError, match="2 colours that stand for no class: #010203, #803c82") as caught:
        read(f"uavid:{tmp_path}")
    assert str(path) in str(caught.value)
    assert read(f"uavid:{tmp_path}?unknown=keep").categories == (
        "building", "moving car", "#010203", "#803c82",
    )  # fmt: skip
    # (1, 2, 3) is nearest to black, the clutter, which is no object.
    assert read(f"uavid:{tmp_path}?unknown=nearest").categories == ("building", "road", "moving car")


def test_suim_s_stray_colours_count_to_the_nearest(tmp_path: Path) -> None:
    SETS["suim"].make(tmp_path)
    save(tmp_path / SETS["suim"].mask, colours((20, 3, 250), (240, 255, 12), (200, 199, 255)))
    assert read(f"suim:{tmp_path}").categories == ("diver", "fish", "sea floor")
    with pytest.raises(FileError, match="3 colours"):
        read(f"suim:{tmp_path}?unknown=refuse")


def test_gta5_s_maps_may_be_indices_numbers_or_colours(tmp_path: Path) -> None:
    SETS["gta5"].make(tmp_path)
    indices = read(f"gta5:{tmp_path}")
    for values in (numbers8(7, 8, 26), colours((128, 64, 128), (244, 35, 232), (0, 0, 142))):
        save(tmp_path / SETS["gta5"].mask, values)
        sample = read(f"gta5:{tmp_path}")
        assert sample.categories == indices.categories
        assert (sample.masks == indices.masks).all()


def test_loveda_trusts_no_label_where_there_is_no_data(tmp_path: Path) -> None:
    SETS["loveda"].make(tmp_path)
    sample = read(f"loveda:{tmp_path}?area=rural")
    assert sample.categories == ("water", "forest")
    assert sample.uncertainty is not None
    assert (np.asarray(sample.uncertainty)[0] == rectangle(*BLOCKS[0])).all()
    assert len(open_dataset(f"loveda:{tmp_path}?area=urban")) == 2


def test_openearthmap_s_photos_of_xbd_come_apart(tmp_path: Path) -> None:
    SETS["openearthmap regions"].make(tmp_path)
    assert len(open_dataset(f"openearthmap:{tmp_path}")) == 4
    (tmp_path / "tokyo/images/tokyo_1.tif").unlink()
    with pytest.raises(DatasetError, match=r"tokyo_1\.tif: belongs to no image"):
        open_dataset(f"openearthmap:{tmp_path}")
    assert len(open_dataset(f"openearthmap:{tmp_path}?partial=true")) == 3
    shutil.rmtree(tmp_path / "tokyo/images")
    assert len(open_dataset(f"openearthmap:{tmp_path}?partial=true&split=train")) == 1
    (tmp_path / "val.txt").write_text("lagos_1.tif\n")
    with pytest.raises(DatasetError, match=r"lagos_1\.tif: is listed"):
        open_dataset(f"openearthmap:{tmp_path}?split=val&partial=true")


@pytest.mark.parametrize(
    ("name", "folder"), [("loveda", "Train"), ("uavid", "uavid_train"), ("phenobench", "train")]
)
def test_the_folder_of_one_split_is_not_taken_for_another_s(tmp_path: Path, name: str, folder: str) -> None:
    SETS[name].make(tmp_path)
    with pytest.raises(DatasetError, match="has no folder"):
        open_dataset(f"{name}:{tmp_path / folder}?split=val")


def test_a_folder_around_all_may_be_missing(tmp_path: Path) -> None:
    SETS["wireframe"].make(tmp_path)
    assert len(open_dataset(f"wireframe:{tmp_path / 'preprocessed'}")) == 2


@pytest.mark.parametrize("name", [name for name, made in SETS.items() if made.mask.endswith(".json")])
@pytest.mark.parametrize("text", ["", "[]", '{"images": [', '{"images": [{"id": 1}]}'])
def test_a_damaged_json_file_is_named(tmp_path: Path, made: Miniature, text: str) -> None:
    (tmp_path / made.mask).write_text(text)
    with pytest.raises((DatasetError, FileError)) as caught:
        open_dataset(made.spec.format(tmp_path))
    assert str(tmp_path / made.mask) in str(caught.value)


@pytest.mark.parametrize("name", ["lip", "cihp", "egohos", "loveda", "openearthmap", "phenobench"])
def test_colours_are_refused_where_maps_hold_numbers(tmp_path: Path, made: Miniature) -> None:
    path = tmp_path / made.mask
    save(path, photo(1))
    with pytest.raises(FileError, match="colours, not label numbers") as caught:
        read(made.spec.format(tmp_path))
    assert str(path) in str(caught.value)


def test_a_sequence_without_labels_is_named(tmp_path: Path) -> None:
    SETS["uavid"].make(tmp_path)
    shutil.rmtree(tmp_path / "uavid_train/seq2/Labels")
    dataset = build_dataset(f"uavid:{tmp_path}")
    assert [problem.code for problem in dataset.unpaired] == ["missing_mask"] * 2
    assert all("seq2" in problem.path for problem in dataset.unpaired)


def test_celeba_s_masks_are_enlarged_to_the_photo(tmp_path: Path) -> None:
    SETS["celeba"].make(tmp_path)
    sample = read(f"celeba:{tmp_path}")
    assert sample.masks.shape == (3, SIZE[0] * 2, SIZE[1] * 2)
    x0, y0, x1, y1 = (2 * value for value in BLOCKS[0])
    assert (sample.masks[0] == rectangle(x0, y0, x1, y1, (SIZE[0] * 2, SIZE[1] * 2))).all()


def test_salmon_fillets_are_left_out_only_when_asked(tmp_path: Path) -> None:
    SETS["seginw"].make(tmp_path)
    assert len(open_dataset(f"seginw:{tmp_path}?exclude=Salmon-Fillet")) == 2
    assert read(f"seginw:{tmp_path}?subsets=Salmon-Fillet").categories == ("Salmon-Fillet: thing",) * 2
    with pytest.raises(DatasetError, match="Did you mean 'Cows'"):
        open_dataset(f"seginw:{tmp_path}?subsets=Cow")
    other = tmp_path / "Cows/train/other.json"
    shutil.copy(tmp_path / SETS["seginw"].mask, other)
    assert len(open_dataset(f"seginw:{tmp_path}")) == 4
    (tmp_path / SETS["seginw"].mask).unlink()
    shutil.copy(other, other.with_name("third.json"))
    with pytest.raises(DatasetError, match=r"one JSON file; found other\.json, third\.json"):
        open_dataset(f"seginw:{tmp_path}")


def test_soba_s_shadows_are_masks_of_their_own_and_may_hide_nothing(tmp_path: Path) -> None:
    SETS["soba"].make(tmp_path)
    sample = read(f"soba:{tmp_path}")
    assert sample.ids == (255, 255 + (255 << 8), 255 + (255 << 16), 255 + SHADOW)
    assert (sample.masks[0] == rectangle(*BLOCKS[0])).all()
    assert (sample.masks[3] & sample.masks[0]).any()
    assert read(f"soba:{tmp_path}?shadows=skip").categories == ("object",) * 3
    assert read(f"soba:{tmp_path}?shadows=only").categories == ("shadow",)
    val = open_dataset(f"soba:{tmp_path}?split=val")
    assert [val.image_path(k).relative_to(tmp_path).as_posix() for k in range(2)] == [
        "ADE/5.jpg",
        "COCO/5.jpg",
    ]
    (tmp_path / "ADE/0-3.png").unlink()
    (problem,) = build_dataset(f"soba:{tmp_path}").unpaired
    assert problem.path.endswith("ADE/0.jpg")
    assert "0-3.png" in problem.message
    assert len(open_dataset(f"soba:{tmp_path}?split=val")) == 2


def test_dram_s_paintings_come_once_though_several_lists_have_them(tmp_path: Path) -> None:
    SETS["dram"].make(tmp_path)
    assert len(open_dataset(f"dram:{tmp_path}")) == 2
    assert len(open_dataset(f"dram:{tmp_path}?lists=realism")) == 1
    sample = read(f"dram:{tmp_path}")
    assert sample.uncertainty is not None
    assert (np.asarray(sample.uncertainty)[0] == rectangle(*BLOCKS[2])).all()
    with pytest.raises(DatasetError, match="Did you mean 'realism'"):
        open_dataset(f"dram:{tmp_path}?lists=realsm")
    (tmp_path / "test/realism.txt").write_text("../../elsewhere\n")
    with pytest.raises(DatasetError, match="leave"):
        open_dataset(f"dram:{tmp_path}")


def test_wireframe_s_lines_are_the_boundary(tmp_path: Path) -> None:
    SETS["wireframe"].make(tmp_path)
    lines = np.zeros(SIZE, np.uint8)
    lines[5, 3:20] = 1  # a file of 0 and 1
    save(tmp_path / SETS["wireframe"].mask, lines)
    dataset = open_dataset(f"wireframe:{tmp_path}")
    contours = dataset.contours(0)
    assert contours is not None
    assert (np.asarray(contours.maps) == (lines > 0)).all()
    assert (dataset[0].masks[0] == (lines > 0)).all()
    target = boundary_target(dataset, 0, thickness=3)
    assert (target.fraction == (lines > 0)).all()


def test_fashionpedia_keeps_objects_drawn_as_run_lengths(tmp_path: Path) -> None:
    SETS["fashionpedia"].make(tmp_path)
    assert len(read(f"fashionpedia:{tmp_path}").masks) == 2
    assert len(read(f"fashionpedia:{tmp_path}?crowd=skip").masks) == 1


def test_phenobench_s_numbers_go_up_to_16_bits(tmp_path: Path) -> None:
    SETS["phenobench"].make(tmp_path)
    assert read(f"phenobench:{tmp_path}").ids == (300, 301, 65535)


def test_duts_s_halves_can_be_had_alone(tmp_path: Path) -> None:
    SETS["duts train"].make(tmp_path)
    halves = [open_dataset(f"duts:{tmp_path}?split={split}") for split in ("tr", "te")]
    assert [half.image_path(0).parent.name for half in halves] == ["DUTS-TR", "DUTS-TE"]
    assert sum(map(len, halves)) == len(open_dataset(f"duts:{tmp_path}"))


def test_too_many_masks_for_memory_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SETS["treecount"].make(tmp_path)
    monkeypatch.setattr("maskwright.data.labels.MAX_STACK", SIZE[0] * SIZE[1] * 2)
    report = check_dataset(f"treecount:{tmp_path}")
    assert [problem.code for problem in report.errors] == ["too_many_masks"] * 2
    assert "a.png" in report.errors[0].path


@pytest.mark.parametrize("name", [name for name in SETS if name != "wireframe"])
def test_the_regions_have_the_outlines_of_the_masks(tmp_path: Path, made: Miniature) -> None:
    dataset = open_dataset(made.spec.format(tmp_path))
    sample = dataset[0]
    masks = Shapes(sample.image.size, [Patch.of(mask) for mask in sample.masks])
    given = dataset.shapes(0)
    assert given.size == sample.image.size
    drawn = outline(given, thickness=1)
    # Label maps border what is no object as well, such as an area without data.
    assert (drawn >= outline(masks, thickness=1)).all()
    if made.masks == 3:
        assert (drawn == outline(masks, thickness=1)).all()


TRUNCATED, EMPTY, SMALLER, TURNED, DEEP, INDEXED, PHOTO, JPEG = (
    "truncated", "empty", "smaller", "turned", "16 bits", "palette", "photo", "JPEG in disguise",
)  # fmt: skip


def spoil(path: Path, how: str) -> None:
    """Replace a mask file; its name and ending stay."""
    options = {"format": {".tif": "TIFF", ".bmp": "BMP"}.get(path.suffix, "PNG")}
    flat = numbers8(1, 2, 3)
    if how == TRUNCATED:
        path.write_bytes(path.read_bytes()[:-30])
    elif how == EMPTY:
        path.write_bytes(b"")
    elif how == SMALLER:
        save(path, flat[:-3, :-5], **options)
    elif how == TURNED:
        save(path, flat.T.copy(), **options)
    elif how == DEEP:
        save(path, flat.astype(np.uint16) * 257, format="PNG")
    elif how == INDEXED:
        palette_png(path.with_suffix(".png"), flat, bytes([0, 0, 0, 128, 0, 0, 128, 64, 128, 0, 128, 0]))
        path.with_suffix(".png").rename(path)
    elif how == PHOTO:
        save(path, photo(3, SIZE), **options)
    else:
        save(path, flat, format="JPEG")


FILES = [name for name, made in SETS.items() if not made.mask.endswith(".json")]


@pytest.mark.parametrize("how", [TRUNCATED, EMPTY, SMALLER, TURNED, DEEP, INDEXED, PHOTO, JPEG])
@pytest.mark.parametrize("name", FILES)
def test_a_spoiled_mask_is_named_and_ends_nothing(tmp_path: Path, made: Miniature, how: str) -> None:
    path = tmp_path / made.mask
    spoil(path, how)
    report = check_dataset(made.spec.format(tmp_path))
    assert report.items == made.photos
    if how in (TRUNCATED, EMPTY, SMALLER, TURNED):
        (problem,) = report.errors
        assert str(path) in str(problem)
    elif report.errors:
        assert all(str(path) in str(problem) for problem in report.errors)
    else:  # what can be read as a mask of this kind is read in full
        assert report.masks >= made.photos - 1


@pytest.mark.parametrize("name", SETS)
def test_a_truncated_photo_is_named_and_ends_nothing(tmp_path: Path, made: Miniature) -> None:
    path = tmp_path / made.image
    path.write_bytes(path.read_bytes()[:200])
    report = check_dataset(made.spec.format(tmp_path))
    assert [problem.path for problem in report.errors] == [str(path)]
