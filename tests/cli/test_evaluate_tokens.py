"""`maskwright evaluate tokens`: models and stored maps, several datasets, carrying on, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.miniatures import SIZE, make_bsds, make_coco, save
from tiny import save_tiny_boundary

from maskwright.cli.main import main
from maskwright.data.registry import open_dataset
from maskwright.methods.everything.tokens import RANKS, TokenProtocol, measure, size_curves, summarise

SMALL = ["--resolution", "64", "--effective-tolerance", "3", "--thresholds", "0.2,0.6"]


def call(*words: str | Path) -> int:
    return main(["evaluate", "tokens", *map(str, words)])


def store_maps(root: Path, folder: Path) -> Path:
    """A map for each photo of a COCO miniature: strong where its regions have their outlines."""
    dataset = open_dataset(f"coco:{root}")
    for index in range(len(dataset)):
        masks = dataset[index].masks
        edges = np.zeros(SIZE, np.uint8)
        for mask in masks:
            edges[:, 1:] |= mask[:, 1:] != mask[:, :-1]
            edges[1:] |= mask[1:] != mask[:-1]
        save(folder / f"{dataset.image_path(index).stem}.png", edges * np.uint8(128))
    return folder


def test_stored_maps_of_a_dataset_are_measured(tmp_path: Path) -> None:
    root = make_coco(tmp_path / "coco")
    maps = store_maps(root, tmp_path / "maps")
    out, result = tmp_path / "out", tmp_path / "result.json"
    command: list[str | Path] = [
        "--data",
        f"coco:{root}",
        "--predictions",
        maps,
        *SMALL,
        "--out",
        out,
        "--json",
        result,
    ]
    assert call(*command, "--pictures", tmp_path / "pics", "--markdown", tmp_path / "a.md") == 0
    found = json.loads(result.read_text())
    data = found["data"][f"coco:{root}"]
    assert data["photos"] == 2
    strict, loose = data["rows"][1], data["rows"][0]
    assert loose["recall"] == 1
    assert loose["tokens"] > strict["tokens"] == 2
    assert loose["effective_recall"] > 0.9
    assert loose["monosemanticity"] >= strict["monosemanticity"]
    assert len(data["token_sizes"]["0.2"]) == len(RANKS)
    assert {path.name for path in (tmp_path / "pics").iterdir()} == {"recall.png", "sizes.png"}
    assert "| threshold |" in (tmp_path / "a.md").read_text()
    assert call(*command) == 0
    again = json.loads(result.read_text())
    assert again["skipped"] == 2
    assert again["data"][f"coco:{root}"]["rows"] == data["rows"]


def test_a_changed_map_is_measured_again_and_other_settings_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_coco(tmp_path / "coco")
    maps = store_maps(root, tmp_path / "maps")
    command: list[str | Path] = [
        "--data",
        f"coco:{root}",
        "--predictions",
        maps,
        "--out",
        tmp_path / "out",
        *SMALL,
        "--quiet",
    ]
    result = tmp_path / "result.json"
    assert call(*command) == 0
    save(maps / "a.png", np.zeros((5, 7), np.uint8))  # of any size
    assert call(*command, "--json", result) == 0
    assert json.loads(result.read_text())["skipped"] == 1
    assert call(*command, "--tolerance", "2") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert call(*command, "--tolerance", "2", "--overwrite", "--json", result) == 0
    assert json.loads(result.read_text())["skipped"] == 0


def test_a_photo_without_a_map_or_with_a_damaged_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_coco(tmp_path / "coco")
    maps = store_maps(root, tmp_path / "maps")
    (maps / "a.png").write_bytes(b"no picture")
    assert call("--data", f"coco:{root}", "--predictions", maps, *SMALL, "--quiet") == 1
    assert "a.png" in capsys.readouterr().err
    (maps / "a.png").unlink()
    (maps / "b.png").unlink()
    assert call("--data", f"coco:{root}", "--predictions", maps, *SMALL, "--quiet") == 1
    assert "none of the photos" in capsys.readouterr().err


def test_a_model_on_several_datasets(tmp_path: Path) -> None:
    model = save_tiny_boundary(tmp_path / "model.safetensors")
    specs = [f"bsds500:{make_bsds(tmp_path / 'bsds')}", f"coco:{make_coco(tmp_path / 'coco')}"]
    pics, result = tmp_path / "pics", tmp_path / "result.json"
    code = call("--data", *specs, "--model", model, *SMALL, "--limit", "1", "--pictures", pics,
                "--json", result, "--device", "cpu")  # fmt: skip
    assert code == 0
    assert sorted(path.name for path in pics.iterdir()) == [
        "01-recall.png", "01-sizes.png", "02-recall.png", "02-sizes.png",
    ]  # fmt: skip
    found = json.loads(result.read_text())
    assert list(found["data"]) == specs
    assert found["data"][specs[0]]["detection_seconds"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--data KIND:FOLDER"),
        (("--data", "bsds500:x"), "--model NAME, or --predictions"),
        (("--data", "bsds500:x", "--model", "a", "--predictions", "b"), "--model NAME, or --predictions"),
        (("--data", "bsds500:x", "--predictions", "b", "--limit", "0"), "--limit"),
        (("--data", "bsds500:x", "--predictions", "b", "--overwrite"), "--out"),
        (("--data", "bsds500:x", "--predictions", "b", "--offline"), "--model"),
        (("--data", "bsds500:x", "--predictions", "b", "--thresholds", "a"), "--thresholds"),
        (("--data", "bsds500:x", "--predictions", "b", "--thresholds", "0.5,0.1"), "thresholds rise"),
        (("--data", "bsds500:x", "--predictions", "b", "--thresholds", "1"), "below 1"),
        (("--data", "bsds500:x", "--predictions", "b", "--tolerance", "0"), "tolerance"),
        (("--data", "bsds500:x", "--predictions", "b", "--resolution", "10"), "tolerance"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words) == 2
    assert message in capsys.readouterr().err


def test_means_leave_out_photos_without_a_boundary(tmp_path: Path) -> None:
    protocol = TokenProtocol((0.5,), 64, 3, 3, side=64)
    dataset = open_dataset(f"coco:{make_coco(tmp_path)}")

    def nothing(image: Any) -> Any:
        return np.zeros(image.size, np.float32)

    records = [measure(dataset, index, nothing, protocol) for index in range(2)]
    assert records[1]["effective_recall"] == [None]  # it has no object
    rows = summarise(records, protocol)
    assert rows[0].effective_recall == records[0]["effective_recall"][0]
    assert rows[0].segments == 1
    assert summarise(records[1:], protocol)[0].effective_recall is None
    assert size_curves(records, protocol)[0.5][0] == 1
