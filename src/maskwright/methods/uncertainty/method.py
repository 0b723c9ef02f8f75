"""Training of uncertainty heads (UncertainSAM, ICML 2025, section 3.2) as a `Method`."""

from __future__ import annotations

from pathlib import Path

import torch

from maskwright.io.files import make_folder
from maskwright.methods.base import Losses, Method, ParameterGroup, StepContext
from maskwright.methods.uncertainty.config import HeadPlan, HeadsSettings, make_plans
from maskwright.methods.uncertainty.data import Batch, Rows, Steps, open_parts
from maskwright.methods.uncertainty.measures import calibrate, measure
from maskwright.methods.uncertainty.network import HeadNetwork, principal_view
from maskwright.methods.uncertainty.targets import head_names
from maskwright.models.mask_features import FEATURES
from maskwright.models.uncertainty import ENDING, HeadsConfig, UncertaintyHeads


class HeadsTraining(Method):
    """All heads of a kind learn together, each with its own settings.

    Args:
        settings: the data, and how each head learns.
        folder: where a search keeps what it has found.

    Raises:
        ConfigError: the settings do not fit the data.
        DatasetError: a container cannot be used.
    """

    name = "heads"
    headline = "r2"
    settings: HeadsSettings
    model: HeadNetwork

    def __init__(self, settings: HeadsSettings, folder: Path) -> None:
        self.parts = open_parts(settings)
        rows = self.parts.training
        config = heads_config(rows, settings)
        view = principal_view(rows, config.components) if config.components is not None else None
        self.model = HeadNetwork(config, settings.seed, view)
        self.plans = make_plans(settings, config.names, rows.container.models)
        if settings.search:
            from maskwright.methods.uncertainty.search import search

            self.plans = search(rows, config, self.plans, settings, folder)
        self.steps = Steps(rows, self.plans)
        # To the loop, an item is a step, and the run is as long as its longest head's.
        self.settings = settings.model_copy(update={"batch_size": 1, "epochs": self.steps.epochs})

    def parameter_groups(self) -> list[ParameterGroup]:
        """One for each head."""
        return [self._group(k, plan) for k, plan in enumerate(self.plans)]

    def _group(self, k: int, plan: HeadPlan) -> ParameterGroup:
        named = self.model.heads[k].named_parameters(prefix=f"heads.{k}")
        return ParameterGroup(
            plan.name,
            dict(named),
            lr_scale=plan.lr / self.settings.optimizer.lr,
            weight_decay=plan.weight_decay,
            momentum=plan.momentum,
            until=self.steps.until(plan),
        )

    def training_data(self) -> Steps:
        """The steps."""
        return self.steps

    def training_step(self, batch: Batch, context: StepContext) -> Losses:
        """Mean squared error of each head; the sum, so that no head's gradient hangs on others."""
        losses_K = batch.losses(self.model)
        return {"loss": losses_K.sum(), **dict(zip(self.model.config.names, losses_K, strict=True))}

    def evaluate(self) -> dict[str, float]:
        """Figures of the calibrated heads on held-out images or videos."""
        rows = self.parts.validation
        return {} if rows is None else measure(self.finished(), rows)

    def finished(self) -> UncertaintyHeads:
        """The heads as they are now, calibrated."""
        heads = self.model.finished()
        if self.parts.calibration is not None:
            calibrate(heads, self.parts.calibration, self.settings.calibration)
        return heads

    def export(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write the heads' file."""
        with torch.no_grad():
            return self.finished().cpu().save(make_folder(folder) / f"model{ENDING}")

    def next_steps(self, model: Path) -> tuple[str, ...]:
        """How the heads come into use."""
        name = self.model.config.models[-1][0]
        return (
            f"maskwright segment PHOTO --model {name} --heads {model} --box X0,Y0,X1,Y1 --json OUT",
            f"cp {model} MODEL{ENDING}    (beside MODEL.safetensors: used without --heads)",
        )


def heads_config(rows: Rows, settings: HeadsSettings) -> HeadsConfig:
    """The heads that rows are for: whose names, whose models, and what they read."""
    container = rows.container
    known = dict(zip(container.models, container.digests, strict=True))
    components = settings.components
    return HeadsConfig(
        kind=settings.kind,
        names=head_names(settings.kind, container.models),
        inputs=rows.values if components is None else components + len(FEATURES),
        hidden=settings.hidden,
        models=tuple((name, known[name]) for name in settings.models or container.models),
        components=components,
        larger=(container.models[-1], known[container.models[-1]]) if len(known) > 1 else None,
        tokens=0 if components is None else rows.values - len(FEATURES),
    )
