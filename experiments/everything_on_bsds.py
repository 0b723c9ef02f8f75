"""Does self-training work? And is one boundary map worth a grid of clicks?

    python experiments/everything_on_bsds.py --data DATA --out runs/everything_on_bsds

DATA holds BSDS500 and DSB2018. A model learns from a fifth of the photos with people's labels, labels the
others, a new one learns from both, and once more; then masks of a grid of clicks are held against segments of
nano-boundary, and that against what is published. Each step is a `maskwright` command whose result stays
below --out, so the same command goes on where it was stopped. At the end docs/results/everything.json, its
page and its picture are written. About half an hour of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from everything_compared import compare
from everything_page import chart, page
from everything_summary import benchmarked, compared, generations

from maskwright.cli.main import main as maskwright
from maskwright.config import read_toml
from maskwright.io.files import read_json, write_bytes, write_json, write_text
from maskwright.methods.provenance import machine, versions
from maskwright.report.html import encode

HERE = Path(__file__).parent
FOLDER = HERE.parent / "docs" / "results"
RECIPE = HERE / "everything.toml"
BSDS500 = "bsds500:{}/BSDS500?split="
NUCLEI = "labels:{}/DSB2018?fold="
GENERATIONS = 2
THRESHOLDS = "0.1,0.3,0.5,0.7,0.9"
CANDIDATES = "0.3,0.4,0.5,0.6,0.7,0.8,0.9"
TRIED = 20
"""So many of the photos with people's labels choose among the candidates the threshold of pseudo-labels."""


@dataclass(frozen=True)
class Chain:
    """A set on which generations of models are trained.

    Args:
        title: of the set.
        human: the photos whose labels by people are learned; {} stands for DATA.
        rest: the photos whose labels are the models'.
        test: the photos on which models are measured.
        start: flags of `maskwright train` for where each model starts.
        resolution: side in pixels at which tokens are measured.
        benchmark: the test photos are those of the BSDS500 benchmark.
    """

    title: str
    human: str
    rest: tuple[str, ...]
    test: str
    start: tuple[str, ...]
    resolution: int
    benchmark: bool


CHAINS = {
    # nano has learned from BSDS500's labels, so here nothing starts from it.
    "bsds500": Chain(
        *("BSDS500", f"{BSDS500}trainval&fold=1/5", (f"{BSDS500}trainval&fold=-1/5",), f"{BSDS500}test"),
        *(("--from-scratch",), 512, True),
    ),
    "nuclei": Chain(
        *("nuclei (DSB2018)", f"{NUCLEI}1/5", tuple(f"{NUCLEI}{k}/5" for k in (2, 3, 4)), f"{NUCLEI}5/5"),
        *(("--encoder-rate", "0.5", "--optimizer.lr", "0.001"), 384, False),
    ),
}


def main() -> None:
    """Run what is not done and write the result and its page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of BSDS500 and DSB2018")
    parser.add_argument("--out", type=Path, required=True, help="folder of all results")
    parser.add_argument("--model", default="nano-boundary", help="boundary model to hold against the grid")
    parser.add_argument("--steps", type=int, nargs=2, default=[400, 150], help="of BSDS500 and of nuclei")
    parser.add_argument("--crop", type=int, default=192, help="side of training windows")
    parser.add_argument("--photos", type=int, default=100, help="test photos of the models by generation")
    parser.add_argument("--tokens", type=int, default=50, help="those of them for tokens")
    parser.add_argument("--compared", type=int, default=12, help="test photos of grid and boundary method")
    parser.add_argument("--limit", type=int, help="for a trial: at most so many photos anywhere else")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder of the page")
    options = parser.parse_args()
    options.out = options.out.absolute()
    torch.set_num_threads(1)
    steps = dict(zip(CHAINS, options.steps, strict=True))
    found = {name: self_train(options, name, steps[name]) for name in CHAINS}
    test = f"{BSDS500}test".format(options.data)
    shipped = benchmark(options, options.model, test, options.out / "shipped", options.limit)
    records = compare(options.model, test, options.compared, options.out / "compared.jsonl")
    settings = read_toml(RECIPE) | {"crop": options.crop, "steps": steps, "resolutions": resolutions()}
    content = {"generations": found, "shipped": benchmarked(shipped), "compared": compared(records)}
    content |= {"settings": settings, "machine": machine(torch.device("cpu")), "versions": versions()}
    content = rounded(content)
    write_json(options.to / "everything.json", content, indent=None)
    write_bytes(options.to / "everything.png", encode(chart(content), "png"))
    write_text(options.to / "everything.md", page(content))


def resolutions() -> dict[str, int]:
    """At which tokens are measured."""
    return {name: chain.resolution for name, chain in CHAINS.items()}


def self_train(options: argparse.Namespace, name: str, steps: int) -> dict[str, Any]:
    """All generations of models of a set, and the one that has all labels by people, measured."""
    chain, folder = CHAINS[name], options.out / name
    human, test = (spec.format(options.data) for spec in (chain.human, chain.test))
    rest = [spec.format(options.data) for spec in chain.rest]
    flags = [*chain.start, "--steps", str(steps), "--crop", str(options.crop)]
    models = {"generation 0": train(folder / "generation0", [human], flags)}
    thresholds = {}
    for number in range(1, GENERATIONS + 1):
        teacher, place = models[f"generation {number - 1}"], folder / f"labels{number}"
        thresholds[f"generation {number}"] = threshold = best_threshold(options, chain, teacher, human, place)
        words = ["label", "boundaries", "--model", str(teacher), "--data", *rest, "--out", str(place)]
        words += ["--threshold", str(threshold), "--source", f"generation {number - 1}"]
        finished([*words, *limited(options.limit)], Path(f"{place}.json"))
        # Those of the newest generation; the labels by people, which are kept too, are not asked for.
        rest = [f"dsa:{place}"]
        data = [human, f"dsa:{place}?label=pseudo"]
        models[f"generation {number}"] = train(folder / f"generation{number}", data, flags)
    everything = [human, *(spec.format(options.data) for spec in chain.rest)]
    models["all labels by people"] = train(folder / "all", everything, flags)
    results = {}
    for title, model in models.items():
        place = model.parents[2]
        results[title] = {"tokens": tokens(options, chain, model, test, place)}
        if chain.benchmark:
            results[title] |= {"boundaries": benchmark(options, str(model), test, place, options.photos)}
    return {"title": chain.title, "thresholds": thresholds} | generations(results)


def train(folder: Path, data: Sequence[str], flags: Sequence[str]) -> Path:
    """The model that learns from these data."""
    words = ["train", str(RECIPE), "--data", *data, "--out", str(folder / "run"), *flags]
    return Path(finished(words, folder / "train.json")["model"])


def best_threshold(options: argparse.Namespace, chain: Chain, model: Path, human: str, place: Path) -> float:
    """Where F1 of the segments is best on photos with labels by people that the model has learned."""
    words = ["evaluate", "tokens", "--model", str(model), "--data", human, "--thresholds", CANDIDATES]
    words += ["--resolution", str(chain.resolution), *limited(options.limit or TRIED)]
    rows = finished(words, Path(f"{place}-threshold.json"))["data"][human]["rows"]
    return float(max(rows, key=lambda row: row["f1"])["threshold"])


def benchmark(
    options: argparse.Namespace, model: str, test: str, place: Path, photos: int | None
) -> dict[str, Any]:
    """The BSDS500 benchmark of a model, and below "records" where its counts are."""
    words = ["evaluate", "boundaries", "--model", model, "--data", test]
    words += ["--out", str(place / "boundaries"), *limited(options.limit or photos)]
    found: dict[str, Any] = finished(words, place / "boundaries.json")
    return found | {"records": place / "boundaries" / "results.jsonl"}


def tokens(options: argparse.Namespace, chain: Chain, model: Path, test: str, place: Path) -> dict[str, Any]:
    """Tokens of a model, and below "records" those of each photo."""
    words = ["evaluate", "tokens", "--model", str(model), "--data", test, "--thresholds", THRESHOLDS]
    words += ["--resolution", str(chain.resolution), "--out", str(place / "tokens")]
    found = finished([*words, *limited(options.limit or options.tokens)], place / "tokens.json")
    return {**found["data"][test], "records": place / "tokens" / "results.jsonl"}


def limited(photos: int | None) -> list[str]:
    """The flag for at most so many photos."""
    return [] if photos is None else ["--limit", str(photos)]


def finished(words: list[str], path: Path) -> Any:  # noqa: ANN401
    """The result of a command, which is given unless it is there.

    In this process: to start a new one each time would take as long as many of them do.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        if code := maskwright([*words, "--device", "cpu", "--quiet", "--json", f"{path}.part"]):
            raise SystemExit(code)
        Path(f"{path}.part").rename(path)
    return read_json(path)


def rounded(value: Any) -> Any:  # noqa: ANN401
    """The same with numbers to four digits (more is noise), and without what is not a number."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return round(value, 4) if value == value else None
    return value


if __name__ == "__main__":
    main()
