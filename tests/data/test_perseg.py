"""PerSeg's layout, and one-shot tasks cut from datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data.miniatures import photo, rectangle, save

from maskwright.data.one_shot import one_shots
from maskwright.data.perseg import PerSeg, reference_pairs
from maskwright.data.registry import open_dataset
from maskwright.errors import DatasetError, MaskError

MASK = rectangle(4, 5, 20, 15)


def make(root: Path, names: dict[str, list[str]]) -> Path:
    for name, stems in names.items():
        for seed, stem in enumerate(stems):
            save(root / "Images" / name / f"{stem}.jpg", photo(seed))
            save(root / "Annotations" / name / f"{stem}.png", (MASK * 255).astype(np.uint8))
    return root


def test_gaps_other_names_and_other_files_are_no_trouble(tmp_path: Path) -> None:
    make(tmp_path, {"cat": ["00", "03", "117", "front"], "dog.v2": ["00", "01"]})
    (tmp_path / "Images" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "Images" / ".DS").mkdir()
    (tmp_path / "Images" / "notes.txt").write_text("x")
    data = open_dataset(f"perseg:{tmp_path}")
    assert [data.image_path(index).parent.name for index in range(len(data))] == ["cat"] * 4 + ["dog.v2"] * 2
    sample = data[0]
    assert np.array_equal(sample.masks.any(axis=0), MASK)
    assert sample.categories == ("cat",)
    assert set(reference_pairs(tmp_path, "00")) == {"cat", "dog.v2"}
    assert [(task.name, len(task.tests)) for task in one_shots(data)] == [("cat", 3), ("dog.v2", 1)]


@pytest.mark.parametrize("value", [1, 128, 255, (128, 0, 0), (0, 0, 128)])
def test_masks_of_any_value(tmp_path: Path, value: int | tuple[int, int, int]) -> None:
    make(tmp_path, {"cat": ["00"]})
    pixels = np.where(MASK[..., None], value, 0).astype(np.uint8)
    save(tmp_path / "Annotations/cat/00.png", pixels if isinstance(value, tuple) else pixels[..., 0])
    assert np.array_equal(PerSeg(tmp_path)[0].masks.any(axis=0), MASK)


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Images/OBJECT/00\.jpg"):
        PerSeg(tmp_path)
    make(tmp_path, {"cat": ["00", "01"], "dog": ["01"]})
    with pytest.raises(DatasetError, match="dog needs one photo '00'"):
        reference_pairs(tmp_path, "00")
    data = PerSeg(tmp_path)
    with pytest.raises(DatasetError, match="dog has no photo '00'; it has 01"):
        one_shots(data, ["00"])
    with pytest.raises(DatasetError, match="dog has 1 photos: none is left"):
        one_shots(data)
    save(tmp_path / "Annotations/cat/00.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(DatasetError, match=r"5"):
        PerSeg(tmp_path)[0]
    save(tmp_path / "Annotations/cat/00.png", photo())
    with pytest.raises(MaskError, match="several colours"):
        PerSeg(tmp_path)[0]


def test_whole_stems_are_references_and_not_parts_of_names(tmp_path: Path) -> None:
    root = make(tmp_path / "data00", {"cat00": ["00", "100", "000", "1"]})
    (task,) = one_shots(PerSeg(root), ["00"])
    stems = [task.data.image_path(index).stem for index in task.tests]
    assert stems == ["000", "1", "100"]
    assert [task.data.image_path(index).stem for index in task.references] == ["00"]
