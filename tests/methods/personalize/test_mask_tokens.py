"""The uncertainty of what is found is that of the final mask: its own token of the last pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from models.families import any_family
from tiny import random_heads

from maskwright.methods.personalize.cascade import plain_start, refine
from maskwright.methods.personalize.config import MethodName, PersonalizeSettings
from maskwright.methods.personalize.find import find
from maskwright.methods.personalize.learn import learn
from maskwright.methods.personalize.reference import Reference
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import VALUES
from maskwright.types import Image, Prompts


@pytest.mark.parametrize("family", ["sam", "sam_hq", "nano", "sam2"])
def test_the_last_pass_scores_its_own_token(
    family: str, golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain = any_family(family, golden_root, tmp_path_factory)
    photo = Image(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    embedding = plain.embed(photo)
    clicks = Prompts(torch.tensor([[[20.0, 20.0]], [[40.0, 10.0]]]), torch.ones(2, 1, dtype=torch.long))
    start = plain_start(plain, embedding, clicks, "sum")
    last = refine(plain, embedding, clicks, start, hq="sum", box_at_once=False)[1]
    best, pick = last.best(), last.iou.argmax(dim=1)
    assert torch.equal(best.mask_token[:, 0], pick + 1)
    assert torch.equal(best.masks[:, 0], last.masks[range(2), pick])

    segmenter = Segmenter(plain.model, heads=random_heads(2 * last.tokens.shape[2], plain.digest))
    mask = np.zeros((40, 60), np.bool_)
    mask[10:30, 10:40] = True
    methods: tuple[MethodName, ...] = ("persam", "persam-f", "match")
    for method in methods:
        target = learn(segmenter, [Reference(photo, mask)], PersonalizeSettings(method=method))
        [found] = find(segmenter, photo, [target], threshold=-1)
        assert set(found.masks.extras) == set(VALUES)
        if found.masks.tokens is None:
            continue  # a mask of the grid, whose values came with it
        assert found.masks.mask_token is not None
        token = found.masks.tokens[0, 1 + found.masks.mask_token[0, 0]]
        assert segmenter.heads is not None
        values = segmenter.heads.values(torch.cat([found.masks.tokens[0, 0], token])[None])
        for name in VALUES:
            torch.testing.assert_close(found.masks.extras[name][0, 0], values[name][0])
