"""The worker that labels boundaries: a model's lines on a photo, beside those of the dataset's own masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from maskwright.data.boundary_targets import boundary_target, resize_photo
from maskwright.data.dsa import DSA
from maskwright.data.dsa_folder import KIND
from maskwright.data.kinds import KINDS
from maskwright.data.mixture import origin
from maskwright.data.outlines import Style
from maskwright.data.photos import Photos
from maskwright.errors import ConfigError, FileError, WeightsError
from maskwright.io.contour_files import Contour, ContourRecord
from maskwright.io.files import shown
from maskwright.io.images import read_header, read_image
from maskwright.io.inputs import is_image_name
from maskwright.io.rle import RLE
from maskwright.labeling.contours import ContourFiles, ContourFormat, numbered
from maskwright.labeling.folder import LabelFolder, weights_of
from maskwright.labeling.items import ItemChoice, Items
from maskwright.labeling.plan import PlannedImage
from maskwright.types import Image

if TYPE_CHECKING:
    from maskwright.models.boundary_detector import BoundaryDetector, Resolution
    from maskwright.models.sessions import Backend

Size = Literal["native", "square"]


@dataclass(frozen=True)
class BoundarySettings:
    """How boundaries are labelled.

    Args:
        resolution: of the model's input, in pixels, or "native"; None takes the model's own.
        threshold: a pixel is of a line where the probability is above it.
        thickness: of people's lines, in pixels of the stored label.
        size: of the stored labels: the photo's own, or as published a square of `resolution` pixels.
        style: how people's lines are drawn; see `data.outlines`.
        tile: side of the tiles that a photo beyond it is cut into; None takes it whole.

    Raises:
        ConfigError: a value that cannot be, or two that contradict each other.
    """

    resolution: Resolution | None = None
    threshold: float = 0.5
    thickness: int = 3
    size: Size = "native"
    style: Style = "exact"
    tile: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"--threshold must be at least 0 and below 1, not {self.threshold}.")
        for name in ("resolution", "thickness", "tile"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise ConfigError(f"--{name} must be at least 1, not {value}.")
        if self.size == "square" and not isinstance(self.resolution, int):
            raise ConfigError("--size square needs a --resolution in pixels.")
        if self.style != "exact" and self.thickness < 2:
            raise ConfigError(f"--style {self.style} needs --thickness of at least 2.")


@dataclass(frozen=True)
class DetectorChoice:
    """Which boundary model every process loads; as for `models.boundary_files.load_boundary`."""

    name: str
    device: str = "auto"
    offline: bool = False
    backend: Backend = "torch"

    def load(self) -> BoundaryDetector:
        """Load it.

        Raises:
            MaskwrightError: it is unknown, refused or cannot be fetched.
        """
        from maskwright.models.boundary_files import load_boundary

        return load_boundary(self.name, device=self.device, backend=self.backend, offline=self.offline)


def as_spec(given: str) -> str:
    """A dataset as it was given, or a plain folder as `photos:FOLDER`."""
    return given if given.partition(":")[0] in KINDS or not Path(given).is_dir() else f"photos:{given}"


class BoundaryItems(Items):
    """Items of datasets, named as published: subset and number."""

    @property
    def subsets(self) -> list[str]:
        """Name of each dataset: its kind, or for plain photos their folder's name."""
        return [kind if kind != "photos" else root.absolute().name for kind, root in self.roots]

    def names(self) -> Iterator[str]:
        """A name for each item, in order."""
        return iter(numbered(self.subsets, [len(part) for part in self.all.datasets]))

    def source(self, image: PlannedImage) -> str:
        """Whose the human labels of an item are."""
        return self.roots[self.all.part(image.number)][0]


class BoundaryWorker(ContourFiles):
    """Labels the items of datasets.

    Items of a set of contours (kind `dsa`) keep all labels that they have, and get one more.

    Args:
        folder: where the labels go.
        model: what draws them.
        items: of which datasets; a plain folder of photos is `photos:FOLDER`.
        settings: how.
        format: "dsa" (JSON as published) or "parquet".
        relative: store the photos' paths relative to the folder.
        source: name of the new labels, to which the digest of the weights is added; None takes the model's.
    """

    def __init__(
        self,
        folder: LabelFolder,
        model: DetectorChoice,
        items: ItemChoice,
        settings: BoundarySettings,
        format: ContourFormat = "dsa",
        *,
        relative: bool = False,
        source: str | None = None,
    ) -> None:
        super().__init__(folder, format, relative=relative)
        self.model = model
        self.choice = items
        self.settings = settings
        self.source = source
        self.signature: str | None = None
        self._loaded: tuple[BoundaryDetector, BoundaryItems] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Each process loads the model and opens the datasets by itself."""
        return {**self.__dict__, "_loaded": None}

    @property
    def detector(self) -> BoundaryDetector:
        """The model, once it is prepared."""
        assert self._loaded is not None, "prepare() comes first"
        return self._loaded[0]

    @property
    def items(self) -> BoundaryItems:
        """The items, once they are prepared."""
        assert self._loaded is not None, "prepare() comes first"
        return self._loaded[1]

    def prepare(self) -> None:
        """Open the datasets and load the model.

        Raises:
            MaskwrightError: one cannot be, or the model is another one than where the run began.
        """
        if self._loaded is not None:
            return
        items = BoundaryItems(self.choice)
        detector = self.model.load()
        if self.signature is not None and weights_of(self.signature) != weights_of(detector.signature):
            raise WeightsError(
                f"{self.model.name} is {detector.signature} here and {self.signature} where the run began: "
                "all machines must have the same file."
            )
        self.signature = self.signature or detector.signature
        self._loaded = detector, items

    def release(self) -> None:
        """Forget what other processes load."""
        self._loaded = None

    def record(self, shard_images: int) -> dict[str, Any]:
        """All that decides the labels; the model must be prepared."""
        return {
            "kind": KIND,
            "model": self.signature,
            "source": self.source,
            "data": {**asdict(self.choice), "specs": list(self.choice.specs)},
            "settings": asdict(self.settings),
            "relative_paths": self.relative,
            "files": self.kind,
            "shard_images": shard_images,
            **self.detector.arithmetic,
        }

    def label(self, image: PlannedImage) -> list[ContourRecord]:
        """The contours of one photo.

        Raises:
            FileError: it cannot be used.
        """
        if not is_image_name(image.path.name):
            raise FileError(
                f"{shown(image.path)} is no image file, so no label could name it: write its frames to files."
            )
        dataset, place = origin(*self.items.locate(image))
        path = self.stored_path(image.path)
        if isinstance(dataset, DSA):
            # Compares the photo with its recorded size.
            photo, old = dataset.photo(place), dataset.record(place)
            before = ContourRecord(path, photo.size, old.pseudo, old.human)
            photo = self._resized(photo)
        elif isinstance(dataset, Photos):
            photo = read_image(image.path)
            before = ContourRecord(path, photo.size)
            photo = self._resized(photo)
        else:
            target = boundary_target(
                dataset,
                place,
                resolution=self._side,
                thickness=self.settings.thickness,
                style=self.settings.style,
            )
            human = Contour(self.items.source(image), RLE.encode(target.fraction > 0))
            photo = target.image
            before = ContourRecord(path, read_header(image.path).size, (), (human,))
        return [before.with_pseudo(self._pseudo(photo))]

    @property
    def _side(self) -> int | None:
        """Side of the square that labels are stored as; None for the photo's own size."""
        resolution = self.settings.resolution
        return resolution if self.settings.size == "square" and isinstance(resolution, int) else None

    def _resized(self, photo: Image) -> Image:
        """The photo at the size of its labels."""
        if self._side is None:
            return photo
        return resize_photo(photo, (self._side, self._side))

    def _pseudo(self, photo: Image) -> Contour:
        settings = self.settings
        probability = self.detector(photo, resolution=settings.resolution, tile=settings.tile)
        assert self.signature is not None
        source = f"{self.source}:{weights_of(self.signature)}" if self.source else self.signature
        return Contour(source, RLE.encode(probability > settings.threshold))
