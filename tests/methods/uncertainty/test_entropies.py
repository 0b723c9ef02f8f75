"""Entropies: their slow twin's, whether maps come at once or one by one, and without the padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from methods.uncertainty.scenes import NAME, photo, squares
from models.families import any_family
from reference import uncertainty_entropies as reference

from maskwright.methods.uncertainty.augment import AUGMENTATIONS, augment
from maskwright.methods.uncertainty.entropies import MeanMaps, inside, map_entropy, task_probabilities
from maskwright.methods.uncertainty.extract import extract
from maskwright.methods.uncertainty.instances import clicks
from maskwright.methods.uncertainty.interview import ExtractSettings
from maskwright.metrics.regions import iou
from maskwright.models.segmenter import Segmenter
from maskwright.types import Geometry, Sample


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)))
def test_the_entropy_of_a_map_is_the_references_and_in_bits(y: np.ndarray) -> None:
    found = float(map_entropy(torch.from_numpy(y)[None].double())[0])
    assert found == pytest.approx(reference.map_entropy(y), abs=1e-6)
    assert 0 <= found <= 1


def test_certain_maps_have_no_entropy_and_undecided_ones_a_bit() -> None:
    maps = torch.stack([torch.full((4, 4), value) for value in (0.5, 1.0, 0.0)])
    assert map_entropy(maps).tolist() == pytest.approx([1, 0, 0], abs=1e-4)


def test_a_model_believes_nothing_of_a_negative_score() -> None:
    found = task_probabilities(torch.tensor([[[0.6, 0.2, -0.1], [0.0, 0.0, 0.0]]]))
    assert found[0, 0].tolist() == pytest.approx([0.75, 0.25, 0], abs=1e-5)
    assert found[0, 1].tolist() == pytest.approx([1 / 3] * 3)


def test_the_padding_is_left_out() -> None:
    logits = torch.zeros(2, 16, 16)
    assert inside(logits, Geometry((32, 64), 64)).shape == (2, 8, 16)
    assert inside(logits, Geometry((64, 33), 64)).shape == (2, 16, 9)
    assert inside(logits, Geometry((32, 64), 64, "stretch")).shape == (2, 16, 16)


def test_mean_maps_of_parts_are_those_of_the_whole_and_frames_are_matched() -> None:
    maps = torch.rand(5, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    parts = MeanMaps(5)
    for start, stop in ((0, 2), (2, 5)):
        parts.add(start, maps[start:stop, :1])
        parts.add(start, maps[start:stop, 1:])
    assert torch.allclose(parts.entropy(), map_entropy(maps.mean(dim=1)))
    other = MeanMaps(1)
    other.add(0, torch.full((1, 1, 6, 8), 0.2))
    other.add(0, torch.full((1, 1, 3, 3), 0.8))
    assert float(other.entropy()) == pytest.approx(1.0)


def all_maps(
    segmenters: list[Segmenter], sample: Sample, given: ExtractSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E, T, Q, M, h, w) maps of the only instance, with scores and IoUs, each asked for by itself."""
    points = clicks(sample.masks, sample.ids, NAME, given.seed, given.points)[0]
    found = [
        [
            [
                s(augment(sample.image, name, given.seed, NAME), points=point.tolist(), multimask=True)
                for point in points
            ]
            for name in AUGMENTATIONS
        ]
        for s in segmenters
    ]
    collected = []
    for take in (
        lambda masks: inside(masks.low_res[0], masks.geometry).numpy(),
        lambda masks: masks.iou[0].numpy(),
        lambda masks: iou(masks.binary()[0], np.broadcast_to(sample.masks, masks.binary()[0].shape)),
    ):
        collected.append(np.array([[[take(m) for m in row] for row in table] for table in found]))
    return collected[0], collected[1], collected[2]


def test_the_extractions_entropies_are_those_of_all_maps_at_once(
    golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    segmenters = [any_family("nano", golden_root, tmp_path_factory) for _ in range(2)]
    with torch.no_grad():
        for parameter in segmenters[1].model.parameters():
            parameter.mul_(1.1)
    segmenters[1].name = "other"
    sample = Sample(photo(), squares(1), (5,), "photo.png")
    given = ExtractSettings(points=2, seed=3)
    rows = extract(NAME, "g", sample, segmenters, given)
    maps, scores, ious = all_maps(segmenters, sample, given)
    for number, segmenter in enumerate(segmenters):
        mine = rows.columns["model"] == segmenter.name
        for name, value in reference.entropies(maps, scores, ious, number).items():
            assert rows.columns[name][mine] == pytest.approx(value, abs=1e-4), name
    assert rows.columns["h_task"].std() > 0
