"""Photos and label maps in Parquet shards, as the Hugging Face hub keeps datasets: a row for each photo.

Photo and map lie in it as the bytes of an image file, plain or in a record {bytes, path}, and are decoded
under the same limits as files.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from maskwright.data.colours import read_codes
from maskwright.data.dataset import Problem, SampleError
from maskwright.data.files import Pair, check_same_size, list_below, require_folders
from maskwright.data.labels import LabelPairs, Mode
from maskwright.data.outlines import Shapes
from maskwright.errors import DatasetError, FileError
from maskwright.io.decode import open_image
from maskwright.io.files import shown
from maskwright.io.images import read_image
from maskwright.io.masks import LabelMap, read_label_map
from maskwright.types import Image, Sample

TREE = """\
  FOLDER/                                        as downloaded, with all folders
    data/train-00000-of-00004.parquet …          or train/0000.parquet …; split=all: every shard"""

ALL = "all"
_SAME = ("val", "valid", "validation")
_BUFFER = 1 << 20
MAX_GROUP = 4_000_000_000
"""Row groups of more bytes, unpacked, are refused."""

Encoding = Literal["numbers", "colours"]


class ParquetMaps(LabelPairs):
    """The rows of a split's shards.

    Args:
        root: the folder.
        split: the shards whose name begins with it, or whose folder is called so; "all" takes every shard.
        image: column of the photos.
        label: column of the label maps.
        encoding: "numbers": a pixel's number is its label; "colours": its colour is, R + 256 G + 65536 B.
        mode: see `LabelPairs`, for this, `components` and `background`.
        components: one mask a connected part of a class.
        background: labels that are no object.
        ignore: labels of pixels that nobody labelled.

    Raises:
        DatasetError: there is no shard of the split, or a shard lacks a column.
    """

    def __init__(
        self,
        root: Path,
        *,
        split: str = "train",
        image: str = "image",
        label: str = "label",
        encoding: Encoding = "numbers",
        mode: Mode = "classes",
        components: bool = False,
        background: Sequence[int] = (0,),
        ignore: Sequence[int] = (),
    ) -> None:
        require_folders("parquet", root, [], TREE)
        files = _find(root, split)
        problems: list[Problem] = []
        shards = [shard for file in files if (shard := _open_shard(file, (image, label), problems))]
        self.starts = [0, *accumulate(rows for _, rows in shards)]
        pairs = [Pair(path, path) for path, rows in shards for _ in range(rows)]
        super().__init__(
            pairs, problems, mode=mode, components=components, background=background, void=ignore
        )
        self.columns, self.encoding = (image, label), encoding
        self._reader = _Rows(self.columns)

    def group(self, index: int) -> str:
        """Each row is a photo of its own, though many share a file."""
        return self._name(index)

    def probe(self, index: int) -> None:
        """Look at the header of the photo of item `index`."""
        with open_image(self._name(index), data=self._row(index)[0]):
            pass

    def read(self, index: int) -> Sample:
        """Decode item `index`.

        Raises:
            SampleError: also when the row lacks its photo or its map.
        """
        image, labels = self._decode(index)
        return self.sample(image, labels, self._source(index))

    def labels(self, index: int) -> LabelMap:
        """The (H, W) label map of item `index`."""
        return self._decode(index)[1]

    def shapes(self, index: int) -> Shapes:
        """The regions of item `index`: its labels, those of the background among them."""
        image, labels = self._decode(index)
        return self.regions(labels, image)

    def _decode(self, index: int) -> tuple[Image, LabelMap]:
        photo, map_ = self._row(index)
        name, source = self._name(index), self._source(index)
        image = read_image(name, data=photo)
        labels = (read_codes if self.encoding == "colours" else read_label_map)(source, data=map_)
        check_same_size(Pair(Path(name), Path(source)), image, labels.shape)
        return image, labels

    def _name(self, index: int) -> str:
        return f"{self.pairs[index].image}[{self._place(index)}]"

    def _source(self, index: int) -> str:
        return f"{self._name(index)}[{self.columns[1]}]"

    def _place(self, index: int) -> int:
        """Number of item `index` in its shard, from 0."""
        return index - self.starts[bisect_right(self.starts, index) - 1]

    def _row(self, index: int) -> tuple[bytes, bytes]:
        values = self._reader.read(self.pairs[index].image, self._place(index))
        for column, value, code in zip(self.columns, values, ("missing_image", "missing_mask"), strict=True):
            if not value:
                raise SampleError(code, self._name(index), f"has nothing in column {column}")
        photo, map_ = values
        assert photo and map_  # noqa: PT018
        return photo, map_


class _Rows:
    """Reads rows of shards, cheaply one after the other: only the place in the current row group is kept.

    A jump begins its row group anew, of which Parquet's dictionaries may unpack all photos (a hundred, as the
    hub writes them).
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self._here: tuple[int, Path] | None = None
        self._next = self._end = 0
        self._batches: Iterator[pa.RecordBatch] = iter(())

    def read(self, shard: Path, row: int) -> tuple[bytes | None, ...]:
        """The bytes in the columns of a row.

        Raises:
            FileError: naming the shard, when it is damaged.
        """
        here = (os.getpid(), shard)  # a forked worker must not walk on in its parent's file
        try:
            if self._here != here or not self._next <= row < self._end:
                self._start(shard, row)
                self._here = here
            while True:
                batch = next(self._batches)
                self._next += 1
                if self._next > row:
                    return tuple(_content(batch.column(name)[0].as_py()) for name in self.columns)
        except (pa.ArrowException, OSError, StopIteration, KeyError) as error:
            self._here = None
            raise _damaged(shard, error) from error

    def _start(self, shard: Path, row: int) -> None:
        """Begin the row group that holds a row."""
        # Neither buffered in advance nor as a whole, for a column of photos is large.
        file = pq.ParquetFile(shard, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True)
        ends = list(accumulate(file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)))
        group = bisect_right(ends, row)
        size = file.metadata.row_group(group).total_byte_size
        if size > MAX_GROUP:
            message = f"a row group holds {size / 1e9:.1f} GB, more than is unpacked at once"
            raise FileError(f"cannot read {shown(shard)}: {message}; write it anew with fewer rows a group.")
        self._next, self._end = (0, *ends)[group], ends[group]
        self._batches = file.iter_batches(1, [group], list(self.columns), use_threads=False)

    def __reduce__(self) -> tuple[type[_Rows], tuple[Sequence[str]]]:
        return _Rows, (self.columns,)  # a place in a file does not travel to another process


def _content(value: Any) -> bytes | None:  # noqa: ANN401
    found: bytes | None = value["bytes"] if isinstance(value, dict) else value
    return found


def _find(root: Path, split: str) -> list[Path]:
    files = list_below(root, [".parquet"])
    names = _SAME if split in _SAME else (split,)
    chosen = [path for path in files if split == ALL or any(_is_of(path, root, name) for name in names)]
    if files and not chosen:
        listed = ", ".join(str(path.relative_to(root)) for path in files[:5])
        raise DatasetError(f"{root} has no shard of the split {split!r}; there are {listed}: add split=NAME.")
    if not files:
        raise DatasetError(f"{root} holds no Parquet shard. A dataset of this kind looks like this:\n{TREE}")
    return chosen


def _is_of(path: Path, root: Path, split: str) -> bool:
    return (
        path.stem == split or path.name.startswith(f"{split}-") or split in path.relative_to(root).parts[:-1]
    )


def _open_shard(path: Path, columns: Sequence[str], problems: list[Problem]) -> tuple[Path, int] | None:
    """A shard and its number of rows; None, and a problem, for one that cannot be read."""
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        problems.append(Problem("unreadable", str(path), str(_damaged(path, error))))
        return None
    for column in columns:
        if column not in schema.names or not _holds_bytes(schema.field(column).type):
            images = ", ".join(field.name for field in schema if _holds_bytes(field.type)) or "none"
            raise DatasetError(
                f"{path} has no column {column!r} of image files; there are {images}: "
                "name them with image=COLUMN and label=COLUMN."
            )
    return path, rows


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _damaged(shard: Path, error: BaseException) -> FileError:
    return FileError(f"cannot read {shown(shard)}: it is damaged or cut off ({error}).")
