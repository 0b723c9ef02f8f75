"""`maskwright evaluate`: measure models and baselines on datasets with known objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from maskwright.cli.commands import dispatch
from maskwright.cli.common import Computing, Session, parse, run
from maskwright.cli.tables import rich_table
from maskwright.errors import ConfigError, MaskwrightError

if TYPE_CHECKING:
    from maskwright.cli.evaluate_plan import Plan
    from maskwright.data.dataset import Dataset
    from maskwright.data.tasks import Task
    from maskwright.methods.prediction import ModelPredictor, Predictor
    from maskwright.methods.scores import Choice, PromptedResult
    from maskwright.report.evaluation_page import EvaluationReport
    from maskwright.report.evaluation_tables import Comparison

PROG = "maskwright evaluate prompted"


@dataclass(frozen=True, kw_only=True)
class Prompted(Computing):
    """Measure how good the masks are that boxes or clicks on known objects give.

    From each image, objects between --min-area and --max-area of it are drawn at random and asked for with
    their tight box, or with a click at their centre. The result holds mean IoU and boundary IoU over the
    masks, each with a 95 % interval (bootstrap over images), the time an image takes, and every mask's score.

    --model, --baseline, --data, --prompt and --choice may be given several times, or with several values:
    every combination is measured on the same objects and tables compare them.
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
    task: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
        tyro.conf.arg(metavar="NAME KIND:FOLDER[?OPTIONS]"),
    ] = ()
    """A task and its datasets, measured too: the unweighted mean over them is given."""
    task_prompts: bool = True
    """Do not tell models that have task prompts which --task (salient, entity, part) a dataset is of."""
    prompt: tyro.conf.UseAppendAction[tuple[tuple[Literal["box", "point"], ...], ...]] = ()
    """What each object is asked for with first; a box if not given."""
    clicks: Annotated[str, tyro.conf.arg(metavar="INT[,INT...]")] = "1"
    """Prompts an object gets: the first, then clicks on the largest error; 1,3,5 gives figures at each."""
    click: Literal["center", "edge"] = "center"
    """Where clicks go in the object or error: its innermost pixel, or within 10 pixels of its outline."""
    choice: tyro.conf.UseAppendAction[tuple[tuple[Literal["single", "oracle"], ...], ...]] = ()
    """The one mask the model gives (the default), or the best of its three against the truth; never mixed."""
    protocol: Literal["standard", "hq"] = "standard"
    """`hq`, as HQ-SAM published: images stretched, the HQ token's logits alone, objects of all sizes."""
    multimask: bool = False
    """Let the model give three masks and take the one it believes best."""
    hq: Literal["auto", "sum", "only", "off"] = "auto"
    """An HQ model's logits: summed with SAM's (auto), alone (auto with --protocol hq), or SAM's only."""
    refine: Annotated[str | None, tyro.conf.arg(metavar="PATH|nano")] = None
    """Measure each model with this mask refiner too; a file of `maskwright train refiner`, or nano's own."""
    per_image: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many objects of one image (default 2; --protocol hq: all)."""
    min_area: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Smallest object, as a share of its image (default 0.005; --protocol hq: 0)."""
    max_area: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Largest object, as a share of its image (default 0.6; --protocol hq: 1)."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many images of each dataset, spread evenly over it."""
    base: str | None = None
    """For decoder-only files: the SAM they were trained on, as name or path."""
    num_heads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Attention heads of a model's decoder, where its file does not tell and they are not eight."""
    offline: bool = False
    """Never use the network."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Write an HTML report into this folder, the curves over clicks, and the worst and the best masks."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the tables to this file, in Markdown."""


def main(argv: list[str]) -> int:
    """Run `maskwright evaluate …` and return its exit code."""
    commands = {
        "prompted": (_main_prompted, "How good are the masks that boxes or clicks give?"),
        "personalize": (_main_personalize, "How well are objects found again after being shown once?"),
        "video": (_main_video, "How well are objects followed through videos?"),
        "boundaries": (_main_boundaries, "How well do boundaries agree with those that people drew?"),
        "tokens": (_main_tokens, "How many known boundaries do promptless segments find?"),
        "uncertainty": (_main_uncertainty, "Is a mask that is called good a good one?"),
    }
    return dispatch("maskwright evaluate", "Measure a model or a baseline on a dataset.", commands, argv)


def _main_prompted(argv: list[str]) -> int:
    return run(parse(Prompted, argv, prog=PROG), prompted)


def _main_personalize(argv: list[str]) -> int:
    from maskwright.cli.evaluate_personalize import main

    return main(argv)


def _main_video(argv: list[str]) -> int:
    from maskwright.cli.evaluate_video import main

    return main(argv)


def _main_boundaries(argv: list[str]) -> int:
    from maskwright.cli.evaluate_boundaries import main

    return main(argv)


def _main_tokens(argv: list[str]) -> int:
    from maskwright.cli.evaluate_tokens import main

    return main(argv)


def _main_uncertainty(argv: list[str]) -> int:
    from maskwright.cli.evaluate_uncertainty import main

    return main(argv)


def prompted(options: Prompted, session: Session) -> None:
    """Measure every combination that was asked for, print the tables and fill in the result."""
    from maskwright.cli.evaluate_plan import Plan
    from maskwright.data.registry import open_dataset
    from maskwright.io.files import make_parents, write_text
    from maskwright.methods.comparison import differences, task_means
    from maskwright.methods.provenance import machine, versions
    from maskwright.report.evaluation_page import EvaluationReport
    from maskwright.report.evaluation_tables import Comparison
    from maskwright.runtime import choose_device

    plan = Plan.of(options)
    device = choose_device(options.device).value
    datasets = {spec: open_dataset(spec) for spec in plan.data}
    report = EvaluationReport(options.pictures) if options.pictures else None
    # Rows that answer one question stand together, in the order in which the options were given.
    results = sorted(_measure(options, plan, session, datasets, report), key=plan.place)
    means, mean_gaps = task_means(results, plan.tasks)
    comparison = Comparison(results, means, [*differences(results), *mean_gaps], plan.counts)
    session.result |= _as_json(plan, comparison)
    session.result |= {"protocol": plan.protocol, "machine": machine(device), "versions": versions()}
    tables = comparison.tables()
    for table in tables:
        session.print(rich_table(table))
    if options.markdown:
        write_text(make_parents(options.markdown), "\n".join(table.markdown() for table in tables))
    if report:
        report.finish(comparison, session.result | {"seed": options.seed})


def _measure(
    options: Prompted,
    plan: Plan,
    session: Session,
    datasets: Mapping[str, Dataset],
    report: EvaluationReport | None,
) -> Iterator[PromptedResult]:
    """Measure each predictor on each dataset in each way; a combination that fails is noted."""
    from maskwright.methods.evaluate import evaluate_prompted
    from maskwright.report.evaluation import Extremes
    from maskwright.report.evaluation_tables import short_name

    for predictor in _predictors(options, plan, session):
        _warn_if_untold(predictor, [spec for spec in datasets if spec not in plan.told], options, session)
        choices: list[Choice] = plan.choices if predictor.is_model else ["single"]
        for spec, kind, choice in product(datasets, plan.prompts, choices):
            title = ", ".join([predictor.name, short_name(spec), kind, *(["oracle"] * (choice == "oracle"))])
            extremes = Extremes()
            try:
                result = evaluate_prompted(
                    _told(predictor, plan.told.get(spec, ())),
                    datasets[spec],
                    prompt=kind,
                    clicks=plan.counts,
                    click=options.click,
                    choice=choice,
                    selection=plan.selection,
                    data_name=spec,
                    track=partial(session.track, title=title),
                    observe=extremes if report else lambda observation: None,
                    on_failure=session.fail,
                )
            except MaskwrightError as error:
                session.fail(title, error)
                continue
            if report:
                report.add(title, extremes)
            yield result


def _predictors(options: Prompted, plan: Plan, session: Session) -> Iterator[Predictor]:
    """Load the models one after the other, then give the baselines."""
    from maskwright.methods.baselines import baseline

    for name in plan.models:
        try:
            predictor = _load(name, options, plan)
            yield predictor
            if options.refine is not None:
                yield _refined(predictor, options.refine)
        except MaskwrightError as error:
            session.fail(name, error)
    for name in plan.baselines:
        yield baseline(name)


def _load(name: str, options: Prompted, plan: Plan) -> ModelPredictor:
    # The model libraries take seconds to import, and baselines do without.
    from maskwright.methods.prediction import ModelPredictor
    from maskwright.models.registry import load

    segmenter = load(
        name,
        base=options.base,
        num_heads=options.num_heads,
        device=options.device,
        heads=None,
        backend=options.backend,
        offline=options.offline,
    )
    if plan.protocol == "hq" and plan.hq != "off" and not segmenter.model.has_hq:
        raise ConfigError(
            f"{name} is of the family {segmenter.model.family}, which has no HQ token to measure with "
            "--protocol hq. For its own masks under that protocol add --hq off; for a model with the token, "
            f"see `maskwright train hq --model {name}`."
        )
    return ModelPredictor(segmenter, name, options.multimask, plan.hq, stretch=plan.protocol == "hq")


def _refined(predictor: ModelPredictor, refiner: str) -> ModelPredictor:
    from maskwright.methods.refine.refiner import MaskRefiner

    loaded = MaskRefiner.load(refiner, predictor.segmenter)
    return replace(predictor, name=f"{predictor.name}, refined", refiner=loaded)


def _told(predictor: Predictor, tasks: Sequence[Task]) -> Predictor:
    """The predictor, told the task if it is a model that can be."""
    from maskwright.methods.prediction import ModelPredictor

    if not isinstance(predictor, ModelPredictor) or predictor.segmenter.model.task_prompts is None:
        return predictor
    if len(tasks) > 1:
        raise ConfigError(
            f"this set is in the tasks {' and '.join(tasks)}, and {predictor.name} has to be told one: leave "
            "it in one of them, or add --no-task-prompts."
        )
    return replace(predictor, task=tasks[0] if tasks else None)


def _warn_if_untold(predictor: Predictor, untold: Sequence[str], options: Prompted, session: Session) -> None:
    """Warn where a model with task prompts is asked without them, and nobody said that this is meant."""
    from maskwright.methods.prediction import ModelPredictor

    if not (options.task_prompts and untold and isinstance(predictor, ModelPredictor)):
        return
    if predictor.segmenter.model.task_prompts is not None:
        session.warn(
            f"{predictor.name} has task prompts and is told no task for {', '.join(untold)}: give sets as "
            "--task salient|entity|part KIND:FOLDER in place of --data, or add --no-task-prompts."
        )


def _as_json(plan: Plan, comparison: Comparison) -> dict[str, Any]:
    """One result is given flat; several are a list under "results"."""
    if plan.combinations == 1:
        return comparison.results[0].to_json() if comparison.results else {}
    return {
        "results": [result.to_json() for result in comparison.results],
        "differences": [gap.to_json() for gap in comparison.gaps],
        "means": [mean.to_json() for mean in comparison.means],
    }
