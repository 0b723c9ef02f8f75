"""`maskwright train`: train a model by a recipe."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import ValidationError

from maskwright.cli.common import Common, Session, run
from maskwright.config import Settings, build_settings, to_toml
from maskwright.errors import ConfigError, MaskwrightError
from maskwright.recipes import Recipe, merge_settings, read_recipe, recipe_names

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from maskwright.methods.base import Method
    from maskwright.methods.settings import TrainSettings
    from maskwright.training.loop import Outcome

PROG = "maskwright train"
USAGE = f"""usage: {PROG} RECIPE [--config FILE] [--out FOLDER] [flags]

Train a model. The same command again goes on where it stopped. To train in several processes:
torchrun --nproc-per-node N $(command -v maskwright) train RECIPE [flags]

recipes (or the path of a .toml file):
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the command runs; everything else is a setting of the recipe."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder of the run; the same folder again goes on. Default: runs/RECIPE."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """TOML file with settings that replace the recipe's."""
    print_config: bool = False
    """Print all settings as TOML and stop."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the result, machine-readable, to this file."""
    quiet: bool = False
    """Print errors only."""
    debug: bool = False
    """Say what is read, computed and written (batches, shapes, checkpoints, files) in [DEBUG] lines."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code.

    As every command's; and 143 or 130 when SIGTERM or Ctrl-C stopped the run, which was saved before.
    """
    session = Session(Common())
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, recipe_names()))
        listing = "".join(f"  {name:<{width}} {summary}\n" for name, summary in recipe_names().items())
        sys.stdout.write(f"{USAGE}{listing}\n`{PROG} RECIPE --help` lists all its settings.\n")
        return 0 if argv else 2
    try:
        recipe = read_recipe(argv[0], _config_file(argv[1:]))
        options, settings = parse(recipe, argv[1:])
    except MaskwrightError as error:
        session.error(str(error))
        return 2
    if options.print_config:
        # Not through the console, which would read [tables] as markup.
        sys.stdout.write(f'method = "{recipe.method}"\n{to_toml(settings)}')
        return 0
    return _train(recipe, options, settings)


def parse(recipe: Recipe, argv: list[str]) -> tuple[Options, TrainSettings]:
    """Lay the flags over the recipe's settings.

    Raises:
        ConfigError: settings are unknown, of a wrong type, or contradict each other.
        SystemExit: flags are unknown (2), or help was asked for (0).
    """
    from maskwright.methods.registry import settings_class

    kind = settings_class(recipe.method, recipe.source)
    _refuse_replaced(kind, argv)
    # A length given by flag replaces the recipe's, whichever of the two it was in.
    lengths = {name: 1 for name in ("steps", "epochs") if _given(f"--{name}", argv)}
    base = merge_settings(recipe.values, lengths)
    both = make_dataclass(
        "Train",
        [
            ("options", Annotated[Options, tyro.conf.arg(name="")], field(default=Options())),
            ("settings", Annotated[kind, tyro.conf.arg(name="")]),
        ],
        kw_only=True,
    )
    try:
        parsed: Any = tyro.cli(
            both,
            args=argv,
            prog=f"{PROG} {recipe.name}",
            description=kind.__doc__,
            default=both(options=Options(), settings=_partial(kind, base, recipe.source)),
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except ValidationError as error:
        raise ConfigError("; ".join(map(_told, error.errors()))) from error
    values = parsed.settings.model_dump(mode="json")
    # Once more through the strict door, for one wording of all mistakes.
    return parsed.options, build_settings(kind, values, f"{PROG} {recipe.name}")


def _partial(kind: type[TrainSettings], values: dict[str, Any], source: str) -> Any:  # noqa: ANN401
    """The recipe's settings as an instance in which required settings that it leaves to flags are missing."""
    required = {name for name, info in kind.model_fields.items() if info.is_required() and name not in values}
    if not required:
        return build_settings(kind, values, source)
    loose = _without_requirements(kind, required)
    made = build_settings(loose, values, source)
    fields = {name: getattr(made, name) for name in kind.model_fields}
    return kind.model_construct(**{**fields, **dict.fromkeys(required, tyro.MISSING)})


def _without_requirements(kind: type[Settings], names: set[str]) -> type[Settings]:
    annotations = {name: Any for name in names}
    body = {"__annotations__": annotations, "__module__": kind.__module__, **dict.fromkeys(names)}
    return type(kind.__name__, (kind,), body)


def _config_file(argv: list[str]) -> Path | None:
    """The value of --config, needed before the flags can be listed."""
    for place, word in enumerate(argv):
        if word == "--config" and place + 1 < len(argv):
            return Path(argv[place + 1])
        if word.startswith("--config="):
            return Path(word.removeprefix("--config="))
    return None


def _given(flag: str, argv: list[str]) -> bool:
    return any(word == flag or word.startswith(f"{flag}=") for word in argv)


def _told(detail: ErrorDetails) -> str:
    """What is wrong, after the name of the setting where it is one alone."""
    where = ".".join(map(str, detail["loc"]))
    return f"{where}: " * bool(where) + detail["msg"].removeprefix("Value error, ")


def _refuse_replaced(kind: type[TrainSettings], argv: list[str]) -> None:
    """Refuse lists that are given twice, of which the parser would take the last alone."""
    for name, info in kind.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if info.annotation == tuple[str, ...] and sum(_given(flag, [word]) for word in argv) > 1:
            raise ConfigError(f"{flag} is given twice: name all after one, as in {flag} FIRST SECOND.")


def _train(recipe: Recipe, options: Options, settings: TrainSettings) -> int:
    from maskwright.training.signals import EXIT_CODES

    # Under a launcher, the first process speaks for all.
    first = os.environ.get("RANK", "0") == "0"
    common = Common(
        json=options.json if first else None,
        quiet=options.quiet or not first,
        debug=options.debug,
        device=settings.device,
        seed=settings.seed,
    )
    out = options.out or Path("runs") / recipe.name
    outcomes: list[Outcome] = []

    def work(_: Common, session: Session) -> None:
        from maskwright.methods.registry import build_method
        from maskwright.training.loop import train

        method = build_method(recipe.method, settings, out)
        for message in method.warnings():
            session.warn(message)
        outcome = train(method, out, quiet=common.quiet)
        outcomes.append(outcome)
        _report(outcome, method, out, session)

    code = run(common, work)
    stopped = outcomes[0].stopped if outcomes else None
    return code if stopped is None else EXIT_CODES[stopped]


def _report(outcome: Outcome, method: Method, out: Path, session: Session) -> None:
    session.result.update(asdict(outcome))
    session.result["stopped"] = outcome.stopped and outcome.stopped.name
    session.result["out"] = out
    if outcome.model is None:
        if outcome.stopped is not None:
            session.print(
                f"stopped at step {outcome.step} of {outcome.steps} and saved; the same command goes on."
            )
        return
    for name, value in outcome.metrics.items():
        before = f" (before: {outcome.before[name]:.4f})" if name in outcome.before else ""
        session.print(f"{name}: {value:.4f}{before}")
    if outcome.best_step == 0:
        session.print(
            "No step did better on the validation data than the starting model, which was exported."
        )
    session.print(f"curves: {out / 'curves.png'}")
    session.print(f"model:  {outcome.model}")
    for number, command in enumerate(method.next_steps(outcome.model)):
        session.print(f"{'' if number else 'next:':<8}{command}")
