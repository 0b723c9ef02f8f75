"""The region tree: levels that rise, partitions that nest, one map that holds them all, and its file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.everything.maps import probabilities, ridges

from maskwright.errors import FileError, InputError, MaskError
from maskwright.methods.everything.hierarchy import Hierarchy
from maskwright.methods.everything.segments import segments
from maskwright.types import FloatArray

LEVELS = [-1.0, 0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0]


def nested(coarse: Any, fine: Any) -> bool:
    """Whether each fine label lies in one coarse label."""
    pairs = {(a, b) for a, b in zip(fine.ravel().tolist(), coarse.ravel().tolist(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs})


@settings(deadline=None, max_examples=50)
@given(probabilities(), st.sampled_from([None, 0.2]), st.integers(0, 3))
def test_levels_rise_partitions_nest_and_the_map_holds_them(
    probability: FloatArray, threshold: float | None, min_area: int
) -> None:
    tree = Hierarchy.of(probability, threshold=threshold, min_area=min_area)
    fine = segments(probability, threshold=threshold, min_area=min_area)
    assert (tree.fine.labels == fine.labels).all()
    assert tree.levels.shape == (fine.count - 1,)
    assert (np.diff(tree.levels) >= 0).all()
    contours = tree.ultrametric()
    before = fine
    for level in [*LEVELS, *tree.levels]:
        found = tree.at(level)
        assert found.count == 1 + (tree.levels > np.float32(level)).sum()
        if level >= 0:
            assert (found.boundary() == (contours > level)).all()
        assert nested(found.labels, fine.labels)
    for count in range(fine.count + 1, 0, -1):
        found = tree.with_count(count)
        assert found.count == min(count, fine.count)
        assert nested(found.labels, before.labels)
        before = found


def test_a_strong_ridge_outlasts_a_weak_one() -> None:
    probability = np.zeros((20, 60), np.float32)
    probability[:, 20], probability[:, 40] = 0.2, 0.9
    tree = Hierarchy.of(probability)
    assert tree.levels.tolist() == pytest.approx([0.2, 0.9], abs=0.51 / 255)
    assert tree.with_count(2).areas.tolist() == [820, 380]  # a line belongs to the side that comes first
    assert sorted(tree.at(0.5).areas.tolist()) == sorted(tree.with_count(2).areas.tolist())


def test_counts_and_levels_out_of_range() -> None:
    tree = Hierarchy.of(ridges(60, 80))
    assert tree.with_count(10**9).count == tree.fine.count
    assert tree.at(7).count == 1
    with pytest.raises(InputError, match="one segment at least, not 0"):
        tree.with_count(0)
    with pytest.raises(InputError, match="is a number"):
        tree.at(float("nan"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (30, 40)])
def test_a_tree_survives_its_file(shape: tuple[int, int], tmp_path: Path) -> None:
    tree = Hierarchy.of(np.random.default_rng(0).random(shape, np.float32))
    path = tmp_path / "tree.npz"
    tree.save(path)
    again = Hierarchy.load(path)
    assert (again.fine.labels == tree.fine.labels).all()
    assert (again.merges.pairs == tree.merges.pairs).all()
    assert (again.levels == tree.levels).all()
    assert (again.ultrametric() == tree.ultrametric()).all()


def archive(path: Path, **parts: Any) -> Path:
    """A tree of three segments with some parts replaced, or left out as None."""
    sound: dict[str, Any] = {
        "labels": np.array([[1, 1, 1], [2, 2, 3]], np.uint16),
        "pairs": np.array([[1, 2], [0, 1]], np.int32),
        "strengths": np.array([0.25, 0.5], np.float32),
    }
    np.savez(path, **{name: part for name, part in (sound | parts).items() if part is not None})
    return path


def test_a_tree_made_by_hand_is_read(tmp_path: Path) -> None:
    tree = Hierarchy.load(archive(tmp_path / "tree.npz"))
    assert tree.at(0.3).labels.tolist() == [[1, 1, 1], [2, 2, 2]]


@pytest.mark.parametrize(
    "parts",
    [
        {"labels": np.array([[1, 1, 1], [2, 2, 4]], np.uint16)},
        {"labels": np.array([1, 1, 2], np.uint16)},
        {"labels": np.array([[1.5, 1, 1], [2, 2, 3]])},
        {"labels": np.array([[{}, 1, 1], [2, 2, 3]], object)},
        {"labels": np.array([["1", "1", "1"], ["2", "2", "3"]])},
        {"labels": None},
        {"extra": np.zeros(3)},
        {"pairs": np.array([[1, 2]], np.int32)},
        {"pairs": np.array([[1, 2], [0, 1]], np.float64)},
        {"pairs": np.array([[1, 2], [0, 3]], np.int32)},
        {"pairs": np.array([[1, 2], [-1, 1]], np.int32)},
        {"pairs": np.array([[1, 2], [0, 2]], np.int32)},
        {"pairs": np.array([[1, 2], [2, 1]], np.int32)},
        {"pairs": np.array([[1, 1], [0, 2]], np.int32)},
        {"strengths": np.array([0.5, 0.25], np.float32)},
        {"strengths": np.array([0.25, 1.5], np.float32)},
        {"strengths": np.array([np.nan, 0.5], np.float32)},
        {"strengths": np.array([0.25], np.float32)},
        {"strengths": np.array([0, 1])},
    ],
)
def test_files_that_are_no_tree_are_refused(parts: dict[str, Any], tmp_path: Path) -> None:
    path = archive(tmp_path / "tree.npz", **parts)
    with pytest.raises(MaskError, match=r"tree\.npz is no region tree"):
        Hierarchy.load(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.npz"
    with pytest.raises(FileError, match="does not exist"):
        Hierarchy.load(path)
    Hierarchy.of(ridges(40, 50)).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for k in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(0, len(whole))] ^= 1 << k % 8
        path.write_bytes(bytes(damaged[: len(whole) if k % 2 else rng.integers(0, len(whole))]))
        try:
            Hierarchy.load(path)  # a flipped bit may lie where nothing is read
        except MaskError:
            continue


def test_a_huge_array_is_refused_before_it_is_made(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<u2", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    path = archive(tmp_path / "tree.npz", labels=None)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("labels.npy", header.getvalue())
    with pytest.raises(MaskError, match="no region tree"):
        Hierarchy.load(path)
