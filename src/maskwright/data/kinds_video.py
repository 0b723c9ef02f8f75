"""Kinds of datasets of videos."""

from __future__ import annotations

from functools import partial

from maskwright.data import davis, mose, sav, sav_frames
from maskwright.data.kind import Kind
from maskwright.data.options import Option, choice, names, natural, number_list, one_of, text

_VIDEO_OPTIONS = {
    "sequences": Option(names, "only these sequences, separated by commas"),
    "exclude": Option(names, "all sequences but these"),
    "every": Option(natural, "only frames whose number is a multiple of this"),
}
_DAVIS_OPTIONS = {
    "split": Option(text, "a list of ImageSets, such as train, val or test-dev (default: all frames)"),
    "resolution": Option(
        choice(*davis.RESOLUTIONS), f"{', '.join(davis.RESOLUTIONS)} (default: the first that is there)"
    ),
    **_VIDEO_OPTIONS,
}

VIDEO: dict[str, Kind] = {
    "davis2016": Kind(
        summary="video frames with one object",
        task="video objects",
        images="30 train, 20 val videos; 3,455 frames",
        licence="research",
        tree=davis.TREE,
        build=partial(davis.DAVIS, multi=False),
        options=_DAVIS_OPTIONS,
    ),
    "davis2017": Kind(
        summary="video frames with several objects",
        task="video objects",
        images="60 train, 30 val, 30 test-dev videos",
        licence="research",
        tree=davis.TREE,
        build=partial(davis.DAVIS, multi=True),
        options=_DAVIS_OPTIONS,
    ),
    "mose": Kind(
        summary="video frames with several objects that hide each other",
        task="video objects",
        images="1,507 train, 311 valid videos",
        licence="CC BY-NC-SA 4.0",
        tree=mose.TREE,
        build=mose.MOSE,
        options={"split": one_of(*mose.SPLITS), **_VIDEO_OPTIONS},
    ),
    "sav": Kind(
        summary="frames of SA-V's videos: MP4 files with masklets (train), or folders of frames (val, test)",
        task="video objects and parts",
        images="50,583 train, 155 val, 150 test videos",
        licence="CC BY 4.0",
        tree=sav_frames.TREE,
        build=sav.open_sav,
        options={
            "split": one_of(*sav.SPLITS),
            "masklets": Option(choice(*sav.KINDS), "of train: manual (default), auto or both"),
            "subsets": Option(number_list, "of train: only these folders, 0 for sav_000"),
            "every": Option(natural, "only every so many-th annotated frame"),
        },
    ),
}
