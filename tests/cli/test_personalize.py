"""`maskwright personalize`: what it writes, how it resumes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.miniatures import save
from methods.personalize.blobs import BLUE, GREEN, RED, disc, scene
from PIL import Image as PILImages
from tiny import save_tiny_model

from maskwright.cli.main import main
from maskwright.export.labels import read_labels
from maskwright.io.images import read_image
from maskwright.io.masks import read_mask, read_object
from maskwright.methods.personalize.target import Target

SIZE = (40, 64)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A reference with its mask, and a folder of two photos to look in."""
    save(tmp_path / "cat.png", scene((20, 20, RED), (50, 20, BLUE), size=SIZE))
    save(tmp_path / "cat_mask.png", np.where(disc(20, 20, SIZE)[..., None], (128, 0, 0), 0).astype(np.uint8))
    save(tmp_path / "photos/a.png", scene((40, 30, RED), size=(50, 64)))
    save(tmp_path / "photos/sub/b.jpg", scene((20, 40, RED), (20, 10, GREEN), size=(64, 40)))
    return tmp_path


def personalize(photos: Path, model: Path, *more: str | Path, look: bool = True) -> int:
    """Run it with the files `photos` holds; the result is in r.json."""
    where = (photos / "photos", "--out", photos / "out") if look else ()
    arguments = (*where, "--model", model, "--json", photos / "r.json", "--device", "cpu", *more)
    return main(["personalize", *map(str, arguments)])


def shown(photos: Path) -> tuple[str | Path, ...]:
    return "--reference", photos / "cat.png", photos / "cat_mask.png"


ALWAYS = ("--threshold", "-1")


def result(photos: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((photos / "r.json").read_text())
    return content


@pytest.mark.parametrize("method", [(), ("--fit",), ("--method", "parts", "--parts", "2")])
def test_a_reference_is_all_it_takes(photos: Path, model: Path, method: tuple[str, ...]) -> None:
    assert personalize(photos, model, *shown(photos), *ALWAYS, "--name", "Tom", *method) == 0
    content = result(photos)
    assert (content["n"], content["skipped"], content["failures"], content["error"]) == (2, 0, [], None)
    (described,) = content["objects"]
    assert described["name"] == "Tom"
    assert (described["scales"] is not None) == (method == ("--fit",))
    labels = {label.path: label for label in read_labels(photos / "out/coco.json")}
    for name, size in {"a.png": (50, 64), "sub/b.jpg": (64, 40)}.items():
        label = labels[name]
        assert label.categories == ("Tom",) * len(label.masks)
        for number, mask in enumerate(label.masks):
            written = read_mask(photos / "out" / label.extra["mask_file"][number])
            assert written.shape == size
            assert np.array_equal(written, mask.decode())
            assert -1 <= label.extra["similarity"][number] <= 1 + 1e-6
        assert read_image(photos / "out/overlays" / f"{name}.png").size == size


def test_nothing_found_is_a_result(photos: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert personalize(photos, model, *shown(photos), "--threshold", "1", "--format", "yolo") == 0
    assert "0 found in 0 of 2 images" in capsys.readouterr().out
    content = result(photos)
    assert [image["scores"] for image in content["images"]] == [[], []]
    assert (photos / "out/overlays/a.png.png").is_file()
    assert not (photos / "out/masks").exists()
    assert (photos / "out/yolo").is_dir()
    # The same again with another threshold is another run.
    assert personalize(photos, model, *shown(photos), *ALWAYS) == 2
    assert personalize(photos, model, *shown(photos), *ALWAYS, "--overwrite") == 0


def test_what_was_learned_is_saved_and_loaded(photos: Path, model: Path) -> None:
    file = photos / "tom.safetensors"
    assert (
        personalize(photos, model, *shown(photos), "--fit", "--name", "Tom", "--save", file, look=False) == 0
    )
    assert result(photos)["saved"] == str(file)
    assert Target.load(file).name == "Tom"
    assert personalize(photos, model, "--load", file, *ALWAYS) == 0
    loaded = result(photos)["images"]
    assert personalize(photos, model, *shown(photos), "--fit", *ALWAYS, "--name", "Tom", "--overwrite") == 0
    learned = result(photos)["images"]
    for one, other in zip(loaded, learned, strict=True):
        assert one["scores"] == other["scores"]
        assert one["extra"]["similarity"] == other["extra"]["similarity"]


def test_several_loaded_objects_and_instances(photos: Path, model: Path) -> None:
    for name in ("one", "two"):
        more = ("--name", name, "--save", photos / f"{name}.safetensors")
        assert personalize(photos, model, *shown(photos), *more, look=False) == 0
    load = ("--load", photos / "one.safetensors", photos / "two.safetensors")
    assert personalize(photos, model, *load, *ALWAYS, "--instances", "3") == 0
    content = result(photos)
    assert [one["name"] for one in content["objects"]] == ["one", "two"]
    for image in content["images"]:
        names = image["categories"]
        assert names == sorted(names)
        assert names.count("one") == names.count("two") <= 3


@pytest.mark.parametrize(
    "how",
    [
        ("--reference-box", "cat.png", "12,12,28,28"),
        ("--reference-box", "cat.png", "10%,10%,50%,90%"),
        ("--reference-scribble", "cat.png", "cat_mask.png"),
    ],
)
def test_boxes_and_scribbles_are_references(photos: Path, model: Path, how: tuple[str, str, str]) -> None:
    flag, image, given = how
    value = photos / given if given.endswith("png") else given
    assert personalize(photos, model, flag, photos / image, value, *ALWAYS) == 0
    assert result(photos)["n"] == 2


def test_several_references_of_all_kinds(photos: Path, model: Path) -> None:
    more = ("--reference-box", photos / "cat.png", "12,12,28,28", "--references", "nearest")
    file = photos / "t.safetensors"
    assert personalize(photos, model, *shown(photos), *shown(photos), *more, "--save", file, look=False) == 0
    assert len(Target.load(file).vectors) == 3


def test_the_same_command_carries_on(photos: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (photos / "photos/sub/b.jpg").read_bytes()
    (photos / "photos/sub/b.jpg").write_bytes(whole[:100])
    assert personalize(photos, model, *shown(photos), *ALWAYS) == 1
    assert "b.jpg" in capsys.readouterr().err
    assert [Path(one["item"]).name for one in result(photos)["failures"]] == ["b.jpg"]
    assert (result(photos)["n"], result(photos)["skipped"]) == (1, 0)
    overlay = photos / "out/overlays/a.png.png"
    before = overlay.stat().st_mtime_ns

    (photos / "photos/sub/b.jpg").write_bytes(whole)
    assert personalize(photos, model, *shown(photos), *ALWAYS) == 0
    assert (result(photos)["n"], result(photos)["skipped"]) == (2, 1)
    assert personalize(photos, model, *shown(photos), *ALWAYS) == 0
    assert (result(photos)["n"], result(photos)["skipped"]) == (2, 2)
    assert overlay.stat().st_mtime_ns == before


def test_many_objects_each_in_its_own_folder(
    photos: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = photos / "set"
    for name, colour in {"cat": RED, "dog": BLUE}.items():
        for number, x in enumerate((20, 40)):
            save(root / "Images" / name / f"{number:02d}.png", scene((x, 20, colour), size=SIZE))
        save(root / "Annotations" / name / "01.png", disc(40, 20, SIZE).astype(np.uint8))
    given = ("--objects", root, "--reference-index", "01", "--out", photos / "out", *ALWAYS)
    assert personalize(photos, model, *given, look=False) == 0
    content = result(photos)
    assert [(one["path"], set(one["categories"])) for one in content["images"]] == [
        (f"{name}/{number:02d}.png", {name}) for name in ("cat", "dog") for number in range(2)
    ]
    save(root / "Images/loose.png", scene(size=SIZE))
    assert personalize(photos, model, *given, look=False) == 1
    assert "loose.png is in no object's own folder" in " ".join(capsys.readouterr().err.split())
    (root / "Annotations/dog/01.png").unlink()
    assert personalize(photos, model, *given, look=False) == 1
    assert "dog needs one photo '01'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say what to look for"),
        (("SHOWN", "--load", "x.safetensors"), "--reference and --load"),
        (("SHOWN", "--objects", "x"), "--reference and --objects"),
        (("--load", "x.safetensors", "--fit"), "settings of learning do not apply"),
        (("--load", "x.safetensors", "--method", "parts"), "settings of learning do not apply"),
        (("--load", "x.safetensors", "--save", "y.safetensors"), "--save keeps what was learned"),
        (("--load", "x.safetensors", "--name", "Tom"), "--name goes with --reference"),
        (("SHOWN", "--fit", "--method", "parts"), "--fit is --method persam-f, not parts"),
        (("--objects", "x"), "--objects looks in the images of its own folder"),
        (("SHOWN", "--reference-index", "01"), "--reference-index goes with --objects"),
        (("SHOWN", "--instances", "0"), "--instances is at least 1"),
        (("SHOWN", "--threshold", "2"), "--threshold is a similarity"),
        (("SHOWN", "--threshold", "nan"), "--threshold is a similarity"),
    ],
)
def test_options_that_contradict_each_other(
    photos: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [part for option in options for part in (shown(photos) if option == "SHOWN" else (option,))]
    assert personalize(photos, Path("no-model-is-loaded"), *given) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (photos / "out").exists()


def test_images_and_a_folder_go_together(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert personalize(photos, Path("none"), *shown(photos), look=False) == 2
    assert "or --save FILE" in " ".join(capsys.readouterr().err.split())
    assert main(["personalize", str(photos / "photos"), *map(str, shown(photos))]) == 2
    assert "--out DIR" in " ".join(capsys.readouterr().err.split())


def test_a_target_of_another_model_is_refused_once(
    photos: Path, model: Path, capsys: pytest.CaptureFixture[str], golden_root: Path
) -> None:
    file = photos / "t.safetensors"
    assert personalize(photos, model, *shown(photos), "--save", file, look=False) == 0
    other = golden_root / "sam.pth"
    assert personalize(photos, other, "--load", file, "--num-heads", "2") == 1
    assert capsys.readouterr().err.count("learned with another model") == 1
    assert personalize(photos, model, "--load", photos / "cat.png") == 1
    assert personalize(photos, model, "--reference", photos / "cat.png", photos / "none.png") == 1


class TestMaskEncodings:
    MASK = disc(30, 20, SIZE)

    @pytest.mark.parametrize("value", [1, 7, 128, 255])
    @pytest.mark.parametrize("mode", ["L", "P", "RGB", "16 bit", "RGBA"])
    def test_png(self, tmp_path: Path, value: int, mode: str) -> None:
        grey = np.where(self.MASK, value, 0).astype(np.uint8)
        path = tmp_path / "mask.png"
        if mode == "16 bit":
            PILImages.fromarray(grey.astype(np.uint16) * 200).save(path)
        elif mode == "P":
            image = PILImages.fromarray(grey)
            image.putpalette([0, 0, 0, *(200, 10, 10) * 255])
            image.save(path)
        elif mode == "L":
            PILImages.fromarray(grey).save(path)
        else:
            colours = np.stack([grey, grey * 0, grey * 0], axis=-1)
            PILImages.fromarray(colours).convert(mode).save(path)
        assert np.array_equal(read_object(path), self.MASK)

    @pytest.mark.parametrize("value", [(255, 255, 255), (128, 0, 0), (0, 0, 128), (0, 255, 0)])
    def test_jpeg(self, tmp_path: Path, value: tuple[int, int, int]) -> None:
        size = (256, 300)
        mask = np.zeros(size, np.bool_)
        mask[60:200, 80:240] = True
        pixels = np.where(mask[..., None], value, 0).astype(np.uint8)
        PILImages.fromarray(pixels).save(tmp_path / "mask.jpg", quality=75)
        assert (read_object(tmp_path / "mask.jpg") != mask).mean() < 0.01

    def test_a_photo_is_no_mask(self, photos: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        save(photos / "noise.jpg", noise)
        save(photos / "noise.png", noise)
        for name, message in {"noise.jpg": "many shades", "noise.png": "several colours"}.items():
            assert personalize(photos, model, "--reference", photos / "cat.png", photos / name) == 1
            assert message in " ".join(capsys.readouterr().err.split())

    def test_other_sizes_and_empty_masks(
        self, photos: Path, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save(photos / "small.png", np.ones((20, 20), np.uint8))
        save(photos / "empty.png", np.zeros(SIZE, np.uint8))
        for name, message in {"small.png": "must have shape (40, 64)", "empty.png": "is empty"}.items():
            assert personalize(photos, model, "--reference", photos / "cat.png", photos / name) == 1
            error = " ".join(capsys.readouterr().err.split())
            assert message in error
            assert "cat.png" in error
