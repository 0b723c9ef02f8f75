from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data.miniatures import make_bsds, make_labels

from maskwright.data.mixture import Mixture, fold_by_image, split_by_image
from maskwright.data.registry import open_dataset
from maskwright.errors import ConfigError, DatasetError


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    small = open_dataset(f"labels:{make_labels(tmp_path / 'small', ['a', 'b'])}")
    large = open_dataset(f"labels:{make_labels(tmp_path / 'large', list('cdefghij'))}")
    return Mixture([(small, 3.0), (large, 1.0)])


def test_a_mixture_is_its_parts_in_order(mixture: Mixture) -> None:
    assert len(mixture) == 10
    assert [mixture.image_path(k).stem for k in range(10)] == list("abcdefghij")
    assert mixture[9].source == str(mixture.mask_path(9))
    assert mixture[-10].source.endswith("a.png")
    assert mixture.locate(2) == (mixture.datasets[1], 0)


def test_draws_keep_the_ratio_exactly_and_repeat_no_item_early(mixture: Mixture) -> None:
    drawn = mixture.draw(40, np.random.default_rng(0))
    counts = Counter(int(index) for index in drawn)
    assert [counts[0], counts[1]] == [15, 15]
    assert sum(counts[k] for k in range(2, 10)) == 10
    assert {counts[k] for k in range(2, 10)} == {1, 2}
    assert (drawn == mixture.draw(40, np.random.default_rng(0))).all()
    assert (drawn != mixture.draw(40, np.random.default_rng(1))).any()
    assert len(mixture.draw(0, np.random.default_rng(0))) == 0
    assert len(mixture.draw(7, np.random.default_rng(0))) == 7


def test_a_mixture_needs_items_and_positive_weights(mixture: Mixture) -> None:
    part = mixture.datasets[0]
    for parts in ([], [(part, 0.0)], [(part, float("nan"))], [(part[:0], 1.0)]):
        with pytest.raises(ConfigError, match="not empty, with weights above 0"):
            Mixture(parts)


def test_a_split_keeps_items_of_one_photo_together(tmp_path: Path) -> None:
    dataset = open_dataset(f"bsds500:{make_bsds(tmp_path, annotators=4)}?split=trainval&annotator=all")
    rest, part = split_by_image(dataset, 0.5, seed=1)
    assert len(rest) == len(part) == 4
    photos = [{half.image_path(k) for k in range(4)} for half in (rest, part)]
    assert [len(half) for half in photos] == [1, 1]
    assert not photos[0] & photos[1]


def test_a_split_is_complete_repeatable_and_never_empty(mixture: Mixture) -> None:
    for fraction, size in ((0.3, 3), (0.01, 1), (0.999, 9)):
        rest, part = split_by_image(mixture, fraction, seed=4)
        assert len(part) == size
        assert sorted([*rest.indices, *part.indices]) == list(range(10))
        assert list(part.indices) == list(split_by_image(mixture, fraction, seed=4)[1].indices)
    assert any(
        list(split_by_image(mixture, 0.3, seed=4)[1].indices)
        != list(split_by_image(mixture, 0.3, seed=k)[1].indices)
        for k in range(5)
    )
    with pytest.raises(ConfigError, match=r"in \(0, 1\)"):
        split_by_image(mixture, 1.0)
    with pytest.raises(ConfigError, match=r"cannot split 1 photos: .*--val-share 0"):
        split_by_image(mixture[:1], 0.5)


def test_folds_cover_every_item_once_and_keep_photos_together(tmp_path: Path) -> None:
    root = make_labels(tmp_path, list("abcdefghij"))
    parts = [open_dataset(f"labels:{root}?fold={k}/3") for k in (1, 2, 3)]
    names = [{part.image_path(k).stem for k in range(len(part))} for part in parts]
    assert sorted(len(part) for part in names) == [3, 3, 4]
    assert set.union(*names) == set("abcdefghij")
    others = open_dataset(f"labels:{root}?fold=-2/3")
    assert {others.image_path(k).stem for k in range(len(others))} == names[0] | names[2]


def test_bad_folds_are_refused(tmp_path: Path) -> None:
    root = make_labels(tmp_path, ["a", "b"])
    for text, message in (("1", "must look like"), ("0/3", "no such part"), ("4/3", "no such part")):
        with pytest.raises(DatasetError, match=message):
            open_dataset(f"labels:{root}?fold={text}")
    with pytest.raises(ConfigError, match="cannot cut 2 photos into 5 parts"):
        fold_by_image(open_dataset(f"labels:{root}"), 1, 5)
