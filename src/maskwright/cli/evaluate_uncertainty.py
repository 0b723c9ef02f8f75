"""`maskwright evaluate uncertainty`: is a mask that is called good a good one?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from maskwright.cli.common import Computing, Session, parse, run, values
from maskwright.cli.tables import rich_table
from maskwright.errors import ConfigError, MaskwrightError
from maskwright.methods.selection import PromptKind, Selection

if TYPE_CHECKING:
    from maskwright.methods.uncertainty.collect import Survey
    from maskwright.methods.uncertainty.evaluate import UncertaintyResult
    from maskwright.models.segmenter import Segmenter
    from maskwright.report.uncertainty import UncertaintyReport

PROG = "maskwright evaluate uncertainty"


@dataclass(frozen=True, kw_only=True)
class EvaluateUncertainty(Computing):
    """Measure how far a model's uncertainty can be believed: its heads', and what is free.

    Known objects are asked for with a click at their centre or with their tight box. Estimates of a mask's
    IoU (the quality head, the model's own score, its stability and its entropy) are held against the true
    one: correlations, failures found (AUROC), selective risk (AURC), calibration (ECE, Brier). Then the most
    uncertain masks are replaced by better ones, by the protocols of UncertainSAM: by the truth, by the
    largest model's, by the answer to more clicks, by the best proposal. The relative AUC is 1 for the best
    order, 0.5 for chance.

    All is measured on the masks that the model gives (as used) and, for clicks, on the best of three (the
    published protocol). Intervals are by bootstrap over images or videos. Without heads the free estimates
    are measured.
    """

    model: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], tyro.conf.arg(metavar="NAME|PATH")
    ] = ()
    """A model to measure; of several, given small to large, the last is what the others could give way to."""
    data: Annotated[str, tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]")]
    """Where the known objects are, such as `bsds500:data/BSDS500?split=test`; see `maskwright data list`."""
    prompt: tyro.conf.UseAppendAction[tuple[tuple[Literal["point", "box"], ...], ...]] = ()
    """What objects are asked for with; a point if not given."""
    answer: Literal["single", "multimask"] = "single"
    """Which mask is used: the single one, as `segment` gives it, or the proposal the model believes best."""
    heads: Annotated[str, tyro.conf.arg(metavar="auto|none|FILE")] = "auto"
    """Uncertainty heads: a file of `maskwright train heads`; `auto` takes those beside the model, if any."""
    entropies: bool = False
    """Also measure entropies averaged over augmented photos and further clicks, 20 times the work."""
    per_image: Annotated[int, tyro.conf.arg(metavar="INT")] = 2
    """At most this many objects of one image."""
    min_area: Annotated[float, tyro.conf.arg(metavar="SHARE")] = Selection.min_area
    """Smallest object, as a share of its image."""
    max_area: Annotated[float, tyro.conf.arg(metavar="SHARE")] = Selection.max_area
    """Largest object, as a share of its image."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many images, spread evenly over the dataset."""
    resamples: Annotated[int, tyro.conf.arg(metavar="INT")] = 1000
    """Resamples for the intervals, which take about half a minute for each model and prompt."""
    base: str | None = None
    """For decoder-only files: the SAM they were trained on, as name or path."""
    num_heads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Attention heads of a model's decoder, where its file does not tell and they are not eight."""
    offline: bool = False
    """Never use the network."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Write an HTML report into this folder, with curves and the masks that are believed most wrongly."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the tables to this file, in Markdown."""


def main(argv: list[str]) -> int:
    """Run `maskwright evaluate uncertainty` and return its exit code."""
    return run(parse(EvaluateUncertainty, argv, prog=PROG), evaluate)


def evaluate(options: EvaluateUncertainty, session: Session) -> None:
    """Ask, measure, print the tables and fill in the result."""
    from maskwright.cli.evaluate_plan import make_selection
    from maskwright.data.registry import open_dataset
    from maskwright.io.files import make_parents, write_text
    from maskwright.methods.provenance import machine, versions
    from maskwright.methods.uncertainty.collect import Survey
    from maskwright.report.uncertainty import UncertaintyReport, tables

    models = values(options.model)
    if not models:
        raise ConfigError("nothing to measure: give --model NAME|PATH; see --help.")
    selection = make_selection(
        options.min_area, options.max_area, options.per_image, options.seed, options.limit
    )
    dataset = open_dataset(options.data)
    segmenters = [_load(name, options) for name in models]
    prompts: list[PromptKind] = values(options.prompt) or ["point"]
    survey = Survey(segmenters, dataset, prompts, selection, options.entropies, options.data)
    report = UncertaintyReport(options.pictures) if options.pictures else None
    results = list(_measure(survey, options, session, report))
    known = {"data": options.data, "seed": options.seed, "machine": machine(segmenters[0].device)}
    session.result |= _as_json(results) | known | {"versions": versions(), **vars(selection)}
    found = tables(results)
    for table in found:
        session.print(rich_table(table))
    if options.markdown:
        write_text(make_parents(options.markdown), "\n".join(table.markdown() for table in found))
    if report:
        session.result["report"] = report.finish(found, session.result)


def _measure(
    survey: Survey, options: EvaluateUncertainty, session: Session, report: UncertaintyReport | None
) -> Iterator[UncertaintyResult]:
    """Ask for everything, then measure each model and kind of prompt."""
    from maskwright.methods.uncertainty.evaluate import evaluate_uncertainty

    rows = survey.run(partial(session.track, title="asking"), session.fail)
    pairs = [(segmenter, prompt) for segmenter in survey.segmenters for prompt in survey.prompts]
    for segmenter, prompt in session.track(pairs, "measuring"):
        try:
            result = evaluate_uncertainty(
                rows,
                segmenter.name,
                largest=survey.segmenters[-1].name,
                prompt=prompt,
                answer=options.answer,
                heads=segmenter.heads,
                resamples=options.resamples,
                seed=options.seed,
            )
        except MaskwrightError as error:
            session.fail(f"{segmenter.name}, {prompt}", error)
            continue
        if report:
            report.add(result, survey)
        yield result


def _load(name: str, options: EvaluateUncertainty) -> Segmenter:
    # The model libraries take seconds to import, and wrong options are found before.
    from maskwright.models.registry import load

    return load(
        name,
        base=options.base,
        num_heads=options.num_heads,
        device=options.device,
        heads=None if options.heads == "none" else options.heads,
        backend=options.backend,
        offline=options.offline,
    )


def _as_json(results: list[UncertaintyResult]) -> dict[str, Any]:
    """One result is given flat; several are a list under "results"."""
    if len(results) == 1:
        return results[0].to_json()
    return {"results": [result.to_json() for result in results]}
