"""Files of contours: the boundary labels of photos, drawn by models and by people, each with its source.

As DirectSAM publishes them ("self-annotation"), one JSON file a photo:

{"image_path": "…", "image_size": [w, h],
 "pseudo_label": [{"source": "a model", "label": {"size": [h, w], "counts": "…"}}, …],
 "human_label": [{"source": "a dataset", "label": {…}}, …]}

`pseudo_label` grows by one a generation. A label is a mask of the lines as COCO's run lengths. Its size is
its own: published labels are squares of 1800 pixels whatever the photo's shape. A published variant
(SA1B_contour) has neither `image_size` nor `pseudo_label`. The same as Parquet: one row a photo, one row
group a row, so that a photo is read by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from maskwright.errors import FileError, MaskError
from maskwright.io.files import read_json, shown, write_json
from maskwright.io.rle import RLE
from maskwright.io.shards import open_shard, shard_writer

KINDS = ("pseudo_label", "human_label")


@dataclass(frozen=True)
class Contour:
    """Lines on a photo, and who drew them: a model, or the dataset whose people did."""

    source: str
    label: RLE


@dataclass(frozen=True)
class ContourRecord:
    """All contours of one photo.

    Args:
        image_path: the photo's file, absolute or relative to the folder of the set.
        image_size: height and width of the photo; None where a published file does not tell.
        pseudo: by models, the newest last.
        human: by people.
    """

    image_path: str
    image_size: tuple[int, int] | None
    pseudo: tuple[Contour, ...] = ()
    human: tuple[Contour, ...] = ()

    def with_pseudo(self, contour: Contour) -> ContourRecord:
        """The record with a newest pseudo-label; an older one of the same source goes."""
        others = tuple(old for old in self.pseudo if old.source != contour.source)
        return ContourRecord(self.image_path, self.image_size, (*others, contour), self.human)

    def to_json(self) -> dict[str, Any]:
        """The content of the photo's JSON file."""
        size = {} if self.image_size is None else {"image_size": list(self.image_size[::-1])}
        labels = {
            kind: [{"source": each.source, "label": each.label.to_coco()} for each in contours]
            for kind, contours in zip(KINDS, (self.pseudo, self.human), strict=True)
        }
        return {"image_path": self.image_path, **size, **labels}

    @classmethod
    def from_json(cls, content: Any, where: str) -> ContourRecord:  # noqa: ANN401
        """Read the content of a JSON file; `where` names it in messages.

        Raises:
            FileError: naming the key that is missing or wrong.
            MaskError: naming the label that is no mask, or one beyond the limit of pixels.
        """
        if not isinstance(content, Mapping):
            raise FileError(f"{where} holds no contours: it is {type(content).__name__}, not an object.")
        path = content.get("image_path")
        if not isinstance(path, str) or not path or "\0" in path:
            raise FileError(f"{where} has no 'image_path' that names a file; it says {_brief(path)}.")
        if not any(kind in content for kind in KINDS):
            raise FileError(f"{where} has neither {KINDS[0]!r} nor {KINDS[1]!r}: it holds no contours.")
        size = None if content.get("image_size") is None else _size(content["image_size"], where)
        pseudo, human = (tuple(_contours(content, kind, where)) for kind in KINDS)
        return cls(path, size, pseudo, human)


def write_contours(path: str | os.PathLike[str], record: ContourRecord) -> None:
    """Write a photo's JSON file, atomically.

    Raises:
        FileError: naming the path and the reason.
    """
    write_json(path, record.to_json(), indent=None)


def read_contours(path: str | os.PathLike[str]) -> ContourRecord:
    """Read a photo's JSON file.

    Raises:
        FileError: naming the file and what is wrong with it, as `ContourRecord.from_json` does.
    """
    return ContourRecord.from_json(read_json(path), shown(path))


_LABELS = pa.list_(
    pa.struct(
        [
            pa.field("source", pa.string(), nullable=False),
            pa.field("height", pa.int64(), nullable=False),
            pa.field("width", pa.int64(), nullable=False),
            pa.field("counts", pa.string(), nullable=False),
        ]
    )
)
_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("image_path", pa.string(), nullable=False),
        pa.field("image_height", pa.int64()),
        pa.field("image_width", pa.int64()),
        *(pa.field(kind, _LABELS, nullable=False) for kind in KINDS),
    ]
)


def write_contour_shard(path: str | os.PathLike[str], records: Iterable[tuple[str, ContourRecord]]) -> None:
    """Write a shard of photos, each with its name in the set, atomically.

    Raises:
        FileError: naming the path and the reason.
    """
    with shard_writer(path, _SCHEMA, compression="ZSTD") as writer:
        for name, record in records:
            writer.write_table(pa.Table.from_pylist([_row(name, record)], schema=_SCHEMA))


def shard_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the photos of a shard, in order.

    Raises:
        FileError: it is missing, damaged, cut off or no shard of contours.
    """
    with open_shard(path, "contours", [_SCHEMA]) as file:
        names: list[str] = file.read(columns=["name"], use_threads=False)["name"].to_pylist()
        return names


def read_contour_row(path: str | os.PathLike[str], row: int) -> ContourRecord:
    """Read the contours of the photo in some row of a shard.

    Raises:
        FileError: the shard is missing, damaged, cut off, no shard of contours, or has no such row.
        MaskError: naming the label that is no mask.
    """
    with open_shard(path, "contours", [_SCHEMA]) as file:
        if not 0 <= row < file.num_row_groups:
            raise FileError(f"{shown(path)} has {file.num_row_groups} photos, and none in row {row}.")
        [values] = file.read_row_group(row, use_threads=False).to_pylist()
    where = f"{shown(path)}[{values['name']}]"
    sizes = values["image_height"], values["image_width"]
    size = None if None in sizes else _size(sizes[::-1], where)
    pseudo, human = (
        tuple(_unpacked(entry, f"{where}: {kind}[{k}]") for k, entry in enumerate(values[kind]))
        for kind in KINDS
    )
    return ContourRecord(values["image_path"], size, pseudo, human)


def _row(name: str, record: ContourRecord) -> dict[str, Any]:
    height, width = record.image_size or (None, None)
    return {
        "name": name,
        "image_path": record.image_path,
        "image_height": height,
        "image_width": width,
        "pseudo_label": [_packed(each) for each in record.pseudo],
        "human_label": [_packed(each) for each in record.human],
    }


def _packed(contour: Contour) -> dict[str, Any]:
    height, width = contour.label.size
    return {"source": contour.source, "height": height, "width": width, "counts": contour.label.counts}


def _unpacked(entry: Mapping[str, Any], where: str) -> Contour:
    record = {"size": [entry["height"], entry["width"]], "counts": entry["counts"]}
    return Contour(entry["source"], _rle(record, where))


def _contours(content: Mapping[str, Any], kind: str, where: str) -> Iterator[Contour]:
    entries = content.get(kind, [])
    if not isinstance(entries, list):
        raise FileError(f"{where}: {kind!r} is a list of labels, not {_brief(entries)}.")
    for number, entry in enumerate(entries):
        place = f"{where}: {kind}[{number}]"
        if not isinstance(entry, Mapping):
            raise FileError(f"{place} is {_brief(entry)}, not an object with 'source' and 'label'.")
        missing = [name for name in ("source", "label") if name not in entry]
        if missing:
            raise FileError(f"{place} has no {' and no '.join(map(repr, missing))}.")
        if not isinstance(entry["source"], str):
            raise FileError(f"{place}: its source is {_brief(entry['source'])}, not a name.")
        yield Contour(entry["source"], _rle(entry["label"], place))


def _rle(record: Any, where: str) -> RLE:  # noqa: ANN401
    try:
        return RLE.from_coco(record)
    except MaskError as error:
        raise MaskError(f"{where}: {error}") from error


def _size(value: Any, where: str) -> tuple[int, int]:  # noqa: ANN401
    """(height, width) from [width, height]."""
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in value)
    ):
        raise FileError(f"{where}: 'image_size' is [width, height] in pixels, not {_brief(value)}.")
    return value[1], value[0]


def _brief(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
