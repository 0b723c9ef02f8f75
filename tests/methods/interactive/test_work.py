"""Maps of uncertainty are made only of the masks that are asked for: counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from data.label_sets import disc, made, make_label_set
from methods.interactive.scene import SIDE, alternating_settings

from maskwright.data.grids import Grid
from maskwright.data.labelled import LabelledSet
from maskwright.data.soft_maps import Place
from maskwright.methods.base import ItemKey
from maskwright.methods.finetune.items import Frame
from maskwright.methods.interactive.alternating_items import AlternatingData, MachineBatch
from maskwright.methods.interactive.items import Source
from maskwright.types import ByteArray, FloatArray

MASKS = 5


@pytest.mark.parametrize("asked", [1, 3])
def test_only_what_is_asked_for_is_enlarged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    masks = [made((48, 64), disc(3 + 2 * k, 6, 3), disc(3 + 2 * k, 6, 2)) for k in range(MASKS)]
    photos = LabelledSet(make_label_set(tmp_path, {"0.png": masks}), min_refine_ratio=0)
    source = Source(photos, "photos", 0, True, 1.0)
    settings = alternating_settings(tmp_path, max_masks=asked, batch_size=1, prompts=("box",))
    frame = Frame(SIDE, SIDE // 4, "pad", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    data = AlternatingData([source], [source], settings, frame, tasks=False)
    enlarged: list[ByteArray] = []
    plain = Place.to_image

    def counting(self: Place, values: ByteArray, grid: Grid | None = None) -> FloatArray:
        enlarged.append(values)
        return plain(self, values, grid)

    monkeypatch.setattr(Place, "to_image", counting)
    batch = data.collate([data[ItemKey(1, 0, 42)]])
    assert isinstance(batch, MachineBatch)
    assert len(batch.asked[0].objects.masks) == asked
    # The label's probability and the refiner's, each once.
    assert len(enlarged) == 2 * asked
