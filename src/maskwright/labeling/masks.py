"""The worker that finds masks of everything in a photo: soft masks with click, box and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.config import fixed_values
from maskwright.errors import WeightsError
from maskwright.io.files import make_folder, write_json
from maskwright.io.images import read_header, read_image
from maskwright.io.label_shards import MaskRow, encode_probability, write_masks
from maskwright.io.shards import SCORED_VERSION
from maskwright.labeling.folder import Files, LabelFolder, weights_of
from maskwright.labeling.plan import PlannedImage, Shard
from maskwright.labeling.sa1b import to_sa1b
from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.models.uncertainty import AUTO

if TYPE_CHECKING:
    from maskwright.methods.automatic.generator import AutomaticMask
    from maskwright.models.segmenter import Segmenter
    from maskwright.models.sessions import Backend


@dataclass(frozen=True)
class ModelChoice:
    """Which model every process loads; as for `models.registry.load`."""

    name: str
    base: str | None = None
    num_heads: int | None = None
    device: str = "auto"
    offline: bool = False
    heads: str | None = AUTO
    backend: Backend = "torch"

    def load(self) -> Segmenter:
        """Load it.

        Raises:
            MaskwrightError: it is unknown, refused or cannot be fetched.
        """
        from maskwright.models.registry import load

        rest = {key: value for key, value in asdict(self).items() if key != "name"}
        return load(self.name, **rest)


class MaskWorker:
    """Finds masks with the automatic mask generator (`methods.automatic`).

    Args:
        folder: where they go.
        model: what finds them.
        settings: how.
        files: Parquet shards, or one JSON file a photo in SA-1B's form, which has no soft masks.
    """

    def __init__(
        self,
        folder: LabelFolder,
        model: ModelChoice,
        settings: AutomaticSettings,
        files: Files = "parquet",
    ) -> None:
        self.folder = folder
        self.model = model
        self.settings = settings
        self.kind = files
        self.signature: str | None = None
        self.heads: str | None = None
        self._segmenter: Segmenter | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Each process loads the model by itself, and compares it with this process's."""
        return {**self.__dict__, "_segmenter": None}

    @property
    def segmenter(self) -> Segmenter:
        """The model, once it is prepared."""
        assert self._segmenter is not None, "prepare() comes first"
        return self._segmenter

    def prepare(self) -> None:
        """Load the model.

        Raises:
            MaskwrightError: it cannot be loaded, it or its heads are others than where the run began, or the
                settings ask for a quality that no heads tell.
        """
        from maskwright.methods.automatic.generator import check_quality

        if self._segmenter is not None:
            return
        segmenter = self.model.load()
        check_quality(segmenter, self.settings)
        heads = None if segmenter.heads is None else segmenter.heads.digest()
        if self.signature is not None and weights_of(self.signature) != weights_of(segmenter.signature):
            raise WeightsError(
                f"{self.model.name} is {segmenter.signature} here and {self.signature} where the run began: "
                "all machines must have the same file."
            )
        if self.signature is not None and heads != self.heads:
            raise WeightsError(
                f"the uncertainty heads of {self.model.name} are {heads or 'missing'} here and "
                f"{self.heads or 'missing'} where the run began: all machines must have the same file."
            )
        self.signature, self.heads, self._segmenter = segmenter.signature, heads, segmenter

    def release(self) -> None:
        """Forget the model, which other processes load."""
        self._segmenter = None

    def record(self, shard_images: int) -> dict[str, Any]:
        """All that decides the labels; the model must be prepared.

        Without heads it is what it was before there were any, so that a run from then can go on.
        """
        settings = fixed_values(self.settings.for_family(self.segmenter.model.family))
        if self.settings.min_quality is None:
            del settings["min_quality"]
        heads = {} if self.heads is None else {"heads": self.heads, "version": SCORED_VERSION}
        return {
            "kind": "masks",
            "model": self.signature,
            "settings": settings,
            "files": self.kind,
            "shard_images": shard_images,
            **self.segmenter.arithmetic,
            **heads,
        }

    def label(self, image: PlannedImage) -> list[MaskRow]:
        """Find the masks of one photo.

        Raises:
            FileError: it cannot be read.
        """
        from maskwright.methods.automatic.generator import generate

        photo = read_image(image.path)
        found = generate(self.segmenter, photo, self.settings)
        return [self._row(image, photo.size, number, mask) for number, mask in enumerate(found)]

    def files(self, shard: Shard) -> list[Path]:
        """The shard's Parquet file, or the JSON files of its photos."""
        return self.folder.files(shard, self.kind)

    def write(self, shard: Shard, rows: Sequence[Sequence[MaskRow] | None]) -> None:
        """Write the shard's files.

        Raises:
            FileError: they cannot be written.
        """
        if self.kind == "parquet":
            path = self.folder.masks(shard.number)
            make_folder(path.parent)
            write_masks(path, [row for part in rows for row in part or ()], scored=self.heads is not None)
            return
        for image, part in zip(shard.images, rows, strict=True):
            path = self.folder.annotations(image.name)
            make_folder(path.parent)
            if part is None:
                path.unlink(missing_ok=True)
            else:
                size = (part[0].height, part[0].width) if part else read_header(image.path).size
                write_json(path, to_sa1b(image, size, part), indent=None)

    def _row(self, image: PlannedImage, size: tuple[int, int], index: int, mask: AutomaticMask) -> MaskRow:
        model = self.segmenter.model
        return MaskRow(
            image.name,
            str(image.path),
            *size,
            index,
            mask.rle.counts.encode("ascii"),
            mask.area,
            *mask.box,
            *mask.point,
            *mask.crop_box,
            mask.predicted_iou,
            mask.stability,
            model.image_size,
            model.resize,
            encode_probability(mask.low_res) if self.kind == "parquet" else b"",
            quality=mask.extras.get("quality"),
            model_gap=mask.extras.get("model_gap"),
            prompt_gap=mask.extras.get("prompt_gap"),
            task_gap=mask.extras.get("task_gap"),
        )
