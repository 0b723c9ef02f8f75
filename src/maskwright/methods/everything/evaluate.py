"""The BSDS500 benchmark of one photo after the other, on any number of processes, and its figures."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from maskwright.data.bsds import read_boundaries, read_segmentations
from maskwright.data.registry import open_dataset, parse_spec
from maskwright.errors import DatasetError, FileError, MaskError, MaskwrightError
from maskwright.io.files import shown
from maskwright.methods.evaluate import spread
from maskwright.methods.everything.predictions import (
    ENDINGS,
    BoundaryMap,
    Prediction,
    on_256_levels,
    read_prediction,
)
from maskwright.metrics.boundary_scores import (
    MAX_DIST,
    THRESHOLDS,
    BoundaryCounts,
    BoundaryScores,
    count_boundaries,
)
from maskwright.metrics.partitions import AtLevels, RegionCounts, RegionScores, count_regions
from maskwright.types import FloatArray

KIND = "bsds500"
AHEAD = 2
"""Photos that wait for each process: enough to keep it busy, and few enough to keep in memory."""


@dataclass(frozen=True)
class Protocol:
    """How boundaries are scored.

    Args:
        suppress: score lines after non-maximum suppression; the partitions come from the map as it is.
        max_dist: the largest distance of a match as a share of the diagonal: 0.0075, for NYUD 0.011.
        thresholds: how many, evenly between 0 and 1.
    """

    suppress: bool
    max_dist: float = MAX_DIST
    thresholds: int = THRESHOLDS


@dataclass(frozen=True)
class KnownPhoto:
    """A photo whose boundaries are known.

    Args:
        image: its file.
        truth: the `.mat` file of its annotators.
    """

    image: Path
    truth: Path

    @property
    def name(self) -> str:
        """Its file's name without the ending."""
        return self.image.stem

    def files(self, source: object) -> list[Path]:
        """What its score depends on; of a folder of predictions, whatever it has of this photo."""
        stored = [source / f"{self.name}{ending}" for ending in ENDINGS] if isinstance(source, Path) else []
        return [self.image, self.truth, *stored]


@dataclass(frozen=True)
class Counted:
    """What was counted in one photo."""

    name: str
    boundaries: BoundaryCounts
    regions: RegionCounts

    def to_json(self) -> dict[str, Any]:
        """Everything, to be read again by `from_json`."""
        return {
            "image": self.name,
            "boundaries": self.boundaries.to_json(),
            "regions": self.regions.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Counted:
        """What `to_json` gave."""
        return cls(
            content["image"],
            BoundaryCounts.from_json(content["boundaries"]),
            RegionCounts.from_json(content["regions"]),
        )


Detector = Callable[[Path], FloatArray]
"""From a photo's file to its boundary map, (H, W) float32 in [0, 1]."""
Source = Detector | Path
"""Where predictions come from: a detector, or their folder."""


def photos_of(spec: str, limit: int | None = None) -> list[KnownPhoto]:
    """The photos of a BSDS500 folder, each once, or at most `limit` of them, spread evenly.

    Raises:
        DatasetError: it is no `bsds500:FOLDER`, or cannot be opened.
    """
    dataset = open_dataset(spec)
    if parse_spec(spec)[0] != KIND:
        raise DatasetError(
            f"boundaries are scored against people's drawings: {KIND}:FOLDER, not {spec}. On any dataset: "
            f"`maskwright evaluate tokens --data {spec}`."
        )
    found = [KnownPhoto(dataset.image_path(k), dataset.mask_path(k)) for k in range(len(dataset))]
    photos = list(dict.fromkeys(found))
    return [photos[k] for k in spread(len(photos), limit)]


def count(photo: KnownPhoto, prediction: Prediction, protocol: Protocol) -> Counted:
    """Score the prediction of one photo.

    Raises:
        MaskError: the prediction has not the photo's size.
        SampleError: the annotations cannot be read.
    """
    boundaries, partitions = read_boundaries(photo.truth), read_segmentations(photo.truth)
    if prediction.size != boundaries[0].shape:
        height, width = boundaries[0].shape
        raise MaskError(
            f"the prediction of {photo.name} is {prediction.size[1]}×{prediction.size[0]}, "
            f"but the photo {width}×{height}; bring it to the photo's size."
        )
    levels = prediction.levels(protocol.thresholds)
    return Counted(
        photo.name,
        count_boundaries(prediction.lines(levels), boundaries, levels, max_dist=protocol.max_dist),
        count_regions(prediction.partitions(levels), partitions, levels),
    )


def count_all(
    photos: Iterable[KnownPhoto], source: Source, protocol: Protocol, workers: int = 1
) -> Iterator[tuple[KnownPhoto, Counted | MaskwrightError]]:
    """Score photos, on several processes if asked; a detector always runs in this one.

    Yields:
        Each photo, in any order, with what was counted or why that failed.

    Raises:
        MaskwrightError: a process has died.
    """
    jobs = ((photo, _job(photo, source, protocol)) for photo in photos)
    if workers == 1:
        yield from ((photo, job if isinstance(job, MaskwrightError) else _work(*job)) for photo, job in jobs)
    else:
        yield from _on_processes(jobs, workers)


Job = tuple[KnownPhoto, Path | FloatArray, Protocol]
"""A photo, and the file of its prediction or its boundary map."""


def _job(photo: KnownPhoto, source: Source, protocol: Protocol) -> Job | MaskwrightError:
    if isinstance(source, Path):
        return photo, source, protocol
    try:
        return photo, source(photo.image), protocol
    except MaskwrightError as error:
        return error


def _work(photo: KnownPhoto, given: Path | FloatArray, protocol: Protocol) -> Counted | MaskwrightError:
    try:
        if isinstance(given, Path):
            prediction = read_prediction(find_prediction(given, photo), protocol.suppress)
        else:
            # As published figures are made, from maps stored with 8 bits.
            prediction = BoundaryMap(on_256_levels(given), protocol.suppress)
        return count(photo, prediction, protocol)
    except MaskwrightError as error:
        # Some errors of ours take more than a message, which pickling loses.
        return MaskwrightError(str(error))


def _begin() -> None:
    """Set up a process of the pool."""
    # Ctrl-C goes to the whole group; the process that began it decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process at once when the one that began it is killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _on_processes(
    jobs: Iterator[tuple[KnownPhoto, Job | MaskwrightError]], workers: int
) -> Iterator[tuple[KnownPhoto, Counted | MaskwrightError]]:
    # Spawned, not forked: a copy of this process would share its threads' locks and its GPU.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin)
    running: dict[Future[Counted | MaskwrightError], KnownPhoto] = {}
    try:
        while True:
            for photo, job in islice(jobs, AHEAD * workers - len(running)):
                if isinstance(job, MaskwrightError):
                    yield photo, job
                else:
                    running[pool.submit(_work, *job)] = photo
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done), done.result()
    except BrokenProcessPool as error:
        raise MaskwrightError(
            "a process that scores photos has died (killed, or out of memory?). With --out, what is finished "
            "stays, and the same command goes on from there; give fewer --workers if memory ran out."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def find_prediction(folder: Path, photo: KnownPhoto) -> Path:
    """The file of a photo's prediction: its name with another ending.

    Raises:
        FileError: there is none, or there are two.
    """
    found = [path for ending in ENDINGS if (path := folder / f"{photo.name}{ending}").is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise FileError(f"{shown(folder)} has two predictions of {photo.name}, .png and .mat; keep one.")
    raise FileError(f"{shown(folder)} has no prediction of {photo.name}: {photo.name}.png or .mat.")


@dataclass(frozen=True, eq=False)
class BenchmarkResult:
    """All photos' counts and the figures over them.

    Args:
        photos: at least one.
    """

    photos: Sequence[Counted]

    @cached_property
    def boundaries(self) -> BoundaryScores:
        """ODS, OIS, AP."""
        return BoundaryScores([photo.boundaries for photo in self.photos])

    @cached_property
    def regions(self) -> RegionScores:
        """Covering, Rand index, variation of information."""
        return RegionScores([photo.regions for photo in self.photos])

    def to_json(self) -> dict[str, Any]:
        """The figures, flat; then the counts at each threshold, the regions at each level, the photos."""
        lines, regions = self.boundaries, self.regions
        return {
            "ods": lines.ods.f,
            "ois": lines.ois.f,
            "ap": lines.ap,
            "r50": lines.r50,
            "covering": regions.covering.ods,
            "pri": regions.pri.ods,
            "voi": regions.voi.ods,
            "n": len(self.photos),
            "ods_at": asdict(lines.ods),
            "ois_at": asdict(lines.ois),
            "covering_best": regions.best_covering,
            "regions": {name: asdict(value) for name, value in self.region_figures().items()},
            "curve": {
                **lines.sums.to_json(),
                "recall": lines.recall,
                "precision": lines.precision,
                "f": lines.f,
            },
            "levels": {
                "level": regions.levels,
                "covering": regions.coverings,
                "pri": regions.rands,
                "voi": regions.informations,
            },
            "images": {
                photo.name: asdict(best) for photo, best in zip(self.photos, lines.per_image, strict=True)
            },
        }

    def region_figures(self) -> dict[str, AtLevels]:
        """The three region measures by name."""
        return {"covering": self.regions.covering, "pri": self.regions.pri, "voi": self.regions.voi}
