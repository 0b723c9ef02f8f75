"""`maskwright data download-sav`: the archives of a link list, with resume and checks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from maskwright.cli.common import PLAIN_PROGRESS_SECONDS, Common, Session, parse, run
from maskwright.errors import ConfigError

PROG = "maskwright data download-sav"
MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class DownloadSAV(Common):
    """Fetch the archives of SA-V (or SA-1B) from the list of links that Meta gives.

    The list is a table with the columns file_name and cdn_link, separated by tabs; a column sha256 or md5 is
    checked where there is one. A file that breaks off is carried on from where it was, also by the same
    command later; its size is checked, and whether an archive is whole. Files that are there already are only
    checked.

    A file that cannot be fetched is named, the others go on, and the command ends with code 1.
    """

    links: Annotated[Positional[Path], tyro.conf.arg(metavar="LIST")]
    """The list of links, a text file."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the archives."""
    jobs: Annotated[int, tyro.conf.arg(metavar="INT")] = 4
    """How many files at a time."""
    retries: Annotated[int, tyro.conf.arg(metavar="INT")] = 5
    """How often to try again in a row without getting a single byte more."""


def main(argv: list[str]) -> int:
    """Run `maskwright data download-sav` and return its exit code."""
    return run(parse(DownloadSAV, argv, prog=PROG), download)


def download(options: DownloadSAV, session: Session) -> None:
    """Fetch what is missing, and sum up.

    Raises:
        ConfigError: for no job, or a negative number of retries.
        FileError: the list cannot be used.
    """
    from maskwright.data.download import Download, Fetched, read_links

    if options.jobs < 1 or options.retries < 0:
        raise ConfigError("--jobs must be at least 1, and --retries at least 0.")
    links = read_links(options.links)
    work = Download(options.out, options.jobs, options.retries)
    files: list[dict[str, object]] = []
    with session.progress() as bar:
        task = bar.add_task("fetching", total=len(links))
        shown = time.monotonic()
        for event in work.run(links):
            if event is not None:
                link, outcome = event
                if isinstance(outcome, Fetched):
                    files.append({"file": link.name, "bytes": outcome.size, "received": outcome.received})
                else:
                    session.fail(link.name, outcome)
            done = len(files) + len(session.failures)
            text = f"fetching, {work.received / MEGABYTE:,.0f} MB so far"
            bar.update(task, completed=done, description=text)
            if bar.disable and not options.quiet and time.monotonic() - shown >= PLAIN_PROGRESS_SECONDS:
                shown = time.monotonic()
                session.errors.print(f"{text}: {done} of {len(links)} files")
    order = {link.name: place for place, link in enumerate(links)}
    files.sort(key=lambda entry: order[str(entry["file"])])
    session.result |= {"n": len(files), "out": options.out, "received": work.received, "files": files}
    session.print(
        f"{len(files)} of {len(links)} files are in {options.out}; "
        f"{work.received / MEGABYTE:,.1f} MB were fetched"
    )
