"""`maskwright personalize`: learn an object from a photo with a mask, and find it in others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from maskwright.cli.common import Common, Session, parse, run
from maskwright.errors import ConfigError
from maskwright.methods.personalize.config import PersonalizeSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maskwright.io.inputs import ImageFile
    from maskwright.methods.personalize.dino import DINO
    from maskwright.methods.personalize.reference import Reference
    from maskwright.methods.personalize.target import Target
    from maskwright.models.segmenter import Segmenter

Pairs = tyro.conf.UseAppendAction[tuple[tuple[str, str], ...]]


@dataclass(frozen=True, kw_only=True)
class Learned(Common):
    """How objects are learned and looked for; shared with `evaluate personalize`."""

    model: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")] = "nano"
    """A model's name (`maskwright models list`), or a checkpoint."""
    base: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """For decoder-only checkpoints: the SAM they were trained on."""
    num_heads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Attention heads of the decoder, if the file does not tell and they are not eight."""
    offline: bool = False
    """Never use the network."""
    features: Annotated[str | None, tyro.conf.arg(metavar="DINO")] = None
    """Look for the object by the features of this DINO, such as facebook/dinov2-small or a folder."""
    threshold: Annotated[float | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Objects less similar to the references than this, -1 to 1, are absent; -1: always there."""


@dataclass(frozen=True, kw_only=True)
class Personalize(Learned):
    """Show an object once, and it is found and cut out in other images.

    The object is shown by a reference image with a mask (a box or a scribble will do); several references
    help. An image in which nothing is similar enough gets no mask: the threshold is found on the references.

    The folder gets overlays with the clicks and scores, masks and uncertainty as PNG, and all masks with
    their scores and similarities as COCO JSON. The same command again carries on where it stopped.
    """

    images: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE…")] = ()
    """Files, folders or patterns in which the object is looked for."""
    reference: Annotated[Pairs, tyro.conf.arg(metavar="IMAGE MASK")] = ()
    """An image of the object and its mask, of any encoding. May be given several times."""
    reference_box: Annotated[Pairs, tyro.conf.arg(metavar="IMAGE X0,Y0,X1,Y1")] = ()
    """An image and a box around the object, which the model cuts out there."""
    reference_scribble: Annotated[Pairs, tyro.conf.arg(metavar="IMAGE MASK")] = ()
    """An image and a mask of some strokes on the object, which the model completes."""
    objects: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Many objects: FOLDER/Images/OBJECT/00.jpg and FOLDER/Annotations/OBJECT/00.png, each looked for in the
    images of its own folder, which then are not named on the command line."""
    reference_index: Annotated[str, tyro.conf.arg(metavar="NAME")] = "00"
    """With --objects: which photo of each object is the reference."""
    name: str = "object"
    """What the object is called in labels."""
    save: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Keep what was learned in this file, a few kilobytes."""
    load: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE")] = ()
    """Look for objects that were learned before, all in one pass."""
    heads: Annotated[str, tyro.conf.arg(metavar="auto|none|FILE")] = "auto"
    """Uncertainty heads, which tell how good each mask is and why not: those beside the model, none, or a
    file's."""
    fit: bool = False
    """PerSAM-F: fit the weights of the mask scales on the references; the same as --method persam-f."""
    instances: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """How many of each object are looked for in an image, at most."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for the results."""
    format: tyro.conf.UseAppendAction[
        tuple[Literal["coco", "yolo", "geojson", "png", "labelmap", "labelstudio"], ...]
    ] = ()
    """Label formats to write; coco if none is given. May be given several times."""
    overwrite: bool = False
    """Delete what an earlier run made in the folder, and start anew."""
    settings: Annotated[PersonalizeSettings, tyro.conf.arg(name="")] = field(
        default_factory=PersonalizeSettings
    )


def main(argv: list[str]) -> int:
    """Run `maskwright personalize` and return its exit code."""
    return run(parse(Personalize, argv, prog="maskwright personalize"), personalize)


def personalize(options: Personalize, session: Session) -> None:
    """Learn or load the objects, save them if asked to, and find them in what is not finished yet."""
    from maskwright.io.inputs import collect_images
    from maskwright.runtime import seed_everything

    _check(options)
    _check_values(options)
    inputs = [str(options.objects / "Images")] if options.objects else options.images
    images = collect_images(inputs) if inputs else []
    seed_everything(options.seed)
    segmenter, localizer = load_models(options, options.heads)
    targets = _targets(options, segmenter, localizer, session)
    if options.save is not None:
        (target,) = targets["object"]
        session.result["saved"] = target.save(options.save)
        session.print(f"{target.name}: {options.save}")
    if images:
        _find(options, session, segmenter, localizer, targets, images)


def load_models(options: Learned, heads: str | None = None) -> tuple[Segmenter, DINO | None]:
    """The model, with these uncertainty heads, and the one whose features say where the object is."""
    from maskwright.methods.personalize.dino import DINO
    from maskwright.models.registry import load

    segmenter = load(
        options.model,
        base=options.base,
        num_heads=options.num_heads,
        device=options.device,
        heads=heads,
        offline=options.offline,
    )
    if options.features is None:
        return segmenter, None
    return segmenter, DINO.load(options.features, device=options.device, offline=options.offline)


def _check(options: Personalize) -> None:
    """Refuse what cannot be, before a model is loaded.

    Raises:
        ConfigError: naming it.
    """
    shown = bool(options.reference or options.reference_box or options.reference_scribble)
    ways = {"--reference": shown, "--load": bool(options.load), "--objects": options.objects is not None}
    given = [name for name, value in ways.items() if value]
    if len(given) != 1:
        raise ConfigError(
            f"say what to look for, in one of these ways: {', '.join(ways)}"
            + (f" (not {' and '.join(given)})." if given else ", such as --reference cat.jpg cat_mask.png.")
        )
    if options.save and not shown:
        raise ConfigError("--save keeps what was learned from --reference.")
    if options.load and (options.fit or options.settings != PersonalizeSettings()):
        raise ConfigError(
            "an object from --load was learned already: settings of learning do not apply to it."
        )
    if options.fit and options.settings.method not in ("persam", "persam-f"):
        raise ConfigError(f"--fit is --method persam-f, not {options.settings.method}.")
    if options.objects and options.images:
        raise ConfigError("--objects looks in the images of its own folder: give no others.")
    if bool(options.images or options.objects) != (options.out is not None):
        raise ConfigError("give both the images in which to look and --out DIR for the results.")
    if not (options.images or options.objects or options.save):
        raise ConfigError(
            "give images in which to look for the object, or --save FILE to keep what is learned."
        )


def _check_values(options: Personalize) -> None:
    """Refuse values that cannot be, and those of options that are not in use.

    Raises:
        ConfigError: naming it.
    """
    if options.name != Personalize.name and (options.load or options.objects):
        raise ConfigError("--name goes with --reference: other objects have their names.")
    if options.reference_index != Personalize.reference_index and not options.objects:
        raise ConfigError("--reference-index goes with --objects.")
    if options.instances < 1:
        raise ConfigError(f"--instances is at least 1, not {options.instances}.")
    if options.threshold is not None and not -1 <= options.threshold <= 1:
        raise ConfigError(f"--threshold is a similarity, -1 to 1, not {options.threshold}.")


def _targets(
    options: Personalize, segmenter: Segmenter, localizer: DINO | None, session: Session
) -> dict[str, list[Target]]:
    """What is looked for, by the folder of images in which it is, or all under "object"."""
    from maskwright.data.perseg import reference_pairs
    from maskwright.methods.personalize.learn import learn
    from maskwright.methods.personalize.target import Target

    if options.load:
        return {"object": [Target.load(path) for path in options.load]}
    settings = options.settings.model_copy(update={"method": "persam-f"}) if options.fit else options.settings
    if options.objects is None:
        known = _references(options, segmenter)
        return {"object": [learn(segmenter, known, settings, name=options.name, localizer=localizer)]}
    pairs = reference_pairs(options.objects, options.reference_index)
    return {
        name: [learn(segmenter, [_masked(pair.image, pair.mask)], settings, name=name, localizer=localizer)]
        for name, pair in session.track(pairs.items(), "learning")
    }


def _references(options: Personalize, segmenter: Segmenter) -> list[Reference]:
    from maskwright.io.images import read_image
    from maskwright.io.masks import read_object
    from maskwright.methods.personalize.reference import Reference
    from maskwright.methods.prompting import from_flags, to_prompts
    from maskwright.types import Geometry

    known = [_masked(Path(image), Path(mask)) for image, mask in options.reference]
    for image, text in options.reference_box:
        photo = read_image(image)
        model = segmenter.model
        geometry = Geometry(photo.size, model.image_size, model.resize)
        box = to_prompts([from_flags((), text, None)], geometry, model.low_res)
        known.append(Reference.from_prompts(segmenter, photo, box))
    for image, mask in options.reference_scribble:
        known.append(Reference.from_scribble(segmenter, image, read_object(mask)))
    return known


def _masked(image: Path, mask: Path) -> Reference:
    from maskwright.io.images import read_image
    from maskwright.io.masks import read_object
    from maskwright.methods.personalize.reference import Reference

    return Reference(read_image(image), read_object(mask))


def _find(
    options: Personalize,
    session: Session,
    segmenter: Segmenter,
    localizer: DINO | None,
    targets: Mapping[str, Sequence[Target]],
    images: Sequence[ImageFile],
) -> None:
    """Find the objects in all images that are not finished, then write the labels of all that are."""
    from maskwright.cli.segment_run import carry_out
    from maskwright.report.personalization import TargetAsker
    from maskwright.report.segmentation import SegmentRun

    assert options.out is not None
    wanted = targets if options.objects else targets["object"]
    asker = TargetAsker(segmenter, wanted, options.instances, options.threshold, localizer)
    work = SegmentRun(options.out, asker, overwrite=options.overwrite)
    done = carry_out(work, images, options.format, "looking", session)
    session.result |= {
        "model": segmenter.signature,
        "objects": [_described(target) for several in targets.values() for target in several],
    }
    _print(session, options.out, done, len(images))


def _described(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "method": target.settings.method,
        "threshold": target.threshold,
        "scales": None if target.scales is None else target.scales.tolist(),
    }


def _print(session: Session, out: Path, done: Sequence[dict[str, Any]], count: int) -> None:
    from maskwright.cli.tables import score_table

    session.print(score_table(done, {"similarity": "similarity"}, "object", "absent"))
    found = sum(len(record["masks"]) for record in done)
    with_any = sum(bool(record["masks"]) for record in done)
    session.print(f"{found} found in {with_any} of {count} images: {out}")
