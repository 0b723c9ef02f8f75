"""`maskwright track`: follow objects through a video, from their masks in the first frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional

from maskwright.cli.common import Common, Session, parse, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskwright.data.sequences import Video

PROG = "maskwright track"


@dataclass(frozen=True, kw_only=True)
class Following:
    """By what objects are followed."""

    tracker: Annotated[str, tyro.conf.arg(metavar="NAME")] = "previous-mask"
    """copy: the first mask, unmoved; previous-mask: any model, asked with the last mask; persam, persam-f:
    and with its looks in the first frame; sam2-memory: SAM 2 with its own memory."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")] = "nano"
    """A model's name (`maskwright models list`), or a checkpoint."""
    base: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """For decoder-only checkpoints: the SAM they were trained on."""
    num_heads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Attention heads of the decoder, if the file does not tell and they are not eight."""
    offline: bool = False
    """Never use the network."""
    overwrite: bool = False
    """Track anew what an earlier run finished in the folder."""


@dataclass(frozen=True, kw_only=True)
class TrackOptions(Common):
    """Follow objects through a video: give its frames, and the objects' masks in the first one.

    The frames are the images of a folder, in the order of their names. The mask is a label map, a number an
    object, or a mask of one object. The folder gets a label map of every frame, in which objects keep their
    numbers: a palette PNG, DIR/FRAMES/NAME.png. The same command again skips a video that is finished.
    """

    frames: Annotated[Positional[Path], tyro.conf.arg(metavar="FRAMES")]
    """Folder of the frames."""
    mask: Annotated[Path, tyro.conf.arg(metavar="PNG")]
    """Label map or mask of the first frame."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the label maps."""
    following: Annotated[Following, tyro.conf.arg(name="")] = field(default_factory=Following)


def main(argv: list[str]) -> int:
    """Run `maskwright track` and return its exit code."""
    return run(parse(TrackOptions, argv, prog=PROG), track)


def track(options: TrackOptions, session: Session) -> None:
    """Track one video."""
    from maskwright.data.sequences import folder_video

    video = folder_video(options.frames, options.mask)
    carry_out(options.following, options.out, [video], session, options)
    session.result["out"] = options.out / video.name
    session.print(f"{len(video)} frames: {options.out / video.name}")


def carry_out(
    following: Following, out: Path, videos: Sequence[Video], session: Session, options: Common
) -> None:
    """Track the videos that are not finished, and note in the result by what and how fast.

    Raises:
        MaskwrightError: the tracker cannot be made, or the folder is another one's.
    """
    from maskwright.methods.video.follow import TrackRun
    from maskwright.methods.video.registry import make_tracker
    from maskwright.runtime import seed_everything

    seed_everything(options.seed)
    how: dict[str, Any] = {
        "base": following.base,
        "num_heads": following.num_heads,
        "device": options.device,
        "offline": following.offline,
    }
    tracker = make_tracker(following.tracker, following.model, **how)
    run_ = TrackRun(out, tracker, overwrite=following.overwrite)
    pending = run_.pending(videos)
    steps = run_.track(pending, session.fail)
    for _ in session.track(steps, "tracking", total=sum(map(len, pending))):
        pass
    done = [run_.finished[video.name] for video in videos if video.name in run_.finished]
    seconds = sum(record["seconds_per_frame"] * record["frames"] for record in done)
    session.result |= {
        "tracker": tracker.signature,
        "skipped": len(videos) - len(pending),
        "seconds_per_frame": seconds / sum(record["frames"] for record in done) if done else None,
    }
