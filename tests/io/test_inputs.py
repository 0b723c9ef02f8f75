"""Finding images: odd names, links, misspellings, and outputs that never collide."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import FileError
from maskwright.io.inputs import ImageFile, collect_images


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(images: list[ImageFile]) -> list[str]:
    return [image.name for image in images]


def test_a_folder_is_searched_with_its_subfolders(tmp_path: Path) -> None:
    make(tmp_path, "b/x.jpg", "a/x.JPG", "x.png", "x.jpg", "notes.txt", ".hidden/x.png", "a/._x.jpg")
    make(tmp_path, ".maskwright-0.part")
    images = collect_images([tmp_path])
    assert names(images) == ["a/x.JPG", "b/x.jpg", "x.jpg", "x.png"]
    outputs = {image.output(Path("out"), ".png") for image in images}
    assert outputs == {Path(f"out/{name}.png") for name in names(images)}


def test_names_stay_when_files_are_added_beside(tmp_path: Path) -> None:
    make(tmp_path, "sub/x.jpg")
    before = names(collect_images([tmp_path]))
    make(tmp_path, "y.jpg")
    assert before == ["sub/x.jpg"]
    assert set(before) < set(names(collect_images([tmp_path])))


def test_several_inputs_get_names_relative_to_what_they_share(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "b/x.jpg", "b/c/y.raw")
    assert names(collect_images([tmp_path / "a", tmp_path / "b"])) == ["a/x.jpg", "b/x.jpg"]
    assert names(collect_images([tmp_path / "b/c/y.raw", tmp_path / "a/x.jpg"])) == ["a/x.jpg", "b/c/y.raw"]
    assert names(collect_images([tmp_path / "a/x.jpg"])) == ["x.jpg"]


def test_each_image_comes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/x.jpg")
    monkeypatch.chdir(tmp_path)
    images = collect_images(["a", "a/x.jpg", "./a/../a/x.jpg", "a/*.jpg", tmp_path / "a"])
    assert [image.path for image in images] == [tmp_path / "a" / "x.jpg"]


def test_globs(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "a/y.txt", "b/x.jpg", "b/c/z.png", "photo[1].jpg")
    assert names(collect_images([f"{tmp_path}/*/x.jpg"])) == ["a/x.jpg", "b/x.jpg"]
    assert names(collect_images([f"{tmp_path}/**/*.png"])) == ["b/c/z.png"]
    assert names(collect_images([f"{tmp_path}/?"])) == ["a/x.jpg", "b/c/z.png", "b/x.jpg"]
    assert names(collect_images([f"{tmp_path}/photo[1].jpg"])) == ["photo[1].jpg"]
    assert len(collect_images([f"{tmp_path}/**"])) == 4
    with pytest.raises(FileError, match="no image matches"):
        collect_images([f"{tmp_path}/a/*.txt"])
    with pytest.raises(FileError, match="after a wildcard"):
        collect_images([f"{tmp_path}/*/../x.jpg"])


def test_link_loops_end_and_linked_folders_are_visited_once(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert names(collect_images([tmp_path])) == ["a/x.jpg"]


def test_linked_files_with_other_names_all_count(tmp_path: Path) -> None:
    make(tmp_path, "blobs/0123.jpg")
    (tmp_path / "set").mkdir()
    for name in ("x.jpg", "y.jpg"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "blobs" / "0123.jpg")
    (tmp_path / "set" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    # The dangling link is listed too: reading it fails by name, which is better than silence.
    assert names(collect_images([tmp_path / "set"])) == ["gone.jpg", "x.jpg", "y.jpg"]
    with pytest.raises(FileError, match="link to a file that does not exist"):
        collect_images([tmp_path / "set" / "gone.jpg"])


@pytest.mark.parametrize(
    "name", ["a b.jpg", "a\nb.jpg", "-x.jpg", "\u00fc.jpg", "u\u0308.jpg", "x" * 251 + ".jpg", "a'\"$.jpg"]
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    [image] = collect_images([tmp_path])
    assert image.name == name
    output = image.output(tmp_path / "out", ".mask.png")
    output.parent.mkdir()
    output.touch()


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    [image] = collect_images([tmp_path])
    assert image.path.exists()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("aü.", min_size=1, max_size=4), min_size=2, unique=True))
def test_outputs_never_collide(tails: list[str]) -> None:
    images = [ImageFile(Path("x"), "n" * 248 + tail) for tail in tails]
    outputs = {image.name: image.output(Path("o"), ".png") for image in images}
    assert len(set(outputs.values())) == len(outputs)
    assert all(len(os.fsencode(output.name)) <= 255 for output in outputs.values())


def test_what_is_missing_is_named_with_a_suggestion(tmp_path: Path) -> None:
    make(tmp_path, "photos/x.jpg", "empty/notes.txt")
    cases = {
        "fotos": r"does not exist\. Did you mean 'photos'\?",
        "photos/x.jpeg": r"Did you mean 'x\.jpg'\?",
        "no/such/x.jpg": "does not exist either",
        "empty": "holds no image",
        "x\0": "null character",
    }
    for name, message in cases.items():
        with pytest.raises(FileError, match=message):
            collect_images([f"{tmp_path}/{name}"])
    with pytest.raises(FileError, match="no image was given"):
        collect_images([])
