"""The worker that extracts what uncertainty heads learn from: tokens and measures of every mask.

A shard is two files with the same rows: tokens as safetensors (`io.token_file`), columns as Parquet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from maskwright.errors import WeightsError
from maskwright.io.files import make_folder
from maskwright.io.token_file import tensor_writer
from maskwright.labeling.folder import LabelFolder
from maskwright.labeling.items import ItemChoice, Items
from maskwright.labeling.masks import ModelChoice
from maskwright.labeling.plan import PlannedImage, Shard

if TYPE_CHECKING:
    from maskwright.methods.scores import Selection
    from maskwright.methods.uncertainty.interview import ExtractSettings
    from maskwright.methods.uncertainty.rows import TokenRows
    from maskwright.models.segmenter import Segmenter

KIND = "tokens"
TokenType = Literal["float32", "float16"]


class TokenWorker:
    """Asks models about the instances of a dataset's items (`methods.uncertainty.extract`).

    Args:
        folder: where the rows go.
        models: small to large.
        items: of which datasets.
        settings: what is asked.
        selection: of which instances.
        dtype: of the stored tokens.
    """

    def __init__(
        self,
        folder: LabelFolder,
        models: Sequence[ModelChoice],
        items: ItemChoice,
        settings: ExtractSettings,
        selection: Selection,
        dtype: TokenType = "float32",
    ) -> None:
        self.folder = folder
        self.models = tuple(models)
        self.choice = items
        self.settings = settings
        self.selection = selection
        self.dtype = dtype
        self.signatures: tuple[str, ...] | None = None
        self._loaded: tuple[list[Segmenter], Items] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Each process loads models and opens datasets by itself."""
        return {**self.__dict__, "_loaded": None}

    @property
    def segmenters(self) -> list[Segmenter]:
        """The models, once they are prepared."""
        assert self._loaded is not None, "prepare() comes first"
        return self._loaded[0]

    @property
    def items(self) -> Items:
        """The items, once they are prepared."""
        assert self._loaded is not None, "prepare() comes first"
        return self._loaded[1]

    def prepare(self) -> None:
        """Load the models and open the datasets.

        Raises:
            MaskwrightError: one cannot be loaded, is another than where the run began, or they do not go
                together.
        """
        from maskwright.methods.uncertainty.extract import common_tokens

        if self._loaded is not None:
            return
        items = self.choice.open()
        segmenters = [model.load() for model in self.models]
        common_tokens(segmenters)
        signatures = tuple(segmenter.signature for segmenter in segmenters)
        if self.signatures not in (None, signatures):
            raise WeightsError(
                f"the models are {', '.join(signatures)} here and {', '.join(self.signatures or ())} where "
                "the run began: all machines must have the same files."
            )
        self.signatures, self._loaded = signatures, (segmenters, items)

    def release(self) -> None:
        """Forget what other processes load."""
        self._loaded = None

    def record(self, shard_images: int) -> dict[str, Any]:
        """All that decides the rows; the models must be prepared."""
        from maskwright.methods.uncertainty.answers import token_shape
        from maskwright.methods.uncertainty.container import Model
        from maskwright.methods.uncertainty.extract import common_tokens

        models = [
            asdict(Model(each.name, each.digest, each.model.family, token_shape(each.model)[1]))
            for each in self.segmenters
        ]
        count, channels = common_tokens(self.segmenters)
        return {
            "kind": KIND,
            "model": ", ".join(each.signature for each in self.segmenters),
            "models": models,
            "tokens": {"count": count, "channels": channels, "dtype": self.dtype},
            "data": {**asdict(self.choice), "specs": list(self.choice.specs)},
            "settings": {**asdict(self.settings), "prompts": list(self.settings.prompts)},
            "selection": asdict(self.selection),
            "files": "tokens",
            "shard_images": shard_images,
        }

    def label(self, image: PlannedImage) -> TokenRows:
        """The rows of one item.

        Raises:
            MaskwrightError: it cannot be used.
        """
        from maskwright.data.dataset import with_only
        from maskwright.methods.evaluate import choose_objects
        from maskwright.methods.uncertainty.extract import extract

        sample = self.items.read(image)
        sample = with_only(sample, choose_objects(sample, image.number, self.selection))
        rows = extract(image.name, self.items.group(image), sample, self.segmenters, self.settings)
        return rows.stored_as(np.dtype(self.dtype))

    def files(self, shard: Shard) -> list[Path]:
        """The shard's tokens and columns."""
        return self.folder.files(shard, "tokens")

    def write(self, shard: Shard, rows: Sequence[TokenRows | None]) -> None:
        """Write the shard's files.

        Raises:
            FileError: they cannot be written.
        """
        from maskwright.methods.uncertainty.extract import common_tokens
        from maskwright.methods.uncertainty.rows import joined, no_rows, write_rows

        models = [each.name for each in self.segmenters]
        shape = common_tokens(self.segmenters)
        kept = [part for part in rows if part is not None]
        whole = joined([no_rows(shape, models), *kept])
        tokens, columns = self.files(shard)
        make_folder(tokens.parent)
        with tensor_writer(tokens, (len(whole), *shape), self.dtype) as append:
            append(whole.tokens)
        write_rows(columns, whole, models)
