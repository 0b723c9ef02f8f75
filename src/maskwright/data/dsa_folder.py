"""What lies in the folder of a set of contours: its records, in order, and whether it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maskwright.data.files import list_files, list_folders, require_folders
from maskwright.errors import DatasetError
from maskwright.io.contour_files import shard_names
from maskwright.io.records import iterate_records
from maskwright.io.shards import read_set

KIND = "contours"
"""In the record of a set that Maskwright has made; also the folder of its shards."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the record of one photo is.

    Args:
        path: a JSON file, or a shard.
        subset: the part of the set it belongs to.
        name: in the set, such as ade20k/0000000.
        row: in the shard; None for a JSON file.
    """

    path: Path
    subset: str
    name: str
    row: int | None = None


def finished_entries(root: Path, tree: str, *, partial: bool = False) -> Iterator[Entry]:
    """The records of a set, subset by subset, sorted.

    Args:
        root: the folder.
        tree: what one looks like, for messages.
        partial: take what there is of a run that is not finished.

    Raises:
        DatasetError: there is no such folder, it holds another kind of set, or the run is not finished.
    """
    require_folders("dsa", root, [], tree)
    files = _files_of_set(root, tree, partial)
    if files == KIND:
        shards = list_files(root / KIND, [".parquet"]) if (root / KIND).is_dir() else []
        rows = (
            Entry(path, name.rpartition("/")[0], name, row)
            for path in shards
            for row, name in enumerate(shard_names(path))
        )
        return iter(sorted(rows, key=lambda entry: (entry.subset, entry.name)))
    return _json_entries(root)


def _json_entries(root: Path) -> Iterator[Entry]:
    """The JSON files of the folders below, or, where there are none, of the folder itself."""
    inside = [path for folder in list_folders(root) for path in list_files(folder, [".json"])]
    for path in inside or list_files(root, [".json"]):
        # Published sets are merged by renaming what was merged.
        if not path.name.startswith("_") and (inside or path.name != "set.json"):
            yield Entry(path, path.parent.name, f"{path.parent.name}/{path.stem}")


def _files_of_set(root: Path, tree: str, partial: bool) -> str:
    """How the records of a set are stored, once it is known to be finished."""
    path = root / "set.json"
    if not path.is_file():
        return "dsa"
    record = read_set(path)
    if (kind := record.get("kind")) != KIND:
        raise DatasetError(f"{root} holds labels of kind {kind!r}, not contours; these look so:\n{tree}")
    done = sum(int(entry.get("images", 0)) for entry in iterate_records(root / "ledger.jsonl"))
    if done < int(record.get("images", 0)) and not partial:
        raise DatasetError(
            f"{root}: {done} of {record['images']} photos are done. Give the same command again to finish, "
            "or take what there is with partial=true."
        )
    return str(record.get("files"))
