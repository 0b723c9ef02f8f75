"""The page and the picture of nano's uncertainty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from uncertainty_summary import SHARES

from maskwright.methods.uncertainty.protocols import PROTOCOLS
from maskwright.training.curves import new_figure, rendered

INTRODUCTION = """# Uncertainty: are the masks that are called good the good ones?

nano and a smaller nano answered clicks and boxes on objects of photos and videos that neither was trained on.
What their uncertainty heads say of each mask is held against its true IoU, beside what is free: the model's
own score (`iou_head`), the entropy of the mask, its stability. Written by
`python experiments/uncertainty_on_nano.py --data DATA --out OUT`.

Brackets are 95 % intervals by bootstrap over photos or videos. The relative AUC is that of UncertainSAM: the
most uncertain masks are replaced first; 1 is the best order, 0.5 is chance. "As used" is the mask that the
model gives; the published protocol takes the best of three by the truth.
"""
BASELINES = ("iou_head", "entropy")
CASCADE = """The larger model answers some of the images, those of the highest doubt first. Seconds are of the
smaller model for all images and of the larger for its share; the larger alone takes {large:.3f} for all.
"""
GUARANTEES = """A promise is made on a random half of the images (of videos: of the sequences) and measured on
the other half, {splits} times. A lower bound promises that the IoU of a mask is at least quality − offset,
for that share of masks, all images alike; keeping promises that what kept masks lose, the mean of 1 − IoU
where a mask that is not kept costs nothing, stays below the rest.
"""


PROMISES = """What `maskwright uncertainty calibrate` promises of nano's masks from {} photos of BSDS500's
test set, measured on the other {}: the threshold of quality, the offset or the margin, and after the arrow
what came out. The loss is 1 − IoU and must stay below the risk (the second only in nine calibrations of ten);
the bound must hold for, and the margin must cover wholly, at least 1 − risk of the masks; the last covers at
least that share of the object's pixels on average. Margins are shares of the object's size.
"""
VERDICT = """## Verdict

"Ahead" where the interval of the head's figure minus that of the model's own score, or of the mask's entropy,
lies above 0, "behind" where it lies below, a dash where the two cannot be told apart. By this the quality
head is what the package relies on: `segment --larger` goes by it and not by the model gap, whose head is no
better than chance for boxes. For clicks on BSDS500 it is better than chance, and the quality is not ("The
cascade"); nano-small is nearly as good as nano there. The gaps are told, for what this table says of them.
Three sequences of DAVIS, in each of which all frames are alike, tell little of anything.
"""
SMALL = 120
"""Settings with no more masks have no verdict."""
_NUMBER = {"keep": "threshold", "lower-bound": "offset", "cover": "margin"}


def page(content: dict[str, Any]) -> str:
    """docs/results/uncertainty.md."""
    parts = [INTRODUCTION, "![Relative AUC of heads and of what is free, and the cascade](uncertainty.png)\n"]
    parts.append(VERDICT)
    parts += _verdicts(content)
    for data in dict.fromkeys(row["data"] for row in content["rows"]):
        rows = [row for row in content["rows"] if row["data"] == data]
        used = rows[0]["used"]
        parts.append(f"## {data}: {used['images']} images in {used['groups']} groups\n")
        parts += _table(("model", "prompt", "masks", "estimate", "Pearson", "ECE"), _estimates(rows))
        for kind, title in (("used", "As used"), ("published", "Published protocol")):
            parts.append(f"### Relative AUC. {title}\n")
            names = (protocol.replace("_", " ") for protocol in PROTOCOLS)
            parts += _table(("model", "prompt", "ranker", *names), _relative(rows, kind))
        parts.append("### Heads minus what is free, as used\n")
        parts += _table(("model", "prompt", "figure", "difference", "[95 %]"), _differences(rows))
        parts.append("### Heads that see part of what they read: relative AUC as used\n")
        names = (protocol.replace("_", " ") for protocol in PROTOCOLS)
        parts += _table(("model", "prompt", "seen", *names), _ablation(rows))
    parts.append("## The cascade\n")
    for found in content["cascades"]:
        parts += _cascade(found)
    parts += ["## Guarantees\n", GUARANTEES.format(splits=content["splits"])]
    head = (
        "data",
        "model",
        "prompt",
        "promise",
        "promised",
        "held",
        "95 % of splits",
        "offset or share kept",
    )
    parts += _table(head, map(_guarantee, content["guarantees"]))
    parts.append(PROMISES.format(*content["promises"][0]["images"]))
    kinds = ("kept, loss over all", "kept, their loss", "IoU bound", "covers it whole", "covers pixels")
    parts += _table(("prompt", "risk", *kinds), map(_promises, content["promises"]))
    where, what = content["machine"], content["versions"]
    parts.append(
        f"{where['processor']}, {where['cores']} cores; maskwright {what['maskwright']}, torch "
        f"{what['torch']}, transformers {what['transformers']}.\n"
    )
    return "\n".join(parts)


def chart(content: dict[str, Any]) -> Any:  # noqa: ANN401
    """Relative AUC of each protocol as used, with intervals; and the first cascade."""
    figure = new_figure(12, 4.4)
    bars, curve = figure.subplots(1, 2)
    row = content["rows"][0]
    shown = [name for name in PROTOCOLS if name in row["used"]["relative_auc"]]
    for place, ranker in enumerate(("head", *BASELINES)):
        names = [PROTOCOLS[protocol] if ranker == "head" else ranker for protocol in shown]
        found = [(row["used"]["relative_auc"][p], row["used"]["ci95"]["relative_auc"][p]) for p in shown]
        drawn = [
            (k, values[name], ends[name])
            for k, (name, (values, ends)) in enumerate(zip(names, found, strict=True))
            if name in values
        ]
        for k, value, (low, high) in drawn:
            bars.bar(k + 0.27 * (place - 1), value, 0.25, color=f"C{place}", label=ranker if k == 0 else None)
            bars.plot([k + 0.27 * (place - 1)] * 2, [low, high], color="black", linewidth=1)
    bars.axhline(0.5, color="grey", linestyle=":")
    bars.set_xticks(range(len(shown)), [name.replace("_", "\n") for name in shown])
    bars.set_ylabel("relative AUC, 95 %")
    bars.set_title(f"{row['data']}, {row['model']}, {row['prompt']}", fontsize=10)
    bars.legend(fontsize=8)
    for found in content["cascades"][:1]:
        for name, values in found["miou"].items():
            curve.plot(SHARES, values, "--" if name in ("oracle", "random") else "-", label=name)
        curve.set_xlabel("share of images that the larger model answers")
        curve.set_ylabel("mean IoU over images")
        curve.set_title(f"{found['data']}, {found['prompt']}", fontsize=10)
        curve.grid(alpha=0.3)
        curve.legend(fontsize=8)
    return rendered(figure)


def _estimates(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        used = row["used"]
        for name, value in used["pearson"].items():
            ece = used["calibration"]["ece"].get(name)
            cells = (_figure(value, used["ci95"]["pearson"][name]), "" if ece is None else f"{ece:.3f}")
            yield (row["model"], row["prompt"], str(used["n"]), f"`{name}`", *cells)


def _verdicts(content: dict[str, Any]) -> list[str]:
    """A table: each head's figures against each baseline, in every setting."""
    settings = [row for row in content["rows"] if row["used"]["n"] > SMALL]
    titles = (f"{row['data']}, {row['model']}, {row['prompt']}" for row in settings)
    cells: dict[tuple[str, str, str], dict[int, str]] = {}
    for place, row in enumerate(settings):
        for figure, gaps in _gaps(row).items():
            for name, gap in gaps.items():
                head, _, other = name.partition(" - ")
                verdict = "ahead" if gap["low"] > 0 else "behind" if gap["high"] < 0 else "–"
                cells.setdefault((f"`{head}`", figure, f"`{other}`"), {})[place] = verdict
    lines = ((*names, *(found.get(k, "") for k in range(len(settings)))) for names, found in cells.items())
    return _table(("head", "figure", "against", *titles), lines)


def _gaps(row: dict[str, Any]) -> dict[str, Any]:
    """Differences of heads and what is free, by figure."""
    found = row["used"]["differences"]
    return {"Pearson": found.get("pearson", {})} | {
        f"relative AUC, {name.replace('_', ' ')}": values
        for name, values in found.get("relative_auc", {}).items()
    }


def _relative(rows: list[dict[str, Any]], kind: str) -> Iterator[tuple[str, ...]]:
    for row in rows:
        if not (found := row[kind]):
            continue
        tables, ends = found["relative_auc"], found["ci95"]["relative_auc"]
        for name in dict.fromkeys(name for values in tables.values() for name in values):
            cells = (
                _figure(tables[protocol][name], ends[protocol][name])
                if name in tables.get(protocol, {})
                else ""
                for protocol in PROTOCOLS
            )
            yield (row["model"], row["prompt"], f"`{name}`", *cells)


def _differences(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        families = _gaps(row)
        for figure, values in families.items():
            for name, gap in values.items():
                ends = f"[{gap['low']:+.3f}, {gap['high']:+.3f}]"
                yield (row["model"], row["prompt"], figure, f"`{name}`: {gap['value']:+.3f}", ends)


def _ablation(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        for seen, found in row["used"]["ablation"].items():
            values = found["relative_auc"]
            cells = (
                f"{next(iter(values[name].values())):.3f}" if name in values else "" for name in PROTOCOLS
            )
            yield (row["model"], row["prompt"], seen, *cells)


def _cascade(found: dict[str, Any]) -> Iterator[str]:
    yield f"### {found['data']}, {found['prompt']}\n"
    yield CASCADE.format(large=found["seconds_large_alone"])
    places = [SHARES.index(share) for share in (0.0, 0.1, 0.25, 0.5, 1.0)]
    seconds = tuple(f"{SHARES[k]:.0%}: {found['seconds'][k]:.3f} s" for k in places)
    head = ("sent by", *seconds, "relative AUC over images", "share for the larger model's mean IoU")
    rows = (
        (
            f"`{name}`",
            *(f"{values[k]:.3f}" for k in places),
            _figure(area["value"], [area["low"], area["high"]]),
            f"{found['share_to_match_large'][name]:.0%}",
        )
        for name, values in found["miou"].items()
        for area in [found["relative_auc"][name]]
    )
    yield from _table(head, rows)


def _guarantee(row: dict[str, Any]) -> tuple[str, ...]:
    named = (
        row["data"],
        row["model"],
        row["prompt"],
        row["kind"].replace("_", " "),
        f"{row['promised']:.0%}",
    )
    if "refused" in row:
        return (*named, f"none: {row['groups']} groups are too few", "", "")
    low, high = row["held_95"]
    return (*named, f"{row['held']:.1%}", f"{low:.1%} to {high:.1%}", f"{row['kept']:.3f}")


def _promises(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("keep-marginal", "keep-selective", "lower-bound", "cover-object", "cover-pixels")
    return (row["prompt"], f"{row['alpha']:g}", *(_promise(row, name) for name in names))


def _promise(row: dict[str, Any], name: str) -> str:
    if name not in row["guarantees"]:
        return "too few photos"
    found = row["guarantees"][name]
    number, measured = found[_NUMBER[found["kind"]]], row["measured"][name]
    if number is None:
        return "nothing can be kept"
    return f"{number:.3f} → {measured:.3f}" if measured is not None else f"{number:.3f}"


def _figure(value: float | None, ends: Any) -> str:  # noqa: ANN401
    """A figure with its interval; what is not defined is a dash."""
    if value is None:
        return "–"
    low, high = ends
    return f"{value:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


def _table(head: tuple[str, ...], rows: Any) -> list[str]:  # noqa: ANN401
    lines = [head, ("---",) * len(head), *rows]
    return ["\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"]
