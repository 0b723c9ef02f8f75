"""Settings files that ship with Maskwright, and how a recipe becomes settings.

A recipe is a TOML file with `method = "…"` and that method's settings; its first comment says what it is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.config import merge, read_toml
from maskwright.errors import ConfigError, suggestion

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """A recipe as read: its name, its method, and the settings it gives."""

    name: str
    method: str
    values: dict[str, Any]
    source: str


def recipe_names() -> dict[str, str]:
    """The recipes that ship, with the first line of each."""
    return {path.stem: _summary(path) for path in sorted(FOLDER.glob("*.toml"))}


def read_recipe(name: str, over: Path | None = None) -> Recipe:
    """Read a recipe by name or path, and a settings file laid over it.

    Args:
        name: a shipped recipe, or a path that ends in .toml.
        over: a further settings file; it need not name the method.

    Raises:
        ConfigError: there is no such recipe or file, or it names no method, or the two name different ones.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if path.parent == FOLDER and not path.exists():
        known = recipe_names()
        raise ConfigError(
            f"there is no recipe {name!r}; known are {', '.join(known)}, or give the path of a .toml file."
            + suggestion(name, known)
        )
    values = read_toml(path)
    method = values.pop("method", None)
    if not isinstance(method, str):
        raise ConfigError(f'{path}: a recipe names its method, such as method = "finetune".')
    source = str(path)
    if over is not None:
        changes = read_toml(over)
        if changes.pop("method", method) != method:
            raise ConfigError(f"{over}: it is for another method than recipe {name!r} ({method}).")
        values, source = merge_settings(values, changes), f"{path} with {over}"
    return Recipe(path.stem, method, values, source)


def merge_settings(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay settings over others; a length in steps takes the place of one in epochs, and vice versa."""
    base = dict(base)
    for given, other in (("steps", "epochs"), ("epochs", "steps")):
        if given in over and other not in over:
            base.pop(other, None)
    return merge(base, over)


def _summary(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()
