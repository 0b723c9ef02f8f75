"""Models whose networks are graphs of another runtime: encoder and decoder, or a boundary model's one graph.

They stand where our own models stand, in a `Segmenter` or a `BoundaryDetector`, and give the same answers.
What a graph cannot do is refused: training, PerSAM's guidance, task prompts.

Axes: B images, N prompts, A = B·N, C channels, H W h w sizes, S side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from maskwright.config import Settings, build_settings
from maskwright.errors import ConfigError, InputError, WeightsError
from maskwright.io.files import shown
from maskwright.io.weights import read_model_json
from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch
from maskwright.models.boundary import FAMILIES as BOUNDARY_FAMILIES
from maskwright.models.boundary import BoundaryModel
from maskwright.models.graphs import PIXELS, PROMPTS, decoded_of, map_names, prompt_rows
from maskwright.models.nano import refined
from maskwright.models.sam2 import with_fallback
from maskwright.models.sessions import DESCRIPTION, Backend, Graph, open_graph
from maskwright.runtime import name_arithmetic
from maskwright.types import Resize

ENCODER, DECODER, BOUNDARY = "encoder", "decoder", "boundary"
ENDINGS = {"onnx": ".onnx", "openvino": ".xml"}
VERSION: Literal[1] = 1  # of the graphs; kept ones of another version are made anew
Runtime = Literal["onnx", "openvino"]
Precision = Literal["float32", "float16", "int8"]
_Inputs = dict[str, tuple[int | None, ...] | None]
"""Names of inputs in the graph's order, with their sizes where these are known."""


class Described(Settings):
    """What is said of every exported model, in `model.json` beside its graphs."""

    format: Literal["maskwright-export"] = "maskwright-export"
    version: Literal[1] = VERSION
    runtime: Runtime
    precision: Precision
    family: str
    digest: str


class PromptedDescription(Described):
    """A model for prompts: what `MaskModel` says of itself, and what happens to the masks of its graph.

    Args:
        maps: how many maps the encoder gives, the embedding included.
        refinements: nano's further passes.
        stability: SAM 2's delta and threshold, where it falls back on its other masks.
    """

    image_size: int
    low_res: int
    resize: Resize
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    has_hq: bool
    first_mask_token: int
    maps: int
    refinements: int = 0
    stability: tuple[float, float] | None = None


class BoundaryDescription(Described):
    """A boundary model: what `BoundaryModel` says of itself, and how it was trained."""

    multiple: int
    smallest: int
    cell: int
    reach: int
    largest: int | None
    resolution: int | None
    keep_aspect: bool


def read_description(folder: Path) -> PromptedDescription | BoundaryDescription:
    """What an exported model's folder says of it.

    Raises:
        WeightsError: the description is missing or damaged.
    """
    content = read_model_json(folder / DESCRIPTION)
    file = shown(folder / DESCRIPTION)
    try:
        if content.get("family") in BOUNDARY_FAMILIES:
            return build_settings(BoundaryDescription, content, file)
        return build_settings(PromptedDescription, content, file)
    except ConfigError as error:
        raise WeightsError(f"{error} No exported model is described so; export it again.") from error


def open_exported(folder: Path, backend: Backend, dtype: torch.dtype) -> ExportedModel:
    """Open an exported model for prompts.

    Raises:
        InputError: it is a boundary model, or was written for another runtime.
        WeightsError: a file is missing or damaged.
    """
    told = read_description(folder)
    if not isinstance(told, PromptedDescription):
        raise InputError(f"{shown(folder)} holds a boundary model, which takes no prompts.")
    side, low_res = told.image_size, told.low_res
    expected: dict[str, _Inputs] = {
        ENCODER: {PIXELS: (None, 3, side, side)},
        DECODER: dict.fromkeys((*map_names(told.maps), *PROMPTS))
        | {"mask_input": (None, 1, low_res, low_res)},
    }
    encoder, decoder = (
        _open(folder, name, told, backend, dtype, inputs) for name, inputs in expected.items()
    )
    # Families are told apart by their class.
    base = {"nano": ExportedNano, "sam2": ExportedSAM2}.get(told.family, ExportedModel)
    facts = {"family": told.family, "has_hq": told.has_hq, "first_mask_token": told.first_mask_token}
    made: ExportedModel = type(base.__name__, (base,), facts)(told, encoder, decoder)
    made.backend = _runs(backend, told, dtype)
    return made


def open_exported_boundary(
    folder: Path, backend: Backend, dtype: torch.dtype
) -> tuple[ExportedBoundary, BoundaryDescription]:
    """Open an exported boundary model; errors as of `open_exported`."""
    told = read_description(folder)
    if not isinstance(told, BoundaryDescription):
        raise InputError(f"{shown(folder)} holds a model for prompts; a boundary model is needed here.")
    kind = type(ExportedBoundary.__name__, (ExportedBoundary,), {"family": told.family})
    made = kind(told, _open(folder, BOUNDARY, told, backend, dtype, {PIXELS: (None, 3, None, None)}))
    made.backend = _runs(backend, told, dtype)
    return made, told


def _runs(backend: Backend, told: Described, dtype: torch.dtype) -> str:
    """Runtime and precision in a few words."""
    stored = "" if told.precision == "float32" else f" {told.precision}"
    return name_arithmetic(f"{backend}{stored}", dtype)


def _open(
    folder: Path, name: str, told: Described, backend: Backend, dtype: torch.dtype, expected: _Inputs
) -> Graph:
    """Open one graph, and refuse one that takes other inputs than these, such as another model's."""
    if backend == "torch" or (backend == "onnx" and told.runtime == "openvino"):
        fitting = "openvino" if told.runtime == "openvino" else "onnx or openvino"
        raise InputError(
            f"{shown(folder)} was exported for {told.runtime}: use backend {fitting}, or give the model it "
            "was made of."
        )
    file = folder / f"{name}{ENDINGS[told.runtime]}"
    graph = open_graph(file, backend, dtype)
    sizes = {key: graph.inputs.get(key) for key, axes in expected.items() if axes is not None}
    if list(graph.inputs) != list(expected) or any(sizes[key] != expected[key] for key in sizes):
        raise WeightsError(
            f"{shown(file)}: this is not the {name} that {DESCRIPTION} beside it describes; its inputs are "
            f"{graph.inputs}. Export the model again."
        )
    return graph


class ExportedModel(MaskModel):
    """Encoder and decoder graphs of a SAM, SAM-HQ, MobileSAM or Light HQ-SAM.

    Args:
        told: the description beside them.
        encoder: normalised images to maps, as `graphs.EncoderGraph`.
        decoder: maps and prompts to masks, as `graphs.DecoderGraph`.
    """

    family = ""

    def __init__(self, told: PromptedDescription, encoder: Graph, decoder: Graph) -> None:
        super().__init__()
        self.told = told
        self._encoder, self._decoder = encoder, decoder
        self.image_size, self.low_res, self.resize = told.image_size, told.low_res, told.resize
        self.pixel_mean, self.pixel_std = told.pixel_mean, told.pixel_std

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def digest(self) -> str:
        """That of the model that was exported."""
        return self.told.digest

    def encode(self, pixels_B3SS: Tensor) -> Features:
        """Encode normalised, resized and padded images (B, 3, S, S)."""
        image, *high_res = self._encoder(pixels_B3SS)
        return Features(image, high_res=tuple(high_res))

    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        """Decode N prompts of each image."""
        return self.network(features, prompts)

    def network(self, features: Features, prompts: PromptBatch) -> Decoded:
        """Run the decoder's graph.

        Raises:
            InputError: guidance, or a task.
        """
        if prompts.guidance is not None or prompts.task is not None:
            raise InputError(
                "an exported decoder takes no guidance and no task: load the model with backend 'torch'."
            )
        if len(features.high_res) + 1 != self.told.maps:
            raise InputError("these features are of another model; embed the image again.")
        rows = prompt_rows(self.family, prompts)
        mask, has_mask = torch.zeros(1, 1, self.low_res, self.low_res), torch.zeros(1)
        if prompts.masks is not None:
            mask = prompts.masks.flatten(0, 1)[:, None].float()
            has_mask = torch.ones(len(mask))
        parts = self._decoder(features.image, *features.high_res, *rows, mask, has_mask)
        return decoded_of(parts, prompts.shape[0], has_hq=self.has_hq)

    def output_tokens(self) -> Tensor:
        """Not to be had of a graph."""
        self._not_here()

    def config_dict(self) -> dict[str, Any]:
        """Not to be had of a graph."""
        self._not_here()

    def state_dict(self, *_: Any, **__: Any) -> NoReturn:  # noqa: ANN401
        """Not to be had of a graph: a refiner or a method that learns cannot be built on one."""
        self._not_here()

    def _not_here(self) -> NoReturn:
        raise InputError(
            "an exported model has no weights, which training, refiners and conversion need: load the model "
            "it was made of, with backend 'torch'."
        )


class ExportedSAM2(ExportedModel):
    """Encoder and decoder graphs of a SAM 2."""

    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        """Decode N prompts of each image; an unstable single mask becomes the best of the others."""
        return with_fallback(self.network(features, prompts), self.told.stability)


class ExportedNano(ExportedModel):
    """Encoder and decoder graphs of a nano, whose decoder is run several times for the single mask."""

    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        """Decode, then let the single mask be improved; see `Nano.decode`."""
        return refined(self.network, features, prompts, self.told.refinements)

    def decode_once(self, features: Features, prompts: PromptBatch) -> Decoded:
        """One pass of the decoder."""
        return self.network(features, prompts)


class ExportedBoundary(BoundaryModel):
    """A boundary model's graph.

    Args:
        told: the description beside it.
        graph: normalised images of any size to logits.
    """

    family = ""

    def __init__(self, told: BoundaryDescription, graph: Graph) -> None:
        super().__init__()
        self.told = told
        self._graph = graph
        self.multiple, self.smallest, self.cell = told.multiple, told.smallest, told.cell
        self.reach, self.largest = told.reach, told.largest

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def digest(self) -> str:
        """That of the model that was exported."""
        return self.told.digest

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of normalised images."""
        return self._graph(pixels_B3HW)[0]

    def config_dict(self) -> dict[str, Any]:
        """Not to be had of a graph."""
        raise InputError(
            "an exported model has no weights to save: load the model it was made of, with backend 'torch'."
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NoReturn:
        """Not to be had of a graph."""
        raise AssertionError("graphs are opened, not built")
