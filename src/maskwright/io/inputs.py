"""From what a user names on the command line to a list of image files, each with a name for its outputs."""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskwright.errors import FileError
from maskwright.io.files import nearest_name, reason, shown

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_NAME_BYTES = 255


@dataclass(frozen=True, order=True)
class ImageFile:
    """One image to work on.

    Args:
        path: where it is.
        name: its path relative to the folder that all inputs share, with forward slashes; no two images of
            one `collect_images` have the same.
    """

    path: Path
    name: str

    def output(self, folder: Path, ending: str) -> Path:
        """Where to write something about this image: `folder`/a/x.jpg + `ending`, for a/x.jpg.

        The image's own extension stays in the name, so x.jpg and x.png do not meet. A name that would get
        longer than file systems allow is cut and made unique by a hash.
        """
        relative = PurePosixPath(self.name)
        return folder / relative.parent / _fitting(relative.name, ending)


def collect_images(inputs: Iterable[str | os.PathLike[str]]) -> list[ImageFile]:
    """Find the images behind files, folders (searched with their subfolders) and glob patterns.

    In folders, files with an image's extension are taken; hidden files and folders are left out. A file
    named directly is always taken. Links are followed, each real folder is visited once.

    Returns:
        The images sorted by path, each once.

    Raises:
        FileError: when an input does not exist (with the nearest name), cannot be read, or holds no image.
    """
    anchors: list[Path] = []
    found: dict[tuple[str, str], Path] = {}
    for given in inputs:
        for anchor, path in _resolve(os.fspath(given)):
            absolute = _absolute(anchor)
            image = absolute / path.relative_to(anchor)
            anchors.append(absolute)
            found.setdefault((os.path.realpath(image.parent), image.name), image)
    if not found:
        raise FileError("no image was given: name files, folders or patterns such as 'photos/*.jpg'.")
    root = _shared_folder(anchors)
    return [ImageFile(path, path.relative_to(root).as_posix()) for path in sorted(found.values())]


def _resolve(given: str) -> Iterator[tuple[Path, Path]]:
    """Yield (anchor, image): output names are relative to the anchors' shared folder."""
    path = Path(given)
    if "\0" in given:
        raise FileError(f"{given!a} is not a path: it holds a null character.")
    if path.is_dir():
        yield from ((path, image) for image in _images_below(path))
    elif path.exists():
        yield path.parent, path
    elif glob.has_magic(given):
        yield from _matches(given)
    elif path.is_symlink():
        raise FileError(f"{shown(path)} is a link to a file that does not exist.")
    else:
        raise FileError(f"{shown(path)} does not exist.{nearest_name(path)}")


def _matches(pattern: str) -> Iterator[tuple[Path, Path]]:
    """Expand a glob: matched folders are searched, matched files taken if named like an image."""
    parts = Path(pattern).parts
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), parts))
    if ".." in parts[len(fixed) :]:
        raise FileError(f"the pattern {shown(pattern)} has '..' after a wildcard; write it without.")
    images: list[Path] = []
    for match in map(Path, sorted(glob.glob(pattern, recursive=True))):  # noqa: PTH207 (hidden files stay out)
        if match.is_file() and is_image_name(match.name):
            images.append(match)
        elif match.is_dir() and not pattern.rstrip("/").endswith("**"):
            images += _walk(match, set())
    if not images:
        raise FileError(f"no image matches {shown(pattern)} ({', '.join(IMAGE_SUFFIXES)}).")
    yield from ((Path(*fixed), image) for image in images)


def _images_below(folder: Path) -> list[Path]:
    images = list(_walk(folder, set()))
    if not images:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise FileError(f"{shown(folder)} holds no image ({kinds}), nor do its subfolders.")
    return images


def _walk(folder: Path, visited: set[str]) -> Iterator[Path]:
    """Yield the images below a folder in order; `visited` keeps link loops from going round for ever."""
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FileError(f"cannot read the folder {shown(folder)}: {reason(error)}.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, visited)
        elif is_image_name(entry.name):
            yield entry


def is_image_name(name: str) -> bool:
    """Whether a file name has the extension of an image format we read."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def _absolute(path: Path) -> Path:
    """Make a path absolute; with "..", which behind a link leads elsewhere, links are followed."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _shared_folder(anchors: list[Path]) -> Path:
    try:
        return Path(os.path.commonpath(anchors))
    except ValueError as error:
        raise FileError("the images lie on different drives; work on one drive at a time.") from error


def _fitting(name: str, ending: str) -> str:
    whole = name + ending
    if len(os.fsencode(whole)) <= _NAME_BYTES:
        return whole
    digest = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
    room = _NAME_BYTES - len(os.fsencode(digest + ending))
    # Cutting bytes may split a character; what is left of it goes too.
    return os.fsencode(name)[:room].decode("utf-8", errors="ignore") + digest + ending
