"""Open a dataset from one line: `kind:FOLDER?option=value&option=value`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwright.data.dataset import Dataset
from maskwright.data.kinds import COMMON_OPTIONS, KINDS
from maskwright.data.mixture import fold_by_group, fold_by_image
from maskwright.data.options import Option
from maskwright.errors import DatasetError, suggestion

ALL_KINDS = "`maskwright data list --brief` shows all kinds."


def open_dataset(spec: str) -> Dataset:
    """Open `kind:FOLDER?option=value&…`, such as `bsds500:data/BSDS500?split=val&annotator=all`.

    Raises:
        DatasetError: for an unknown kind or option, a folder without the expected tree, or files that lack
            their partner.
    """
    dataset = build_dataset(spec)
    if dataset.unpaired:
        shown = "".join(f"\n  {problem}" for problem in dataset.unpaired[:5])
        more = len(dataset.unpaired) - 5
        raise DatasetError(
            f"{spec}: {len(dataset.unpaired)} files lack their partner:{shown}"
            + (f"\n  and {more} more" if more > 0 else "")
            + f"\n`maskwright data check '{spec}'` lists them all."
        )
    if not len(dataset):
        kind = KINDS[spec.partition(":")[0]]
        raise DatasetError(f"{spec} holds no items. A dataset of this kind looks like this:\n{kind.tree}")
    return dataset


def build_dataset(spec: str) -> Dataset:
    """Like `open_dataset`, but files without a partner are left in `Dataset.unpaired` for a report.

    Raises:
        DatasetError: for an unknown kind or option, or a folder without the expected tree.
    """
    name, folder, values = parse_spec(spec)
    by_image, by_group = values.pop("fold", None), values.pop("video_fold", None)
    if by_image and by_group:
        raise DatasetError(f"{spec}: give fold or video_fold, not both.")
    dataset = KINDS[name].build(root=folder, **values)
    if dataset.unpaired:
        return dataset  # files without a partner are an error or a report: there is nothing to split yet
    if by_group:
        return fold_by_group(dataset, *by_group)
    return fold_by_image(dataset, *by_image) if by_image else dataset


def parse_spec(spec: str) -> tuple[str, Path, dict[str, Any]]:
    """Take `kind:FOLDER?option=value&…` apart: the kind, the folder, and the options that were given.

    Raises:
        DatasetError: for an unknown kind or option.
    """
    name, colon, rest = spec.partition(":")
    if not colon or not rest:
        raise DatasetError(
            f"{spec!r} is not a dataset: write KIND:FOLDER, such as labels:photos or coco:photos. {ALL_KINDS}"
        )
    if name not in KINDS:
        message = f"unknown kind of dataset {name!r} in {spec!r}.{suggestion(name, KINDS)} {ALL_KINDS}"
        raise DatasetError(message)
    folder, _, query = rest.partition("?")
    values = _parse_options(name, {**KINDS[name].options, **COMMON_OPTIONS}, query)
    return name, Path(folder).expanduser(), values


def _parse_options(kind: str, known: Mapping[str, Option], query: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if name not in known:
            raise DatasetError(
                f"{kind} has no option {name!r}; it has {', '.join(known)}.{suggestion(name, known)}"
            )
        if not equals or name in values:
            raise DatasetError(f"write {name}=VALUE once: {known[name].help}.")
        try:
            values[name] = known[name].parse(value)
        except ValueError as error:
            raise DatasetError(f"{kind} option {name}={value}: {error}") from None
    return values
