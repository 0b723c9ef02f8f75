"""`maskwright uncertainty calibrate`: what can be promised of a model's masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from maskwright.cli.common import Computing, Session, parse, run
from maskwright.data.tasks import Task
from maskwright.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maskwright.methods.uncertainty.calibrate import KnownMasks
    from maskwright.methods.uncertainty.promises import Name, Promise, Promises
    from maskwright.models.segmenter import Segmenter

_SAYS: dict[str, str] = {
    "keep-marginal": "kept from quality {threshold}: the loss of kept masks, shared among all, ≤ {alpha}",
    "keep-selective": "kept from quality {threshold}: the mean loss of kept masks ≤ {alpha}",
    "lower-bound": "IoU ≥ quality − {offset}, for {sure} of the masks",
    "cover-object": "a margin of {margin} of the object's size covers it whole, for {sure} of the masks",
    "cover-pixels": "a margin of {margin} of the object's size covers {sure} of its pixels on average",
}
"""What each promise says."""


@dataclass(frozen=True, kw_only=True)
class Calibrate(Computing):
    """Turn "risk at most alpha" into a threshold, a lower bound and a margin that hold for new masks.

    Objects of held-out data, which neither the model nor its heads have learned from, are asked for with a
    box or with one click at their centre. From the quality that the heads expect and the true IoU follow by
    conformal risk control, for masks of images like these: from which quality on masks may be kept, what
    their IoU is at least, and the margin with which they cover their objects.

    `maskwright segment --guarantee FILE` applies it. Photos of one video count as one image.
    """

    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")] = "nano"
    """A model's name (`maskwright models list`), or a checkpoint."""
    heads: Annotated[str, tyro.conf.arg(metavar="auto|FILE")] = "auto"
    """The model's uncertainty heads: those beside it, or a file's."""
    data: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]")
    ] = ()
    """Known objects, such as `bsds500:data/BSDS500?split=val`; see `maskwright data list`."""
    check: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], tyro.conf.arg(metavar="KIND:FOLDER[?OPTIONS]")
    ] = ()
    """Other known objects, on which the promises are tried."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The guarantee's file, JSON."""
    prompt: Literal["box", "point"] = "box"
    """What objects are asked for with."""
    multimask: bool = False
    """Three masks a prompt, of which the model selects one."""
    hq: Literal["sum", "only", "off"] = "sum"
    """Which logits of an HQ model: its sum with SAM's, the HQ token's alone, or SAM's alone."""
    task: Annotated[Task | None, tyro.conf.arg(metavar="{unlabeled,salient,entity,part}")] = None
    """Which kind of mask is wanted, for models that were trained with task prompts."""
    alpha: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.1
    """The risk that is not exceeded."""
    risk: Literal["selective", "marginal"] = "selective"
    """Which risk decides what is kept. selective: of the masks that are kept. marginal: of all masks, those
    that are not kept costing nothing."""
    delta: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.1
    """Share of calibrations in which the selective risk may be exceeded."""
    wrong_below: Annotated[float | None, tyro.conf.arg(metavar="IOU")] = None
    """A mask is lost if its IoU is below this; by default it loses 1 - IoU."""
    per_image: Annotated[int | None, tyro.conf.arg(metavar="INT")] = 2
    """At most this many objects of one image."""
    min_area: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.005
    """Smallest object, as a share of its image."""
    max_area: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.6
    """Largest object, as a share of its image."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many images of each dataset, spread evenly over it."""
    offline: bool = False
    """Never use the network."""


def main(argv: list[str]) -> int:
    """Run `maskwright uncertainty calibrate` and return its exit code."""
    return run(parse(Calibrate, argv, prog="maskwright uncertainty calibrate"), calibrate)


def calibrate(options: Calibrate, session: Session) -> None:
    """Measure, promise, try it on other data if there is any, and write the file."""
    from maskwright.io.files import make_parents
    from maskwright.models.registry import load

    _check(options)
    data, others = _specs(options.data), _specs(options.check)
    segmenter = load(
        options.model,
        heads=options.heads,
        device=options.device,
        backend=options.backend,
        offline=options.offline,
    )
    known = _measure(options, session, segmenter, data, "calibrating")
    held_out = _measure(options, session, segmenter, others, "checking") if others else None
    promises = _promises(options, segmenter, known, held_out)
    promises.save(make_parents(options.out))
    session.result |= promises.to_json() | {
        "n": len(known),
        "images": len(set(known.groups)),
        "out": options.out,
    }
    _tell(session, promises)
    session.print(f"from {len(known)} masks in {len(set(known.groups))} images: {options.out}")


def _measure(
    options: Calibrate, session: Session, segmenter: Segmenter, specs: list[str], title: str
) -> KnownMasks:
    from maskwright.data.registry import open_dataset
    from maskwright.methods.scores import Selection
    from maskwright.methods.uncertainty.calibrate import measure

    return measure(
        segmenter,
        {spec: open_dataset(spec) for spec in specs},
        _asked(options),
        Selection(options.min_area, options.max_area, options.per_image, options.seed, options.limit),
        track=partial(session.track, title=title),
        on_failure=session.fail,
    )


def _promises(
    options: Calibrate, segmenter: Segmenter, known: KnownMasks, held_out: KnownMasks | None
) -> Promises:
    from maskwright.methods.uncertainty.calibrate import check, promise
    from maskwright.methods.uncertainty.guarantees import Origin
    from maskwright.methods.uncertainty.promises import Promises

    assert segmenter.heads is not None
    heads, data = segmenter.heads.digest(), _specs(options.data)
    origin = Origin(model=f"{segmenter.signature} {heads}", data=", ".join(data), prompt=options.prompt)
    made, refused = promise(
        known, options.alpha, delta=options.delta, wrong_below=options.wrong_below, origin=origin
    )
    if not made:
        raise InputError(f"nothing can be promised: {'; '.join(refused.values())}")
    checked = (
        {} if held_out is None else _checked(options, held_out, check(made, held_out, options.wrong_below))
    )
    return Promises(
        model=segmenter.signature,
        digest=segmenter.digest,
        heads=heads,
        asked=_asked(options),
        applied=options.risk,
        made=made,
        refused=refused,
        protocol={
            "data": data,
            "masks": len(known),
            "images": len(set(known.groups)),
            "per_image": options.per_image,
            "min_area": options.min_area,
            "max_area": options.max_area,
            "limit": options.limit,
            "seed": options.seed,
        },
        checked=checked,
    )


def _checked(options: Calibrate, held_out: KnownMasks, measured: Mapping[Name, float]) -> dict[str, Any]:
    from maskwright.cli.common import plain

    images = len(set(held_out.groups))
    found = {"data": _specs(options.check), "masks": len(held_out), "images": images, "measured": measured}
    checked: dict[str, Any] = plain(found)
    return checked


def _asked(options: Calibrate) -> Any:  # noqa: ANN401
    from maskwright.methods.uncertainty.promises import Asked

    return Asked(options.prompt, options.multimask, options.hq, options.task)


def _specs(groups: tuple[tuple[str, ...], ...]) -> list[str]:
    return list(dict.fromkeys(spec for group in groups for spec in group))


def _check(options: Calibrate) -> None:
    if not _specs(options.data):
        raise ConfigError(
            "nothing to calibrate on: give --data KIND:FOLDER, held-out photos with known objects."
        )
    for name in ("alpha", "delta", "wrong_below"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} lies between 0 and 1, not at {value}.")
    if not 0 <= options.min_area < options.max_area <= 1:
        raise ConfigError("--min-area and --max-area are shares of the image: 0 <= min < max <= 1.")
    if (options.per_image is not None and options.per_image < 1) or (
        options.limit is not None and options.limit < 1
    ):
        raise ConfigError("--per-image and --limit must be at least 1.")


def _tell(session: Session, promises: Promises) -> None:
    from rich.table import Table

    table = Table("promise", "says", "on other data")
    measured = promises.checked.get("measured", {})
    for name, one in promises.made.items():
        value = measured.get(name)
        table.add_row(name, _said(name, one), "–" if value is None else f"{value:.3f}")
    for name, reason in promises.refused.items():
        table.add_row(name, reason, "–")
    session.print(table)


def _said(name: str, one: Promise) -> str:
    numbers = {key: f"{value:.3f}" for key, value in one.model_dump().items() if isinstance(value, float)}
    if numbers.get("threshold") is None and name.startswith("keep"):
        return f"no mask may be kept at a risk of {one.alpha:g}"
    return _SAYS[name].format(**numbers | {"alpha": f"{one.alpha:g}", "sure": f"{1 - one.alpha:.0%}"})
