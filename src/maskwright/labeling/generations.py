"""Training a boundary model on a set of contours, as one step of a chain of generations.

DirectSAM's stages 2 and 3: a model labels photos, one trained on these labels (united with people's) labels
them anew, and so on; each photo's record keeps the labels of all generations.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.config import build_settings
from maskwright.errors import ConfigError
from maskwright.recipes import Recipe, merge_settings, read_recipe

if TYPE_CHECKING:
    from maskwright.training.loop import Outcome

METHOD = "boundary"


def recipe_of(name: str, config: Path | None) -> Recipe:
    """The recipe of every generation.

    Args:
        name: a shipped recipe, or a .toml file.
        config: settings that replace the recipe's.

    Raises:
        ConfigError: there is none, it does not train boundary models, or it says what the chain decides.
    """
    recipe = read_recipe(name, config)
    if recipe.method != METHOD:
        raise ConfigError(f"{recipe.source} trains by method {recipe.method!r}, not boundary models.")
    if "data" in recipe.values:
        raise ConfigError(f"{recipe.source}: each generation trains on the one before; leave out `data`.")
    return recipe


def train_generation(
    recipe: Recipe, labels: Path, model: str, out: Path, *, device: str, seed: int, quiet: bool
) -> Outcome:
    """Train on a set of contours, from a model on; or go on where an earlier call stopped.

    Args:
        recipe: how.
        labels: folder of the set, of which each photo's newest pseudo-label is taken.
        model: where to start.
        out: folder of the run.
        device: as for every command.
        seed: of everything random.
        quiet: show no progress.

    Raises:
        MaskwrightError: as `training.loop.train`.
    """
    from maskwright.methods.registry import build_method, settings_class
    from maskwright.training.loop import train

    given: dict[str, Any] = {"data": [f"dsa:{labels}"], "model": model, "device": device, "seed": seed}
    values = merge_settings(recipe.values, given)
    settings = build_settings(settings_class(METHOD, recipe.source), values, recipe.source)
    return train(build_method(METHOD, settings, out), out, quiet=quiet)
