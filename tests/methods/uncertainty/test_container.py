"""Containers: rows and tokens belong together, whatever is chosen of them; only what fits is mixed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from methods.uncertainty.scenes import make_videos
from tiny import save_tiny_model

from maskwright.cli.main import main
from maskwright.errors import ConfigError, DatasetError, FileError
from maskwright.io.token_file import open_tensor
from maskwright.methods.uncertainty.container import Container

PLAIN = ("--skip-augs", "--points", "2", "--device", "cpu", "--quiet", "--shard-images", "2")


def extract(out: Path, data: str, model: Path, *more: str) -> int:
    return main(
        ["uncertainty", "extract", "--data", data, "--models", str(model), "--out", str(out), *PLAIN, *more]
    )


def combine(out: Path, *folders: Path | str) -> int:
    return main(["uncertainty", "container", *map(str, folders), "--out", str(out), "--quiet"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extractions "one" and "two" of other videos, the container "both" of them, and of "one"."""
    root = tmp_path_factory.mktemp("made")
    model, videos = save_tiny_model(root), make_videos(root / "videos")
    assert extract(root / "one", f"davis2017:{videos}?sequences=a,d", model) == 0
    assert extract(root / "two", f"davis2017:{videos}?sequences=b,c", model) == 0
    assert combine(root / "both", root / "one", root / "two") == 0
    assert combine(root / "only", root / "one") == 0
    return root


def keys(rows: Container) -> Sequence[tuple[str, int, str, int, int]]:
    names = ("image", "instance", "prompt", "prompt_number", "mask")
    return list(zip(*(rows.column(name).tolist() for name in names), strict=True))


def test_the_rows_of_all_extractions_follow_one_another_with_their_tokens(made: Path) -> None:
    both, only = Container.open([made / "both"]), Container.open([made / "only"])
    assert len(both) == 5 * 2 * 5 * 4
    assert len(set(keys(both))) == len(both)
    assert keys(both)[: len(only)] == keys(only)
    shards = [
        open_tensor(path)
        for name in ("one", "two")
        for path in sorted((made / name / "tokens").glob("*.safetensors"))
    ]
    whole = np.concatenate(shards)
    assert both.token_shape == (3, 32)
    order = np.random.default_rng(0).permutation(len(both))[:50]
    assert np.array_equal(both.tokens(order), whole[order])
    assert both.tokens([]).shape == (0, 3, 32)
    assert both.models == ("tiny.safetensors",)
    assert both.families == ("nano",)
    record = json.loads((made / "both/container.json").read_text())
    assert (record["rows"], record["images"]) == (200, 5)
    assert record["models"][0]["digest"] == both.digests[0]


def test_columns_are_plain_arrays(made: Path) -> None:
    rows = Container.open([made / "both"])
    kinds = {name: rows.column(name).dtype for name in ("iou", "mask", "best", "prompt", "h_all")}
    assert kinds == {
        "iou": np.float64,
        "mask": np.int64,
        "best": np.bool_,
        "prompt": object,
        "h_all": np.float64,
    }
    assert np.isnan(rows.column("h_all")).all()
    assert rows.rows.column("iou").to_numpy() == pytest.approx(rows.column("iou"))
    with pytest.raises(ConfigError, match="no column 'iuo'"):
        rows.column("iuo")


def test_containers_opened_together_are_one(made: Path) -> None:
    assert combine(made / "second", made / "two") == 0
    apart, both = Container.open([made / "only", made / "second"]), Container.open([made / "both"])
    assert keys(apart) == keys(both)
    order = [150, 3, 199, 0, 121]
    assert np.array_equal(apart.tokens(order), both.tokens(order))
    assert np.array_equal(apart.groups, both.groups)


def test_chosen_rows_keep_their_tokens(made: Path) -> None:
    rows = Container.open([made / "both"])
    wanted = (rows.column("prompt") == "box") & (rows.column("mask") > 0)
    chosen = rows.filter(wanted)
    assert len(chosen) == 30
    assert set(chosen.column("prompt")) == {"box"}
    assert np.array_equal(chosen.tokens([4, 2]), rows.tokens(np.flatnonzero(wanted)[[4, 2]]))
    again = chosen.filter(chosen.column("mask") == 2)
    assert set(again.rows.column("mask").to_pylist()) == {2}


def test_no_video_is_parted_and_the_split_follows_from_the_seed(made: Path) -> None:
    rows = Container.open([made / "both"])
    sides = set()
    for seed in range(8):
        rest, part = rows.split(0.5, seed)
        assert len(rest) + len(part) == len(rows)
        assert set(rest.groups).isdisjoint(part.groups)
        assert len(rest)
        assert len(part)
        assert keys(rows.split(0.5, seed)[1]) == keys(part)
        sides.add(frozenset(part.groups))
    assert len(sides) > 1
    assert {group.rpartition("/")[2] for group in rows.groups} == {"a", "b", "c", "d"}
    # A group does not change sides when others are added, unless its side would be empty.
    few, many = Container.open([made / "only"]).split(0.5, 2), rows.split(0.5, 2)
    assert set(few[0].groups) <= set(many[0].groups) or len(set(few[0].groups)) == 1


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_split_that_cannot_be_is_refused(made: Path, share: float) -> None:
    rows = Container.open([made / "only"])
    with pytest.raises(ConfigError, match="cannot split"):
        rows.split(share, 0)
    with pytest.raises(ConfigError, match="cannot split 1 groups"):
        rows.filter(rows.groups == rows.groups[0]).split(0.5, 0)


def test_an_unfinished_extraction_is_refused_unless_its_part_is_wanted(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "one", tmp_path / "part")
    ledger = tmp_path / "part/ledger.jsonl"
    ledger.write_text(ledger.read_text().splitlines(keepends=True)[0])
    assert combine(tmp_path / "out", tmp_path / "part") == 1
    assert "1 of 2 shards are finished" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert combine(tmp_path / "out", tmp_path / "part", "--partial") == 0
    assert len(Container.open([tmp_path / "out"])) == 80


def test_other_models_types_and_images_twice_are_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = f"davis2017:{made / 'videos'}?sequences=c"
    (tmp_path / "other").mkdir()
    model = shutil.copy(made / "tiny.safetensors", tmp_path / "other/another.safetensors")
    assert extract(tmp_path / "named", videos, Path(model)) == 0
    assert combine(tmp_path / "out", made / "one", tmp_path / "named") == 2
    assert "with the same models" in capsys.readouterr().err
    assert extract(tmp_path / "half", videos, made / "tiny.safetensors", "--token-dtype", "float16") == 0
    assert combine(tmp_path / "out", made / "one", tmp_path / "half") == 2
    assert "--token-dtype" in capsys.readouterr().err
    assert combine(tmp_path / "out", made / "one", made / "one") == 2
    assert "would count twice" in capsys.readouterr().err
    assert combine(tmp_path / "halves", tmp_path / "half") == 0
    assert combine(tmp_path / "named-only", tmp_path / "named") == 0
    with pytest.raises(ConfigError, match="holds tokens of another"):
        Container.open([made / "only", tmp_path / "named-only"])
    tokens = Container.open([tmp_path / "halves"]).tokens([0])
    assert tokens.dtype == np.float32


def test_a_damaged_shard_is_refused_and_leaves_no_container(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "one", tmp_path / "one")
    path = tmp_path / "one/tokens/00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert combine(tmp_path / "out", tmp_path / "one") == 1
    assert "00001.safetensors or its .parquet is missing or damaged" in capsys.readouterr().err
    with pytest.raises(FileError, match="holds no container"):
        Container.open([tmp_path / "out"])


def test_a_container_is_replaced_only_on_demand(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert combine(tmp_path / "out", made / "one") == 0
    assert combine(tmp_path / "out", made / "two") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert combine(tmp_path / "out", made / "two", "--overwrite") == 0
    assert len(Container.open([tmp_path / "out"])) == 80


def test_folders_that_are_something_else_are_named(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert combine(tmp_path / "out", made / "videos") == 1
    assert "holds no extraction" in capsys.readouterr().err
    with pytest.raises(FileError, match="holds no container"):
        Container.open([made / "one"])
    with pytest.raises(ConfigError, match="no container was given"):
        Container.open([])
    shutil.copytree(made / "only", tmp_path / "cut")
    (tmp_path / "cut/tokens.safetensors").write_bytes((made / "both/tokens.safetensors").read_bytes())
    with pytest.raises(DatasetError, match="speaks of 120"):
        Container.open([tmp_path / "cut"])
    (tmp_path / "cut/container.json").write_text(
        '{"format": "maskwright-tokens", "version": 1, "models": [3]}'
    )
    with pytest.raises(DatasetError, match="damaged"):
        Container.open([tmp_path / "cut"])
