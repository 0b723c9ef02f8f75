"""What `segment` can decide with uncertainty heads: advice, guarantees, and when to ask a larger model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from maskwright.cli.segment_run import work_off
from maskwright.errors import ConfigError
from maskwright.methods.uncertainty.settings import AdviceSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskwright.cli.common import Session
    from maskwright.cli.segment import Segment
    from maskwright.io.inputs import ImageFile
    from maskwright.methods.uncertainty.cascade import Costs
    from maskwright.report.cascade import CascadeAsker
    from maskwright.report.segmentation import Asker, PromptAsker, SegmentRun

SHARE = "30%"
COSTS = "cascade.json"


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What to do with what the uncertainty heads tell."""

    larger: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """Let this larger model answer the prompts where most is to be gained."""
    larger_by: Literal["quality", "model_gap"] = "quality"
    """Where that is: where the expected quality is lowest, or where the head for it expects most of the
    larger model. What both are worth is in docs/results/uncertainty.md."""
    budget: Annotated[str | None, tyro.conf.arg(metavar="SHARE|FACTOR")] = None
    """How many: a share of the prompts such as 30% (the default), or how many times the small model's own
    time all may take, such as 2x, times being measured. Chosen among all prompts of the run."""
    gain_above: Annotated[float | None, tyro.conf.arg(metavar="IOU")] = None
    """In place of a budget: wherever 1 - quality (or model_gap) is above this, image by image. A run with a
    budget tells which value gives the same share."""
    guarantee: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A guarantee of `maskwright uncertainty calibrate`: masks get kept and iou_at_least."""
    margin: bool = False
    """With --guarantee: write each mask once more, so wide that it covers its object."""
    advise: bool = False
    """Say of each mask what to do: accept, click (and where), choose among the proposals, larger-model, or
    abstain."""
    thresholds: Annotated[AdviceSettings, tyro.conf.arg(name="")] = field(default_factory=AdviceSettings)

    def check(self, *, refined: bool) -> None:
        """Refuse flags that contradict each other or lack their partner.

        Raises:
            ConfigError: naming them.
        """
        chosen = self.budget is not None or self.gain_above is not None or self.larger_by != "quality"
        if self.larger is None and chosen:
            raise ConfigError(
                "--budget, --gain-above and --larger-by are for --larger: name the larger model."
            )
        if self.budget is not None and self.gain_above is not None:
            raise ConfigError("give either --budget or --gain-above, not both.")
        if self.margin and self.guarantee is None:
            raise ConfigError("--margin is a guarantee's: name its file with --guarantee.")
        if self.guarantee is not None and self.larger is not None:
            raise ConfigError(
                "a guarantee is of one model, and with --larger two make the masks: leave out one of them."
            )
        if refined and (self.advise or self.guarantee is not None or self.larger is not None):
            raise ConfigError(
                "uncertainty heads tell nothing of masks that a refiner has redrawn: leave out --refine, or "
                "--advise, --guarantee and --larger."
            )
        if self.thresholds != AdviceSettings() and not self.advise:
            raise ConfigError("thresholds of advice do nothing without --advise.")


def with_larger(asker: PromptAsker, decide: Decisions, options: Segment) -> CascadeAsker | None:
    """The asker with the larger model, which answers nothing yet if there is a budget; None without one."""
    from maskwright.methods.uncertainty.cascade import Budget
    from maskwright.models.registry import load
    from maskwright.report.cascade import CascadeAsker

    if decide.larger is None:
        return None
    # Before another model is loaded, or even fetched, for nothing.
    budget = None if decide.gain_above is not None else Budget.parse(decide.budget or SHARE)
    large = load(decide.larger, device=options.device, backend=options.backend, offline=options.offline)
    return CascadeAsker(asker, large, budget, decide.gain_above or 0.0, decide.larger_by)


def deciding(asker: Asker, small: PromptAsker, decide: Decisions) -> Asker:
    """The asker with advice and promises, if any were asked for.

    Args:
        asker: makes the masks.
        small: the asker of the model alone.
        decide: what was asked for.

    Raises:
        ConfigError: the model has no uncertainty heads, or the guarantee is not of these masks.
    """
    from maskwright.methods.uncertainty.promises import Asked, Promises, kind_of
    from maskwright.report.cascade import CascadeAsker
    from maskwright.report.decisions import DecidingAsker

    if not decide.advise and decide.guarantee is None:
        return asker
    model = small.segmenter
    if model.heads is None:
        raise ConfigError(
            f"{model.name} is used without uncertainty heads, so there is nothing to advise by or to "
            "promise: leave out --heads none, choose a model with heads, such as nano, or train some with "
            "`maskwright train heads`."
        )
    if decide.advise and isinstance(asker, CascadeAsker) and asker.large.heads is None:
        raise ConfigError(
            f"{asker.large.name} has no uncertainty heads, so nothing can be advised on its masks: leave out "
            "--advise or --larger, or put heads for it beside it (`maskwright train heads`)."
        )
    promises = None
    if decide.guarantee is not None:
        promises = Promises.load(decide.guarantee)
        kind = kind_of(spec for specs in small.prompts.pages.values() for spec in specs)
        promises.check_fits(model, Asked(kind, small.multimask, small.hq, small.task))
        promises.check_has(margin=decide.margin)
    return DecidingAsker(asker, decide.thresholds if decide.advise else None, promises, decide.margin)


def escalate(
    work: SegmentRun, images: Sequence[ImageFile], asker: CascadeAsker | None, session: Session
) -> None:
    """Let the larger model, if there is one, answer where that pays, once the small one has answered all."""
    from maskwright.methods.uncertainty.cascade import PER_PROMPT, online_threshold
    from maskwright.report.cascade import by_large, choose, gains_of

    if asker is None:
        return
    records = work.records(images)
    gains = gains_of(records)
    if not gains:
        return
    if asker.budget is not None:
        small, large = _costs(work, images, asker) if asker.budget.timed else (PER_PROMPT, PER_PROMPT)
        chosen, again = choose(records, asker, small, large)
        work.asker = _in_place(work.asker, chosen)
        wanted = [image for image in images if image.name in set(again)]
        work_off(work, wanted, "asking the larger model", session)
        records = work.records(images)
    answered = by_large(records, asker)
    threshold = online_threshold(gains, answered / len(gains)) if asker.budget else asker.above
    session.result["cascade"] = {
        "larger": asker.large.signature,
        "prompts": len(gains),
        "by_larger": answered,
        "gain_above": threshold,
    }
    session.print(
        f"{asker.large.name} answered {answered} of {len(gains)} prompts"
        + (f" (one by one the same: --gain-above {threshold:.4f})" if asker.budget else "")
    )


def _in_place(asker: Asker, chosen: CascadeAsker) -> Asker:
    from maskwright.report.decisions import DecidingAsker

    return replace(asker, asker=chosen) if isinstance(asker, DecidingAsker) else chosen


def _costs(work: SegmentRun, images: Sequence[ImageFile], asker: CascadeAsker) -> tuple[Costs, Costs]:
    """What both models take, as measured when the run first came this far: run again, it chooses alike."""
    from maskwright.io.files import read_json, write_json
    from maskwright.io.images import read_image
    from maskwright.methods.prompting import to_prompts
    from maskwright.methods.uncertainty.cascade import Costs, measure_costs

    path = work.folder / COSTS
    if path.is_file():
        content = read_json(path)
        return Costs(**content["small"]), Costs(**content["large"])
    first = next(image for image in images if image.name in work.finished)
    photo = read_image(first.path)
    found = []
    for segmenter in (asker.small.segmenter, asker.large):
        specs = asker.small.prompts.of(first.name)
        geometry = segmenter.embed(photo).geometry
        prompts = to_prompts(specs, geometry, segmenter.model.low_res)
        found.append(measure_costs(segmenter, photo, prompts))
    write_json(path, {"small": vars(found[0]), "large": vars(found[1]), "unit": "seconds"})
    return found[0], found[1]
