"""Covering, Rand index and variation of information against slow twins and by hand."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import boundary_benchmark as twin

from maskwright.errors import InputError
from maskwright.metrics.partitions import (
    RegionCounts,
    RegionScores,
    count_regions,
    covering,
    rand_index,
    variation_of_information,
)

Labels = npt.NDArray[np.int32]

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(data=st.data(), shape=SHAPES)
@settings(max_examples=80, deadline=None)
def test_measures_equal_twins(data: st.DataObject, shape: tuple[int, int]) -> None:
    labels, target = (data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 5))) for _ in range(2))
    assert covering(labels, target) == pytest.approx(twin.covering(labels, target))
    assert rand_index(labels, target) == pytest.approx(twin.rand_index(labels, target))
    found = variation_of_information(labels, target)
    assert found == pytest.approx(twin.variation_of_information(labels, target), abs=1e-9)


@given(data=st.data(), shape=SHAPES)
@settings(max_examples=60, deadline=None)
def test_levels_are_counted_alike_merged_or_not(data: st.DataObject, shape: tuple[int, int]) -> None:
    levels = [data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 6)))]
    for _ in range(4):
        if data.draw(st.booleans()):
            levels.append(data.draw(hnp.arrays(np.int32, (7,), elements=st.integers(0, 6)))[levels[-1]])
        else:
            levels.append(data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 6))))
    targets = [data.draw(hnp.arrays(np.int32, shape, elements=st.integers(1, 3))) for _ in range(2)]
    found = count_regions(levels, targets, np.arange(5.0))
    for place, labels in enumerate(levels):
        mean = {
            name: np.mean([getattr(twin, name)(labels, target) for target in targets])
            for name in ("covering", "rand_index", "variation_of_information")
        }
        assert found.covered[place] / found.area == pytest.approx(mean["covering"])
        assert found.rand[place] == pytest.approx(mean["rand_index"])
        assert found.information[place] == pytest.approx(mean["variation_of_information"], abs=1e-9)
    assert found.best_covered >= found.covered.max() - 1e-9
    again = RegionCounts.from_json(json.loads(json.dumps(found.to_json())))
    for name, value in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_equal_partitions_agree_whatever_their_numbers() -> None:
    labels = np.arange(12, dtype=np.int32).reshape(3, 4) // 4
    for other in (labels, 7 - labels):
        assert (covering(other, labels), rand_index(other, labels)) == (1, 1)
        assert variation_of_information(other, labels) == pytest.approx(0, abs=1e-12)
    halves = (np.arange(12).reshape(3, 4) % 4 < 2).astype(np.int32)
    one = np.zeros_like(halves)
    assert (covering(one, halves), variation_of_information(one, halves)) == (0.5, 1)


def test_scores_by_hand() -> None:
    levels = np.array([0.1, 0.2])
    images = [
        RegionCounts(levels, np.array([60.0, 40.0]), 70.0, 100, np.array([0.9, 0.5]), np.array([1.0, 2.0])),
        RegionCounts(
            levels, np.array([100.0, 240.0]), 250.0, 300, np.array([0.6, 0.7]), np.array([3.0, 1.0])
        ),
    ]
    scores = RegionScores(images)
    assert vars(scores.covering) == {"ods": 0.7, "level": 0.2, "ois": 0.75}
    assert scores.best_covering == 0.8
    assert vars(scores.pri) == pytest.approx({"ods": 0.75, "level": 0.1, "ois": 0.8})
    assert vars(scores.voi) == {"ods": 1.5, "level": 0.2, "ois": 1.0}


def test_other_sizes_and_no_annotator_are_refused() -> None:
    labels = np.ones((2, 3), np.int32)
    with pytest.raises(InputError, match="partition"):
        covering(labels, labels.T)
    with pytest.raises(InputError, match="annotator"):
        count_regions([labels], [], np.zeros(1))
