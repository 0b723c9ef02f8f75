"""What the commands that measure boundary maps share: where maps come from, what is kept, how they end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from maskwright.cli.common import Computing, Session
from maskwright.errors import ConfigError, FileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maskwright.methods.everything.finished import FinishedPhotos
    from maskwright.models.boundary_detector import BoundaryDetector
    from maskwright.report.evaluation_tables import TextTable


@dataclass(frozen=True, kw_only=True)
class BoundaryMaps(Computing):
    """Boundary maps by a model or from a folder, and what is known of them."""

    model: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """A boundary model to measure."""
    predictions: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Measure the maps in this folder instead."""
    offline: bool = False
    """Never use the network."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """At most this many photos of each dataset, spread evenly over it."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Keep what was measured of each photo in this folder, to carry on from."""
    overwrite: bool = False
    """Measure anew what an earlier run finished in --out."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the tables to this file, in Markdown."""

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            ConfigError: naming them.
        """
        if (self.model is None) == (self.predictions is None):
            raise ConfigError("give --model NAME, or --predictions FOLDER with maps to measure.")
        if self.offline and self.model is None:
            raise ConfigError("--offline is for --model.")
        if self.backend != "torch" and self.model is None:
            raise ConfigError("--backend is for --model.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError("--limit must be at least 1.")
        if self.overwrite and self.out is None:
            raise ConfigError("--overwrite is for --out DIR.")

    def open(self) -> BoundaryDetector | Path:
        """The model, or the folder of maps.

        Raises:
            MaskwrightError: it cannot be loaded; there is no such folder.
        """
        if self.predictions is not None:
            from maskwright.io.files import nearest_name

            if not self.predictions.is_dir():
                raise FileError(f"{self.predictions} is no folder.{nearest_name(self.predictions)}")
            return self.predictions
        from maskwright.models.boundary_files import load_boundary

        assert self.model is not None
        return load_boundary(self.model, device=self.device, backend=self.backend, offline=self.offline)

    def finished(self, settings: Mapping[str, Any]) -> FinishedPhotos | None:
        """What is finished in --out, where that is given.

        Raises:
            ConfigError: it was measured with other settings.
            FileError: the folder cannot be made or read.
        """
        from maskwright.methods.everything.finished import FinishedPhotos

        return None if self.out is None else FinishedPhotos(self.out, settings, overwrite=self.overwrite)

    def conclude(self, session: Session, tables: Sequence[TextTable]) -> None:
        """Note where it ran, and write the tables.

        Raises:
            FileError: they cannot be written.
        """
        from maskwright.io.files import make_parents, write_text
        from maskwright.methods.provenance import machine, versions
        from maskwright.runtime import choose_device

        session.result |= {"machine": machine(choose_device(self.device).value), "versions": versions()}
        if self.markdown:
            write_text(make_parents(self.markdown), "\n".join(table.markdown() for table in tables))


def names_of(source: BoundaryDetector | Path) -> tuple[str, str]:
    """What a source of maps is exactly, and what to call it in titles."""
    return (str(source), source.name) if isinstance(source, Path) else (source.signature, source.name)
