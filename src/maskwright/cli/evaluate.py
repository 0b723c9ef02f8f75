"""`maskwright evaluate`: measure models and baselines on datasets with known objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro
from rich.table import Table

from maskwright.cli.commands import dispatch
from maskwright.cli.common import Common, Session, parse, run
from maskwright.errors import ConfigError, MaskwrightError

if TYPE_CHECKING:
    from maskwright.data.dataset import Dataset
    from maskwright.methods.prediction import Predictor
    from maskwright.methods.scores import Difference, PromptedResult, PromptKind

T = TypeVar("T")

PROG = "maskwright evaluate prompted"


@dataclass(frozen=True, kw_only=True)
class Prompted(Common):
    """Measure how good the masks are that boxes or clicks on known objects give.

    From each image, objects between --min-area and --max-area of it are drawn at random and asked for with
    their tight box, or with a click at their centre. The result holds mean IoU and boundary IoU over the
    masks, each with a 95 % interval (bootstrap over images), the time an image takes, and every mask's score.

    --model, --baseline, --data and --prompt may be given several times, or with several values: every
    combination is measured and one table compares them.
    """

    model: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], tyro.conf.arg(metavar="NAME|PATH")
    ] = ()
    """A model to measure: a name such as `nano`, or a checkpoint."""
    baseline: tyro.conf.UseAppendAction[
        tuple[tuple[Literal["grabcut", "grabcut-or-box", "box", "ellipse"], ...], ...]
    ] = ()
    """A method without weights to measure."""
    data: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]")
    ] = ()
    """Where the known objects are, such as `bsds500:data/BSDS500?split=val`; see `maskwright data list`."""
    prompt: tyro.conf.UseAppendAction[tuple[tuple[Literal["box", "point"], ...], ...]] = ()
    """What each object is asked for with; a box if not given."""
    clicks: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Prompts an object gets, the first included; each further one is a click on the largest error."""
    multimask: bool = False
    """Let the model give three masks and take the one it believes best."""
    hq: Literal["sum", "only", "off"] = "sum"
    """Which logits of an HQ model: its sum with SAM's, the HQ token's alone, or SAM's alone."""
    per_image: Annotated[int, tyro.conf.arg(metavar="INT")] = 2
    """At most this many objects of one image."""
    min_area: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.005
    """Smallest object, as a share of its image."""
    max_area: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.6
    """Largest object, as a share of its image."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many images of each dataset, spread evenly over it."""
    base: str | None = None
    """For decoder-only files: the SAM they were trained on, as name or path."""
    num_heads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Attention heads of a model's decoder, where its file does not tell and they are not eight."""
    offline: bool = False
    """Never use the network."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Draw the worst and the best masks into this folder."""


def main(argv: list[str]) -> int:
    """Run `maskwright evaluate …` and return its exit code."""
    commands = {"prompted": (_main_prompted, "How good are the masks that boxes or clicks give?")}
    return dispatch("maskwright evaluate", "Measure a model or a baseline on a dataset.", commands, argv)


def _main_prompted(argv: list[str]) -> int:
    return run(parse(Prompted, argv, prog=PROG), prompted)


def prompted(options: Prompted, session: Session) -> None:
    """Measure every combination that was asked for, print the table and fill in the result."""
    from maskwright.data.registry import open_dataset
    from maskwright.io.files import make_folder
    from maskwright.methods.provenance import machine, versions
    from maskwright.methods.scores import differences
    from maskwright.runtime import choose_device

    _check(options)
    device = choose_device(options.device).value
    datasets = {spec: open_dataset(spec) for spec in _values(options.data)}
    if options.pictures:
        make_folder(options.pictures)
    results = list(_measure(options, session, datasets))
    # Rows of one dataset and prompt stand together, in the order in which they were given.
    places = list(datasets)
    results.sort(key=lambda result: (places.index(result.data), _prompts(options).index(result.prompt)))
    gaps = differences(results)
    session.result |= _as_json(options, results, gaps)
    session.result |= {"machine": machine(device), "versions": versions()}
    if results:
        session.print(_table(results))
    for result in results:
        if options.clicks > 1:
            steps = " → ".join(f"{step['miou']:.3f}" for step in result.by_click())
            session.print(f"{result.name}, {_short(result.data)}, {result.prompt}: mIoU by click {steps}")
    for gap in gaps:
        session.print(
            f"{gap.name} − {gap.other}, {_short(gap.data)}, {gap.prompt}: "
            f"mIoU {_number(gap.miou, gap.miou_ci95, '+')}, "
            f"boundary IoU {_number(gap.boundary_iou, gap.boundary_iou_ci95, '+')}"
        )


def _check(options: Prompted) -> None:
    models, baselines = _values(options.model), _values(options.baseline)
    if not models and not baselines:
        raise ConfigError("nothing to measure: give --model NAME|PATH or --baseline NAME; see --help.")
    if not _values(options.data):
        raise ConfigError("nothing to measure on: give --data KIND:FOLDER, such as bsds500:data/BSDS500.")
    if options.clicks < 1 or (options.clicks > 1 and baselines):
        raise ConfigError("--clicks must be at least 1, and 1 for baselines: only models take corrections.")
    if not 0 <= options.min_area < options.max_area <= 1:
        raise ConfigError("--min-area and --max-area are shares of the image: 0 <= min < max <= 1.")
    if options.per_image < 1 or (options.limit is not None and options.limit < 1):
        raise ConfigError("--per-image and --limit must be at least 1.")


def _measure(
    options: Prompted, session: Session, datasets: Mapping[str, Dataset]
) -> Iterator[PromptedResult]:
    """Measure each predictor on each dataset with each prompt; a combination that fails is noted."""
    from maskwright.methods.evaluate import evaluate_prompted
    from maskwright.methods.scores import Selection
    from maskwright.report.evaluation import Extremes

    selection = Selection(options.min_area, options.max_area, options.per_image, options.seed, options.limit)
    number = 0
    for predictor in _predictors(options, session):
        for spec, kind in product(datasets, _prompts(options)):
            title = f"{predictor.name}, {_short(spec)}, {kind}"
            extremes = Extremes()
            try:
                result = evaluate_prompted(
                    predictor,
                    datasets[spec],
                    prompt=kind,
                    clicks=options.clicks,
                    selection=selection,
                    data_name=spec,
                    track=partial(session.track, title=title),
                    observe=extremes if options.pictures else lambda observation: None,
                    on_failure=session.fail,
                )
            except MaskwrightError as error:
                session.fail(title, error)
                continue
            if options.pictures:
                # Numbered, since two datasets' folders may have the same name.
                number += 1
                extremes.write(options.pictures / re.sub(r"[^\w.=]+", "-", f"{number} {title}"))
            yield result


def _predictors(options: Prompted, session: Session) -> Iterator[Predictor]:
    """Load the models one after the other, then give the baselines."""
    from maskwright.methods.baselines import baseline

    for name in _values(options.model):
        try:
            yield _load(name, options)
        except MaskwrightError as error:
            session.fail(name, error)
    for name in _values(options.baseline):
        yield baseline(name)


def _load(name: str, options: Prompted) -> Predictor:
    # The model libraries take seconds to import, and baselines do without.
    from maskwright.methods.prediction import ModelPredictor
    from maskwright.models.registry import load

    segmenter = load(
        name,
        base=options.base,
        num_heads=options.num_heads,
        device=options.device,
        offline=options.offline,
    )
    return ModelPredictor(segmenter, name, options.multimask, options.hq)


def _values(groups: tuple[tuple[T, ...], ...]) -> list[T]:
    """All values of an option that may be repeated, each once."""
    return list(dict.fromkeys(value for group in groups for value in group))


def _prompts(options: Prompted) -> list[PromptKind]:
    return _values(options.prompt) or ["box"]


def _as_json(
    options: Prompted, results: Sequence[PromptedResult], gaps: Sequence[Difference]
) -> dict[str, Any]:
    """One result is given flat; several are a list under "results"."""
    methods = len(_values(options.model)) + len(_values(options.baseline))
    if methods == len(_values(options.data)) == len(_prompts(options)) == 1:
        return results[0].to_json() if results else {}
    return {
        "results": [result.to_json() for result in results],
        "differences": [asdict(gap) for gap in gaps],
    }


def _table(results: Sequence[PromptedResult]) -> Table:
    table = Table("data", "prompt", "method", "masks", "mIoU [95 %]", "boundary IoU [95 %]", "s / image")
    for row, result in enumerate(results):
        following = results[row + 1] if row + 1 < len(results) else None
        table.add_row(
            _short(result.data),
            result.prompt,
            result.name,
            str(len(result.scores)),
            _number(result.miou, result.miou_interval),
            _number(result.boundary_iou, result.boundary_iou_interval),
            f"{result.timing.per_image:.3f}",
            end_section=following is None
            or following.data != result.data
            or following.prompt != result.prompt,
        )
    return table


def _number(value: float, interval: tuple[float, float], sign: str = "") -> str:
    low, high = interval
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _short(spec: str) -> str:
    """A dataset's line without the folders above its own."""
    kind, _, rest = spec.partition(":")
    folder, question, options = rest.partition("?")
    return f"{kind}:{Path(folder).name}{question}{options}"
