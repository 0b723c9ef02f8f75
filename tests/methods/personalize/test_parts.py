"""Parts of objects, and the earth mover's distance against slow versions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from maskwright.methods.personalize.features import evenly
from maskwright.methods.personalize.parts import COMPARED, earth_mover, prototypes


def draw(count: int, width: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def costs(first: Tensor, second: Tensor) -> list[list[float]]:
    ones, others = ([row / np.linalg.norm(row) for row in part.double().numpy()] for part in (first, second))
    return [[float(((one - other) ** 2).sum()) for other in others] for one in ones]


def by_all_orders(first: Tensor, second: Tensor) -> float:
    work, count = costs(first, second), len(first)
    return min(
        sum(work[row][column] for row, column in enumerate(order)) / count
        for order in itertools.permutations(range(count))
    )


def by_linear_programme(first: Tensor, second: Tensor) -> float:
    """The transport of least work between two evenly weighted sets."""
    work = np.array(costs(first, second))
    rows, columns = work.shape
    from_each = np.kron(np.eye(rows), np.ones(columns))
    to_each = np.kron(np.ones(rows), np.eye(columns))
    limits = np.concatenate([np.full(rows, 1 / rows), np.full(columns, 1 / columns)])
    solved = linprog(work.ravel(), A_eq=np.concatenate([from_each, to_each]), b_eq=limits)
    return float(solved.fun)


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_equal_sets_against_all_orders(count: int) -> None:
    first, second = draw(count), draw(count, seed=1)
    assert earth_mover(first, second) == pytest.approx(by_all_orders(first, second), abs=1e-5)


@pytest.mark.parametrize(("first", "second"), [(12, 12), (4, 12), (12, 3), (1, 9)])
def test_sets_that_divide_each_other_against_the_linear_programme(first: int, second: int) -> None:
    ones, others = draw(first), draw(second, seed=1)
    assert earth_mover(ones, others) == pytest.approx(by_linear_programme(ones, others), abs=1e-5)


def test_sets_of_other_sizes_are_close_to_the_linear_programme() -> None:
    ones, others = draw(20), draw(33, seed=1)
    assert earth_mover(ones, others) == pytest.approx(by_linear_programme(ones, others), rel=0.1)


@pytest.mark.parametrize(("first", "second"), [(7, 7), (3, 10), (300, 200)])
def test_a_distance(first: int, second: int) -> None:
    ones, others = draw(first), draw(second, seed=1)
    assert earth_mover(ones, others) == pytest.approx(earth_mover(others, ones), abs=1e-5)
    assert earth_mover(ones, others[torch.randperm(second)]) == pytest.approx(
        earth_mover(ones, others), abs=0.15 if max(first, second) > COMPARED else 1e-5
    )
    assert earth_mover(ones, ones) == pytest.approx(0, abs=1e-5)
    assert earth_mover(ones, 3 * ones) == pytest.approx(0, abs=1e-5)
    assert earth_mover(ones, -ones) <= 4 + 1e-5
    assert earth_mover(ones[:1], -ones[:1]) == pytest.approx(4, abs=1e-5)


def test_parts_are_the_means_of_what_lies_together() -> None:
    middles = torch.tensor([[10.0, 0, 0], [0, 10, 0], [0, 0, 10]])
    features = torch.cat([middle + 0.1 * draw(20, 3, seed) for seed, middle in enumerate(middles)])
    found = prototypes(features, 3)
    assert found.shape == (3, 3)
    for middle in middles:
        assert (found - middle).norm(dim=1).min() < 0.2
    torch.testing.assert_close(prototypes(features, 1), features.mean(dim=0, keepdim=True))
    assert torch.equal(found, prototypes(features, 3))
    assert torch.equal(found, prototypes(features.clone(), 3, seed=0))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_there_are_no_more_parts_than_features(count: int) -> None:
    features = draw(count)
    found = prototypes(features, 5)
    assert found.shape == features.shape
    for one in features:
        assert (found - one).norm(dim=1).min() < 1e-5


def test_equal_features_are_one_part() -> None:
    torch.testing.assert_close(prototypes(torch.ones(30, 4), 5), torch.ones(1, 4))
    two = torch.cat([torch.ones(30, 4), torch.zeros(5, 4)])
    assert len(prototypes(two, 5)) == 2


@pytest.mark.parametrize("seed", range(40))
def test_parts_without_features_are_no_parts(seed: int) -> None:
    """Clustered data with ties, on which k-means leaves parts empty now and then."""
    features = draw(12, 1, seed).round()
    found = prototypes(features, 5, seed)
    assert 1 <= len(found) <= len(features.unique(dim=0))
    assert found.isfinite().all()


@pytest.mark.parametrize("most", [1, 2, 7, 10, 50])
def test_features_are_thinned_out_evenly(most: int) -> None:
    features = torch.arange(10.0)[:, None]
    kept = evenly(features, most)[:, 0].tolist()
    assert len(kept) == min(most, 10)
    assert kept == sorted(set(kept))
    assert kept[0] == 0
    assert most == 1 or kept[-1] == 9
