"""Settings: strict, with suggestions; TOML out equals TOML in; differences by key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.config import Settings, build_settings, difference, fixed_values, merge, read_toml, to_toml
from maskwright.errors import ConfigError
from maskwright.methods.settings import TrainSettings


class Inner(Settings):
    rate: float = 0.1
    name: Literal["a", "b"] = "a"


class Row(Settings):
    data: str
    weight: float = 1.0
    limit: int | None = None


class Outer(Settings):
    count: int = 3
    flag: bool = False
    text: str = ""
    where: Path | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    inner: Inner = Inner()
    rows: tuple[Row, ...] = ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cuont": 1}, r"f\.toml: unknown key 'cuont'\. Did you mean 'count'\?"),
        ({"inner": {"rte": 1.0}}, r"unknown key 'inner\.rte'\. Did you mean 'rate'\?"),
        ({"rows": [{"data": "x", "wieght": 1}]}, r"unknown key 'rows\.0\.wieght'\. Did you mean 'weight'\?"),
        ({"count": "3"}, r"count: Input should be a valid integer \(given: '3'\)"),
        ({"flag": 1}, "flag: Input should be a valid boolean"),
        ({"inner": {"name": "c"}}, r"inner\.name: Input should be 'a' or 'b'"),
        ({"pair": [1.0]}, r"pair\.1: Field required"),
        ({"rows": [{}]}, r"rows\.0\.data: Field required"),
        ({"inner": {"rate": float("nan")}}, "finite number"),
        ({"_target_": "os.system"}, "unknown key '_target_'"),
    ],
)
def test_mistakes_are_named_by_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_settings(Outer, values, "f.toml")


def test_every_mistake_is_listed() -> None:
    with pytest.raises(ConfigError) as error:
        build_settings(Outer, {"cuont": 1, "flag": 1}, "f.toml")
    assert len(str(error.value).splitlines()) == 2


def test_settings_are_frozen_and_dates_are_refused() -> None:
    with pytest.raises(Exception, match="frozen"):
        Outer().count = 4
    with pytest.raises(ConfigError, match="settings are numbers, strings"):
        build_settings(Outer, tomllib.loads("count = 2020-01-01"), "f.toml")


@given(
    st.builds(
        Outer,
        count=st.integers(-(2**53), 2**53),
        flag=st.booleans(),
        text=st.text(st.characters(exclude_categories=["Cs"])),
        where=st.none() | st.just(Path("a/b c")),
        pair=st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2),
        inner=st.builds(Inner, rate=st.floats(-10, 10)),
        rows=st.tuples(st.builds(Row, data=st.text("abc\"'\\\n"), weight=st.floats(0, 9))),
    )
)
def test_toml_out_equals_toml_in(settings: Outer) -> None:
    assert build_settings(Outer, tomllib.loads(to_toml(settings)), "again") == settings


def test_the_printed_settings_of_a_run_can_be_read_back() -> None:
    settings = TrainSettings(steps=5)
    assert build_settings(TrainSettings, tomllib.loads(to_toml(settings)), "again") == settings
    assert "# epochs =" in to_toml(settings)


def test_reading_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such settings file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        read_toml(tmp_path / "bad.toml")
    (tmp_path / "bytes.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        read_toml(tmp_path / "bytes.toml")


def test_merge_goes_into_tables_and_replaces_the_rest() -> None:
    merged = merge({"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": 3}, "b": [2], "c": 4})
    assert merged == {"a": {"x": 1, "y": 3}, "b": [2], "c": 4}


def test_difference_and_free_fields() -> None:
    before, after = TrainSettings(steps=5), TrainSettings(epochs=5, workers=3, log_every=1, device="cpu")
    assert difference(fixed_values(before), fixed_values(after)) == ["epochs: null -> 5", "steps: 5 -> null"]
    assert difference({"a": 1}, {"b": {"c": 2}}) == ["a: 1 -> (absent)", "b.c: (absent) -> 2"]


def test_a_run_has_one_length() -> None:
    for both in ({}, {"steps": 1, "epochs": 1}):
        with pytest.raises(ConfigError, match="either steps or epochs"):
            build_settings(TrainSettings, both, "f.toml")
