"""What can be promised of a model's masks, as a file that is kept and applied to new masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from maskwright.data.tasks import Task
from maskwright.errors import ConfigError, FileError
from maskwright.io.files import read_json, shown, write_json
from maskwright.methods.prompting import PromptSpec
from maskwright.methods.scores import PromptKind
from maskwright.methods.uncertainty.guarantees import (
    CoverMargin,
    KeepThreshold,
    LowerBound,
    Risk,
    guarantee_from_json,
)
from maskwright.models.segmenter import Segmenter
from maskwright.types import HQMode

FORMAT, VERSION = "maskwright-guarantee", 1
Promise = KeepThreshold | LowerBound | CoverMargin
Name = Literal["keep-marginal", "keep-selective", "lower-bound", "cover-object", "cover-pixels"]


@dataclass(frozen=True)
class Asked:
    """How masks are asked for: what a promise depends on, besides the model.

    Args:
        prompt: a box or one click; None for anything else, of which nothing can be promised.
        multimask, hq, task: as in `Segmenter.decode`; of several masks the model's own choice counts.
    """

    prompt: PromptKind | None
    multimask: bool = False
    hq: HQMode = "sum"
    task: Task | None = None


@dataclass(frozen=True)
class Promises:
    """All that could be promised of a model's masks, and for what it holds.

    Args:
        model: the model's signature.
        digest: of its weights.
        heads: digest of its uncertainty heads.
        asked: how its masks were asked for.
        applied: which risk decides what is kept.
        made: the promises.
        refused: those that could not be made, and why.
        protocol: on what they were made, for the record.
        checked: what was measured of each on other data, if that was asked for.
    """

    model: str
    digest: str
    heads: str
    asked: Asked
    applied: Risk
    made: Mapping[Name, Promise]
    refused: Mapping[Name, str]
    protocol: Mapping[str, Any]
    checked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keep(self) -> KeepThreshold | None:
        """What decides which masks are kept."""
        found = self.made.get("keep-selective" if self.applied == "selective" else "keep-marginal")
        assert found is None or isinstance(found, KeepThreshold)
        return found

    @property
    def bound(self) -> LowerBound | None:
        """What the IoU is at least."""
        found = self.made.get("lower-bound")
        assert found is None or isinstance(found, LowerBound)
        return found

    @property
    def cover(self) -> CoverMargin | None:
        """The margin with which masks cover their objects."""
        found = self.made.get("cover-object")
        assert found is None or isinstance(found, CoverMargin)
        return found

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "digest": self.digest,
            "heads": self.heads,
            "asked": vars(self.asked),
            "applied": self.applied,
            "guarantees": {name: promise.to_json() for name, promise in self.made.items()},
            "refused": dict(self.refused),
            "protocol": dict(self.protocol),
            "checked": dict(self.checked),
        }

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            FileError: when it cannot be written.
        """
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Promises:
        """Read a file.

        Raises:
            FileError: it cannot be read, or is none of ours.
            ConfigError: a promise in it is damaged.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise FileError(
                f"{shown(path)} holds no guarantee: make one with `maskwright uncertainty calibrate`."
            )
        if content.get("version") != VERSION:
            raise FileError(
                f"{shown(path)} has version {content.get('version')}, and this Maskwright reads version "
                f"{VERSION}: calibrate anew."
            )
        try:
            made = {
                name: guarantee_from_json(value, f"{shown(path)}, {name}")
                for name, value in content["guarantees"].items()
            }
            return cls(
                **{name: str(content[name]) for name in ("model", "digest", "heads")},
                asked=Asked(**content["asked"]),
                applied=content["applied"],
                made=made,
                refused=content["refused"],
                protocol=content["protocol"],
                checked=content["checked"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise FileError(f"{shown(path)} is damaged ({error}): calibrate anew.") from error

    def check_fits(self, segmenter: Segmenter, asked: Asked) -> None:
        """Refuse to promise anything of masks that are made in another way.

        Raises:
            ConfigError: naming the difference, and what to do.
        """
        heads = None if segmenter.heads is None else segmenter.heads.digest()
        ours = {"model": segmenter.digest, "uncertainty heads": heads} | vars(asked)
        theirs = {"model": self.digest, "uncertainty heads": self.heads} | vars(self.asked)
        other = [
            f"{name} was {theirs[name]} and now is {ours[name]}"
            for name in theirs
            if theirs[name] != ours[name]
        ]
        if other:
            raise ConfigError(
                f"the guarantee does not hold here, for it was made with {self.model} and other masks: "
                f"{'; '.join(other)}. Make one for these with `maskwright uncertainty calibrate`, or leave "
                "--guarantee out."
            )

    def check_has(self, *, margin: bool) -> None:
        """Refuse to apply what could not be promised.

        Raises:
            ConfigError: with the reason.
        """
        needed: list[Name] = ["keep-selective" if self.applied == "selective" else "keep-marginal"]
        needed += ["lower-bound", "cover-object"] if margin else ["lower-bound"]
        for name in needed:
            if name not in self.made:
                reason = self.refused.get(name, "it is not in the file")
                raise ConfigError(f"the guarantee lacks the promise {name}: {reason}")


def kind_of(specs: Iterable[PromptSpec]) -> PromptKind | None:
    """Whether prompts are all boxes, or all one click on the object; of others nothing can be promised."""
    kinds = {_kind(spec) for spec in specs}
    return kinds.pop() if len(kinds) == 1 else None


def _kind(spec: PromptSpec) -> PromptKind | None:
    if spec.mask is not None:
        return None
    if spec.box is not None:
        return None if spec.points else "box"
    return "point" if spec.labels == (1,) else None
