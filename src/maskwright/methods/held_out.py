"""Opening training data, and holding photos out of it for validation."""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.data.dataset import Dataset
from maskwright.data.mixture import Mixture, split_by_image
from maskwright.data.registry import open_dataset


def open_data(
    data: Sequence[str], val: Sequence[str], val_share: float, seed: int
) -> tuple[Dataset, Dataset | None]:
    """Training and validation data; without the latter, photos are held out of the former.

    Args:
        data: what to train on, each KIND:FOLDER; put together.
        val: what to validate on, or nothing.
        val_share: without `val`, the part of the photos that is held out; 0 for none.
        seed: decides which.

    Raises:
        DatasetError: one of them cannot be opened.
    """
    training = _open(data)
    if val:
        return training, _open(val)
    return split_by_image(training, val_share, seed) if val_share else (training, None)


def _open(specs: Sequence[str]) -> Dataset:
    opened = [open_dataset(spec) for spec in specs]
    return opened[0] if len(opened) == 1 else Mixture([(dataset, len(dataset)) for dataset in opened])
