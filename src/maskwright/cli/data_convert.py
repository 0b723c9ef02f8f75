"""`maskwright data convert`: TIFF stacks to binary masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from maskwright.cli.common import Common, Session, parse, run

PROG = "maskwright data convert"
# A stack that was written row by row has pages this many times narrower than high, or wider.
STRIP = 4


@dataclass(frozen=True, kw_only=True)
class Convert(Common):
    """Turn the pages of TIFF stacks into binary masks: one PNG a page, 0 and 255.

    Pages may have any size, 1 to 32 bits, fractions or colours (which become grey). What lies above the
    threshold is the object. DIR gets stack.tif.0000.png and so on, the number being the page's from 0.

    A page that cannot be read is named, the others go on, and the command ends with code 1. The same command
    again does only what is not done.
    """

    stacks: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="STACK…")]
    """TIFF files, folders or patterns such as 'scans/*.tif'."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the masks."""
    threshold: Annotated[str, tyro.conf.arg(metavar="NUMBER|otsu")] = "0"
    """Values above it are the object; otsu finds one for each page by itself."""
    pages: Literal["first", "last"] = "first"
    """last: the stack was saved as (height, width, pages), so that the file's own pages are narrow strips."""


def main(argv: list[str]) -> int:
    """Run `maskwright data convert` and return its exit code."""
    return run(parse(Convert, argv, prog=PROG), convert)


def convert(options: Convert, session: Session) -> None:
    """Convert what is not done, and sum up."""
    from maskwright.data.convert import ConvertRun, read_threshold
    from maskwright.io.inputs import collect_images

    work = ConvertRun(options.out, read_threshold(options.threshold), options.pages)
    stacks = collect_images(options.stacks)
    done = []
    for stack, page, outcome in session.track(work.convert(stacks), "converting"):
        if isinstance(outcome, Exception):
            session.fail(stack.path if page is None else f"{stack.path}, page {page}", outcome)
        else:
            done.append(outcome)
    session.result |= {"n": len(done), "out": options.out, "masks": done}
    masks, files = _count(len(done), "mask"), _count(len(stacks), "file")
    session.print(f"{masks} from {files}: {options.out}")
    empty = sum(record["share"] == 0 for record in done)
    full = sum(record["share"] == 1 for record in done)
    if empty or full:
        session.print(f"{empty} of them are empty and {full} cover the whole page: see --threshold")
    if options.pages == "first" and done and all(_is_strip(record["size"], len(done)) for record in done):
        height, width = done[0]["size"]
        session.print(
            f"{len(done)} pages of {width}×{height}: if the stack was saved as (height, width, pages), add "
            "--pages last"
        )


def _is_strip(size: list[int], count: int) -> bool:
    """Whether a page looks like one row of many pages: narrow, and one of very many."""
    return STRIP * min(size) <= max(size) and STRIP * min(size) <= count


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
