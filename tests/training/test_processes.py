"""Two CPU processes under torchrun: the same training as one, stops together, refuses another world size."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training.toy import Toy, ToySettings

from maskwright.errors import ConfigError
from maskwright.methods.base import Losses, ParameterGroup, StepContext
from maskwright.training.checkpoint import read_state
from maskwright.training.folder import RunFolder
from maskwright.training.loop import train

SCRIPT = """
import atexit, os, sys, torch
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from torch import nn
from training.test_processes import smooth
from maskwright.errors import MaskwrightError
from maskwright.training.loop import train

out = Path(sys.argv[2])
# What is registered first is called last.
atexit.register(
    lambda: (out / f"connected{os.environ['RANK']}").write_text(str(torch.distributed.is_initialized()))
)
train(smooth(batch_size=1, accumulate=2, save_models=1, keep_models=2), out / "two", quiet=True)
# In one process after the other run: stopped in the middle, gone on with.
train(smooth(batch_size=1, accumulate=2, stop_at=3), out / "resumed", quiet=True)
train(smooth(batch_size=1, accumulate=2), out / "resumed", quiet=True)
try:
    train(smooth(batch_size=1, accumulate=2, nan_step=4, nan_process=1), out / "nan", quiet=True)
except MaskwrightError as error:
    (out / f"error{os.environ['RANK']}").write_text(str(error))
"""


class Smooth(Toy):
    """The toy without batch norm, dropout and noise, whose gradients are means over items."""

    def __init__(self, settings: ToySettings, stop_at: int | None) -> None:
        super().__init__(settings)
        self.stop_at = stop_at
        for layer in (1, 2):
            self.model[layer] = torch.nn.Identity()

    def parameter_groups(self) -> list[ParameterGroup]:
        named = {name: p for name, p in self.model.named_parameters() if not name.startswith("5.")}
        return [ParameterGroup("all", named)]

    def training_step(self, batch: dict[str, Tensor], context: StepContext) -> Losses:
        if context.step == self.stop_at and int(os.environ.get("RANK", "0")) == 1:
            signal.raise_signal(signal.SIGTERM)
            self.stop_at = None
        x = batch["x"]
        loss = (self.model(x)[:, 0] - x[:, 0]).square().mean()
        bad = context.step == self.settings.nan_step and int(os.environ.get("RANK", "0")) == 1
        return {"loss": loss * float("nan") if bad else loss}


def smooth(stop_at: int | None = None, **changes: int) -> Smooth:
    settings = {"steps": 6, "evaluate_every": 3, "nan_step": None, "device": "cpu", **changes}
    return Smooth(ToySettings.model_validate(settings), stop_at)


def test_two_processes(tmp_path: Path) -> None:
    tests = Path(__file__).parent.parent
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(tests.parent / "src"), "OMP_NUM_THREADS": "1"}
    command = [*run, str(script), str(tests), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]

    train(smooth(batch_size=4), tmp_path / "one", quiet=True)
    states = {name: read_state(RunFolder(tmp_path / name).last) for name in ("one", "two", "resumed")}
    for name, value in states["one"].part("model").items():
        assert torch.allclose(value, states["two"].part("model")[name], atol=1e-6), name
    for part in ("model", "optimizer"):
        for name, value in states["two"].part(part).items():
            assert torch.equal(value, states["resumed"].part(part)[name]), name
    assert len(states["two"].values["random"]) == 2
    assert states["two"].values["random"] == states["resumed"].values["random"]

    assert sorted(path.name for path in (tmp_path / "two/epochs").iterdir()) == ["0002", "0003"]
    lines = (tmp_path / "two/epoch_stats.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["epoch", "1", "2", "3"]

    for rank in (0, 1):
        assert "step 4: not finite" in (tmp_path / f"error{rank}").read_text()
        assert (tmp_path / f"connected{rank}").read_text() == "False"
    assert read_state(RunFolder(tmp_path / "nan").failed).step == 4
    record = json.loads((tmp_path / "two/run.json").read_text())
    assert record["processes"] == 2
    with pytest.raises(ConfigError, match="processes: 2 -> 1"):
        train(smooth(batch_size=1, accumulate=2), tmp_path / "two", quiet=True)
