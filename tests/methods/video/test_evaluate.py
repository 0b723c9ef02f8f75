"""Scoring tracked videos: which frames and objects count, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from methods.video.clips import SIZE, ByColour, make_clip, scene

from maskwright.data.sequences import Video, open_videos
from maskwright.errors import DatasetError
from maskwright.io.palette import write_palette_png
from maskwright.methods.video.evaluate import Summary, VideoResult, score_video
from maskwright.methods.video.follow import TrackRun
from maskwright.methods.video.simple import Copy
from maskwright.methods.video.tracker import Tracker
from maskwright.metrics.regions import iou


def tracked(folder: Path, tracker: Tracker, root: Path) -> Video:
    (video,) = open_videos(f"davis2017:{root}")
    run = TrackRun(folder, tracker)
    assert len(list(run.track([video], lambda path, error: None))) == len(video)
    return video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "davis")


def test_each_object_is_scored_after_it_was_given_and_not_in_the_last_frame(
    clip: Path, tmp_path: Path
) -> None:
    video = tracked(tmp_path / "out", ByColour(), clip)
    scores = score_video(video, tmp_path / "out/squares")
    frames = {score.number: score.frames for score in scores}
    assert frames[1] == frames[2] == tuple(f"{number:05d}" for number in range(1, 7))
    assert frames[3] == tuple(f"{number:05d}" for number in range(3, 7))
    assert all(value == 1 for score in scores for value in score.region + score.contour)


def test_scores_are_those_of_the_masks(clip: Path, tmp_path: Path) -> None:
    video = tracked(tmp_path / "out", Copy(), clip)
    first, second, _ = score_video(video, tmp_path / "out/squares")
    expected = [float(iou(scene(0) == 1, scene(number) == 1)) for number in range(1, 7)]
    assert first.region == pytest.approx(expected)
    # Object 2 is gone from frame 4 on, which Copy does not see.
    assert list(second.region) == [1, 1, 1, 0, 0, 0]
    result = VideoResult([first, second])
    assert result.summary.j_mean == pytest.approx((np.mean(expected) + 0.5) / 2)
    assert result.summary.jf_mean == pytest.approx((result.summary.j_mean + result.summary.f_mean) / 2)
    content = result.to_json()
    assert content["n"] == 2
    assert content["sequences"]["squares"]["objects"][2]["j_recall"] == 0.5
    assert content["sequences"]["squares"]["j_mean"] == Summary.of([first, second]).j_mean


def test_one_object_of_davis_2016_is_all_that_is_not_zero(tmp_path: Path) -> None:
    root = make_clip(tmp_path / "davis", make=lambda number: np.minimum(scene(number), 1) * 255)
    (video,) = open_videos(f"davis2016:{root}")
    run = TrackRun(tmp_path / "out", Copy())
    list(run.track([video], lambda path, error: None))
    (score,) = score_video(video, tmp_path / "out/squares")
    assert (score.number, len(score.frames)) == (1, 6)


def test_every_third_annotation_is_scored_where_it_is(clip: Path, tmp_path: Path) -> None:
    for number in (1, 2, 4, 5, 7):
        (clip / f"Annotations/480p/squares/{number:05d}.png").unlink()
    video = tracked(tmp_path / "out", ByColour(), clip)
    (tmp_path / "out/squares/00001.png").unlink()  # not scored, so not missed
    scores = score_video(video, tmp_path / "out/squares")
    assert {score.number: score.frames for score in scores} == {
        1: ("00003", "00006"),
        2: ("00003", "00006"),
        3: ("00006",),
    }


def test_a_video_with_only_its_first_annotation_has_no_scores(clip: Path, tmp_path: Path) -> None:
    for number in range(1, 8):
        (clip / f"Annotations/480p/squares/{number:05d}.png").unlink()
    video = tracked(tmp_path / "out", Copy(), clip)
    assert score_video(video, tmp_path / "out/squares") == []


def test_missing_frames_are_an_error(clip: Path, tmp_path: Path) -> None:
    video = tracked(tmp_path / "out", Copy(), clip)
    for number in (1, 2, 3, 4, 7):
        (tmp_path / f"out/squares/{number:05d}.png").unlink()
    with pytest.raises(DatasetError, match=r"lacks 00001.png, 00002.png, 00003.png and 1 more of 6 frames"):
        score_video(video, tmp_path / "out/squares")


def test_results_that_do_not_fit_are_refused(clip: Path, tmp_path: Path) -> None:
    video = tracked(tmp_path / "out", Copy(), clip)
    target = tmp_path / "out/squares/00003.png"
    write_palette_png(target, np.full(SIZE, 7))
    with pytest.raises(DatasetError, match=r"label 7, but the objects of squares are 1, 2, 3"):
        score_video(video, tmp_path / "out/squares")
    write_palette_png(target, np.zeros((SIZE[1], SIZE[0]), np.uint8))
    with pytest.raises(DatasetError, match="48×64, but its frame 64×48"):
        score_video(video, tmp_path / "out/squares")
