"""The parts of the experiment on everything: what differs is told apart, and the page made of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY

from maskwright.data.registry import parse_spec
from maskwright.io.records import RecordWriter
from maskwright.io.rle import RLE
from maskwright.metrics.boundary_scores import even_thresholds

sys.path.insert(0, str(REPOSITORY / "experiments"))
import everything_compared
import everything_on_bsds
import everything_page
import everything_summary

PHOTOS = 12
LEVELS = (0.1, 0.5, 0.9)
TITLES = ("generation 0", "generation 1", "all labels by people")


def result(folder: Path, quality: float) -> dict[str, Any]:
    """What the two commands give of a model that finds this share of what there is to find."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    thresholds = even_thresholds()
    with (
        RecordWriter(folder / "boundaries.jsonl") as boundaries,
        RecordWriter(folder / "tokens.jsonl") as tokens,
    ):
        for photo in range(PHOTOS):
            true = int(rng.integers(900, 1100))
            recall = quality * (1 - thresholds**2)
            counts = {
                "thresholds": thresholds.tolist(),
                "recalled": (recall * true).astype(int).tolist(),
                "true": [true] * 99,
                "hit": [int(quality * 500)] * 99,
                "predicted": [500] * 99,
            }
            boundaries.append({"photo": f"{photo}", "result": {"boundaries": counts}})
            row = {"segments": [200, 100, 20], "token_recall": [quality, 0.8 * quality, 0.3 * quality]}
            scores = {**row, "f1": [quality, 0.9 * quality, 0.5 * quality]}
            tokens.append({"photo": f"{photo}", "result": scores})
    rows = [{name: 0.5 for name in everything_page.ROW} | {"threshold": at, "seconds": 1.0} for at in LEVELS]
    figures = {name: quality for name in everything_page.LINES}
    curve = {"recall": [0.5, 1.0], "precision": [0.9, 0.4], "f": [0.6, 0.6]}
    return {
        "boundaries": {**figures, "n": PHOTOS, "ods_at": {}, "curve": curve}
        | {"records": folder / "boundaries.jsonl"},
        "tokens": {"photos": PHOTOS, "rows": rows, "records": folder / "tokens.jsonl"},
    }


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        # Intervals are as they are however often is drawn here.
        for name in ("bootstrap_statistic", "bootstrap_difference"):
            function = getattr(everything_summary, name)
            patch.setattr(everything_summary, name, lambda *a, f=function: f(*a, resamples=20))
        results = {title: result(folder / title, 0.5 + 0.1 * k) for k, title in enumerate(TITLES)}
        return everything_summary.generations(results)


def photo(recall: float) -> dict[str, Any]:
    """A record of `compare`."""

    def scores(tokens: float, value: float) -> dict[str, float]:
        names = ("precision", "recall", "f1", "monosemanticity")
        return {"tokens": tokens, **dict.fromkeys(names, value)}

    tree = [scores(4, 0.2), scores(8, recall)]
    boundary = {
        "seconds": {"boundary map": 0.1, "region tree": 0.05},
        "found": scores(9, recall),
        "tree": tree,
    }
    grids = {
        name: {"seconds": {"grid": 2.0}, "found": scores(7, 0.4), "tree": tree, "best": tree[:1]}
        for name in everything_compared.GRIDS
    }
    boundary |= {f"as {name}": scores(7, recall - 0.1) for name in grids}
    return {"image": f"{recall}", "methods": {"boundary": boundary, **grids}}


def test_generations_are_told_apart(chain: dict[str, Any]) -> None:
    rows = {(row["model"], row["minus"], row["figure"]): row for row in chain["differences"]}
    gained = rows["generation 1", "generation 0", "best F1 of segments"]
    assert gained["value"] == pytest.approx(0.1)
    assert everything_page.told(gained) == "better"
    assert everything_page.told(rows["generation 1", "generation 0", "ODS"]) == "better"
    # 64 segments lie between 20 and 100, on a logarithmic axis.
    at = np.interp(np.log(64), np.log([20, 100]), [0.3, 0.8])
    gap = rows["all labels by people", "generation 0", "recall at 64 segments"]["value"]
    assert gap == pytest.approx(0.2 * at)
    found = chain["models"]["generation 0"]["boundaries"]["intervals"]["ODS"]
    assert found["low"] <= found["value"] <= found["high"]


def test_recall_beyond_the_thresholds_is_not_made_up() -> None:
    assert np.isnan(everything_summary.recall_at(np.array([[[500.0, 100.0], [0.9, 0.5], [0.1, 0.1]]])))


def test_page(chain: dict[str, Any]) -> None:
    compared = everything_summary.compared([photo(0.6), photo(0.8)])
    assert compared["methods"]["boundary"]["found"]["recall"] == pytest.approx(0.7)
    shipped = dict.fromkeys(everything_page.LINES, 0.75) | {"n": 200}
    generations = {"title": "BSDS500", "thresholds": {"generation 1": 0.6}} | chain
    content = {
        "generations": {"bsds500": generations},
        "compared": compared,
        "shipped": shipped | {"intervals": {}, "curve": {"recall": [0.2, 0.9], "precision": [0.9, 0.3]}},
        "settings": {"steps": {"bsds500": 400, "nuclei": 150}, "batch_size": 8, "crop": 192}
        | {"resolutions": {"bsds500": 512}},
        "machine": {"processor": "P", "cores": 2},
        "versions": dict.fromkeys(("maskwright", "torch", "transformers"), "1"),
    }
    content = everything_on_bsds.rounded(content)
    assert everything_page.chart(content).ndim == 3
    text = everything_page.page(content)
    assert "| nano-boundary | 0.750 | 0.750 | 0.750 |" in text
    assert "| HED | 0.788 | 0.808 | 0.840 |" in text
    assert "boundary map against a grid of nano, as they come, recall | +0.300" in text
    assert "| grid of nano, best masks | 0.200 | – |" in text
    assert (
        "F1 of segments: 0.500 with people's labels of a fifth, 0.600 in generation 1 (better), 0.700" in text
    )
    assert "- A grid of nano takes 13 times as long" in text
    assert "400 on BSDS500, 150 on nuclei" in text
    assert "{" not in text


def test_numbers_are_rounded_and_nan_is_none() -> None:
    assert everything_on_bsds.rounded({"a": [1.23456, float("nan"), 3]}) == {"a": [1.2346, None, 3]}


def test_data_are_known_kinds() -> None:
    for chain in everything_on_bsds.CHAINS.values():
        for spec in (chain.human, *chain.rest, chain.test):
            parse_spec(spec.format("DATA"))


def test_scores_of_a_partition_that_is_the_truth() -> None:
    labels = np.ones((64, 64), np.int32)
    labels[:, 32:] = 2
    truth = np.zeros((1024, 1024), np.bool_)
    truth[:, 511:514] = True
    found = everything_compared.scored(truth, labels, 2)
    assert found["recall"] == pytest.approx(1, abs=1e-4)
    assert found["tokens"] == 2


def test_masks_that_overlap_have_borders() -> None:
    left, all_of_it = np.zeros((4, 6), np.bool_), np.ones((4, 6), np.bool_)
    left[:, :2] = True
    labels = everything_compared.label_map([RLE.encode(left), RLE.encode(all_of_it)], (4, 6))
    assert (labels == np.where(left, 3, 2)).all()
