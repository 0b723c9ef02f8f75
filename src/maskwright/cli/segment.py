"""`maskwright segment`: cut objects out of images, from points, boxes or masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from maskwright.cli.common import USAGE_ERROR, Common, Computing, Session, parse, run
from maskwright.cli.segment_decide import Decisions, deciding, escalate, with_larger
from maskwright.data.tasks import Task
from maskwright.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskwright.methods.prompt_file import PromptBook


@dataclass(frozen=True, kw_only=True)
class Segment(Computing):
    """Segment images: give files, folders or patterns, and say what to cut out.

    All of --point, --box and --mask together describe one object, the same in every image; coordinates are
    pixels, or percentages of the image's sides such as 50%,50%. For several objects, or other ones in each
    image, write a --prompts file: a JSON list of prompts such as {"box": [100, 50, 400, 300]} or
    {"points": [[320, 240], [10, 10]], "labels": [1, 0]}, or an object from image names to such lists, in
    which "*" stands for all other images. Or give --prompts a folder with a file for each image, such as
    FOLDER/cup.json for cup.jpg, that holds {"clicked_points": [[320, 240]], "labels": [1], "boxes": []}.

    The folder gets overlays, masks and uncertainty (bright where the outline is in doubt) as PNG, and all
    masks with their scores as COCO JSON. Of a model with uncertainty heads, each mask also has its quality,
    which is the IoU to expect of it, and what a larger model, more clicks, or telling which object is meant
    would add to that: model_gap, prompt_gap, task_gap. The same command again carries on where it stopped.
    """

    images: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE…")]
    """Files, folders or patterns such as 'photos/*.jpg'."""
    point: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="X,Y[,0|1]")] = ()
    """A click on the object (1, the default) or beside it (0). May be given several times."""
    box: Annotated[str | None, tyro.conf.arg(metavar="X0,Y0,X1,Y1")] = None
    """A box around the object: left, top, right, bottom."""
    mask: Annotated[Path | None, tyro.conf.arg(metavar="PNG")] = None
    """A rough mask of the object, as large as the image."""
    prompts: Annotated[Path | None, tyro.conf.arg(metavar="FILE|FOLDER")] = None
    """A JSON file of prompts, or a folder of such, one an image; in place of --point, --box and --mask."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the results."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")] = "nano"
    """A model's name (`maskwright models list`), or a checkpoint."""
    base: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """For decoder-only checkpoints: the SAM they were trained on."""
    num_heads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Attention heads of the decoder, if the file does not tell and they are not eight."""
    heads: Annotated[str, tyro.conf.arg(metavar="auto|none|FILE")] = "auto"
    """Uncertainty heads, which tell how good each mask is and why not: those beside the model, none, or a
    file's."""
    offline: bool = False
    """Never use the network."""
    multimask: bool = False
    """Three masks a prompt, for clicks that may mean a part or the whole."""
    refine: Annotated[str | None, tyro.conf.arg(metavar="PATH|nano")] = None
    """Refine each mask by this refiner of the model (see `maskwright train refiner`). The uncertainty is then
    how far the refined mask's probability is from the model's own, and what uncertainty heads tell, which is
    of the model's own mask, is called unrefined_quality and so on."""
    hq: Literal["sum", "only", "off"] = "sum"
    """Which logits of an HQ model: its sum with SAM's, the HQ token's alone, or SAM's alone."""
    task: Annotated[Task | None, tyro.conf.arg(metavar="{unlabeled,salient,entity,part}")] = None
    """Which kind of mask is wanted, for models that were trained with task prompts."""
    format: tyro.conf.UseAppendAction[
        tuple[Literal["coco", "yolo", "geojson", "png", "labelmap", "labelstudio"], ...]
    ] = ()
    """Label formats to write; coco if none is given. May be given several times."""
    overwrite: bool = False
    """Delete what an earlier run made in the folder, and start anew."""
    decide: Annotated[Decisions, tyro.conf.arg(name="")] = field(default_factory=Decisions)


def main(argv: list[str]) -> int:
    """Run `maskwright segment` and return its exit code."""
    try:
        options = parse(Segment, argv, prog="maskwright segment")
    except ConfigError as error:
        Session(Common()).error(str(error))
        return USAGE_ERROR
    return run(options, segment)


def segment(options: Segment, session: Session) -> None:
    """Segment what is not finished yet, then write the labels of all that is."""
    from maskwright.cli.segment_run import carry_out
    from maskwright.cli.tables import score_table
    from maskwright.io.files import make_folder
    from maskwright.io.inputs import collect_images
    from maskwright.methods.refine.refiner import MaskRefiner, locate_refiner
    from maskwright.models.registry import load
    from maskwright.report.segmentation import PromptAsker, SegmentRun, heads_of
    from maskwright.runtime import seed_everything

    _check(options)
    images = collect_images(options.images)
    prompts = _prompts(options, [image.name for image in images])
    # Before a model is loaded, or even fetched, for nothing.
    if options.refine is not None:
        locate_refiner(options.refine)
    make_folder(options.out)
    seed_everything(options.seed)
    segmenter = load(
        options.model,
        base=options.base,
        num_heads=options.num_heads,
        device=options.device,
        heads=options.heads,
        backend=options.backend,
        offline=options.offline,
    )
    refiner = None if options.refine is None else MaskRefiner.load(options.refine, segmenter)
    small = PromptAsker(segmenter, prompts, options.multimask, options.hq, options.task, refiner)
    cascade = with_larger(small, options.decide, options)
    asker = deciding(cascade or small, small, options.decide)
    work = SegmentRun(options.out, asker, overwrite=options.overwrite)
    done = carry_out(
        work, images, options.format, "segmenting", session, partial(escalate, work, images, cascade, session)
    )
    session.result |= {
        "model": segmenter.signature,
        "refiner": refiner and refiner.signature,
        "heads": heads_of(segmenter),
    }
    told = {"answered_by": "by", "advice": "advice", "kept": "kept", "iou_at_least": "IoU at least"}
    rows = {name: title for name, title in told.items() if any(name in one["extra"] for one in done)}
    session.print(score_table(done, {"uncertainty": "uncertainty"} | rows, "prompt", "none"))
    count = sum(len(record["masks"]) for record in done)
    skipped = session.result["skipped"]
    before = f" ({skipped} were finished before)" if skipped else ""
    masks = "1 mask" if count == 1 else f"{count} masks"
    session.print(f"{masks} in {len(done)} of {len(images)} images{before}: {options.out}")


def _check(options: Segment) -> None:
    flags = {"--point": options.point, "--box": options.box, "--mask": options.mask}
    given = [name for name, value in flags.items() if value]
    if options.prompts is not None and given:
        raise ConfigError(f"give either --prompts or {', '.join(given)}, not both.")
    options.decide.check(refined=options.refine is not None)


def _prompts(options: Segment, names: Sequence[str]) -> PromptBook:
    """The prompts of the images of these names, all of which have some."""
    from maskwright.methods.prompt_file import for_every_image, read_prompt_folder, read_prompts
    from maskwright.methods.prompting import from_flags

    if options.prompts is None:
        return for_every_image(from_flags(options.point, options.box, options.mask))
    if options.prompts.is_dir():
        return read_prompt_folder(options.prompts, names)
    book = read_prompts(options.prompts)
    book.check(names)
    return book
