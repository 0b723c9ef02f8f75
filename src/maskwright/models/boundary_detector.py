"""The one way to ask a boundary model of any family: from an image to the boundary probability of each pixel.

The image is resized to the resolution asked for, normalised and padded; the logits are enlarged to the
image's own size by bicubic interpolation, as DirectSAM does, and become probabilities there. Images beyond a
size go through the model in tiles. Nothing is remembered between calls.

Axes: B images, H W input sizes, h w output sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, Self, overload

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PILImages
from PIL.Image import Resampling
from torch import Tensor

from maskwright.data.boundary_targets import target_size
from maskwright.debug import debug
from maskwright.errors import InputError
from maskwright.models.boundary import BoundaryModel, normalise
from maskwright.models.boundary_tiles import run_tiles
from maskwright.models.preprocess import ImageLike, to_image
from maskwright.models.sessions import check_device
from maskwright.runtime import arithmetic_record, free_cache, in_chunks, is_out_of_memory
from maskwright.types import ByteArray, FloatArray, Image

Resolution = int | Literal["native"]

# Pixels of the input up to which it goes through the model whole, unless tiles are asked for.
WHOLE = 2048 * 2048
TILE, SMALLEST_TILE = 1024, 256
# Images run at once; more brings nothing on a CPU.
IMAGE_BATCH = 4


class BoundaryDetector:
    """A boundary model made easy to ask.

    The model is set to evaluation mode.

    Args:
        model: any family.
        name: what to call it in messages; the family's name by default.
        resolution: side of the input in pixels for which the model was trained; None: images as they are.
        keep_aspect: bring images to it with their proportions, not to a square.
        dtype: arithmetic of the forward pass: torch.float32, or torch.bfloat16 / torch.float16 for automatic
            mixed precision. The probabilities are always float32.
        image_batch: images run at once; bounds the memory.

    Raises:
        InputError: a resolution or batch of nothing.
    """

    def __init__(
        self,
        model: BoundaryModel,
        name: str | None = None,
        *,
        resolution: int | None = None,
        keep_aspect: bool = False,
        dtype: torch.dtype = torch.float32,
        image_batch: int = IMAGE_BATCH,
    ) -> None:
        _check("resolution", resolution)
        _check("image_batch", image_batch)
        self.model = model.eval()
        self.name = name or model.family
        self.resolution = resolution
        self.keep_aspect = keep_aspect
        self.dtype = dtype
        self.image_batch = image_batch
        self.signature = f"{self.name}:{model.digest()}"

    def __repr__(self) -> str:
        where = f"device={str(self.device)!r}, dtype={self.dtype}"
        shown = "native" if self.resolution is None else self.resolution
        return f"BoundaryDetector({self.name!r}, family={self.model.family!r}, resolution={shown}, {where})"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def arithmetic(self) -> dict[str, str]:
        """How it computes, for records of runs; empty for torch in float32."""
        return arithmetic_record(self.model.backend, self.dtype)

    def to(self, device: str | torch.device) -> Self:
        """Move the model.

        Raises:
            InputError: an exported model, which computes on the CPU.
        """
        check_device(self.model.backend, device)
        self.model.to(device)
        return self

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        images: ImageLike,
        *,
        resolution: Resolution | None = None,
        keep_aspect: bool | None = None,
        tile: int | None = None,
    ) -> FloatArray: ...
    @overload
    def __call__(
        self,
        images: Sequence[ImageLike],
        *,
        resolution: Resolution | None = None,
        keep_aspect: bool | None = None,
        tile: int | None = None,
    ) -> list[FloatArray]: ...
    def __call__(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        resolution: Resolution | None = None,
        keep_aspect: bool | None = None,
        tile: int | None = None,
    ) -> FloatArray | list[FloatArray]:
        """How probable it is that each pixel lies on an outline, for an image or several of any sizes.

        Args:
            images: a path, PIL image, uint8 array (H, W, 3) or (H, W), or `types.Image`; or a list of such.
            resolution: side in pixels of the square to which images are resized for the model, or of their
                longest side; "native": as they are; None: the model's own, or as they are up to the model's
                largest.
            keep_aspect: keep their proportions, in place of the square; None: as the model was trained.
            tile: run what is larger than this many pixels a side, after resizing, in overlapping tiles of
                this side. By default tiles of 1024 are used where an input has more than 2048² pixels, or
                memory runs out.

        Returns:
            (H, W) float32 in 0…1 at the image's own size; a list of such for a list of images.

        Raises:
            InputError: a value is no image, or a size is not positive.
            ImageError: a file cannot be read.
        """
        side = self.resolution if resolution is None else resolution
        side = None if side == "native" else side
        keep = self.keep_aspect if keep_aspect is None else keep_aspect
        _check("resolution", side)
        _check("tile", tile)
        largest = self.model.largest if resolution is None and side is None else None
        single = not isinstance(images, list | tuple)
        given: Any = [images] if single else images
        photos = [to_image(image) for image in given]
        sizes = [_reduced(target_size(photo.size, side, keep_aspect=keep), largest) for photo in photos]
        found = self._run(photos, sizes, tile)
        return found[0] if single else found

    def _run(
        self, images: Sequence[Image], sizes: Sequence[tuple[int, int]], tile: int | None
    ) -> list[FloatArray]:
        groups: dict[tuple[int, int], list[int]] = {}
        for i, size in enumerate(sizes):
            groups.setdefault(size, []).append(i)
        found: dict[int, FloatArray] = {}
        for size, members in groups.items():
            chosen = [images[i] for i in members]
            if self._fits(size, tile):
                made = self._whole(chosen, size)
            else:
                made = [self._tiled(image, size, tile or TILE) for image in chosen]
            found |= dict(zip(members, made, strict=True))
        return [found[i] for i in range(len(images))]

    def _fits(self, size: tuple[int, int], tile: int | None) -> bool:
        return size[0] * size[1] <= WHOLE if tile is None else max(size) <= self._tile(tile)

    def _tile(self, tile: int) -> int:
        """The side of tiles: whole cells, and one more than the model needs, for the last may be shorter."""
        cell = self.model.cell
        return max(tile, self.model.smallest + cell) // cell * cell

    def _whole(self, images: Sequence[Image], size: tuple[int, int]) -> list[FloatArray]:
        """Images that are resized alike; in tiles where memory runs out with one alone."""
        try:
            return in_chunks(partial(self._batch, size), images, self.image_batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or max(size) <= SMALLEST_TILE:
                raise
        # Outside the handler, so that the failed call's tensors are no longer held by the traceback.
        free_cache()
        debug(lambda: f"memory ran out at {size}; going on in tiles")
        return [self._tiled(image, size, min(TILE, max(size) // 2)) for image in images]

    @torch.no_grad()
    def _batch(self, size: tuple[int, int], images: Sequence[Image]) -> list[FloatArray]:
        """Images that are resized alike, through the model at once."""
        pixels = np.stack([resized(image.pixels, size) for image in images])
        logits = self._logits(pixels)
        padded = self._padded(size)
        debug(lambda: f"boundaries of {', '.join(i.source for i in images)} at {size}: {tuple(logits.shape)}")
        return [probability(logits[i : i + 1], padded, size, image.size) for i, image in enumerate(images)]

    def _tiled(self, image: Image, size: tuple[int, int], side: int) -> FloatArray:
        """A large image in tiles; in smaller ones where memory runs out."""
        padded = self._padded(size)
        try:
            logits = self._stitched(resized(image.pixels, size), padded, self._tile(side))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or side // 2 < SMALLEST_TILE:
                raise
        else:
            return probability(logits, padded, size, image.size)
        free_cache()
        debug(lambda: f"memory ran out in tiles of {side}; going on in smaller ones")
        return self._tiled(image, size, side // 2)

    @torch.no_grad()
    def _stitched(self, pixels_HW3: ByteArray, padded: tuple[int, int], side: int) -> Tensor:
        def run(y0: int, y1: int, x0: int, x1: int) -> Tensor:
            # A copy, for photos may be read-only, which torch warns about.
            return self._logits(pixels_HW3[None, y0:y1, x0:x1].copy(), (y1 - y0, x1 - x0))

        debug(lambda: f"boundaries at {padded} in tiles of {side}")
        return run_tiles(run, padded, side, self.model.cell, self.model.reach)

    def _padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """An input's size with what is added at the bottom and on the right."""
        step = self.model.multiple
        height, width = (max(self.model.smallest, -(-side // step) * step) for side in size)
        return height, width

    def _logits(self, pixels_BHW3: ByteArray, padded: tuple[int, int] | None = None) -> Tensor:
        """The model's float32 logits of pixels, mirrored into the padding."""
        size = pixels_BHW3.shape[1:3]
        height, width = self._padded(size) if padded is None else padded
        x_B3HW = normalise(torch.from_numpy(pixels_BHW3).to(self.device))
        below, beside = height - size[0], width - size[1]
        mirrors = below < size[0] and beside < size[1]
        x_B3HW = F.pad(x_B3HW, (0, beside, 0, below), mode="reflect" if mirrors else "replicate")
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits: Tensor = self.model(x_B3HW)
        return logits.float()


def _reduced(size: tuple[int, int], largest: int | None) -> tuple[int, int]:
    return size if largest is None or max(size) <= largest else target_size(size, largest, keep_aspect=True)


def resized(pixels_HW3: ByteArray, size: tuple[int, int]) -> ByteArray:
    """The pixels at another size, by Pillow's bilinear filter, as SegFormer's processor has it."""
    if pixels_HW3.shape[:2] == size:
        return pixels_HW3
    return np.array(PILImages.fromarray(pixels_HW3).resize(size[::-1], Resampling.BILINEAR))


def probability(
    logits_11hw: Tensor, padded: tuple[int, int], size: tuple[int, int], image_size: tuple[int, int]
) -> FloatArray:
    """Logits of a padded input as probabilities (H, W) at the image's own size.

    Args:
        logits_11hw: of one image.
        padded: (H, W) of the input.
        size: (H, W) of the part of it that shows the image.
        image_size: (H, W) of the image.
    """
    cells = logits_11hw.shape[-2:]
    # Where the image is smaller than the logits, they are averaged, for cubic weights alone would skip some.
    shrinks = any(
        full * side < count * total
        for full, side, count, total in zip(image_size, padded, cells, size, strict=True)
    )
    if padded == size:
        large = F.interpolate(logits_11hw, image_size, mode="bicubic", antialias=shrinks)
    else:
        scale = [
            # A trace more, so that rounding never costs the last row.
            full / side * whole / count * (1 + 1e-9)
            for full, side, whole, count in zip(image_size, size, padded, cells, strict=True)
        ]
        large = F.interpolate(logits_11hw, scale_factor=scale, mode="bicubic", antialias=shrinks)
        large = large[..., : image_size[0], : image_size[1]]
    found: FloatArray = large[0, 0].contiguous().sigmoid_().cpu().numpy()
    return found


def _check(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise InputError(f"{name} must be at least 1, not {value}.")
