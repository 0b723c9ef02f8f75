"""`maskwright models`: list, fetch, inspect, measure, verify and convert models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional

from maskwright.cli.commands import dispatch
from maskwright.cli.common import Common, Session, parse, run

if TYPE_CHECKING:
    from maskwright.models.checkpoint import Checkpoint

PROG = "maskwright models"


@dataclass(frozen=True, kw_only=True)
class List(Common):
    """List the models that can be loaded by name, and which of them are on this machine."""


@dataclass(frozen=True, kw_only=True)
class Source(Common):
    """A model by name or path, and what its file may not tell."""

    model: Positional[str]
    """Name, file, folder or hub id."""
    base: str | None = None
    """For files that hold a part (encoder, decoder, HQ layers): the model they go on, by name or path."""
    num_heads: int | None = None
    """Attention heads of the decoder, if the file does not tell and they are not eight."""
    image_size: int | None = None
    """Input side of a SAM 2 or MobileSAM file in pixels, if it is not the published 1024."""
    offline: bool = False
    """Never use the network."""


@dataclass(frozen=True, kw_only=True)
class Info(Source):
    """Say what a model file or folder holds: layout, sizes, what was assumed and what was left out."""


@dataclass(frozen=True, kw_only=True)
class Convert(Source):
    """Write any model file as a transformers folder in safetensors."""

    folder: Positional[Path]
    """Where to write config.json and model.safetensors."""
    drop_task_prompts: bool = False
    """Leave out task prompts, for which such a folder has no place; the model then knows no tasks."""
    heads: Annotated[str, tyro.conf.arg(metavar="auto|none|FILE")] = "auto"
    """Uncertainty heads to write beside it: those beside the model, none, or a file's."""


@dataclass(frozen=True, kw_only=True)
class Get(Common):
    """Fetch named models, so that they can be used without a network afterwards."""

    names: Positional[tuple[str, ...]]
    """Names, as `maskwright models list` gives them."""
    offline: bool = False
    """Only say what is missing and where to put it."""


@dataclass(frozen=True, kw_only=True)
class Verify(Common):
    """Compare the files of named models on this machine with their checksums; a wrong download is removed."""

    names: Positional[tuple[str, ...]] = ()
    """Names; all that are on this machine if none is given."""


def main(argv: list[str]) -> int:
    """Run `maskwright models …` and return the exit code."""
    table = {
        "list": (
            lambda rest: run(parse(List, rest, prog=f"{PROG} list"), list_models),
            "List the named models.",
        ),
        "info": (
            lambda rest: run(parse(Info, rest, prog=f"{PROG} info"), info),
            "Say what a model file holds.",
        ),
        "get": (lambda rest: run(parse(Get, rest, prog=f"{PROG} get"), get), "Fetch named models."),
        "verify": (
            lambda rest: run(parse(Verify, rest, prog=f"{PROG} verify"), check),
            "Check fetched files.",
        ),
        "memory": (_main_memory, "Say where a model's memory goes."),
        "convert": (
            lambda rest: run(parse(Convert, rest, prog=f"{PROG} convert"), convert),
            "Write any model as a transformers folder.",
        ),
    }
    return dispatch(PROG, "List, fetch, inspect and convert models.", table, argv)


def _main_memory(argv: list[str]) -> int:
    from maskwright.cli.models_memory import Memory, memory

    return run(parse(Memory, argv, prog=f"{PROG} memory"), memory)


def list_models(options: List, session: Session) -> None:
    """Print the table of named models."""
    from rich.table import Table

    from maskwright.models.hub import NAMED, local_file
    from maskwright.models.registry import heads_file

    columns = ("name", "task", "family", "parameters", "licence", "heads", "on this machine")
    table = Table(*columns, box=None)
    rows = []
    for name, model in NAMED.items():
        path, heads = local_file(name), heads_file(name)
        count = f"{model.parameters / 1e6:.1f} M" if model.parameters else "–"
        here = str(path) if path else "no"
        table.add_row(name, model.task, model.family, count, model.licence, "yes" if heads else "no", here)
        rows.append(
            {
                "name": name,
                "task": model.task,
                "family": model.family,
                "parameters": model.parameters,
                "licence": model.licence,
                "repository": model.repo,
                "file": model.file,
                "sha256": model.sha256,
                "path": path,
                "heads": heads,
            }
        )
    session.print(table)
    session.result["models"] = rows


def info(options: Info, session: Session) -> None:
    """Print what a model holds."""
    checkpoint = read_source(options)
    facts = describe(checkpoint) | _beside(checkpoint, options)
    for key, value in facts.items():
        session.print(
            f"{key:<12}{value if not isinstance(value, list) else ', '.join(map(str, value)) or '–'}"
        )
    session.result.update(facts, config=checkpoint.config, dropped=list(checkpoint.dropped))


def _beside(checkpoint: Checkpoint, options: Source) -> dict[str, Any]:
    """What else there is to say: of a boundary model its resolution, of one for prompts its heads."""
    from maskwright.models.boundary import FAMILIES
    from maskwright.models.boundary_files import trained_at

    if checkpoint.family not in FAMILIES:
        return {"heads": _heads(options)}
    side, keep = trained_at(options.model, checkpoint)
    return {"resolution": "native" if side is None else f"{side}{'' if keep else ' square'}"}


def _heads(options: Source) -> str:
    """Which uncertainty heads lie beside a model, in words."""
    from maskwright.models.registry import heads_file
    from maskwright.models.uncertainty import UncertaintyHeads

    file = heads_file(options.model)
    if file is None:
        return "none"
    config = UncertaintyHeads.load(file).config
    models = ", ".join(f"{name} ({digest})" for name, digest in config.models)
    return f"{file.name}: {', '.join(config.names)}, {config.kind}, for {models}"


def keep_heads(options: Source, read: Checkpoint, file: Path, heads: str, *, changed: bool) -> Path | None:
    """Write a model's uncertainty heads beside its new file; None if it has none.

    Args:
        options: say which model it was.
        read: what was written.
        file: the model's new file.
        heads: which heads, as for `models.registry.load`.
        changed: the new file is another model, without task prompts.

    Raises:
        WeightsError: they are damaged, or of another model.
        InputError: heads were named for a model that is another one now.
    """
    from maskwright.errors import InputError
    from maskwright.models.registry import build, heads_file
    from maskwright.models.segmenter import weights_digest
    from maskwright.models.uncertainty import AUTO, ENDING, UncertaintyHeads

    if changed and heads not in (AUTO, "none"):
        raise InputError(
            "a model without its task prompts is another one: leave --heads out, and train new ones."
        )
    found = None if changed else heads_file(options.model, heads)
    if found is None:
        return None
    digest = weights_digest(build(read, options.model))
    return (
        UncertaintyHeads.load(found).bound_to(digest, options.model).save(file.with_name(file.stem + ENDING))
    )


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """The facts that `info` prints."""
    from maskwright.models.registry import count_parameters

    tasks = checkpoint.task_prompts
    types = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.state.values()})
    return {
        "layout": checkpoint.layout,
        "family": checkpoint.family,
        "parameters": count_parameters(checkpoint),
        "stored as": types,
        "sizes": sizes(checkpoint),
        "tasks": "none" if tasks is None else f"prompts of the kinds {', '.join(tasks.kinds)}",
        "assumed": list(checkpoint.assumed),
        "left out": f"{len(checkpoint.dropped)} tensors that only video needs"
        if checkpoint.dropped
        else "nothing",
    }


def sizes(checkpoint: Checkpoint) -> list[str]:
    """A model's main sizes in words."""
    config = checkpoint.config
    if checkpoint.family == "segformer":
        told = {
            name: config[name] for name in ("depths", "hidden_sizes", "decoder_hidden_size") if name in config
        }
        return [f"{name.replace('_', ' ')} {value}" for name, value in told.items()]
    if "mask_decoder_config" not in config:
        return [f"{key} {value}" for key, value in config.items()]
    vision, decoder = config["vision_config"], config["mask_decoder_config"]
    trunk = vision.get("backbone_config", vision)
    depth = trunk.get("num_hidden_layers", trunk.get("blocks_per_stage", trunk.get("depths")))
    return [
        f"image {config['prompt_encoder_config']['image_size']}",
        f"encoder width {trunk.get('hidden_size', trunk.get('widths'))}",
        f"blocks {depth}",
        f"decoder width {decoder['hidden_size']}",
        f"decoder heads {decoder['num_attention_heads']}",
    ]


def get(options: Get, session: Session) -> None:
    """Fetch named models, one after the other."""
    from maskwright.errors import InputError, MaskwrightError, suggestion
    from maskwright.models.hub import NAMED, fetch

    if not options.names:
        raise InputError("no model was named: give one or several, as `maskwright models list` shows them.")
    unknown = [name for name in options.names if name not in NAMED]
    if unknown:
        raise InputError(f"no model is called {unknown[0]!r}.{suggestion(unknown[0], NAMED)}")
    session.result["files"] = files = {}
    for name in options.names:
        try:
            files[name] = fetch(name, offline=options.offline)
            session.print(f"{name}: {files[name]}")
        except MaskwrightError as error:
            session.fail(name, error)


def check(options: Verify, session: Session) -> None:
    """Verify the named models that are on this machine."""
    from maskwright.errors import InputError, MaskwrightError, suggestion
    from maskwright.models.hub import NAMED, local_file, verify

    session.result["sha256"] = sums = {}
    for name in options.names or NAMED:
        if name not in NAMED:
            raise InputError(f"no model is called {name!r}.{suggestion(name, NAMED)}")
        path = local_file(name)
        if path is None:
            if options.names:
                session.fail(name, f"not on this machine; fetch it with `maskwright models get {name}`")
            continue
        try:
            sums[name] = verify(name, path)
            session.print(f"{name}: {sums[name]}  {path}")
        except MaskwrightError as error:
            session.fail(name, error)


def convert(options: Convert, session: Session) -> None:
    """Write a transformers folder."""
    from maskwright.models.convert import write_transformers

    checkpoint = read_source(options)
    dropped = options.drop_task_prompts
    files = write_transformers(checkpoint, options.folder, options.model, drop_task_prompts=dropped)
    changed = dropped and checkpoint.task_prompts is not None
    heads = keep_heads(options, checkpoint, files[0], options.heads, changed=changed)
    files += [] if heads is None else [heads]
    for file in files:
        session.print(str(file))
    session.result.update(describe(checkpoint), files=files)


def read_source(options: Source) -> Checkpoint:
    """The content of the model that the options name."""
    from maskwright.models.registry import read

    return read(
        options.model,
        base=options.base,
        num_heads=options.num_heads,
        image_size=options.image_size,
        offline=options.offline,
    )
