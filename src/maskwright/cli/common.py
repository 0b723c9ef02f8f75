"""What every command shares: the common options, parsing, printing, progress, `--json` and exit codes.

A command is a frozen dataclass of options (its docstring is the help text) that inherits `Common`, and a
function that does the work:

    @dataclass(frozen=True, kw_only=True)
    class Count(Common):
        folder: Positional[Path]

    def main(argv: list[str]) -> int:
        return run(parse(Count, argv, prog="maskwright count"), count)

    def count(options: Count, session: Session) -> None:
        for path in session.track(sorted(options.folder.iterdir()), "counting"):
            try: ...
            except FileError as error:
                session.fail(path, error)      # noted; the run goes on and ends with code 1
        session.result["n"] = ...              # goes to --json
        session.print(f"{n} files")            # silent with --quiet
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import Positional as Positional

from maskwright.debug import debug_lines
from maskwright.errors import ConfigError, FileError, MaskwrightError
from maskwright.io.files import make_parents, write_json
from maskwright.training.progress import duration

ERROR, USAGE_ERROR, INTERRUPTED = 1, 2, 130
PLAIN_PROGRESS_SECONDS = 10.0
PLAIN_WIDTH = 200

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options of every command."""

    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the result, machine-readable, to this file."""
    device: Annotated[str, tyro.conf.arg(metavar="auto|cpu|cuda|mps")] = "auto"
    """Where to compute; `auto` takes the best there is."""
    seed: Annotated[int, tyro.conf.arg(metavar="INT")] = 0
    """Seed of everything random."""
    quiet: bool = False
    """Print errors only."""
    debug: bool = False
    """Say what is read, computed and written, with shapes, in [DEBUG] lines on the standard error."""


@dataclass(frozen=True, kw_only=True)
class Computing(Common):
    """The options of commands that use a model as it is, neither train it nor look inside."""

    backend: Literal["torch", "onnx", "openvino"] = "torch"
    """What runs the model: PyTorch; or ONNX Runtime or OpenVINO, on the CPU, with the same results (each an
    optional package). The model may then also be a folder that `maskwright export` wrote."""


C = TypeVar("C", bound=Common)


def parse(options: Any, argv: list[str], *, prog: str, description: str | None = None) -> Any:  # noqa: ANN401
    """Parse arguments into the dataclass `options` (or a union of dataclasses, which become subcommands).

    The description defaults to the dataclass's docstring. Unknown or ill-typed arguments print an error with
    a suggestion and raise `SystemExit(2)`; `--help` raises `SystemExit(0)`.
    """
    try:
        return tyro.cli(
            options,
            args=argv,
            prog=prog,
            description=description,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
        )
    except ValueError as error:
        # Imported only here, for most commands do without it and their help is faster by a quarter.
        from pydantic import ValidationError

        if not isinstance(error, ValidationError):  # of settings among the flags
            raise
        told = [(str(problem["loc"][0]).replace("_", "-"), problem["msg"]) for problem in error.errors()]
        Session(Common()).error("; ".join(f"--{flag}: {message}" for flag, message in told))
        raise SystemExit(USAGE_ERROR) from None


def values(groups: tuple[tuple[T, ...], ...]) -> list[T]:
    """All values of an option that may be repeated, each once."""
    return list(dict.fromkeys(value for group in groups for value in group))


@dataclass
class Session:
    """What a command has while it works: its console, its progress, its failures and its result."""

    options: Common
    result: dict[str, Any] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Off a terminal nothing is cut to 80 columns: paths stay whole in logs and pipes.
        wide = None if sys.stdout.isatty() else PLAIN_WIDTH
        # Markup is off, for brackets in file names are no styles.
        self.console = Console(quiet=self.options.quiet, highlight=False, markup=False, width=wide)
        self.errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def print(self, *objects: Any) -> None:  # noqa: ANN401
        """Print text or rich tables to the standard output, unless `--quiet`."""
        self.console.print(*objects)

    def error(self, message: str) -> None:
        """Print in red to the standard error, whatever `--quiet` says; a tree of folders keeps its lines."""
        self.errors.print(f"error: {message.strip()}", style="red")

    def warn(self, message: str) -> None:
        """Say what the user may not have meant, unless `--quiet`, and add it to the result's "warnings"."""
        self.result.setdefault("warnings", []).append(message)
        if not self.options.quiet:
            self.errors.print(f"warning: {message}", style="yellow")

    def fail(self, item: str | PathLike[str], error: Exception | str) -> None:
        """Note that one item failed and why; the command goes on and ends with a non-zero code."""
        self.failures.append({"item": str(item), "reason": str(error)})
        text = str(error)
        self.error(text if str(item) in text else f"{item}: {text}")

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Yield `items` and show how far it is: a bar on a terminal, a line now and then elsewhere."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        if self.options.quiet:
            yield from items
        elif self.errors.is_terminal:
            with self.progress() as bar:
                yield from bar.track(items, total=total, description=title)
        else:
            yield from self._track_plainly(items, title, total)

    def progress(self) -> Progress:
        """A rich progress bar on the standard error, disabled with `--quiet` or off a terminal."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        disable = self.options.quiet or not self.errors.is_terminal
        return Progress(*columns, console=self.errors, disable=disable, transient=True)

    def _track_plainly(self, items: Iterable[T], title: str, total: int | None) -> Iterator[T]:
        start = last = time.monotonic()
        for count, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last >= PLAIN_PROGRESS_SECONDS:
                last = now
                self.errors.print(f"{title}: {count}" + _rest(count, total, now - start))


def _rest(count: int, total: int | None, seconds: float) -> str:
    """How many there are and how long the rest will take, from the time that the first `count` took."""
    return f" of {total}, {duration(seconds / count * (total - count))} left" if total else ""


def run(options: C, work: Callable[[C, Session], None]) -> int:
    """Run a command's work and turn its outcome into an exit code.

    0: all went well. 1: a `MaskwrightError` ended it, or some items failed (`session.fail`). 2: the settings
    contradict each other (`ConfigError`). 130: interrupted. In every case `--json` gets what there is: the
    result's keys, `failures`, and `error` (None, or why it ended early). Errors of the program itself are
    raised with their traceback, after the file is written.
    """
    session = Session(options)
    error: str | None = "the program itself failed; see the traceback"
    code = ERROR
    try:
        with debug_lines(options.debug):
            work(options, session)
        error, code = None, (ERROR if session.failures else 0)
        if session.failures:
            session.error(f"{len(session.failures)} failed; the lines above say which and why.")
    except MaskwrightError as problem:
        error, code = str(problem), (USAGE_ERROR if isinstance(problem, ConfigError) else ERROR)
        session.error(error)
    except KeyboardInterrupt:
        error, code = "interrupted", INTERRUPTED
        session.errors.print("interrupted")
    finally:
        if options.json is not None:
            content = {**session.result, "failures": session.failures, "error": error}
            code = _write(options.json, content, session) or code
    return code


def _write(path: Path, content: dict[str, Any], session: Session) -> int:
    """Write the result, into a new folder if need be; where that cannot be, it is an error (code 1)."""
    try:
        write_json(make_parents(path), plain(content))
    except FileError as problem:
        session.error(f"the result could not be written to {path}: {problem}")
        return ERROR
    return 0


def plain(value: Any) -> Any:  # noqa: ANN401
    """Turn arrays, tensors, paths and containers into what JSON knows; NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, PathLike):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    assert hasattr(value, "tolist"), f"{type(value)} has no JSON form"
    return plain(value.tolist())
