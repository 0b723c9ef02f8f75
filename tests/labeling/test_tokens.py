"""`maskwright uncertainty extract` on the labelling engine: names, failures, interruption, processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data.miniatures import make_bsds
from labeling.toy import content
from methods.uncertainty.scenes import make_videos
from tiny import save_tiny_model

from maskwright.cli.main import main
from maskwright.cli.uncertainty_extract import model_names
from maskwright.labeling.items import ItemChoice
from maskwright.labeling.tokens import TokenWorker
from maskwright.methods.uncertainty.rows import read_columns

PLAIN = ("--points", "2", "--device", "cpu", "--quiet", "--shard-images", "2")


def extract(out: Path, data: str, model: Path, *more: str) -> int:
    given = ["--data", data, "--models", str(model), "--out", str(out), *PLAIN, *more]
    return main(["uncertainty", "extract", *given])


@pytest.fixture
def videos(tmp_path: Path) -> str:
    return f"davis2017:{make_videos(tmp_path / 'videos')}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def test_a_run_that_was_interrupted_ends_with_the_same_bytes(
    tmp_path: Path, videos: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert extract(tmp_path / "whole", videos, model) == 0
    real = TokenWorker.write

    def interrupted(self: TokenWorker, shard: object, rows: object) -> None:
        if getattr(shard, "number", 0) == 1:
            raise KeyboardInterrupt
        real(self, shard, rows)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(TokenWorker, "write", interrupted)
        assert extract(tmp_path / "out", videos, model) == 130
    # What the kill left half written, and a shard that was damaged since.
    (tmp_path / "out/tokens/.maskwright-0.part").write_bytes(b"half")
    (tmp_path / "out/tokens/00000.parquet").write_bytes(b"damaged")
    assert len(content(tmp_path / "out")) < len(content(tmp_path / "whole"))
    assert extract(tmp_path / "out", videos, model, "--json", str(tmp_path / "r.json")) == 0
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["n"], result["failed"], result["rows"]) == (5, 0, 200)
    assert result["tokens"] == {"count": 3, "channels": 32, "dtype": "float32"}


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(tmp_path: Path, videos: str, model: Path) -> None:
    assert extract(tmp_path / "one", videos, model) == 0
    assert extract(tmp_path / "two", videos, model, "--workers", "2") == 0
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_an_item_that_cannot_be_used_is_named_and_the_others_go_on(
    tmp_path: Path, videos: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "videos/JPEGImages/480p/b/00000.jpg"
    photo = broken.read_bytes()
    broken.write_bytes(photo[:50])
    assert extract(tmp_path / "out", videos, model, "--skip-augs") == 1
    assert "davis2017/JPEGImages/480p/b/00000.jpg" in capsys.readouterr().err
    rows = read_columns(tmp_path / "out/tokens/00000.parquet", ["tiny.safetensors"])
    assert set(rows.column("image").to_pylist()) == {"davis2017/JPEGImages/480p/a/00000.jpg"}
    broken.write_bytes(photo)
    assert extract(tmp_path / "out", videos, model, "--skip-augs", "--retry-failed") == 0
    assert extract(tmp_path / "new", videos, model, "--skip-augs") == 0
    before, after = content(tmp_path / "new"), content(tmp_path / "out")
    assert {name: data for name, data in after.items() if name.startswith("tokens")} == {
        name: data for name, data in before.items() if name.startswith("tokens")
    }


def test_other_settings_are_refused_until_told_to_overwrite(
    tmp_path: Path, videos: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(tmp_path / "out", videos, model, "--skip-augs") == 0
    assert extract(tmp_path / "out", videos, model, "--skip-augs", "--seed", "1") == 2
    assert "seed" in capsys.readouterr().err
    assert extract(tmp_path / "out", videos, model, "--skip-augs", "--limit", "1", "--overwrite") == 0
    assert len(list((tmp_path / "out/tokens").iterdir())) == 2


def test_items_have_names_of_their_own_and_stay_together_by_group(tmp_path: Path, videos: str) -> None:
    bsds = f"bsds500:{make_bsds(tmp_path / 'bsds')}?annotator=all"
    items = ItemChoice((videos, bsds)).open()
    planned = list(items.planned())
    names = [image.name for image in planned]
    assert names[3:] == [
        "davis2017/JPEGImages/480p/d/00000.jpg",
        "davis2017/JPEGImages/480p/d/00001.jpg",
        "bsds500/images/test/102.jpg",
        "bsds500/images/test/102.jpg#1",
    ]
    groups = [items.group(image) for image in planned]
    assert groups[3] == groups[4] == "JPEGImages/480p/d"
    assert groups[5] == groups[6] == "images/test/102.jpg"
    assert len(set(groups)) == 5
    assert not np.array_equal(items.read(planned[5]).masks, items.read(planned[6]).masks[:2])
    # The same names of a part, and of data that lie elsewhere.
    part = ItemChoice((videos,), every=2, limit=2).open()
    assert [image.name for image in part.planned()] == [names[0], names[2]]
    assert part.group(list(part.planned())[1]) == groups[2]


def test_both_kinds_of_reading_one_video_are_one_group(videos: str) -> None:
    single = videos.replace("davis2017", "davis2016")
    items = ItemChoice((single, videos)).open()
    planned = list(items.planned())
    assert items.group(planned[0]) == items.group(planned[5])
    assert len({image.name for image in planned}) == 10


def test_models_by_their_short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_names("tiny,base-plus, large") == ["sam2.1-tiny", "sam2.1-base-plus", "sam2.1-large"]
    (tmp_path / "tiny").mkdir()
    assert model_names("tiny,nano,x/y.pt") == ["tiny", "nano", "x/y.pt"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--points", "0"), "at least 1 random point"),
        (("--limit", "0"), "--every and --limit"),
        (("--every", "0"), "--every and --limit"),
        (("--shard-images", "0"), "--shard-images"),
        (("--models", ","), "names no model"),
        (("--prompts", "box", "box"), "each kind of prompt once"),
        (("--overwrite", "--retry-failed"), "give one of them"),
        (("--workers", "0"), "--workers"),
    ],
)
def test_flags_that_cannot_be_are_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    assert extract(tmp_path / "out", "davis2017:x", Path("nano"), *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_names_both_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["uncertainty", "--help"]) == 0
    out = capsys.readouterr().out
    assert "  extract " in out
    assert "  container " in out
