"""The demo's report: one HTML page, one JSON file and the pictures as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskwright.io.files import make_folder, write_bytes, write_json, write_text
from maskwright.report.demo import Answer, PhotoResult, Picture
from maskwright.report.demo_everything import EverythingScene
from maskwright.report.demo_one_shot import OneShotScene
from maskwright.report.html import Html, element, encode, facts, page, picture, table

TITLE = "Maskwright on real photos"


def write_report(
    folder: Path,
    results: Sequence[PhotoResult],
    scene: OneShotScene,
    cut: Sequence[EverythingScene],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """Write report.html, report.json and pictures/ into `folder`.

    Args:
        folder: made if it is not there.
        results: one a photo.
        scene: an object found again.
        cut: the photos cut into all there is.
        run: what holds for the whole run: "model", "machine", "versions", "seed", "seconds".

    Returns:
        What report.json holds.

    Raises:
        FileError: when a file cannot be written.
    """
    pictures = make_folder(make_folder(folder) / "pictures")
    for result in results:
        for answer in result.answers:
            for name, shown in _files(result, answer).items():
                write_bytes(pictures / name, encode(shown.pixels))
    for number, shown in enumerate(scene.pictures, 1):
        write_bytes(pictures / f"one-shot-{number}.jpg", encode(shown.pixels))
    for one in cut:
        for number, shown in enumerate(one.pictures, 1):
            write_bytes(pictures / f"{one.name}-everything-{number}.jpg", encode(shown.pixels))
    photos = [_photo_record(result) for result in results]
    content = {**run, "photos": photos, "one_shot": scene.to_json()}
    content["everything"] = [one.to_json() for one in cut]
    write_json(folder / "report.json", content)
    write_text(folder / "report.html", _html(results, scene, cut, run))
    return content


def _files(result: PhotoResult, answer: Answer) -> dict[str, Picture]:
    stem = f"{result.photo.name}-{answer.mode}".replace("_", "-")
    return {f"{stem}-{number}.jpg": shown for number, shown in enumerate(answer.pictures, 1)}


def _photo_record(result: PhotoResult) -> dict[str, Any]:
    return {
        "name": result.photo.name,
        "height": result.size[0],
        "width": result.size[1],
        "encode_ms": round(result.encode_milliseconds, 2),
        "modes": [
            {
                "mode": answer.mode,
                "prompt": answer.prompt,
                "predicted_iou": [round(score, 4) for score in answer.scores],
                **({"quality": [round(value, 4) for value in answer.quality]} if answer.quality else {}),
                "area": [round(area, 5) for area in answer.areas],
                "undecided": round(answer.undecided, 5),
                "agreement_with_box": None if answer.agreement is None else round(answer.agreement, 4),
                "ms": round(answer.milliseconds, 2),
                "pictures": [
                    {"file": f"pictures/{name}", "shows": shown.caption}
                    for name, shown in _files(result, answer).items()
                ],
            }
            for answer in result.answers
        ],
    }


def _html(
    results: Sequence[PhotoResult],
    scene: OneShotScene,
    cut: Sequence[EverythingScene],
    run: Mapping[str, Any],
) -> str:
    model, machine, versions = run["model"], run["machine"], run["versions"]
    lead = (
        f"The model {model['name']} was asked about {len(results)} photos with boxes, clicks and masks. Each "
        "mask comes with the IoU that the model expects of it, and a map of the pixels it is not sure about."
    )
    known = {
        "model": f"{model['name']} · {model['parameters'] / 1e6:.1f} M parameters",
        "input": f"{model['input_side']} px",
        "device": machine.get("gpu") or machine["processor"],
        "threads": str(machine["threads"]),
        "maskwright": str(versions["maskwright"]),
        "torch": str(versions["torch"]),
        "seed": str(run["seed"]),
        "whole run": f"{run['seconds']:.1f} s",
    }
    foot = element(
        "footer",
        "Photos: coffee (Rachel Michetti, Pikolo Espresso Bar), Chelsea the cat (Stéfan van der Walt), "
        "Eileen Collins (NASA), motorcycle (Middlebury stereo 2014), as scikit-image ships them. Written by ",
        element("code", "maskwright demo"),
        "; the same figures are in report.json, and the pictures in pictures/.",
    )
    cards = [_one_shot_card(scene), _everything_card(cut)]
    sections = [_gallery(results), facts(known), _summary(results), *cards]
    return page(TITLE, lead, *sections, *map(_photo_card, results), foot)


def _one_shot_card(scene: OneShotScene) -> Html:
    """The object that was shown once, and the photo in which it was looked for."""
    note = (
        f"The {scene.thing} was shown once and looked for in another photo; what has a similarity below "
        f"{scene.threshold:.2f} would be another thing."
    )
    known = {
        "learning": f"{scene.learn_milliseconds:.0f} ms",
        "finding": f"{scene.find_milliseconds:.0f} ms",
    }
    shown = [
        picture(item.pixels, f"one shot: {item.caption}", item.caption, zoom=f"one-shot-{number}")
        for number, item in enumerate(scene.pictures, 1)
    ]
    return _scene_card("One shot", note, shown, known)


def _everything_card(cut: Sequence[EverythingScene]) -> Html:
    """The photos cut into all there is."""
    note = (
        "No prompt: a boundary map, cut along its stronger borders into segments that cover the photo. The "
        "map gives a tree of segments, so that more or fewer are had without asking the model again."
    )
    shown = [
        picture(item.pixels, f"{one.name}: {item.caption}", item.caption, zoom=f"{one.name}-all-{number}")
        for one in cut
        for number, item in enumerate(one.pictures, 1)
    ]
    known = {one.name: f"{one.milliseconds:.0f} ms" for one in cut}
    return _scene_card("Everything, without a prompt", note, shown, known)


def _scene_card(title: str, note: str, shown: Sequence[Html], known: Mapping[str, str]) -> Html:
    return element(
        "section",
        element("h2", title),
        element("p", note, class_="soft"),
        element("div", *shown, class_="pictures"),
        facts(known),
        class_="card",
    )


def _gallery(results: Sequence[PhotoResult]) -> Html:
    """One large picture a photo: what several boxes in one call gave."""
    shown = []
    for result in results:
        answer = next(answer for answer in result.answers if answer.mode == "several")
        names = ", ".join(result.photo.parts)
        alt = f"{result.photo.name}: {names}"
        shown.append(picture(answer.pictures[0].pixels, alt, names, zoom=f"{result.photo.name}-gallery"))
    return element("section", element("div", *shown, class_="pictures large"))


def _summary(results: Sequence[PhotoResult]) -> Html:
    rows = [
        [
            answers[0].title,
            *(f"{_joined(answer.scores)} · {answer.milliseconds:.0f} ms" for answer in answers),
        ]
        for answers in zip(*(result.answers for result in results), strict=True)
    ]
    note = (
        "The IoU that the model expects of each mask, and the time from prompts to full-size masks. The IoU "
        "is the model's own estimate, not a measurement: these photos come without true outlines."
    )
    encoding = ["encoding the image, once", *(f"{result.encode_milliseconds:.0f} ms" for result in results)]
    return element(
        "section",
        element("h2", "Scores and times"),
        element("p", note, class_="soft"),
        table(["prompt", *(result.photo.name for result in results)], [*rows, encoding]),
        class_="card",
    )


def _joined(scores: Sequence[float]) -> str:
    return " ".join(f"{score:.2f}" for score in scores)


def _figures(answer: Answer) -> list[str]:
    return [
        _joined(answer.scores),
        _joined(answer.quality) or "–",
        " ".join(f"{area:.1%}" for area in answer.areas),
        f"{answer.undecided:.1%}",
        "–" if answer.agreement is None else f"{answer.agreement:.2f}",
        f"{answer.milliseconds:.0f} ms",
    ]


def _photo_card(result: PhotoResult) -> Html:
    height, width = result.size
    about = f"{width} × {height} px, encoded in {result.encode_milliseconds:.0f} ms. Undecided: the share of"
    scale = element("div", "certain", element("i"), "undecided: 1 bit of entropy", class_="scale")
    return element(
        "section",
        element("h2", result.photo.name.capitalize()),
        element("p", f"{about} pixels with more than half a bit of entropy.", class_="soft"),
        scale,
        element("div", *(_tile(result, answer) for answer in result.answers), class_="tiles"),
        class_="card",
    )


def _tile(result: PhotoResult, answer: Answer) -> Html:
    names = ["predicted IoU", "quality", "area", "undecided", "agrees with box", "time"]
    shown = [
        picture(
            item.pixels,
            f"{result.photo.name}, {answer.title}: {item.caption}",
            item.caption,
            zoom=f"{result.photo.name}-{answer.mode}-{number}",
        )
        for number, item in enumerate(answer.pictures, 1)
    ]
    wide = " wide" if len(shown) > 2 else ""
    return element(
        "article",
        element("h3", answer.title),
        element("p", answer.note, class_="soft"),
        element("div", *shown, class_="pictures"),
        facts({name: value for name, value in zip(names, _figures(answer), strict=True) if value != "–"}),
        class_=f"tile{wide}",
    )
