"""Load any model by name or path, strictly, and save our own checkpoints.

The stored configuration and the tensors must agree to the last key and shape: what is missing or left
over is listed and refused. The numbers may be stored as float16 and are computed as float32 unless asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwright.debug import debug
from maskwright.errors import InputError, WeightsError
from maskwright.io.weights import FLOATS, write_safetensors
from maskwright.models.backends import prompted, refuse_exported, refuse_settings
from maskwright.models.base import MaskModel
from maskwright.models.boundary import FAMILIES as BOUNDARY_FAMILIES
from maskwright.models.checkpoint import (
    FORMAT,
    NET,
    NET_FAMILIES,
    TASK_PROMPTS,
    VERSION,
    Checkpoint,
    read_checkpoint,
)
from maskwright.models.digests import state_digest
from maskwright.models.hub import NAMED, files_of, locate
from maskwright.models.keys import BATCH_STATISTICS, PROMPT_POSITION, SHARED_POSITION, listing
from maskwright.models.parts import Part, only
from maskwright.models.segmenter import Segmenter
from maskwright.models.sessions import Backend
from maskwright.models.task_prompts import add_task_prompts
from maskwright.models.uncertainty import AUTO, ENDING, UncertaintyHeads
from maskwright.runtime import choose_device, choose_dtype, parse_dtype

FAMILIES = ("sam", "sam_hq", "sam2", "mobile_sam", "mobile_sam_hq", "nano")


def load(
    name_or_path: str | Path,
    *,
    base: str | Path | None = None,
    num_heads: int | None = None,
    image_size: int | None = None,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    heads: str | Path | None = AUTO,
    backend: Backend = "torch",
    offline: bool = False,
) -> Segmenter:
    """Load a model, ready for inference.

    Args:
        name_or_path: a name (`maskwright models list`), file, folder, or hub id ("facebook/sam-vit-base").
        base: for files that hold a part (encoder, decoder, HQ layers): the model they go on, by name or path.
        num_heads: attention heads of the decoder, where the file does not tell and they are not eight.
        image_size: input side in pixels of a SAM 2 or MobileSAM file, where it is not the published 1024.
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: arithmetic of the forward pass: float32 (default), bfloat16 or float16; weights stay float32.
            What a processor would only emulate, slowly, becomes float32, with a warning.
        heads: file of the model's uncertainty heads; "auto": the one beside the model, x.heads.safetensors
            for x.safetensors, if there is one; None or "none": none.
        backend: what runs the networks: torch; or onnx (ONNX Runtime) or openvino, on the CPU, for folders
            that `maskwright export` wrote and for all other models, which are exported once and kept. The
            results are the same; task prompts, guidance and training are torch's alone.
        offline: never use the network.

    Raises:
        InputError: an unknown name, an argument that contradicts the file, or a backend that is not installed
            or cannot do what is asked.
        WeightsError: the file is refused; the message names it and says why.
        OfflineError: the model is not here and cannot be fetched.
    """
    named = NAMED.get(str(name_or_path))
    if named is not None and named.task != "prompts":
        # Before it is fetched for nothing.
        raise _without_prompts(str(name_or_path))
    kind, called = parse_dtype(dtype), title(name_or_path)

    def made() -> MaskModel:
        told = {"base": base, "num_heads": num_heads, "image_size": image_size}
        return build(read(name_or_path, **told, offline=offline), str(name_or_path))  # type: ignore[arg-type]

    if backend == "torch":
        place = choose_device(device).value
        model, kind = made().to(place), choose_dtype(kind, place)
    else:
        refuse_settings(name_or_path, base=base, num_heads=num_heads, image_size=image_size)
        model = prompted(name_or_path, called, made, backend=backend, device=device, dtype=kind)
        kind = torch.float32  # the runtime's own affair
    file = heads_file(name_or_path, heads)
    loaded = None if file is None else UncertaintyHeads.load(file)
    return Segmenter(model, name=called, dtype=kind, heads=loaded)


def heads_file(name_or_path: str | Path, heads: str | Path | None = AUTO) -> Path | None:
    """The file of a model's uncertainty heads, or None if it shall have none, or there is none beside it.

    Heads of a fetched model may also lie where its own file can be placed by hand (`hub.models_folder`).
    """
    if heads is None or heads == "none":
        return None
    if heads != AUTO:
        return Path(heads).expanduser()
    places = files_of(name_or_path)
    beside = (path.with_name(path.stem + ENDING) for path in places)
    return next((path for path in beside if path.is_file()), None)


def read(
    name_or_path: str | Path,
    *,
    base: str | Path | None = None,
    num_heads: int | None = None,
    image_size: int | None = None,
    offline: bool = False,
) -> Checkpoint:
    """Read a model's configuration and weights without building it; arguments and errors as in `load`."""
    below = None
    if base is not None:
        below = read(base, num_heads=num_heads, image_size=image_size, offline=offline)
    refuse_exported(name_or_path)
    path = locate(name_or_path, offline=offline)
    return read_checkpoint(path, base=below, num_heads=num_heads, image_size=image_size)


def build(checkpoint: Checkpoint, source: str, *, leave_out: tuple[str, ...] = ()) -> MaskModel:
    """Make the model of a checkpoint, in float32 on the CPU.

    Args:
        checkpoint: configuration and weights.
        source: names it in messages.
        leave_out: starts of the names of parameters that the model shall not have, nor the checkpoint: such
            a model is only a part, to be used with another one's encoder.

    Raises:
        WeightsError: keys are missing or left over, or a shape or type does not fit; `source` is named.
    """
    # Shapes alone at first: what does not fit is refused before it takes memory, and what fits need
    # not be filled with random numbers (five seconds for a ViT-H). Nano is small.
    on_meta = checkpoint.family in NET_FAMILIES
    with torch.device("meta") if on_meta else nullcontext():
        model = _from_config(checkpoint, source)
    if leave_out:
        _leave_out(model, leave_out)
    check_state(model.state_dict(), checkpoint, source)
    if on_meta:
        _allocate(model)
    model.load_state_dict(checkpoint.state, strict=True)
    debug(
        lambda: (
            f"built a {checkpoint.family} of {count_parameters(checkpoint):,} weights from {source} "
            f"({checkpoint.layout}): input {model.image_size}, masks {model.low_res}"
        )
    )
    return model


def _from_config(checkpoint: Checkpoint, source: str) -> MaskModel:
    """The model that a checkpoint's configuration calls for, on the device in force."""
    family = family_class(checkpoint.family, source)
    try:
        model: MaskModel = family.from_config(checkpoint.config)
        if checkpoint.task_prompts is not None:
            add_task_prompts(model, **vars(checkpoint.task_prompts))
    except (
        Exception
    ) as error:  # a configuration is from outside, and transformers' checks have their own errors
        raise WeightsError(
            f"{source}: no {checkpoint.family} model has this configuration ({one_line(error)})."
        ) from error
    return model


def _leave_out(model: MaskModel, starts: tuple[str, ...]) -> None:
    """Take out of a model the modules and tensors whose names start so."""
    # Children before their parents; modules whole, because a batch norm cannot load without its tensors.
    modules = [name for name, _ in model.named_modules() if f"{name}.".startswith(starts)]
    for name in reversed(modules):
        owner, _, leaf = name.rpartition(".")
        delattr(model.get_submodule(owner), leaf)
    for name in [key for key in model.state_dict() if key.startswith(starts)]:
        owner, _, leaf = name.rpartition(".")
        delattr(model.get_submodule(owner), leaf)


def _allocate(model: Any) -> None:  # noqa: ANN401
    """Give a model on the meta device its memory, unfilled; every number must come from its state dict."""
    assert {name for name, _ in model.named_buffers()} <= model.state_dict().keys(), (
        "a buffer would stay unfilled"
    )
    model.to_empty(device="cpu")
    # Allocation is by module, so that parameters shared by two modules come apart.
    model.net.tie_weights()


def save(
    model_or_segmenter: MaskModel | Segmenter,
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    part: Part | None = None,
) -> Path:
    """Write our own checkpoint: one safetensors file with family and configuration in its metadata.

    Args:
        model_or_segmenter: what to save.
        path: a `.safetensors` file, or a folder that gets `model.safetensors`.
        dtype: store floats in this type, such as torch.float16; as they are by default.
        part: store only the image encoder, the decoder or the HQ layers; `load` puts them on a `base`.

    Uncertainty heads of a segmenter are written beside it, into x.heads.safetensors for x.safetensors.

    Returns:
        The file.

    Raises:
        FileError: it cannot be written.
    """
    model = model_or_segmenter.model if isinstance(model_or_segmenter, Segmenter) else model_or_segmenter
    target = Path(path)
    if target.suffix != ".safetensors":
        target = target / "model.safetensors"
    state: dict[str, Tensor] = model.state_dict()
    if part is not None:
        state = only(model.family, part, state)
        assert state, f"a {model.family} has no {part}"
    if dtype is not None:
        state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "family": model.family,
        "config": json.dumps(stored_config(model), sort_keys=True),
    }
    if part is not None:
        metadata["part"] = part
    write_safetensors(target, state, metadata)
    if isinstance(model_or_segmenter, Segmenter) and model_or_segmenter.heads is not None:
        # Weights that are stored in fewer bits are others when they are read.
        digest = state_digest(model.state_dict() | state)
        model_or_segmenter.heads.also_for(digest).save(target.with_name(target.stem + ENDING))
    return target


def stored_config(model: MaskModel) -> dict[str, Any]:
    """What a checkpoint's metadata say of a model: its family's settings, and its task prompts if any."""
    tasks = model.task_prompts
    return model.config_dict() | ({} if tasks is None else {TASK_PROMPTS: tasks.settings.to_json()})


def count_parameters(checkpoint: Checkpoint) -> int:
    """How many numbers a checkpoint holds; the positional matrix, which two keys share, counts once.

    What batch norms measured does not count.
    """
    state = checkpoint.state
    shared = state.get(f"{NET}{PROMPT_POSITION}") if f"{NET}{SHARED_POSITION}" in state else None
    counted = (tensor for key, tensor in state.items() if not key.endswith(BATCH_STATISTICS))
    return sum(tensor.numel() for tensor in counted) - (0 if shared is None else shared.numel())


def family_class(family: str, source: str) -> Any:  # noqa: ANN401
    """The class of a family.

    Raises:
        WeightsError: there is none of that name.
        InputError: it is a family of boundary models.
    """
    if family == "sam":
        from maskwright.models.sam import SAM

        return SAM
    if family == "sam_hq":
        from maskwright.models.sam_hq import SAMHQ

        return SAMHQ
    if family == "sam2":
        from maskwright.models.sam2 import SAM2

        return SAM2
    if family == "mobile_sam":
        from maskwright.models.mobile_sam import MobileSAM

        return MobileSAM
    if family == "mobile_sam_hq":
        from maskwright.models.mobile_sam import LightHQSAM

        return LightHQSAM
    if family == "nano":
        from maskwright.models.nano import Nano

        return Nano
    if family in BOUNDARY_FAMILIES:
        raise _without_prompts(source)
    raise WeightsError(f"{source}: unknown family {family!r}; known are {', '.join(FAMILIES)}.")


def _without_prompts(source: str) -> InputError:
    known = ", ".join(name for name, model in NAMED.items() if model.repo is None and model.task == "prompts")
    return InputError(
        f"{source} is a boundary model, which takes no prompts: use `maskwright everything --method boundary "
        f"--model {source}`, or a model for prompts such as {known}."
    )


def net_class(family: str) -> tuple[Any, Any]:
    """The transformers configuration and model class of SAM, SAM-HQ or SAM 2."""
    if family == "sam":
        from transformers.models.sam import SamConfig, SamModel

        return SamConfig, SamModel
    if family == "sam_hq":
        from transformers.models.sam_hq import SamHQConfig, SamHQModel

        return SamHQConfig, SamHQModel
    from transformers.models.sam2 import Sam2Config, Sam2Model

    assert family == "sam2", family
    return Sam2Config, Sam2Model


def skeleton(checkpoint: Checkpoint, source: str) -> dict[str, Tensor]:
    """The state dict that a checkpoint's configuration calls for, as shapes only.

    Raises:
        WeightsError: no model has this configuration; `source` is named.
    """
    with torch.device("meta"):
        state: dict[str, Tensor] = _from_config(checkpoint, source).state_dict()
    return state


def check_state(expected: Mapping[str, Tensor], checkpoint: Checkpoint, source: str) -> None:
    """Compare a checkpoint with the state dict it must fill.

    Raises:
        WeightsError: listing what is missing, left over, or of another shape or type.
    """
    state, names = checkpoint.state, checkpoint.names
    missing = sorted(set(expected) - set(state))
    left_over = sorted(names.get(key, key) for key in set(state) - set(expected))
    if missing or left_over:
        parts = [f"missing {listing(missing)}"] * bool(missing) + [f"left over {listing(left_over)}"] * bool(
            left_over
        )
        raise WeightsError(f"{source}: the keys do not fit a {checkpoint.layout}: {'; '.join(parts)}.")
    wrong = [
        f"{names.get(key, key)} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if state[key].shape != value.shape
    ]
    if wrong:
        raise WeightsError(f"{source}: shapes do not fit: {listing(wrong)}.")
    kinds = [
        f"{names.get(key, key)} {state[key].dtype}"
        for key, value in expected.items()
        if (value.dtype in FLOATS) != (state[key].dtype in FLOATS)
    ]
    if kinds:
        raise WeightsError(f"{source}: types do not fit: {listing(kinds)}.")


def title(name_or_path: str | Path) -> str:
    """What to call a model in messages: its name, or that of its file or folder."""
    return str(name_or_path) if str(name_or_path) in NAMED else Path(name_or_path).name


def one_line(error: BaseException) -> str:
    """An error's message in one line, cut to 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
