from pathlib import Path

import pytest
from data.miniatures import make_labels, make_pairs

from maskwright.data.kinds import KINDS
from maskwright.data.registry import build_dataset, open_dataset
from maskwright.errors import DatasetError


@pytest.mark.parametrize("spec", ["labels", "labels:", "/some/folder"])
def test_a_spec_without_kind_or_folder_says_how_to_write_one(spec: str) -> None:
    with pytest.raises(DatasetError, match="write KIND:FOLDER"):
        open_dataset(spec)


def test_an_unknown_kind_is_suggested() -> None:
    with pytest.raises(DatasetError, match="Did you mean 'bsds500'"):
        open_dataset("bsds50:somewhere")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("mod=classes", "Did you mean 'mode'"),
        ("mode=class", "must be instances, classes"),
        ("ignore=a", "must be whole numbers"),
        ("components=perhaps", "must be true or false"),
        ("mode", "write mode=VALUE once"),
        ("mode=classes&mode=instances", "write mode=VALUE once"),
    ],
)
def test_a_bad_option_is_explained(tmp_path: Path, query: str, message: str) -> None:
    make_labels(tmp_path, ["a"])
    with pytest.raises(DatasetError, match=message):
        open_dataset(f"labels:{tmp_path}?{query}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_folder_and_an_empty_one_show_the_expected_tree(tmp_path: Path, kind: str) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DatasetError, match="FOLDER/") as caught:
            open_dataset(f"{kind}:{folder}")
        assert str(folder) in str(caught.value)


def test_a_folder_with_colon_space_and_unicode_is_opened(tmp_path: Path) -> None:
    root = make_labels(tmp_path / "my data: schön", ["ä b"])
    assert len(open_dataset(f"labels:{root}")) == 1


def test_files_without_partner_are_refused_by_name_and_listed_for_the_check(tmp_path: Path) -> None:
    make_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b", "c"])
    (tmp_path / "masks/b.png").unlink()
    (tmp_path / "images/c.jpg").unlink()
    spec = f"pairs:{tmp_path}"
    with pytest.raises(DatasetError, match="2 files lack their partner") as caught:
        open_dataset(spec)
    assert "b.jpg: has no mask b.png" in str(caught.value)
    assert "c.png: belongs to no image" in str(caught.value)
    dataset = build_dataset(spec)
    assert len(dataset) == 1
    assert [problem.code for problem in dataset.unpaired] == ["missing_mask", "missing_image"]


def test_folders_without_any_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DatasetError, match="holds no items"):
        open_dataset(f"pairs:{tmp_path}")


def test_two_photos_with_one_stem_are_ambiguous(tmp_path: Path) -> None:
    make_pairs(tmp_path / "images", tmp_path / "masks", ["a"])
    (tmp_path / "images/a.png").write_bytes((tmp_path / "masks/a.png").read_bytes())
    with pytest.raises(DatasetError, match=r"has the same stem as a\.jpg"):
        open_dataset(f"pairs:{tmp_path}")


def test_datasets_are_sequences(tmp_path: Path) -> None:
    dataset = open_dataset(f"labels:{make_labels(tmp_path, ['a', 'b', 'c'])}")
    assert dataset[-1].source.endswith("c.png")
    assert [Path(sample.source).stem for sample in dataset[1:]] == ["b", "c"]
    assert dataset[::-1].image_path(0).stem == "c"
    assert len(list(dataset)) == 3
    with pytest.raises(IndexError):
        dataset[3]
