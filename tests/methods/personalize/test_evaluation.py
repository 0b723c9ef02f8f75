"""The measures of PerSeg against a slow version of the released aggregation, and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.miniatures import save
from methods.personalize.blobs import BLUE, GREEN, RED, blobs, disc, scene
from models.tiny import tiny

from maskwright.data.one_shot import one_shots
from maskwright.data.perseg import PerSeg
from maskwright.errors import ImageError, InputError
from maskwright.methods.personalize.config import PersonalizeSettings
from maskwright.methods.personalize.evaluation import evaluate_personalize, whole
from maskwright.methods.personalize.finders import CenterClick, MostSalient, Personalized
from maskwright.metrics.boundaries import boundary_iou
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Sample

SIZE = (30, 40)
OBJECTS = {"cat": 4, "dog": 3, "red mug": 3}


def truth(name: str, number: int) -> BoolArray:
    mask = np.random.default_rng([len(name), number]).random(SIZE) < 0.3
    mask[:5, :5] = True
    return mask


def answer(name: str, number: int) -> BoolArray:
    return truth(name, number) ^ (np.random.default_rng([9, len(name), number]).random(SIZE) < 0.2)


def colour(mask: BoolArray) -> np.ndarray[Any, Any]:
    return np.where(mask[..., None], (128, 0, 0), (0, 0, 0)).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with "00" in its name, which the released script skips as a whole."""
    folder = tmp_path / "run00" / "perseg"
    for name, count in OBJECTS.items():
        for number in range(count):
            save(folder / "Images" / name / f"{number:02d}.jpg", np.full((*SIZE, 3), number, np.uint8))
            save(folder / "Annotations" / name / f"{number:02d}.png", colour(truth(name, number)))
    return folder


class Answers:
    """Finds what it was told to find; some photos fail."""

    def __init__(self, fails: Sequence[str] = (), unlearned: Sequence[str] = ()) -> None:
        self.fails, self.unlearned = fails, unlearned
        self.learned: dict[str, list[str]] = {}

    def learn(self, references: Sequence[Sample], name: str) -> str:
        if name in self.unlearned:
            raise InputError(f"the reference of {name} is empty")
        self.learned[name] = [Path(one.source).stem for one in references]
        return name

    def find(self, known: str, sample: Sample) -> tuple[BoolArray, float]:
        number = int(Path(sample.source).stem)
        if f"{known}/{number:02d}" in self.fails:
            raise ImageError("broken")
        return answer(known, number), 0.5


def by_the_released_script(numbers: dict[str, list[int]]) -> tuple[float, float]:
    """One pixel at a time: an object's images are one long row of pixels."""
    ious, accuracies = [], []
    for name, tests in numbers.items():
        intersection = union = target = 0
        for number in tests:
            for found, right in zip(answer(name, number).flat, truth(name, number).flat, strict=True):
                intersection += bool(found and right)
                union += bool(found or right)
                target += bool(right)
        ious.append(intersection / (union + 1e-10))
        accuracies.append(intersection / (target + 1e-10))
    return sum(ious) / len(ious), sum(accuracies) / len(accuracies)


@pytest.mark.parametrize("reference", ["00", "01"])
def test_measures_are_those_of_the_released_script(root: Path, reference: str) -> None:
    finder = Answers()
    tasks = one_shots(PerSeg(root), [reference])
    summary = evaluate_personalize(finder, tasks).summary()
    left = {
        name: [number for number in range(count) if f"{number:02d}" != reference]
        for name, count in OBJECTS.items()
    }
    miou, macc = by_the_released_script(left)
    assert summary["miou"] == pytest.approx(miou)
    assert summary["macc"] == pytest.approx(macc)
    assert (summary["objects"], summary["images"]) == (3, 7)
    assert finder.learned == {name: [reference] for name in OBJECTS}
    pairs = [(answer(name, one), truth(name, one)) for name, tests in left.items() for one in tests]
    each = [(found & right).sum() / (found | right).sum() for found, right in pairs]
    assert summary["miou_per_image"] == pytest.approx(np.mean(each))
    assert summary["boundary_iou"] == pytest.approx(np.mean([boundary_iou(*pair) for pair in pairs]))
    low, high = summary["miou_per_image_ci95"]
    assert low <= summary["miou_per_image"] <= high
    assert summary["per_object"].keys() == OBJECTS.keys()
    names = [Path(one["image"]).stem for one in summary["per_object"]["cat"]["images"]]
    assert names == [f"{number:02d}" for number in left["cat"]]


def test_several_references_and_every_so_many(root: Path) -> None:
    finder = Answers()
    cat = one_shots(PerSeg(root), ["01", "00"])[0]
    result = evaluate_personalize(finder, [cat])
    assert finder.learned == {"cat": ["01", "00"]}
    assert [Path(one.image).stem for one in result.objects[0].images] == ["02", "03"]
    assert [task.tests for task in one_shots(PerSeg(root), every=2)[:1]] == [(2,)]


def test_failures_are_named_and_the_rest_is_measured(root: Path) -> None:
    told: list[str] = []
    observed: list[tuple[str, str]] = []
    finder = Answers(fails=["cat/02"], unlearned=["red mug"])
    result = evaluate_personalize(
        finder,
        one_shots(PerSeg(root)),
        on_failure=lambda item, error: told.append(item),
        observe=lambda task, sample, mask, score: observed.append((task.name, Path(score.image).stem)),
    )
    assert [Path(item).parts[-2:] for item in told] == [
        ("cat", "02.jpg"),
        ("red mug", "01.jpg"),
        ("red mug", "02.jpg"),
    ]
    assert [item for item, _ in result.failures] == told
    assert observed == [("cat", "01"), ("cat", "03"), ("dog", "01"), ("dog", "02")]
    assert result.summary()["objects"] == 2
    with pytest.raises(InputError, match="all 7 photos failed"):
        evaluate_personalize(Answers(unlearned=list(OBJECTS)), one_shots(PerSeg(root)))


@pytest.fixture
def discs(tmp_path: Path) -> list[Any]:
    """Discs of one colour each, never in the centre."""
    for name, hue in {"red": RED, "blue": BLUE}.items():
        for number, place in enumerate([(16, 16), (48, 18), (20, 46)]):
            x, y = place
            pixels = scene((x, y, hue), (64 - x, 64 - y, GREEN))
            save(tmp_path / "Images" / name / f"{number:02d}.png", pixels)
            save(tmp_path / "Annotations" / name / f"{number:02d}.png", colour(disc(x, y)))
    return one_shots(PerSeg(tmp_path))


@pytest.mark.parametrize("method", ["persam", "persam-f", "parts"])
def test_personalisation_finds_them(discs: list[Any], method: Any) -> None:
    finder = Personalized(blobs(), PersonalizeSettings(method=method))
    summary = evaluate_personalize(finder, discs).summary()
    assert summary["miou"] > 0.9
    assert summary["miou_per_image"] > 0.9
    absent = Personalized(blobs(), PersonalizeSettings(), threshold=1.01)
    assert evaluate_personalize(absent, discs).summary()["miou"] == 0


def test_baselines_look_at_no_reference(discs: list[Any]) -> None:
    segmenter = Segmenter(tiny(SAM))
    for finder in (CenterClick(segmenter), MostSalient(segmenter)):
        sample = discs[0].data[0]
        assert finder.learn([sample], "x") is None
        mask, score = finder.find(None, sample)
        assert mask.shape == (64, 64)
        assert np.isfinite(score)
    assert not np.array_equal(CenterClick(blobs()).find(None, sample)[0], whole(sample))
