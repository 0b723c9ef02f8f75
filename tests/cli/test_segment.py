"""`maskwright segment` and `maskwright export labels`: what they write, how they resume, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tiny import save_tiny_model

from maskwright.cli.main import main
from maskwright.export.labels import read_labels
from maskwright.io.masks import read_label_map, read_mask


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of different sizes, one in a subfolder with a space in its name."""
    rng = np.random.default_rng(0)
    for name, size in {"a.png": (40, 60), "sub/b c.jpg": (50, 30), "z.png": (20, 20)}.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def segment(*arguments: str | Path) -> int:
    return main(["segment", *map(str, arguments)])


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_folder_gets_masks_overlays_uncertainty_and_coco(
    photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out, result = tmp_path / "out", tmp_path / "r.json"
    box = ("--box", "10%,10%,90%,90%", "--point", "50%,50%", "--point", "1,1,0")
    assert segment(photos, *box, "--model", tiny_model, "--out", out, "--json", result) == 0
    for name, size in {"a.png": (40, 60), "sub/b c.jpg": (50, 30), "z.png": (20, 20)}.items():
        mask = read_mask(out / "masks" / f"{name}.0.png")
        assert mask.shape == size
        assert np.asarray(PILImage.open(out / "overlays" / f"{name}.png")).shape == (*size, 3)
        entropy = np.asarray(PILImage.open(out / "uncertainty" / f"{name}.0.png"))
        assert entropy.shape == size
    labels = {label.path: label for label in read_labels(out / "coco.json")}
    assert set(labels) == {"a.png", "sub/b c.jpg", "z.png"}
    label = labels["a.png"]
    assert np.array_equal(label.masks[0].decode(), read_mask(out / label.extra["mask_file"][0]))
    content = read(result)
    assert (content["n"], content["skipped"], content["failures"], content["error"]) == (3, 0, [], None)
    assert content["images"][0]["scores"] == pytest.approx(label.scores)


def test_uncertainty_is_the_entropy_of_the_mask_probability(
    photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    from maskwright.models.registry import load

    assert (
        segment(photos / "a.png", "--point", "20,20", "--model", tiny_model, "--out", tmp_path / "out") == 0
    )
    masks = load(tiny_model)(str(photos / "a.png"), points=[[20, 20]])
    p = masks.probabilities()[0, 0].double().numpy()
    expected = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)) * 255
    written = np.asarray(PILImage.open(tmp_path / "out/uncertainty/a.png.0.png"))
    assert np.abs(written - expected).max() < 1
    assert np.array_equal(read_mask(tmp_path / "out/masks/a.png.0.png"), masks.binary()[0, 0])


def test_multimask_writes_every_mask(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert (
        segment(photos / "a.png", "--point", "9,9", "--multimask", "--model", tiny_model, "--out", out) == 0
    )
    assert sorted(path.name for path in (out / "masks").iterdir()) == [
        f"a.png.0-{index}.png" for index in range(3)
    ]
    assert read_labels(out / "coco.json")[0].extra["choice"] == (0, 1, 2)


def test_a_task_is_for_models_that_know_it(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from maskwright.models.registry import load, save
    from maskwright.models.task_prompts import add_task_prompts

    asked = (photos / "a.png", "--point", "20,20", "--task", "salient")
    assert segment(*asked, "--model", tiny_model, "--out", tmp_path / "none") == 1
    assert "tiny.safetensors has no task prompts" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "none" / "results.jsonl").exists()

    segmenter = load(tiny_model)
    add_task_prompts(segmenter.model)
    with torch.no_grad():
        segmenter.model.get_parameter("task_prompts.embedding.salient").normal_()
    tasked, out = save(segmenter, tmp_path / "tasked.safetensors"), tmp_path / "out"
    assert segment(*asked, "--model", tasked, "--out", out) == 0
    masks = load(tasked)(str(photos / "a.png"), points=[[20, 20]], task="salient")
    assert np.array_equal(read_mask(out / "masks/a.png.0.png"), masks.binary()[0, 0])
    assert segment(*asked[:-1], "part", "--model", tasked, "--out", out) != 0
    assert "task was 'salient' and now is 'part'" in " ".join(capsys.readouterr().err.split())


def test_several_prompts_from_a_file_in_several_formats(
    photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    prompts, out = tmp_path / "p.json", tmp_path / "out"
    prompts.write_text(
        json.dumps({"a.png": [{"box": [1, 1, 50, 30]}, {"points": [[5, 5]]}], "*": [{"points": [[3, 3]]}]})
    )
    formats = ("--format", "geojson", "--format", "coco")
    assert segment(photos, "--prompts", prompts, "--model", tiny_model, "--out", out, *formats) == 0
    labels = {label.path: label for label in read_labels(out / "coco.json")}
    assert [len(labels[name].masks) for name in ("a.png", "z.png")] == [2, 1]
    assert labels["a.png"].extra["prompt"] == (0, 1)
    assert len(list((out / "geojson").rglob("*.geojson"))) == 3


def test_a_folder_of_clicks_and_the_table_of_scores(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clicks, out, result = tmp_path / "clicks", tmp_path / "out", tmp_path / "r.json"
    (clicks / "sub").mkdir(parents=True)
    (clicks / "a.json").write_text('{"clicked_points": [[5.5, 5], [30, 20]], "labels": [1, 0]}')
    (clicks / "sub/b c.json").write_text('{"boxes": [[1, 1, 20, 30], [5, 5, 25, 45]]}')
    asked = ("--prompts", clicks, "--model", tiny_model, "--out", out, "--json", result)
    assert segment(photos, *asked) == 1
    assert "1 of 3 images have no prompts: z.png. Add files such as" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not out.exists()
    (clicks / "z.json").write_text('{"clicked_points": [[3, 3]]}')
    assert segment(photos, *asked) == 0
    table = [line.replace("│", "").split() for line in capsys.readouterr().out.splitlines()]
    rows = [row for row in table if row and row[0] in ("a.png", "sub/b", "z.png")]
    assert [row[:-2] for row in rows] == [
        ["a.png", "0"],
        ["sub/b", "c.jpg", "0"],
        ["sub/b", "c.jpg", "1"],
        ["z.png", "0"],
    ]
    scores = [score for image in read(result)["images"] for score in image["scores"]]
    assert [float(row[-1]) for row in rows] == pytest.approx(scores, abs=6e-4)


def test_the_table_tells_masks_of_a_prompt_apart_and_is_cut(
    photos: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("maskwright.cli.tables.ROWS", 4)
    asked = ("--point", "50%,50%", "--multimask", "--model", tiny_model, "--out", tmp_path / "out")
    assert segment(photos, *asked) == 0
    out = capsys.readouterr().out
    assert [name for name in ("0-0", "0-1", "0-2") if name in out] == ["0-0", "0-1", "0-2"]
    assert "and 5 more rows" in out


def test_a_bad_image_is_named_and_the_rest_goes_on_and_only_it_is_tried_again(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (photos / "z.png").read_bytes()
    (photos / "z.png").write_bytes(whole[:60])
    out, result = tmp_path / "out", tmp_path / "r.json"
    arguments = (photos, "--point", "50%,50%", "--model", tiny_model, "--out", out, "--json", result)
    assert segment(*arguments) == 1
    errors = capsys.readouterr().err
    assert "z.png" in errors
    assert "1 failed" in errors
    assert [Path(failure["item"]).name for failure in read(result)["failures"]] == ["z.png"]
    assert read(result)["n"] == 2
    before = (out / "masks/a.png.0.png").stat().st_mtime_ns

    (photos / "z.png").write_bytes(whole)
    assert segment(*arguments) == 0
    assert (read(result)["n"], read(result)["skipped"]) == (3, 2)
    assert (out / "masks/a.png.0.png").stat().st_mtime_ns == before
    assert len(read_labels(out / "coco.json")) == 3


def test_a_run_cut_off_in_the_middle_ends_as_if_it_had_not_been(
    photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    arguments = (photos, "--box", "5%,5%,80%,80%", "--model", tiny_model)
    assert segment(*arguments, "--out", tmp_path / "whole") == 0
    assert segment(*arguments, "--out", tmp_path / "cut") == 0
    records = tmp_path / "cut/results.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(lines[0] + lines[1][:40])
    (tmp_path / "cut/coco.json").unlink()
    (tmp_path / "cut/masks/z.png.0.png").unlink()
    assert segment(*arguments, "--out", tmp_path / "cut") == 0
    assert (tmp_path / "cut/coco.json").read_bytes() == (tmp_path / "whole/coco.json").read_bytes()
    assert (tmp_path / "cut/masks/z.png.0.png").read_bytes() == (
        tmp_path / "whole/masks/z.png.0.png"
    ).read_bytes()


def test_an_image_that_changed_is_done_again(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = tmp_path / "r.json"
    arguments = (
        photos,
        "--point",
        "50%,50%",
        "--model",
        tiny_model,
        "--out",
        tmp_path / "out",
        "--json",
        result,
    )
    assert segment(*arguments) == 0
    PILImage.new("RGB", (33, 22)).save(photos / "z.png")
    assert segment(*arguments) == 0
    assert read(result)["skipped"] == 2
    assert read_mask(tmp_path / "out/masks/z.png.0.png").shape == (22, 33)
    assert len(read_labels(tmp_path / "out/coco.json")) == 3


def test_other_settings_in_the_same_folder_are_refused_with_the_difference(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (photos / "a.png", "--model", tiny_model, "--out", tmp_path / "out")
    assert segment(*arguments, "--point", "9,9") == 0
    assert segment(*arguments, "--point", "9,9", "--multimask") == 2
    assert "multimask was False and now is True" in capsys.readouterr().err
    assert segment(*arguments, "--point", "9,8") == 2
    assert "prompts was" in capsys.readouterr().err


def test_overwrite_starts_anew_and_deletes_only_what_the_earlier_run_made(
    photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("--model", tiny_model, "--out", out)
    assert segment(photos, *arguments, "--point", "9,9", "--multimask") == 0
    (out / "masks/mine.png").write_bytes(b"not of a run")
    assert segment(photos / "a.png", *arguments, "--point", "9,8", "--overwrite") == 0
    assert {path.name for path in (out / "masks").rglob("*.png")} == {"a.png.0.png", "mine.png"}
    assert [path.name for path in (out / "overlays").rglob("*.png")] == ["a.png.png"]
    assert [label.path for label in read_labels(out / "coco.json")] == ["a.png"]


def test_settings_under_which_nothing_was_finished_may_be_corrected(
    photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    arguments = (photos / "a.png", "--model", tiny_model, "--out", tmp_path / "out")
    assert segment(*arguments, "--point", "900,900") == 1
    assert segment(*arguments, "--point", "9,9") == 0
    assert read(tmp_path / "out/run.json")["prompts"] == {"*": [{"points": [["9", "9"]], "labels": [1]}]}


def test_an_output_that_is_a_file_is_refused_before_a_model_is_loaded(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").touch()
    assert segment(photos, "--point", "9,9", "--model", "not-needed", "--out", tmp_path / "out") == 1
    assert "out is a file, not a folder; choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 1, "no prompt was given: say what to segment, for example --point"),
        (("--point", "5"), 1, "'5' is not X,Y"),
        (("--point", "5,5", "--prompts", "p.json"), 2, "either --prompts or --point, not both"),
        (("--prompts", "missing.json"), 1, "missing.json does not exist"),
    ],
)
def test_wrong_prompts_are_refused_before_a_model_is_loaded(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    assert segment(photos, "--model", "not-needed", "--out", tmp_path / "out", *arguments) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_prompt_that_fits_no_image_fails_every_image(
    photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    result = tmp_path / "r.json"
    arguments = ("--point", "900,900", "--model", tiny_model, "--out", tmp_path / "out", "--json", result)
    assert segment(photos, *arguments) == 1
    assert len(read(result)["failures"]) == 3
    assert "far outside" in read(result)["failures"][0]["reason"]


def test_labels_of_a_run_are_converted(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert segment(photos, "--box", "10%,10%,90%,90%", "--model", tiny_model, "--out", out) == 0
    assert main(["export", "labels", str(out), "--to", "labelmap", "--out", str(tmp_path / "maps")]) == 0
    labels = read_label_map(tmp_path / "maps/a.png.png")
    assert np.array_equal(labels == 1, read_mask(out / "masks/a.png.0.png"))
    result = tmp_path / "r.json"
    yolo = ["--to", "yolo", "--out", str(tmp_path / "yolo"), "--json", str(result)]
    assert main(["export", "labels", str(out / "coco.json"), *yolo]) == 0
    assert "warning: the format yolo cannot hold everything" in capsys.readouterr().err
    assert len(read(result)["warnings"]) == 1
    assert main(["export", "labels", str(photos), "--to", "coco", "--out", "x"]) == 1
    assert "holds no coco.json: give a folder that `maskwright segment` wrote" in capsys.readouterr().err
    assert main(["export", "labels", str(tmp_path / "no.json"), "--to", "coco", "--out", "x"]) == 1
