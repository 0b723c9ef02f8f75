"""`maskwright label generations`: the chain, that it goes on where it stopped, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data.contour_sets import photo
from labeling.toy import content
from PIL import Image as PILImage
from tiny import save_tiny_boundary

from maskwright.cli.main import main
from maskwright.data.dsa import DSA

CONFIG = """
steps = 2
batch_size = 2
resolution = 64
keep_aspect = false
crop = 64
val_share = 0.25
evaluate_every = 2
ema = 0.0
[schedule]
name = "constant"
warmup = 0
"""


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """Four photos, two of them with label maps; a start and settings of a short training."""
    for number in range(4):
        photo(tmp_path / f"{'photos' if number < 2 else 'data/images'}/{number}.png", seed=number)
    for number in (2, 3):
        (tmp_path / "data/labels").mkdir(exist_ok=True)
        values = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((24, 32), np.uint8))
        PILImage.fromarray(values).save(tmp_path / f"data/labels/{number}.png")
    (tmp_path / "short.toml").write_text(CONFIG)
    model = save_tiny_boundary(tmp_path / "start.safetensors", resolution=64)
    data = ["--data", str(tmp_path / "photos"), "--data", f"labels:{tmp_path / 'data'}"]
    return [*data, "--model", str(model), "--out", str(tmp_path / "out"), "--device", "cpu", "--quiet"]


def test_each_generation_adds_a_label_and_a_longer_chain_goes_on(given: list[str], tmp_path: Path) -> None:
    command = ["label", "generations", *given, "--config", str(tmp_path / "short.toml")]
    result = tmp_path / "r.json"
    assert main(command) == 0
    before = {name: content(tmp_path / "out" / name) for name in ("labels0", "labels1")}
    # As after a kill in the second generation's labelling.
    (tmp_path / "out/labels1/ledger.jsonl").unlink()
    assert main([*command, "--generations", "2", "--json", str(result)]) == 0
    assert {name: content(tmp_path / "out" / name) for name in before} == before
    for number in range(3):
        found = DSA(tmp_path / f"out/labels{number}")
        assert len(found) == 4
        for index in range(4):
            record = found.record(index)
            sources = [each.source.partition(":")[0] for each in record.pseudo]
            assert sources == ["start.safetensors", "gen1", "gen2"][: number + 1]
            assert [each.source for each in record.human] == ([] if index >= 2 else ["labels"])
    told = json.loads(result.read_text())
    assert [Path(step["labels"]).name for step in told["generations"]] == ["labels1", "labels2"]
    assert told["n"] == 4


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--generations", "0"), "--generations must be at least 1"),
        (("--recipe", "finetune"), "trains by method 'finetune', not boundary models"),
        (("--recipe", "bondary"), "Did you mean 'boundary'"),
        (("--config", "data.toml"), "leave out `data`"),
        (("--threshold", "2"), "--threshold must be"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    given: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.toml").write_text('data = ["photos:photos"]')
    assert main(["label", "generations", *given, *more]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
