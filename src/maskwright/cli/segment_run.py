"""What `segment` and `personalize` share: a run over many images into a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maskwright.cli.common import Session
    from maskwright.io.inputs import ImageFile
    from maskwright.report.image_run import ImageRun
    from maskwright.report.segmentation import SegmentRun


def carry_out(
    work: SegmentRun,
    images: Sequence[ImageFile],
    formats: Sequence[str],
    title: str,
    session: Session,
    then: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Do what is not finished, naming each image that failed; then write the labels of all that is.

    Args:
        work: the run.
        images: all of them.
        formats: of the labels; COCO if there is none.
        title: of the progress bar.
        session: the command's.
        then: what else is to be done before labels are written.

    Returns:
        The records of the images that are finished.
    """
    from maskwright.cli.library_warnings import told_warnings

    pending = work.pending(images)
    work_off(work, pending, title, session)
    then()
    with told_warnings(session):
        places = work.write_labels(formats or ("coco",))
    done = work.records(images)
    session.result |= {
        "n": len(done),
        "skipped": len(images) - len(pending),
        "out": work.folder,
        "labels": places,
        "images": [record | {"masks": _each(record)} for record in done],
    }
    return done


def work_off(work: ImageRun[Any], images: Sequence[ImageFile], title: str, session: Session) -> None:
    """Segment these images, naming each that failed."""
    for image, outcome in session.track(work.segment(images), title, total=len(images)):
        if isinstance(outcome, Exception):
            session.fail(image.path, outcome)


def _each(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What is known of each mask of an image; the packed masks themselves are in the label files."""
    from maskwright.export.labelled import LabelledImage, properties

    label = LabelledImage.from_record(record)
    return [properties(label, number) for number in range(len(label.masks))]
