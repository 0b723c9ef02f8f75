"""Guards of speed that count work instead of seconds: modules imported, calls of a model, bytes held.

A slow machine does not make them fail, and a change that does the same work twice does. What a single method
promises, such as each frame of a video encoded once, is counted where that method is tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import REPOSITORY
from methods.scripted import Samples, rectangle, sample
from tiny import photo, save_tiny_model
from work import ModelCalls, TensorBytes

from maskwright.cli.main import main
from maskwright.io.images import write_png
from maskwright.methods.automatic import generator, held
from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.methods.evaluate import evaluate_prompted
from maskwright.methods.prediction import ModelPredictor
from maskwright.models.registry import load
from maskwright.models.segmenter import IMAGE_BATCH, Segmenter

LIBRARIES = set("PIL accelerate cv2 matplotlib numba numpy pyarrow scipy skimage torch transformers".split())
FOR_FLAGS = {"pydantic", "rich", "tyro"}
PHOTOS = 3
CHUNK = 16
"""Prompts decoded at once in these tests, as on a CPU with a model of 512 px."""
HELP_MODULES = 120
"""The list of commands needs 70 modules, most of them Python's own."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def segmenter(model: Path) -> Segmenter:
    return load(model, device="cpu", heads=None)


@pytest.fixture(autouse=True)
def some_prompts_at_once(monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter) -> None:
    monkeypatch.setattr(type(segmenter.model), "cpu_cells", CHUNK * segmenter.model.low_res**2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> ModelCalls:
    return ModelCalls(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PHOTOS):
        write_png(folder / f"{number}.png", photo(60, 80, seed=number))
    return folder


def boxes(count: int) -> npt.NDArray[np.float64]:
    corners = np.random.default_rng(count).uniform(0, 30, (count, 2))
    return np.hstack([corners, corners + 25])


def prompt_file(folder: Path, count: int) -> Path:
    path = folder / f"{count}.json"
    path.write_text(json.dumps([{"box": box} for box in boxes(count).tolist()]))
    return path


def loaded_after(statement: str) -> set[str]:
    """The modules of a new process."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY / 'docs'}"}
    output = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return set(json.loads(output.splitlines()[-1]))


@pytest.mark.parametrize("argv", [["--help"], ["--version"], [], ["nonsense"], ["label", "--help"]])
def test_the_list_of_commands_imports_next_to_nothing(argv: list[str]) -> None:
    loaded = loaded_after(f"from maskwright.cli.main import main; main({argv!r})")
    if argv[:1] == ["label"]:
        assert not loaded & LIBRARIES
    else:
        assert not loaded & (LIBRARIES | FOR_FLAGS)
        assert len(loaded) < HELP_MODULES


def test_the_help_of_no_command_imports_a_library_of_models_or_arrays() -> None:
    assert not loaded_after("import cli_reference; cli_reference.render()") & LIBRARIES


@pytest.mark.parametrize("count", [1, CHUNK, 2 * CHUNK + 5])
def test_an_image_is_encoded_once_and_its_prompts_decoded_in_batches(
    segmenter: Segmenter, calls: ModelCalls, count: int
) -> None:
    segmenter(photo(60, 80), boxes=boxes(count))
    assert calls.encoded == [1]
    assert calls.decoded == batches(count)


def batches(count: int) -> list[int]:
    """How so many prompts are best decoded."""
    return [min(CHUNK, count - start) for start in range(0, count, CHUNK)]


def test_images_are_encoded_in_batches(segmenter: Segmenter, calls: ModelCalls) -> None:
    segmenter.embed([photo(60, 80)] * (IMAGE_BATCH + 1))
    assert calls.encoded == [IMAGE_BATCH, 1]


def test_a_run_over_images_encodes_each_once(photos: Path, model: Path, calls: ModelCalls) -> None:
    prompts = prompt_file(photos.parent, CHUNK + 1)
    run = ["segment", str(photos), "--prompts", str(prompts), "--model", str(model), "--quiet"]
    assert main([*run, "--out", str(photos.parent / "out")]) == 0
    assert calls.encoded == [1] * PHOTOS
    assert calls.decoded == batches(CHUNK + 1) * PHOTOS
    # Carried on, there is nothing left to do.
    assert main([*run, "--out", str(photos.parent / "out")]) == 0
    assert len(calls.encoded) == PHOTOS


def test_labelling_encodes_each_photo_once(photos: Path, model: Path, calls: ModelCalls) -> None:
    run = ["label", "masks", str(photos), "--model", str(model), "--points-per-side", "4", "--quiet"]
    assert main([*run, "--shard-images", "2", "--out", str(photos.parent / "out")]) == 0
    assert calls.encoded == [1] * PHOTOS


@pytest.mark.parametrize("clicks", [1, (1, 3)])
def test_an_evaluation_encodes_each_image_once(
    segmenter: Segmenter, calls: ModelCalls, clicks: int | tuple[int, ...]
) -> None:
    masks = rectangle(5, 5, 25, 30), rectangle(30, 40, 55, 75)
    data = Samples(*(sample(f"{number}.png", *masks) for number in range(3)))
    evaluate_prompted(ModelPredictor(segmenter, "tiny"), data, prompt="point", clicks=clicks)
    # The first image is seen once more, to warm up before the clock runs.
    assert calls.encoded == [1] * (1 + 3)
    most = 1 if clicks == 1 else 3
    assert calls.decoded == [1] * (1 + 3 * len(masks) * most)


@pytest.mark.parametrize("multimask", [False, True])
def test_tensors_grow_with_prompts_by_what_is_kept_of_them(segmenter: Segmenter, multimask: bool) -> None:
    embedding = segmenter.embed(photo(60, 80))

    def peak(count: int) -> tuple[int, int]:
        with TensorBytes() as held:
            masks = segmenter(embedding, boxes=boxes(count), multimask=multimask)
        kept = (masks.low_res, masks.iou, masks.tokens, masks.mask_token)
        return held.peak, sum(part.numel() * part.element_size() for part in kept if part is not None)

    (few, kept_of_few), (many, kept_of_many) = peak(2 * CHUNK), peak(12 * CHUNK)
    assert many - few < 1.1 * (kept_of_many - kept_of_few), (few, many)


def test_tensors_of_automatic_masks_do_not_grow_with_clicks(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the masks that stay, and for as many again that wait to be suppressed."""
    monkeypatch.setattr(generator, "CPU_CELLS", CHUNK * segmenter.model.low_res**2)
    monkeypatch.setattr(held, "PIECE_CELLS", CHUNK * segmenter.model.low_res**2)
    monkeypatch.setattr(generator, "CPU_PIXELS", 60 * 80)
    pixels = photo(60, 80)

    def peak(points_per_side: int) -> tuple[int, int]:
        settings = AutomaticSettings(
            points_per_side=points_per_side,
            points_per_batch=CHUNK,
            pred_iou_thresh=-9,
            stability_score_thresh=0,
        )
        with TensorBytes() as held:
            kept = generator.generate(segmenter, pixels, settings)
        return held.peak, sum(mask.low_res.numel() * mask.low_res.element_size() for mask in kept)

    # From several batches to many.
    (few, kept_of_few), (many, kept_of_many) = peak(8), peak(20)
    candidates = 3 * (20**2 - 8**2) * segmenter.model.low_res**2 * 4
    assert many - few < 2 * max(0, kept_of_many - kept_of_few) + 0.02 * candidates, (few, many)


def test_arrays_of_a_run_do_not_grow_with_its_prompts(tmp_path: Path, model: Path) -> None:
    write_png(tmp_path / "photo.png", photo(200, 300))

    def run(count: int) -> Callable[[], None]:
        prompts, out = prompt_file(tmp_path, count), tmp_path / f"out{count}"
        words = ["segment", tmp_path / "photo.png", "--prompts", prompts, "--model", model, "--out", out]

        def work() -> None:
            assert main([*map(str, words), "--quiet"]) == 0

        return work

    run(1)()  # modules are imported, and stay
    few, many = traced_peak(run(4)), traced_peak(run(28))
    mask = 200 * 300
    assert many - few < 0.1 * 24 * mask, (few, many)


def test_arrays_of_a_run_do_not_grow_with_its_images(photos: Path, model: Path) -> None:
    def run(count: int) -> Callable[[], None]:
        files = [str(photos / f"{number}.png") for number in range(count)]
        words = ["segment", *files, "--box", "5,5,50,50", "--model", str(model), "--quiet"]

        def work() -> None:
            assert main([*words, "--out", str(photos.parent / f"out{count}")]) == 0

        return work

    for number in range(PHOTOS, 14):
        write_png(photos / f"{number}.png", photo(60, 80, seed=number))
    run(1)()
    few, many = traced_peak(run(4)), traced_peak(run(14))
    assert many - few < 0.5 * 10 * 60 * 80 * 3, (few, many)


def traced_peak(work: Callable[[], None]) -> int:
    """The most bytes that Python and NumPy held at one time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
