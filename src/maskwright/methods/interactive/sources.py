"""From the user's words for training and validation data to open datasets, each with its task.

A human set is KIND:FOLDER with the options of its kind, and besides them `task` (the name of its task prompt)
and `weight` (how often one of its photos is drawn, against one of the other human sets; 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskwright.data.kinds import KINDS
from maskwright.data.mixture import split_by_image
from maskwright.data.registry import open_dataset
from maskwright.data.tasks import TASKS, Task, task_id
from maskwright.errors import ConfigError
from maskwright.methods.interactive.config import MachineLabelSettings
from maskwright.methods.interactive.items import Source
from maskwright.models.base import MaskModel
from maskwright.models.task_prompts import add_task_prompts

UNLABELED = TASKS["unlabeled"]
# What the masks of a kind of dataset are, unless the user says so; the others have a salient object a photo.
USUAL_TASKS: dict[str, Task] = {
    "bsds500": "entity",
    "coco": "entity",
    "davis2017": "entity",
    "entityseg": "entity",
    "labels": "entity",
}


@dataclass(frozen=True)
class HumanSpec:
    """A human set as it was asked for.

    Args:
        spec: what `open_dataset` takes.
        task: number of its task prompt.
        weight: how often one of its photos is drawn, against one of the other human sets.
    """

    spec: str
    task: int
    weight: float


def parse_human(text: str) -> HumanSpec:
    """Take `task` and `weight` out of the options of KIND:FOLDER.

    Raises:
        ConfigError: there is no such task, or the weight is no number above 0.
    """
    start, _, query = text.partition("?")
    kept, given = [], {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name in ("task", "weight"):
            given[name] = value
        else:
            kept.append(part)
    task = given.get("task", USUAL_TASKS.get(start.partition(":")[0], "salient"))
    spec = f"{start}?{'&'.join(kept)}" if kept else start
    return HumanSpec(spec, task_id(task), _weight(text, given.get("weight", "1")))


def below(root: Path | None, spec: str) -> str:
    """KIND:FOLDER with the folder below `root`, where there is one; an absolute folder stays."""
    kind, _, folder = spec.partition(":")
    return spec if root is None else f"{kind}:{root / Path(folder).expanduser()}"


def open_human(texts: Sequence[str], root: Path | None = None) -> list[Source]:
    """Open human sets, whose folders lie below `root`.

    Raises:
        ConfigError: see `parse_human`.
        DatasetError: a set cannot be opened.
    """
    sources = []
    for text in texts:
        asked = parse_human(text)
        dataset = open_dataset(below(root, asked.spec))
        sources.append(Source(dataset, text, asked.task, False, asked.weight * len(dataset)))
    return sources


def open_with_held_out(
    labeled: Sequence[str], val: Sequence[str], share: float, seed: int, root: Path | None = None
) -> tuple[list[Source], list[Source]]:
    """Open human training and validation sets; without the latter, photos are held out of the former.

    Raises:
        ConfigError: see `parse_human`.
        DatasetError: a set cannot be opened.
    """
    human, held = open_human(labeled, root), open_human(val, root)
    return hold_out(human, share, seed) if share and not held else (human, held)


def open_machine(settings: MachineLabelSettings, root: Path | None = None) -> list[Source]:
    """Open sets of machine-made labels below `root`; a bare folder is one of `maskwright label masks`.

    Raises:
        DatasetError: a set cannot be opened.
    """
    sources = []
    for text in settings.unlabeled:
        dataset = open_dataset(below(root, machine_spec(text, settings)))
        sources.append(Source(dataset, text, UNLABELED, True, float(len(dataset))))
    return sources


def unweighed(sources: Sequence[Source], settings: MachineLabelSettings) -> list[str]:
    """One line for each machine-made set that has no uncertainty although it is to be learned by it."""
    if not (settings.use_uncertainty_loss or settings.use_uncertainty_clicks):
        return []
    return [
        f"{source.name} has no uncertainty maps, so every pixel of its masks counts as certain. Make them "
        "with `maskwright label refine`, or say that this is meant: --no-use-uncertainty-loss "
        "--no-use-uncertainty-clicks."
        for source in sources
        if source.machine and source.dataset[0].uncertainty is None
    ]


def machine_spec(text: str, settings: MachineLabelSettings) -> str:
    """What `open_dataset` takes for a folder of labels or KIND:FOLDER, with the settings as its options.

    An option that the kind does not have, or that the user gave, is left out.

    Raises:
        ConfigError: refined masks are wanted of a kind that has none.
    """
    kind, colon, _ = text.partition(":")
    if not colon or kind not in KINDS:
        kind, text = "labelled", f"labelled:{text}"
    given = {part.partition("=")[0] for part in text.partition("?")[2].split("&")}
    known = KINDS[kind].options.keys() - given
    if settings.target != "label" and "target" not in KINDS[kind].options:
        raise ConfigError(f"{text}: {kind} data have no refined masks, so target must be label.")
    names = ("min_ratio", "min_refine_ratio", "max_ratio", "target")
    options = [f"{name}={getattr(settings, name)}" for name in names if name in known]
    if not options:
        return text
    return f"{text}{'&' if '?' in text else '?'}{'&'.join(options)}"


def hold_out(sources: Sequence[Source], share: float, seed: int) -> tuple[list[Source], list[Source]]:
    """Part each set by photo into what is trained on and what is validated on; a single photo stays."""
    kept, held = [], []
    for source in sources:
        photos = {source.dataset.image_path(index) for index in range(len(source.dataset))}
        if len(photos) < 2:
            kept.append(source)
            continue
        rest, part = split_by_image(source.dataset, share, seed)
        kept.append(replace(source, dataset=rest))
        held.append(replace(source, dataset=part))
    return kept, held


def give_task_prompts(model: MaskModel, settings: MachineLabelSettings) -> None:
    """Add the task prompts that are asked for, all zero; those that the model has stay as they are."""
    if settings.task_prompts != "none":
        both = settings.task_prompts == "both"
        kinds = ("embedding", "tokens") if both else (settings.task_prompts,)
        add_task_prompts(model, kinds, zero_frozen=settings.freeze_unlabeled_task)


def _weight(text: str, value: str) -> float:
    try:
        weight = float(value)
    except ValueError:
        weight = -1.0
    if not 0 < weight < float("inf"):
        raise ConfigError(f"{text}: weight is a number above 0, not {value!r}.")
    return weight
