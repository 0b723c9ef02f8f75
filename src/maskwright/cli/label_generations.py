"""`maskwright label generations`: label, train on the labels, label with the new model, and again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from maskwright.cli.common import Session, parse, run
from maskwright.cli.label import check_run, summary
from maskwright.cli.label_boundaries import Job, Labelling, given_specs, label_set
from maskwright.errors import ConfigError

PROG = "maskwright label generations"


@dataclass(frozen=True, kw_only=True)
class Generations(Labelling):
    """Improve a boundary model by its own labels: give datasets, or folders of photos.

    The model labels all photos (DIR/labels0). One that starts from it is trained on these labels, united with
    people's where there are any (DIR/train1), and labels the photos once more (DIR/labels1); and so on. Each
    photo keeps the labels of all generations, and each generation learns from the newest.

    Every step can be interrupted: the same command goes on there, and with more --generations it adds some.
    """

    generations: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """How many models to train, one after the other."""
    recipe: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = "boundary"
    """How each is trained; boundary-merged is as published."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """TOML file with settings that replace the recipe's, such as steps, batch_size or val."""


def main(argv: list[str]) -> int:
    """Run `maskwright label generations` and return its exit code."""
    return run(parse(Generations, argv, prog=PROG), generations)


def generations(options: Generations, session: Session) -> None:
    """Do what is not finished of the chain."""
    from maskwright.labeling.generations import recipe_of, train_generation

    check_run(options.where, overwrite=False, retry_failed=False)
    if options.generations < 1:
        raise ConfigError("--generations must be at least 1.")
    specs, recipe = given_specs(options), recipe_of(options.recipe, options.config)
    steps: list[dict[str, Any]] = []
    labels = options.out / "labels0"
    label_set(options, Job(specs, options.model, labels), session)
    # Which photos are taken is decided once.
    rest, model = replace(options, every=1, limit=None), options.model
    for number in range(1, options.generations + 1):
        session.print(f"generation {number}: training on {labels}")
        trained = train_generation(
            recipe,
            labels,
            model,
            options.out / f"train{number}",
            device=options.device,
            seed=options.seed,
            quiet=options.quiet,
        )
        if trained.model is None:
            raise KeyboardInterrupt  # it was stopped by a signal, and has saved
        model, before = str(trained.model), labels
        labels = options.out / f"labels{number}"
        label_set(rest, Job((f"dsa:{before}",), model, labels, f"gen{number}"), session)
        steps.append({"model": model, "labels": labels, "metrics": trained.metrics, "before": trained.before})
        for name, value in trained.metrics.items():
            session.print(f"generation {number}: {name} {value:.4f} (before: {trained.before[name]:.4f})")
    session.result["generations"] = steps
    session.print(summary(session.result))
