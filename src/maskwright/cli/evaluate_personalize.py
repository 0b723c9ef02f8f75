"""`maskwright evaluate personalize`: how well objects are found again after being shown once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from maskwright.cli.common import Session, parse, run
from maskwright.cli.personalize import Learned, load_models
from maskwright.cli.tables import rich_table
from maskwright.errors import ConfigError
from maskwright.methods.personalize.config import PersonalizeSettings

if TYPE_CHECKING:
    from maskwright.methods.personalize.dino import DINO
    from maskwright.methods.personalize.evaluation import Finder
    from maskwright.models.segmenter import Segmenter

PROG = "maskwright evaluate personalize"


@dataclass(frozen=True, kw_only=True)
class EvaluatePersonalize(Learned):
    """Measure how well objects are found in photos after being shown in one.

    Of each object (a folder of PerSeg, a sequence of DAVIS) the first photo is the reference; it is looked
    for in the others, of DAVIS in every fifth. Mean IoU and accuracy are over objects, each over the pixels
    of all its photos, as PerSAM's release counts; the means over photos follow, with their 95 % intervals
    (bootstrap over objects). The object is taken to be in every photo, unless --threshold says otherwise.
    """

    data: Annotated[str, tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]")]
    """perseg:FOLDER, davis2016:FOLDER, or any dataset with a folder an object."""
    baseline: Literal["center", "salient"] | None = None
    """Measure a method without a reference instead: a click at the centre, or the model's most certain mask
    of a grid of clicks."""
    fit: bool = False
    """PerSAM-F: the same as --method persam-f."""
    reference_index: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME…")] = ()
    """Names of the reference photos of each object, such as 00 or 00 01; the first one if not given."""
    every: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Look in every so many-th photo; 1 if not given, but 5 for DAVIS, whose frames are neighbours."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write a page with the tables and all masks into this folder."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the tables to this file, in Markdown."""
    settings: Annotated[PersonalizeSettings, tyro.conf.arg(name="")] = field(
        default_factory=PersonalizeSettings
    )


def main(argv: list[str]) -> int:
    """Run `maskwright evaluate personalize` and return its exit code."""
    return run(parse(EvaluatePersonalize, argv, prog=PROG), evaluate)


def evaluate(options: EvaluatePersonalize, session: Session) -> None:
    """Measure, print the tables and fill in the result."""
    from maskwright.data.one_shot import one_shots
    from maskwright.data.registry import open_dataset
    from maskwright.io.files import make_parents, write_text
    from maskwright.methods.personalize.evaluation import evaluate_personalize
    from maskwright.methods.provenance import machine, versions
    from maskwright.report.one_shot import OneShotReport, tables
    from maskwright.runtime import seed_everything

    settings = _settings(options)
    tasks = one_shots(open_dataset(options.data), options.reference_index, _every(options))
    seed_everything(options.seed)
    segmenter, localizer = load_models(options)
    name, finder = _finder(options, settings, segmenter, localizer)
    report = OneShotReport(options.pictures) if options.pictures else None
    result = evaluate_personalize(
        finder,
        tasks,
        track=lambda pairs: session.track(pairs, "looking"),
        observe=report.add if report else lambda *_: None,
        on_failure=session.fail,
    )
    session.result |= {"method": name, "data": options.data, **result.summary()}
    session.result |= {"model": segmenter.signature, "every": _every(options)}
    if options.baseline is None:
        session.result["settings"] = settings.model_dump()
    session.result |= {"machine": machine(segmenter.device), "versions": versions()}
    found = tables(result, f"{name} with {segmenter.name}, {options.data.partition(':')[0]}")
    for table in found:
        session.print(rich_table(table))
    if options.markdown:
        write_text(make_parents(options.markdown), "\n".join(table.markdown() for table in found))
    if report:
        session.result["report"] = report.finish(found)


def _settings(options: EvaluatePersonalize) -> PersonalizeSettings:
    if options.every is not None and options.every < 1:
        raise ConfigError("--every must be at least 1.")
    learned = options.fit or options.settings != PersonalizeSettings() or options.features
    if options.baseline and learned:
        raise ConfigError(f"--baseline {options.baseline} learns nothing: settings of learning do not apply.")
    if options.fit and options.settings.method not in ("persam", "persam-f"):
        raise ConfigError(f"--fit is --method persam-f, not {options.settings.method}.")
    return options.settings.model_copy(update={"method": "persam-f"}) if options.fit else options.settings


def _every(options: EvaluatePersonalize) -> int:
    return options.every or (5 if options.data.startswith("davis") else 1)


def _finder(
    options: EvaluatePersonalize, settings: PersonalizeSettings, segmenter: Segmenter, localizer: DINO | None
) -> tuple[str, Finder]:
    from maskwright.methods.personalize.finders import CenterClick, MostSalient, Personalized

    if options.baseline == "center":
        return "center", CenterClick(segmenter)
    if options.baseline == "salient":
        return "salient", MostSalient(segmenter)
    threshold = -1.0 if options.threshold is None else options.threshold
    return settings.method, Personalized(segmenter, settings, localizer, threshold)
