"""The folder of a run: its record, its checkpoints, and the rule that it belongs to one set of settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from maskwright.config import Settings, difference, fixed_values, to_toml
from maskwright.errors import ConfigError, TrainingError
from maskwright.io.files import remove_stale_parts, write_text


@dataclass(frozen=True)
class RunFolder:
    """Names of everything a run writes."""

    path: Path

    @property
    def last(self) -> Path:
        """The newest complete state, from which the run goes on."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights with the best validation figure so far."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def failed(self) -> Path:
        """The state just before a step that was not finite."""
        return self.path / "checkpoints" / "failed.safetensors"

    @property
    def model(self) -> Path:
        """Folder of the exported model."""
        return self.path / "model"

    @property
    def epochs(self) -> Path:
        """Folder of the models of single epochs."""
        return self.path / "epochs"

    @property
    def epoch_stats(self) -> Path:
        """The machine's use in each epoch."""
        return self.path / "epoch_stats.csv"

    def lock(self) -> FileLock:
        """Take the folder for this process; release the lock at the end.

        Raises:
            TrainingError: another process is training in it, or it cannot be written.
        """
        try:
            self.last.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout as error:
            raise TrainingError(
                f"{self.path}: another process is training in this folder; wait, or choose --out."
            ) from error
        except OSError as error:
            raise TrainingError(
                f"{self.path}: cannot be written ({error.strerror}); choose another --out."
            ) from error
        # With the lock held nobody else is writing here: what is left half written is from a killed run.
        for folder in (self.path, self.last.parent):
            remove_stale_parts(folder, older_than_s=0)
        return lock

    def claim(self, record: dict[str, Any], settings: Settings, *, write: bool) -> None:
        """Check that the folder belongs to this very run, and write its record if it is new.

        Raises:
            ConfigError: the folder holds a run with other settings; the message lists the differences.
        """
        path = self.path / "run.json"
        if path.exists():
            changes = difference(json.loads(path.read_text(encoding="utf-8")), record)
            if changes:
                listed = "\n  ".join(changes)
                raise ConfigError(
                    f"{self.path} holds a run with other settings, which these cannot continue:\n  {listed}\n"
                    "Use the same settings to go on, or choose another --out folder for a new run."
                )
        elif write:
            write_text(path, json.dumps(record, indent=2) + "\n")
        if write:
            write_text(self.path / "settings.toml", to_toml(settings))


def make_record(
    settings: Settings, method: str, frozen: list[nn.Parameter], items: int, **machine: object
) -> dict[str, Any]:
    """Everything that decides the result of a run, as plain values.

    Args:
        settings: free fields are left out.
        method: its name.
        frozen: weights that do not learn and so are in no checkpoint; their hash stands for them.
        items: length of the training data.
        machine: number of processes, device, precision.
    """
    return {
        "method": method,
        "settings": fixed_values(settings),
        "frozen_weights": fingerprint(frozen),
        "items": items,
        **machine,
    }


def fingerprint(parameters: list[nn.Parameter]) -> str:
    """SHA-256 of weights, shortened to 16 digits."""
    digest = hashlib.sha256()
    for parameter in parameters:
        value = parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(str(tuple(parameter.shape)).encode())
        digest.update(value.numpy().data)
    return digest.hexdigest()[:16]
