import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.miniatures import SIZE, label_map, make_labels, make_pairs, photo, save
from PIL import Image

from maskwright.cli.data import main
from maskwright.data.check import check_dataset
from maskwright.errors import DatasetError


def codes(problems: list[Any]) -> dict[str, str]:
    return {problem.code: Path(problem.path).name for problem in problems}


def test_a_sound_dataset_is_ok_and_counted(tmp_path: Path) -> None:
    report = check_dataset(f"labels:{make_labels(tmp_path, ['a', 'b'])}?mode=classes&components=true")
    assert report.ok
    assert (report.items, report.images, report.masks) == (2, 2, 8)
    assert report.sizes == {"32x24": 2}
    assert report.masks_per_item == {4: 2}
    assert report.categories == {"1": 4, "3": 2, "2": 2}
    assert sum(report.areas.values()) == 8
    assert report.warnings == []
    assert json.loads(json.dumps(report.as_dict()))["ok"] is True


def test_every_error_names_its_file(tmp_path: Path) -> None:
    names = ["fine", "alone", "cut", "small", "turned", "ones", "lost"]
    make_pairs(tmp_path / "images", tmp_path / "masks", names)
    masks = tmp_path / "masks"
    (masks / "alone.png").unlink()
    cut = tmp_path / "images/cut.jpg"
    cut.write_bytes(cut.read_bytes()[:400])
    save(masks / "small.png", np.full((10, 10), 255, np.uint8))
    save(masks / "turned.png", np.full(SIZE[::-1], 255, np.uint8))
    save(masks / "ones.png", np.ones(SIZE, np.uint8))
    (tmp_path / "images/lost.jpg").unlink()
    report = check_dataset(f"pairs:{tmp_path}")
    assert codes(report.errors) == {
        "missing_mask": "alone.jpg",
        "missing_image": "lost.png",
        "unreadable": "cut.jpg",
        "size_mismatch": "small.png",
        "exif_rotation": "turned.png",
        "below_threshold": "ones.png",
    }
    assert report.items == 5
    assert report.masks == 1
    assert not report.ok


def test_an_unreadable_mask_and_colours_are_errors_of_the_mask(tmp_path: Path) -> None:
    make_labels(tmp_path, ["a", "b", "c"])
    (tmp_path / "labels/a.png").write_bytes(b"")
    save(tmp_path / "labels/b.png", photo())
    report = check_dataset(f"labels:{tmp_path}")
    assert codes(report.errors) == {"unreadable": "a.png", "malformed_mask": "b.png"}


def test_odd_masks_are_warnings(tmp_path: Path) -> None:
    make_labels(tmp_path, ["fine", "black", "full", "tiny"])
    labels = tmp_path / "labels"
    save(labels / "black.png", np.zeros(SIZE, np.uint8))
    save(labels / "full.png", np.ones(SIZE, np.uint8))
    tiny = label_map()
    tiny[0, 0] = 9
    save(labels / "tiny.png", tiny)
    report = check_dataset(f"labels:{tmp_path}")
    assert report.ok
    assert codes(report.warnings) == {
        "empty_mask": "black.png",
        "full_mask": "full.png",
        "tiny_mask": "tiny.png",
    }
    assert "1 of 4 masks have fewer than 10 pixels: 9" in report.warnings[-1].message


def test_masks_of_the_background_are_noticed(tmp_path: Path) -> None:
    make_labels(tmp_path, ["a", "b", "c"], (label_map() == 3).astype(np.uint8))
    assert check_dataset(f"labels:{tmp_path}").warnings == []
    (warning,) = check_dataset(f"labels:{tmp_path}?background=1").warnings
    assert warning.code == "swapped"
    assert "in 3 of 3 items" in warning.message


def test_the_same_photo_twice_is_a_warning(tmp_path: Path) -> None:
    make_labels(tmp_path, ["a", "b"])
    shutil.copy(tmp_path / "images/a.jpg", tmp_path / "images/b.jpg")
    (warning,) = check_dataset(f"labels:{tmp_path}").warnings
    assert warning.code == "duplicate_image"
    assert "a.jpg" in warning.message
    assert warning.path.endswith("b.jpg")


def test_a_half_turn_that_sizes_cannot_tell_is_a_warning(tmp_path: Path) -> None:
    make_labels(tmp_path, ["a"])
    exif = Image.Exif()
    exif[274] = 3
    save(tmp_path / "images/a.jpg", photo(), exif=exif)
    assert codes(check_dataset(f"labels:{tmp_path}").warnings) == {"exif_rotation": "a.jpg"}


def test_a_quarter_turn_fits_a_mask_drawn_upright_and_no_other(tmp_path: Path) -> None:
    make_labels(tmp_path, ["a"])
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "images/a.jpg", photo(), exif=exif)
    assert codes(check_dataset(f"labels:{tmp_path}").errors) == {"exif_rotation": "a.png"}
    save(tmp_path / "labels/a.png", label_map().T.copy())
    assert check_dataset(f"labels:{tmp_path}").ok


def test_an_unknown_option_is_still_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Did you mean 'mode'"):
        check_dataset(f"labels:{tmp_path}?modes=classes")


def test_the_command_ends_with_one_on_errors_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b"])
    result = tmp_path / "report.json"
    assert main(["check", f"pairs:{tmp_path}", "--json", str(result)]) == 0
    assert json.loads(result.read_text())["ok"] is True
    capsys.readouterr()
    (tmp_path / "masks/b.png").unlink()
    assert main(["check", f"pairs:{tmp_path}", "--json", str(result)]) == 1
    content = json.loads(result.read_text())
    assert content["codes"] == {"missing_mask": 1}
    assert content["errors"][0]["path"].endswith("b.jpg")
    printed = capsys.readouterr()
    assert "b.jpg: has no mask b.png [missing_mask]" in printed.out
    assert "cannot be trained on" in printed.err


def test_the_list_names_every_kind_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for expected in ("bsds500", "annotator=", "hrsod", "masks_max255", "crowd="):
        assert expected in printed


def test_the_list_tells_task_size_and_licence_of_the_kinds_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "kinds.json"
    assert main(["list", "ade20k", "--json", str(result)]) == 0
    printed = capsys.readouterr().out
    for expected in ("scene parsing", "20,210 train, 2,000 val", "BSD-3-Clause", "annotations/training"):
        assert expected in printed
    assert "bsds500" not in printed
    assert json.loads(result.read_text())["ade20k"]["task"] == "scene parsing"
    assert main(["list", "--brief"]) == 0
    brief = capsys.readouterr().out
    assert "bsds500" in brief
    assert "FOLDER/" not in brief
    assert main(["list", "ade20"]) == 1
    assert "Did you mean 'ade20k'" in capsys.readouterr().err
