"""Strict settings: defaults, then a TOML file, then flags; an unknown key is an error with a suggestion.

Settings are frozen pydantic models. Nothing in a settings file names a class or a module: methods,
optimisers and schedules are chosen by a word from a fixed list.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from maskwright.errors import ConfigError, suggestion


class Settings(BaseModel):
    """Base of every settings class: frozen, every key known, every default checked.

    A field's docstring is its help text; `json_schema_extra={"free": True}` marks a field that may
    change between a run and its resumption because it does not change the result.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401
        """Help texts are wrapped where they are shown, not where the source was."""
        for field in cls.model_fields.values():
            field.description = " ".join((field.description or "").split()) or None


S = TypeVar("S", bound=Settings)


def build_settings(kind: type[S], values: dict[str, Any], source: str) -> S:
    """Make settings from plain values (as TOML gives them), strictly: no text becomes a number.

    Raises:
        ConfigError: one line a mistake, each with its key; an unknown key with the closest known one.
    """
    try:
        # Strict JSON mode takes lists for tuples and strings for paths, but no "3" for 3.
        return kind.model_validate_json(json.dumps(values), strict=True)
    except TypeError as error:
        raise ConfigError(f"{source}: {error}; settings are numbers, strings, lists and tables.") from error
    except ValidationError as error:
        lines = [_explain(kind, detail) for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(f"{source}: {line}" for line in lines)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a settings file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such settings file.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error}).") from error


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one table over another; tables are merged key by key, anything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merge(result[key], value) if both_tables else value
    return result


def to_toml(settings: Settings) -> str:
    """The whole set of settings as TOML; it gives equal settings when read. Unset keys are comments."""
    return _table(settings.model_dump(mode="json"), prefix="").lstrip("\n")


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested tables into one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One line for each key that differs between two sets of plain values: "key: old -> new"."""
    old, new = flatten(before), flatten(after)
    return [
        f"{key}: {_show(old, key)} -> {_show(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if _show(old, key) != _show(new, key)
    ]


def fixed_values(settings: Settings) -> dict[str, Any]:
    """The plain values that determine a run's result: everything but fields marked free."""
    values: dict[str, Any] = {}
    dumped = settings.model_dump(mode="json")
    for name, info in type(settings).model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("free"):
            continue
        value = getattr(settings, name)
        values[name] = fixed_values(value) if isinstance(value, Settings) else dumped[name]
    return values


def _show(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], sort_keys=True) if key in values else "(absent)"


def _explain(kind: type[Settings], detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"]) or "settings"
    if detail["type"] == "extra_forbidden":
        known = _fields_at(kind, detail["loc"][:-1])
        return (
            f"unknown key {key!r}.{suggestion(str(detail['loc'][-1]), known)} Known keys: {', '.join(known)}."
        )
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: {message} (given: {detail['input']!r})."


def _fields_at(kind: type[Settings], location: tuple[int | str, ...]) -> list[str]:
    current: type[Settings] = kind
    for part in location:
        if isinstance(part, str) and part in current.model_fields:
            current = _settings_in(current.model_fields[part].annotation) or current
    return list(current.model_fields)


def _settings_in(annotation: Any) -> type[Settings] | None:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    if get_origin(annotation) in (Union, UnionType, tuple, Annotated):
        return next((found for part in get_args(annotation) if (found := _settings_in(part))), None)
    return None


def _table(values: dict[str, Any], prefix: str) -> str:
    scalars = [(key, value) for key, value in values.items() if not isinstance(value, dict)]
    lines = [f"# {key} =" if value is None else f"{key} = {_literal(value)}" for key, value in scalars]
    text = "\n".join(lines) + ("\n" if lines else "")
    for key, value in values.items():
        if isinstance(value, dict):
            text += f"\n[{prefix}{key}]\n{_table(value, f'{prefix}{key}.')}"
    return text


def _literal(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_literal(item)}" for key, item in value.items() if item is not None)
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    # JSON's numbers, booleans and quoted strings are also TOML's.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
