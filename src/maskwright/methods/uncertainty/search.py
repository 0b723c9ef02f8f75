"""Looks for the settings of each head with SMAC (Lindauer et al., JMLR 2022), as UncertainSAM's authors did.

Their search space (section 4.1 and released code); but what a head is measured on is held out by images or
videos, and with the settings that are found it then learns from all of the training's rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskwright.debug import debug
from maskwright.errors import ConfigError
from maskwright.io.files import make_folder, read_json, write_json
from maskwright.methods.base import ItemKey
from maskwright.methods.uncertainty.config import HeadPlan, HeadsSettings
from maskwright.methods.uncertainty.data import Rows, Steps
from maskwright.methods.uncertainty.network import HeadNetwork, principal_view
from maskwright.models.uncertainty import HeadsConfig
from maskwright.runtime import choose_device

RATES, MOMENTA = (1e-4, 1e-1), (0.1, 0.9)
EPOCHS, BATCHES = (5, 80), (16, 256)
WEIGHT_DECAY = 0.001
BUDGET = (5, 35)
"""Epochs of the shortest and longest trainings of the multi-fidelity search."""
FIRST = 5
"""Settings drawn at random before the multi-fidelity search learns from what it saw."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What one training of one head needs, and its figure.

    Args:
        learn, judge: rows to learn from, and rows of other images or videos to measure on.
        config: of the one head.
        settings: of the run.
    """

    learn: Rows
    judge: Rows
    config: HeadsConfig
    settings: HeadsSettings

    def error(self, plan: HeadPlan) -> float:
        """Mean squared error on the rows held out, after learning by a plan."""
        device = choose_device(self.settings.device).value
        network = learn_alone(self.learn, self.config, plan, self.settings, device)
        heads = network.finished()
        with torch.no_grad():
            said = np.concatenate(
                [heads(torch.from_numpy(part).to(device)).cpu().numpy() for part in self.judge.chunks()]
            )
        error = float(((said - self.judge.targets) ** 2).mean())
        debug(lambda: f"search: {plan}: {error:.6f}")
        # SMAC takes no figure that is not one; no squared error of numbers in [0, 1] is larger.
        return error if np.isfinite(error) else 1.0


def learn_alone(
    rows: Rows, config: HeadsConfig, plan: HeadPlan, settings: HeadsSettings, device: torch.device
) -> HeadNetwork:
    """Train one head by SGD at a constant rate: as the run does it, without what a run leaves behind.

    Args:
        rows: to learn from, with the one target.
        config: of the one head.
        plan: with its epochs.
        settings: of the run.
        device: where.
    """
    view = None if config.components is None else principal_view(rows, config.components)
    network = HeadNetwork(config, settings.seed, view)
    network.to(device).train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=plan.lr, momentum=plan.momentum, weight_decay=plan.weight_decay
    )
    steps = Steps(rows, [plan])
    for epoch in range(plan.epochs or 1):
        for index in range(len(steps)):
            batch = steps[ItemKey(index, epoch, settings.seed)].to(device)
            optimizer.zero_grad(set_to_none=True)
            batch.losses(network).sum().backward()
            optimizer.step()
    return network


def search(
    rows: Rows, config: HeadsConfig, plans: Sequence[HeadPlan], settings: HeadsSettings, folder: Path
) -> tuple[HeadPlan, ...]:
    """Find a plan for each head; begun before, the search goes on where it was.

    Args:
        rows: the training's; a share of them is held out to measure on.
        config: of the heads.
        plans: of the heads, to be replaced.
        settings: of the run.
        folder: where SMAC keeps what it has found, in a folder for each head.

    Raises:
        ConfigError: SMAC is not installed, the data are too few to hold any out, or several processes train.
        FileError: what an earlier search left behind is damaged.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a search runs in one process: train with it without torchrun.")
    learn, judge = rows.container.split(settings.search_share, settings.seed + 2)
    parts = Rows.of(learn, settings, "the search"), Rows.of(judge, settings, "the search")
    found = []
    for k, plan in enumerate(plans):
        first, second = (replace(part, targets=part.targets[:, k : k + 1]) for part in parts)
        trial = Trial(first, second, replace(config, names=(plan.name,)), settings)
        found.append(find_plan(trial, plan, folder))
    return tuple(found)


def find_plan(trial: Trial, plan: HeadPlan, folder: Path) -> HeadPlan:
    """The plan of one head with the least error among those tried.

    SMAC asks the same questions every time. So a search that was stopped goes on by being repeated, and what
    was answered before is looked up: it finds what it would have found without the stop.
    """
    smac, settings = _import_smac(), trial.settings
    known = Answers(folder / f"{plan.name}-{_signature(trial)}.json")

    def ask(config: Mapping[str, Any], seed: int = 0, budget: float | None = None) -> float:
        return known.ask(trial, _planned(plan, config, budget))

    with warnings.catch_warnings():
        # Of the libraries that SMAC builds on; none is about these data.
        warnings.simplefilter("ignore")
        best = _facade(smac, ask, plan.name, settings, folder).optimize()
    return _planned(plan, best, BUDGET[1])


class Answers:
    """The errors of the plans that were tried, in a file that is replaced after each.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.errors: dict[str, float] = read_json(path) if path.exists() else {}

    def ask(self, trial: Trial, plan: HeadPlan) -> float:
        """The error of a plan; it is tried if it was not before."""
        key = json.dumps(asdict(plan), sort_keys=True)
        if key not in self.errors:
            self.errors[key] = trial.error(plan)
            make_folder(self.path.parent)
            write_json(self.path, self.errors)
        return self.errors[key]


def _facade(
    smac: Any,  # noqa: ANN401
    target: Callable[..., float],
    name: str,
    settings: HeadsSettings,
    folder: Path,
) -> Any:  # noqa: ANN401
    """SMAC's optimiser of either kind."""
    several = settings.multi_fidelity
    scenario = smac.Scenario(
        _space(several),
        name=name,
        output_directory=folder / "smac",
        deterministic=True,
        n_trials=settings.trials,
        seed=settings.seed,
        **({"min_budget": BUDGET[0], "max_budget": BUDGET[1]} if several else {}),
    )
    kind = smac.MultiFidelityFacade if several else smac.HyperparameterOptimizationFacade
    options = {"initial_design": kind.get_initial_design(scenario, n_configs=FIRST)} if several else {}
    return kind(scenario, target, logging_level=False, overwrite=True, **options)


def _planned(plan: HeadPlan, config: Mapping[str, Any], budget: float | None) -> HeadPlan:
    """The plan that SMAC's values mean; the budget is the epochs, where they are not among the values."""
    values = dict(config)
    return replace(
        plan,
        lr=float(values["lr"]),
        momentum=float(values["momentum"]),
        batch_size=int(values["batch_size"]),
        epochs=int(values["epochs"]) if budget is None or "epochs" in values else max(1, round(budget)),
        weight_decay=WEIGHT_DECAY,
    )


def _space(multi_fidelity: bool) -> Any:  # noqa: ANN401
    """The published search space; with several fidelities, epochs are the budget and no part of it."""
    from ConfigSpace import ConfigurationSpace

    space: dict[str, Any] = {"lr": RATES, "batch_size": BATCHES, "momentum": MOMENTA}
    return ConfigurationSpace(space | ({} if multi_fidelity else {"epochs": EPOCHS}), seed=0)


def _signature(trial: Trial) -> str:
    """Differs where an earlier search's answers would not be this one's."""
    names = {
        "data",
        "kind",
        "hidden",
        "models",
        "components",
        "seed",
        "val",
        "val_share",
        "calibration_share",
    }
    fixed = trial.settings.model_dump(mode="json", include=names)
    rows = [len(trial.learn), len(trial.judge), float(trial.learn.targets.astype(np.float64).sum())]
    text = json.dumps([asdict(trial.config), fixed, rows], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _import_smac() -> Any:  # noqa: ANN401
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import smac
    except ImportError as error:
        raise ConfigError(
            'search = "smac" needs a package that is not installed: pip install "maskwright[hpo]".'
        ) from error
    return smac
