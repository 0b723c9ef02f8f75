"""Small containers whose tokens tell what heads should say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.io.files import write_json
from maskwright.io.token_file import tensor_writer
from maskwright.methods.uncertainty.container import FORMAT, VERSION, Container, ContainerFolder, Model
from maskwright.methods.uncertainty.rows import TokenRows, row_schema, write_rows

MODELS = ("small", "large")
SHAPE = (3, 4)


def write_container(
    folder: Path,
    images: int = 40,
    masks: int = 16,
    seed: int = 0,
    models: Sequence[str] = MODELS,
    shape: tuple[int, int] = SHAPE,
    noise: float = 0.0,
    **columns: npt.NDArray[Any],
) -> Path:
    """Images with `masks` rows each, in turn mask 0 to 3 of a centre click; IoUs are functions of the tokens.

    Args:
        folder: to be made.
        images, masks: how many.
        seed: of the tokens.
        models: their names; the rows are of them in turn.
        shape: (P, C) of the tokens.
        noise: standard deviation of what tokens do not tell about the IoU.
        columns: in place of those made here.
    """
    rng = np.random.default_rng(seed)
    count = images * masks
    tokens = rng.standard_normal((count, *shape)).astype(np.float32)
    first, second = tokens[:, 0, 0], tokens[:, 1, 1]
    iou = np.clip(1 / (1 + np.exp(-first - np.abs(second))) + noise * rng.standard_normal(count), 0, 1)
    gain = 0.4 * (1 - iou) / (1 + np.exp(second))
    number = np.arange(count)
    floats = {
        "iou": iou,
        "best_iou": iou,
        "selected_iou": np.clip(iou - gain / 2, 0, 1),
        "single_iou": iou,
        "refined_iou": iou + gain,
        "refined_best_iou": iou + gain,
        **{f"{kind}@{name}": iou + 0.3 * k * gain for k, name in enumerate(models) for kind in
           ("best_iou", "selected_iou", "single_iou")},
    }  # fmt: skip
    groups = [f"{seed}/{place // masks}" for place in range(count)]
    texts: dict[str, npt.NDArray[Any]] = {
        "image": np.array([f"{group}.png" for group in groups]).astype(object),
        "group": np.array(groups).astype(object),
        "model": np.array(models)[number // 4 % len(models)].astype(object),
        "prompt": np.array(["center"] * count).astype(object),
    }
    whole = {"mask": number % 4, "instance": number // 4 % 2}
    flags = {"best": number % 4 == 2, "selected": number % 4 == 1}
    given = texts | whole | flags | floats | columns
    filled = {
        field.name: given.get(field.name, np.zeros(count, field.type.to_pandas_dtype()))
        for field in row_schema(models)
    }
    folder.mkdir(parents=True)
    paths = ContainerFolder(folder)
    with tensor_writer(paths.tokens, tokens.shape, np.float32) as append:
        append(tokens)
    write_rows(paths.rows, TokenRows(tokens, filled), models)
    described = [asdict(Model(name, f"digest-{name}", "nano", shape[1])) for name in models]
    write_json(paths.record, {"format": FORMAT, "version": VERSION, "models": described, "rows": count})
    return folder


def open_container(folder: Path, **changes: int) -> Container:
    """Write a container, and open it."""
    return Container.open([write_container(folder, **changes)])  # type: ignore[arg-type]
