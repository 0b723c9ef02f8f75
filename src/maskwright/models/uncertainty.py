"""Uncertainty heads: small networks on a decoder's own tokens that tell how good each mask is, and why not.

After UncertainSAM (Kaiser, Norrenbrock, Rosenhahn, ICML 2025, section 3.2): each head is a perceptron that
reads the IoU token and the mask token of a mask and gives one number in [0, 1]. All heads are one module, and
what they give is calibrated. They are trained by `methods.uncertainty`; here they are used.

Axes: A masks, N prompts, M masks a prompt, D inputs, K heads, H hidden, Q knots, P tokens a mask, C channels.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from maskwright.choices import HeadsKind
from maskwright.errors import ConfigError, InputError, WeightsError
from maskwright.io.files import shown
from maskwright.io.weights import read_weights, write_safetensors
from maskwright.models.mask_features import FEATURES, mask_features
from maskwright.types import Masks

FORMAT, VERSION = "maskwright-heads", "1"
ENDING = ".heads.safetensors"
"""`x.heads.safetensors` lies beside `x.safetensors`, the model that it is for."""
DOUBTFUL = 0.7
"""Masks of which a lower IoU is expected are marked where people see them; a choice of ours."""
AUTO = "auto"
"""The heads that lie beside a model, if there are any."""
KNOTS = 257
SHIFT = 0.5
"""Gaps, in (−0.5, 0.5), are learned as numbers in (0, 1) (reference implementation)."""
QUALITY, GAPS = "quality", ("model_gap", "prompt_gap", "task_gap")
VALUES = (QUALITY, *GAPS)
"""What heads may tell of a mask, in the order in which it is shown."""

REST = 5
"""Place of the tokens that follow the IoU token and the four mask tokens."""


def is_gap(name: str) -> bool:
    """Whether a head gives a difference of IoUs, not an IoU."""
    return name.endswith("_gap")


@dataclass(frozen=True)
class HeadsConfig:
    """What heads are there, and for which models.

    Args:
        kind: "published": the paper's; "selected": those of every mask a model may select.
        names: K, such as "quality" or "iou_large", and "model_gap", "prompt_gap", "task_gap".
        inputs: D numbers that a head reads: the first of a mask's P · C (`token_inputs`), or its components.
        components: None: heads read tokens. Else all tokens and features (`mask_inputs`) are brought to
            D = components + F numbers first: the tokens to so many components.
        tokens: P · C, where there are components.
        larger: name and digest of the largest model, whose masks the model gap is about; None: not known.
        hidden: widths of the hidden layers.
        models: names of the models whose tokens they learned from, small to large, with each one's digest
            (`segmenter.weights_digest`).
    """

    kind: HeadsKind
    names: tuple[str, ...]
    inputs: int
    hidden: tuple[int, ...]
    models: tuple[tuple[str, str], ...]
    components: int | None = None
    tokens: int = 0
    larger: tuple[str, str] | None = None

    def quality_name(self, model: str) -> str:
        """The head that tells the IoU of a mask of this one of the models."""
        return QUALITY if self.kind == "selected" else f"iou_{model}"


class UncertaintyHeads(nn.Module):
    """K perceptrons in one: layers of equal widths, computed together.

    Parameters and buffers: `weights.i` (K, in, out) and `biases.i` (K, out) of each layer; `calibration`
    (K, Q): what the outputs 0, 1/(Q − 1), … 1 mean, in between linear; it begins as the identity. With
    components also `center` (V,) and `projection` (V, D): heads read (values − center) @ projection.
    """

    calibration: Tensor
    center: Tensor
    projection: Tensor

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        self.config = config
        self.model_name: str | None = None
        sizes = (config.inputs, *config.hidden, 1)
        pairs = list(pairwise(sizes))
        count = len(config.names)
        self.weights = nn.ParameterList(torch.zeros(count, before, after) for before, after in pairs)
        self.biases = nn.ParameterList(torch.zeros(count, after) for _, after in pairs)
        self.register_buffer("calibration", torch.linspace(0, 1, KNOTS).repeat(count, 1))
        if config.components is not None:
            values = config.tokens + len(FEATURES)
            self.register_buffer("center", torch.zeros(values))
            self.register_buffer("projection", torch.zeros(values, config.inputs))

    def forward(self, values_AV: Tensor) -> Tensor:
        """(A, K) outputs in [0, 1], not calibrated, of what `mask_inputs` gives."""
        if self.config.components is None:
            inputs_AD = values_AV[:, : self.config.inputs]
        else:
            inputs_AD = (values_AV - self.center) @ self.projection
        # All heads read the same; a view of it for each costs nothing.
        values_KAH = inputs_AD.expand(len(self.config.names), -1, -1)
        for number, (weight_KHH, bias_KH) in enumerate(zip(self.weights, self.biases, strict=True)):
            inputs_KAH = values_KAH.relu() if number else values_KAH
            values_KAH = torch.baddbmm(bias_KH[:, None], inputs_KAH, weight_KHH)
        outputs_AK: Tensor = values_KAH[..., 0].sigmoid().T
        return outputs_AK

    def calibrated(self, outputs_AK: Tensor) -> Tensor:
        """What outputs mean, (A, K) in [0, 1]."""
        place = outputs_AK.clamp(0, 1) * (KNOTS - 1)
        low = place.floor().clamp(max=KNOTS - 2)
        index = low.long().T
        before, after = self.calibration.gather(1, index), self.calibration.gather(1, index + 1)
        return (before + (after - before) * (place - low).T).T

    @torch.no_grad()
    def values(self, values_AV: Tensor) -> dict[str, Tensor]:
        """Calibrated IoUs in [0, 1] and gaps in [−0.5, 0.5], (A,) each, by the heads' names."""
        columns = self.calibrated(self(values_AV)).T
        pairs = zip(self.config.names, columns, strict=True)
        return {name: column - SHIFT if is_gap(name) else column for name, column in pairs}

    def annotate(self, masks: Masks) -> Masks:
        """The same masks with "quality" and the gaps among their `extras`, (N, M) each.

        The model gap of the largest model that the heads know is 0: they know of none that would gain.

        Raises:
            InputError: the masks carry no tokens.
        """
        values = self.values(mask_inputs(masks).flatten(0, 1))
        shape = masks.iou.shape
        extras = {name: values[head].view(shape) for name, head in self.told().items()}
        if not self.knows_larger and GAPS[0] in extras:
            extras[GAPS[0]] = torch.zeros_like(masks.iou)
        return replace(masks, extras={**masks.extras, **extras})

    def told(self) -> dict[str, str]:
        """Which of `VALUES` the heads tell of the masks of the model they are bound to, and by which head."""
        assert self.model_name is not None, "bound_to() comes first"
        named = {QUALITY: self.config.quality_name(self.model_name)} | {name: name for name in GAPS}
        return {name: head for name, head in named.items() if head in self.config.names}

    @property
    def knows_larger(self) -> bool:
        """Whether the model gap is about another model than the one that the heads are bound to."""
        assert self.model_name is not None, "bound_to() comes first"
        return self.config.larger is None or self.config.larger[0] != self.model_name

    def check_larger(self, head: str, digest: str, name: str) -> None:
        """Refuse to go by the model gap where it is about a third model.

        Raises:
            ConfigError: naming the model that it is about.
        """
        known = self.config.larger
        if head == GAPS[0] and known is not None and known[1] != digest:
            raise ConfigError(
                f"the model gap of {self.model_name} was learned from what {known[0]} would gain, not "
                f"{name}: go by the expected quality (--larger-by quality), or train heads on the tokens "
                "of both."
            )

    def digest(self) -> str:
        """A short hash of all that decides what the heads tell."""
        hashed = hashlib.sha256(json.dumps(asdict(self.config)).encode())
        for value in self.state_dict().values():
            hashed.update(value.detach().cpu().numpy().tobytes())
        return hashed.hexdigest()[:12]

    def bound_to(self, digest: str, name: str) -> Self:
        """A copy of the heads in use with a model, of which others know nothing.

        Raises:
            WeightsError: they have not learned from this model.
        """
        known = {theirs: model for model, theirs in self.config.models}
        if digest not in known:
            raise WeightsError(
                f"these uncertainty heads were trained for {', '.join(known.values())}, and not for {name} "
                f"(or for other weights of it): train heads for this model with `maskwright train heads`, or "
                "leave them out (--heads none; in Python heads=None)."
            )
        bound = copy.deepcopy(self).eval()
        bound.model_name = known[digest]
        return bound

    def also_for(self, digest: str) -> Self:
        """A copy that knows the model it is bound to by another digest, too: with its weights rounded."""
        assert self.model_name is not None, "bound_to() comes first"
        also = copy.deepcopy(self)
        models = dict.fromkeys((*self.config.models, (self.model_name, digest)))
        also.config = replace(self.config, models=tuple(models))
        return also

    def save(self, path: Path) -> Path:
        """Write the heads' file.

        Raises:
            FileError: it cannot be written.
        """
        metadata = {"format": FORMAT, "version": VERSION, "config": json.dumps(asdict(self.config))}
        write_safetensors(path, self.state_dict(), metadata)
        return path

    @classmethod
    def load(cls, path: Path) -> UncertaintyHeads:
        """Read a heads' file.

        Raises:
            WeightsError: it is none, or damaged.
        """
        stored = read_weights(path)
        if (stored.metadata.get("format"), stored.metadata.get("version")) != (FORMAT, VERSION):
            raise WeightsError(f"{shown(path)} holds no uncertainty heads of this version of Maskwright.")
        heads = cls(_config(path, stored.metadata))
        expected = {key: value.shape for key, value in heads.state_dict().items()}
        if expected != {key: value.shape for key, value in stored.tensors.items()}:
            raise WeightsError(f"{shown(path)}: the weights do not fit the heads that the file describes.")
        heads.load_state_dict(stored.tensors)
        return heads.eval()


def mask_inputs(masks: Masks) -> Tensor:
    """What heads may read of each mask, (N, M, V): its P · C numbers (`token_inputs`), then its F features.

    Raises:
        InputError: the masks carry no tokens.
    """
    if masks.tokens is None or masks.mask_token is None:
        raise InputError(f"the masks of {masks.source} carry no tokens, so their uncertainty is unknown.")
    features = mask_features(masks.low_res, masks.iou)
    return torch.cat([token_inputs(masks.tokens, masks.mask_token), features], dim=2)


def token_inputs(tokens_NTC: Tensor, mask_token_NM: Tensor) -> Tensor:
    """(N, M, P · C): the IoU token, each mask's own mask token, then what else the family has.

    P is 2 for SAM and MobileSAM, 3 where there is an HQ token (SAM-HQ, nano) or an object score's (SAM 2).
    The paper's heads read the first two.
    """
    masks = mask_token_NM.shape[1]
    own_NMC = tokens_NTC[:, 1:].gather(1, mask_token_NM[..., None].expand(-1, -1, tokens_NTC.shape[2]))
    shared = (
        tokens_NTC[:, place, None].expand(-1, masks, -1) for place in (0, *range(REST, tokens_NTC.shape[1]))
    )
    iou_NMC, *rest = shared
    return torch.cat([iou_NMC, own_NMC, *rest], dim=2)


def _config(path: Path, metadata: Mapping[str, str]) -> HeadsConfig:
    try:
        values: dict[str, Any] = json.loads(metadata["config"])
        values |= {name: tuple(values[name]) for name in ("names", "hidden")}
        values["models"] = tuple((str(model), str(digest)) for model, digest in values["models"])
        larger = values.get("larger")
        values["larger"] = None if larger is None else (str(larger[0]), str(larger[1]))
        return HeadsConfig(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{shown(path)}: the description of the heads is damaged ({error}).") from error
