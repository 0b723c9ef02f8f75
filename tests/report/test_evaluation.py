"""What tables and curves of an evaluation call things, and that they hold what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.methods.scores import Step
from maskwright.report.click_curves import click_curves
from maskwright.report.evaluation_tables import TextTable, short_labels, short_name
from maskwright.types import ByteArray


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["nano", "grabcut"], ["nano", "grabcut"]),
        (["nano", "runs/sum/model.safetensors"], ["nano", "runs/sum/model.safetensors"]),
        (["nano", "runs/sum/m/m.safetensors", "runs/v/m/m.safetensors"], ["nano", "sum", "v"]),
        (["a/x.pth", "a/b/x.pth"], ["x.pth", "b/x.pth"]),
        (["/data/a.pth", "/data/b.pth"], ["a.pth", "b.pth"]),
        (["runs/nano/m.pth", "runs/b/m.pth", "nano"], ["runs/nano/m.pth", "runs/b/m.pth", "nano"]),
        (["a/x.pth", "a/x.pth"], ["a/x.pth", "a/x.pth"]),
    ],
)
def test_paths_are_called_by_what_tells_them_apart(names: list[str], labels: list[str]) -> None:
    called = short_labels(names)
    assert [called[name] for name in names] == labels


def test_datasets_are_called_by_their_folder() -> None:
    assert short_name("bsds500:/far/away/BSDS500?split=val") == "bsds500:BSDS500?split=val"
    assert short_name("salient") == "salient"


def test_markdown_keeps_its_columns() -> None:
    table = TextTable("T", ("a", "b"), ((("x|y", "1"),), (("z", "2"),)), numbers_from=1)
    assert table.markdown() == "**T**\n\n| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n| z | 2 |\n"


def test_curves_show_lines_and_bands() -> None:
    def steps(level: float) -> list[Step]:
        return [Step(n, level, (level - 0.1, level + 0.1), level / 2, (0.0, 1.0)) for n in (1, 2, 3)]

    def drawn(curves: dict[str, list[Step]]) -> ByteArray:
        return click_curves(curves, (1, 3), "title", "box")

    one, two = drawn({"a": steps(0.5)}), drawn({"a": steps(0.5), "b": steps(0.7)})
    assert one.shape == two.shape
    assert one.dtype == np.uint8
    orange_red = (np.abs(two.astype(int) - (213, 94, 0)).sum(axis=2) < 30).sum()
    assert orange_red > 200
    assert (np.abs(one.astype(int) - (213, 94, 0)).sum(axis=2) < 30).sum() == 0
