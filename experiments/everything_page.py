"""The page and the picture of self-training, and of grid and boundary map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from everything_compared import GRIDS

from maskwright.training.curves import new_figure, rendered

INTRODUCTION = """# Everything without prompts: does self-training work?

A boundary model learned from a fifth of the photos with people's labels ("generation 0"), labelled the other
photos, and a new one learned from both ("generation 1"); its labels taught the next. The upper bound learned
from people's labels of all photos. Then: masks of a grid of clicks against segments cut along one boundary
map, and nano-boundary beside what is published. Written by
`python experiments/everything_on_bsds.py --data DATA --out OUT`.

Brackets are 95 % intervals by bootstrap over photos; a difference whose interval leaves out 0 is called
"better" or "worse", others "not told apart". Each model was trained once, with one seed: intervals speak of
photos, not of the luck of a training.

![ODS by generation, precision over recall, recall over tokens](everything.png)
"""
TRAINING = """All models have nano-small's architecture with a boundary head and were trained by
`experiments/everything.toml` for equally many steps ({bsds500} on BSDS500, {nuclei} on nuclei) of
{batch_size} windows of {crop} px: minutes of one core each, so that what counts is how they differ, and not
how good they are. On BSDS500 they start from random weights, for nano has learned from its labels; on nuclei
from nano-small, which has never seen one, and a fifth of all images has people's labels, three are labelled
by the models, and the last is for testing. A pseudo-label is where a probability is above the threshold at
which F1 of the segments is best on the fifth that was learned; no test photo has a say in it.
"""
TOKENS = """Tokens are measured at {} px, thresholds as given. Recall, tokens: DirectSAM's token recall of the
thresholded map. Effective recall: only lines that enclose something. Precision, border recall, F1,
monosemanticity, segments: the paper's measures of the watershed's segments.
"""
COMPARED = """{} photos of BSDS500 test, spread evenly, on which all methods took turns in one process with
one thread; seconds are processor seconds an image. Precision, recall, F1 and monosemanticity are the paper's,
at 1024 px, against what any annotator drew; of masks that overlap, the published label map gives the borders.
The boundary method is `maskwright everything --method boundary` with its default level, the grid
`--method grid` with 32 × 32 clicks.
"""
CURVES = """The number of segments is a level of a region tree, taken without asking the model again. Grids
have such a tree, too, of their masks' outlines; or else only their best masks are kept. In brackets: the
share of photos that have so many, where it is not all.
"""
SHIPPED = """nano-boundary was trained on train and val; the table has its figures on {} photos of test, by
`maskwright evaluate boundaries`. Those of others are of the published evaluation files that are collected for
precision-recall curves (plot-edge-pr-curves), of all 200.
"""
PUBLISHED = {
    "Canny": (0.611, 0.676, 0.520),
    "gPb-owt-ucm": (0.729, 0.755, 0.745),
    "structured edges": (0.743, 0.764, 0.800),
    "HED": (0.788, 0.808, 0.840),
}
"""ODS, OIS and AP on BSDS500 test."""
LINES = ("ods", "ois", "ap", "covering", "pri", "voi")
ROW = (
    *("recall", "tokens", "effective_recall", "effective_tokens"),
    *("precision", "token_recall", "f1", "monosemanticity", "segments"),
)
_NAMES = {"ods": "ODS", "ois": "OIS", "ap": "AP", "pri": "PRI", "voi": "VOI", "token_recall": "border recall"}
HEADLINES = ("ODS", "best F1 of segments")
_WHOLE = ("tokens", "effective_tokens", "segments")

Content = Mapping[str, Any]


def page(content: Content) -> str:
    """docs/results/everything.md."""
    settings = content["settings"]
    parts = [INTRODUCTION, "## Verdict\n", *answers(content), *verdicts(content)]
    parts += ["## Generations\n", TRAINING.format(**{**settings, **settings["steps"]})]
    for name, chain in content["generations"].items():
        parts += _chain(chain, settings["resolutions"][name])
    parts += ["## Grid of clicks or boundary map\n", *_compared(content["compared"])]
    shipped = content["shipped"]
    parts += ["## nano-boundary on BSDS500\n", SHIPPED.format(shipped["n"])]
    rows = [("nano-boundary", *_benchmark(shipped)[:3])]
    rows += [(name, *map(_number, values)) for name, values in PUBLISHED.items()]
    parts += _table(("", "ODS", "OIS", "AP"), rows)
    regions = ", ".join(f"{_named(name)} {shipped[name]:.3f}" for name in LINES[3:])
    parts.append(f"Of nano-boundary's segments: {regions}.\n")
    where, what = content["machine"], content["versions"]
    parts.append(
        f"{where['processor']}, one of {where['cores']} cores, beside other work; maskwright "
        f"{what['maskwright']}, torch {what['torch']}, transformers {what['transformers']}.\n"
    )
    return "\n".join(parts)


def answers(content: Content) -> list[str]:
    """The questions, answered in figures."""
    lines = []
    for chain in content["generations"].values():
        titles = list(chain["models"])
        first, last, bound = titles[0], titles[-2], titles[-1]
        for row in chain["differences"]:
            if (row["model"], row["minus"]) != (last, first) or row["figure"] not in HEADLINES:
                continue
            start, end, best = (
                _number(_found(chain["models"][name], row["figure"])) for name in (first, last, bound)
            )
            lines.append(
                f"- {chain['title']}, {row['figure']}: {start} with people's labels of a fifth, {end} in "
                f"{last} ({told(row)}), {best} with {bound}."
            )
    methods = content["compared"]["methods"]
    map_seconds = sum(methods["boundary"]["seconds"].values())
    for name in GRIDS:
        times = sum(methods[name]["seconds"].values()) / map_seconds
        lines.append(f"- A grid of {name} takes {times:.0f} times as long as a boundary map with segments.")
    return ["\n".join(lines) + "\n"]


def _found(model: Content, figure: str) -> float | None:
    """A figure of a model, whichever command it is from."""
    values = (part["intervals"].get(figure) for part in model.values())
    found: float | None = next(value["value"] for value in values if value)
    return found


def verdicts(content: Content) -> list[str]:
    """What the differences say, one line each."""
    lines = []
    for chain in content["generations"].values():
        for row in chain["differences"]:
            what = f"{row['model']} against {row['minus']}, {row['figure']}"
            lines.append((chain["title"], what, _gap(row), told(row)))
    for row in content["compared"]["differences"]:
        equal = ", equally many" if row["equal"] else ", as they come"
        what = f"boundary map against a grid of {row['grid']}{equal}, {row['figure']}"
        lines.append(("BSDS500", what, _gap(row), told(row)))
    return _table(("set", "what", "difference", ""), lines)


def told(row: Content) -> str:
    """Whether a difference is one."""
    if row["low"] is None:
        return "not measured"
    return "better" if row["low"] > 0 else "worse" if row["high"] < 0 else "not told apart"


def _chain(chain: Content, resolution: int) -> Iterator[str]:
    models = chain["models"]
    first = next(iter(models.values()))
    thresholds = ", ".join(f"for {name} {value:g}" for name, value in chain["thresholds"].items())
    yield f"### {chain['title']}\n"
    yield f"Thresholds of pseudo-labels: {thresholds}.\n"
    if "boundaries" in first:
        yield f"Boundaries, {first['boundaries']['n']} test photos:\n"
        rows = ((title, *_benchmark(model["boundaries"])) for title, model in models.items())
        yield from _table(("", *map(_named, LINES)), rows)
    yield f"Tokens, {first['tokens']['photos']} test photos:\n"
    names = list(first["tokens"]["intervals"])
    figures = (
        (title, *(_figure(part["value"], part) for part in model["tokens"]["intervals"].values()))
        for title, model in models.items()
    )
    yield from _table(("", *names), figures)
    yield TOKENS.format(resolution)
    yield from _table(
        ("", "threshold", *map(_named, ROW)),
        (
            (title, f"{row['threshold']:g}", *(_cell(name, row[name]) for name in ROW))
            for title, model in models.items()
            for row in model["tokens"]["rows"]
        ),
    )


def _benchmark(found: Content) -> list[str]:
    """The figures of a benchmark, with intervals where there are any."""
    ranges = {name.lower(): value for name, value in found["intervals"].items()}
    return [_figure(found[name], ranges.get(name)) for name in LINES]


def _compared(content: Content) -> Iterator[str]:
    yield COMPARED.format(len(content["photos"]))
    names = ("tokens", "recall", "precision", "f1", "monosemanticity")
    rows = []
    for method, found in content["methods"].items():
        stages = ", ".join(f"{stage} {value:.3f}" for stage, value in found["seconds"].items())
        cells = (_cell(name, found["found"][name]) for name in names)
        rows.append((_title(method), *cells, f"{sum(found['seconds'].values()):.3f}", stages))
    yield from _table(("", *names, "seconds", "by stage"), rows)
    yield "### Recall over the number of tokens\n"
    yield CURVES
    counts = [int(row["tokens"]) for row in content["methods"]["boundary"]["curves"]["tree"]]
    lines = []
    for method, found in content["methods"].items():
        for kind, points in found["curves"].items():
            at = {int(row["tokens"]): row for row in points}
            lines.append((f"{_title(method)}, {_KINDS[kind]}", *(_point(at.get(count)) for count in counts)))
    yield from _table(("", *map(str, counts)), lines)
    yield f"Photos: {', '.join(content['photos'])}.\n"


_KINDS = {"tree": "region tree", "best": "best masks"}


def _title(method: str) -> str:
    return f"grid of {method}" if method in GRIDS else "boundary map"


def chart(content: Content) -> Any:  # noqa: ANN401
    """ODS by generation, precision over recall, recall over segments by generation, and grid or map."""
    figure = new_figure(11, 8.4)
    (ods, lines), (parts, grids) = figure.subplots(2, 2)
    models = content["generations"]["bsds500"]["models"]
    for place, (title, model) in enumerate(models.items()):
        found, shade = model["boundaries"], f"C{place}"
        ends = found["intervals"]["ODS"]
        ods.bar(place, found["ods"], 0.7, color=shade)
        ods.plot([place] * 2, [ends["low"], ends["high"]], color="black", linewidth=1)
        lines.plot(found["curve"]["recall"], found["curve"]["precision"], color=shade, label=title)
        rows = model["tokens"]["rows"]
        parts.plot(
            [r["segments"] for r in rows], [r["token_recall"] for r in rows], ".-", color=shade, label=title
        )
    shipped = content["shipped"]["curve"]
    lines.plot(shipped["recall"], shipped["precision"], "k--", label="nano-boundary")
    ods.set_xticks(range(len(models)), [title.replace(" ", "\n") for title in models])
    ods.set_ylabel("ODS, 95 %")
    lines.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    for method, found in content["compared"]["methods"].items():
        shade = f"C{list(content['compared']['methods']).index(method)}"
        for kind, points in found["curves"].items():
            x, y = ([row[name] for row in points] for name in ("tokens", "recall"))
            label = f"{_title(method)}, {_KINDS[kind]}"
            grids.plot(x, y, "-" if kind == "tree" else ":", color=shade, label=label)
        grids.plot([found["found"]["tokens"]], [found["found"]["recall"]], "o", color=shade)
    grids.set_xlabel("segments or masks; dots: as they come")
    parts.set_xlabel("segments")
    for axes in (parts, grids):
        axes.set_xscale("log")
        axes.set_ylabel("recall of borders")
    for axes in (lines, parts, grids):
        axes.legend(fontsize=8)
    for axes in (ods, lines, parts, grids):
        axes.grid(alpha=0.3)
    titles = ("BSDS500 test, by generation", "precision over recall", "recall over segments", "grid or map")
    for axes, title in zip((ods, lines, parts, grids), titles, strict=True):
        axes.set_title(title, fontsize=10)
    return rendered(figure)


def _named(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def _cell(name: str, value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if name in _WHOLE else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _figure(value: float | None, ends: Content | None) -> str:
    """A figure with its interval, if it has one."""
    if value is None or ends is None or ends["low"] is None:
        return _number(value)
    return f"{value:.3f} [{ends['low']:.3f}, {ends['high']:.3f}]"


def _gap(row: Content) -> str:
    if row["value"] is None or row["low"] is None:
        return "–"
    return f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _point(row: Content | None) -> str:
    if row is None:
        return "–"
    return f"{row['recall']:.3f}" + ("" if row["share"] == 1 else f" ({row['share']:.0%})")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return ["\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"]
