"""The demo's photos, which come inside scikit-image's package, and what to ask about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from maskwright.errors import FileError
from maskwright.io.images import read_image
from maskwright.types import Image

Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class DemoPhoto:
    """One photo and its prompts, in its own pixels.

    Args:
        name: what the report calls it.
        file: in scikit-image's data folder.
        thing: the object that every single-object mode is asked for.
        box: around the thing.
        click: one point on the thing.
        clicks: further points on it, each with its label: 1 on the thing, 0 beside it.
        parts: boxes of several objects that are asked for at once.
    """

    name: str
    file: str
    thing: str
    box: Box
    click: Point
    clicks: tuple[tuple[Point, int], ...]
    parts: Mapping[str, Box]

    def read(self) -> Image:
        """Read the photo.

        Raises:
            FileError: when scikit-image's package no longer holds it.
        """
        return read_photo(self.file, self.name)


def read_photo(file: str, name: str) -> Image:
    """Read a photo of scikit-image's data folder, and call it by a name.

    Raises:
        FileError: when scikit-image's package no longer holds it.
    """
    source = resources.files("skimage").joinpath("data", file)
    if not source.is_file():
        raise FileError(f"scikit-image is installed without its photo {file}; reinstall scikit-image.")
    with resources.as_file(source) as path:
        return Image(read_image(path).pixels, name)


MOTORCYCLE = DemoPhoto(
    name="motorcycle",
    file="motorcycle_left.png",
    thing="motorcycle",
    box=(90, 42, 686, 440),
    click=(400, 215),
    clicks=(((200, 380), 1), ((650, 340), 1), ((380, 470), 0)),
    parts={
        "front wheel": (510, 290, 686, 440),
        "rear wheel": (120, 238, 282, 404),
        "lamp": (504, 121, 566, 190),
    },
)
"""Left of a pair of photos, for the one-shot scene, too."""
PHOTOS = (
    DemoPhoto(
        name="coffee",
        file="coffee.png",
        thing="cup",
        box=(172, 16, 418, 314),
        click=(250, 235),
        clicks=(((195, 110), 1), ((450, 235), 0)),
        parts={"cup": (172, 16, 418, 314), "spoon": (324, 66, 434, 335), "coffee": (206, 94, 382, 207)},
    ),
    DemoPhoto(
        name="cat",
        file="chelsea.png",
        thing="cat",
        box=(0, 0, 400, 300),
        click=(250, 85),
        clicks=(((90, 220), 1), ((430, 150), 0)),
        parts={
            "left eye": (134, 83, 209, 149),
            "right eye": (293, 109, 343, 165),
            "nose": (236, 226, 294, 268),
        },
    ),
    DemoPhoto(
        name="astronaut",
        file="astronaut.png",
        thing="astronaut",
        box=(20, 13, 364, 512),
        click=(180, 300),
        clicks=(((225, 110), 1), ((400, 430), 0)),
        parts={
            "astronaut": (20, 13, 364, 512),
            "helmet": (276, 343, 500, 512),
            "shuttle": (354, 0, 472, 286),
        },
    ),
    MOTORCYCLE,
)
