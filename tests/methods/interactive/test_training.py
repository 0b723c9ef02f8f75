"""Whole runs: sources and tasks, steps by turns, resumption, two processes, and that the loss falls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.miniatures import save as save_image
from methods.interactive.scene import (
    SIZES,
    alternating_settings,
    make_human,
    make_machine,
    make_world,
    sum_settings,
)
from models.tiny import tiny

from maskwright.errors import ConfigError, DatasetError, MaskwrightError
from maskwright.methods.base import ItemKey, Losses, StepContext
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.finetune.items import Batch as HumanBatch
from maskwright.methods.finetune.method import Finetune
from maskwright.methods.interactive.alternating import AlternatingSUM
from maskwright.methods.interactive.alternating_items import MachineBatch
from maskwright.methods.interactive.items import Batch
from maskwright.methods.interactive.method import SUM
from maskwright.methods.interactive.sources import hold_out, machine_spec, open_human, parse_human
from maskwright.models.registry import load, save
from maskwright.models.sam import SAM
from maskwright.recipes import read_recipe
from maskwright.training.checkpoint import read_state
from maskwright.training.folder import RunFolder
from maskwright.training.loop import train
from maskwright.training.optimizer import freeze_rest
from maskwright.training.stream import Batches


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


# -- sources ------------------------------------------------------------------------------------------------


def test_tasks_and_weights_are_part_of_a_human_sets_name() -> None:
    asked = parse_human("labels:photos?background=1&task=part&uncertain=2&weight=0.5")
    assert (asked.spec, asked.task, asked.weight) == ("labels:photos?background=1&uncertain=2", 3, 0.5)
    assert parse_human("labels:photos").weight == 1
    assert parse_human("duts:HQ").task == 1
    assert parse_human("entityseg:E?split=val").task == 2
    assert parse_human("labels:E?task=salient").spec == "labels:E"
    with pytest.raises(ConfigError, match=r"unknown task 'entty'.*Did you mean 'entity'"):
        parse_human("labels:E?task=entty")
    for weight in ("0", "-1", "much", "inf", "nan"):
        with pytest.raises(ConfigError, match="weight is a number above 0"):
            parse_human(f"labels:E?weight={weight}")


def test_a_bare_folder_is_one_of_labels(world: Path, tmp_path: Path) -> None:
    settings = sum_settings(world, min_ratio=2.0, target="refined")
    spec = machine_spec("some/folder", settings)
    assert spec.startswith("labelled:some/folder?min_ratio=2.0&min_refine_ratio=1.0&")
    assert spec.endswith("&target=refined")
    assert machine_spec("labelled:x?target=label&min_ratio=5", settings) == (
        "labelled:x?target=label&min_ratio=5&min_refine_ratio=1.0&max_ratio=0.95"
    )
    assert machine_spec("coco:x?crowd=keep", sum_settings(world)) == "coco:x?crowd=keep"
    with pytest.raises(ConfigError, match="coco data have no refined masks"):
        machine_spec("coco:x", settings)
    method = SUM(sum_settings(world, unlabeled=(f"labels:{world / 'human'}",), labeled=()))
    assert [source.machine for source in method.sources] == [True]
    below = SUM(sum_settings(world, root=str(world), unlabeled=("machine/set",), labeled=("labels:human",)))
    assert [len(source.dataset) for source in below.sources] == [4, 4]
    # Below `root`, a folder may be called like a kind of dataset.
    (tmp_path / "labels").symlink_to(world / "machine/set")
    named = SUM(sum_settings(world, root=str(tmp_path), unlabeled=("labels",), labeled=()))
    assert [len(source.dataset) for source in named.sources] == [4]
    raw = make_machine(tmp_path, refined=False)
    with pytest.raises(DatasetError, match="label refine"):
        SUM(sum_settings(world, unlabeled=(str(raw),), target="refined"))


def test_no_data_is_an_error(world: Path) -> None:
    with pytest.raises(ConfigError, match=r"--unlabeled DIR.*--labeled"):
        SUM(sum_settings(world, unlabeled=(), labeled=())).training_data()
    for missing in ({"data": ()}, {"unlabeled": ()}):
        with pytest.raises(ConfigError, match=r"--data KIND:FOLDER.*--unlabeled DIR"):
            AlternatingSUM(alternating_settings(world, **missing))


def test_a_set_without_a_usable_mask_and_a_broken_photo_are_named(world: Path, tmp_path: Path) -> None:
    data = SUM(sum_settings(world, min_area=0.9)).training_data()
    with pytest.raises(DatasetError, match=r"human: none of the first 4 photos.*min_area"):
        data.check()
    data = SUM(sum_settings(world, min_ratio=1e5)).training_data()
    with pytest.raises(DatasetError, match=r"set: none of the first 4 photos.*min_ratio"):
        data.check()
    human = make_human(tmp_path / "human")
    data = SUM(sum_settings(world, labeled=(f"labels:{human}",))).training_data()
    (human / "images/2.png").write_bytes(b"no photo")
    with pytest.raises(MaskwrightError, match=r"2\.png"):
        data.check()
    with pytest.raises(MaskwrightError, match=r"2\.png"):
        data[ItemKey(2, 0, 0)]


def test_photos_alternate_in_the_set_proportion(world: Path) -> None:
    data = SUM(sum_settings(world)).training_data()
    machine = data.order(0, 1) >= 4
    assert machine.sum() == 4
    assert all(machine[k] != machine[k + 1] for k in range(7))
    assert not np.array_equal(data.order(0, 1), data.order(1, 1))
    third = SUM(sum_settings(world, unlabeled_share=0.25)).training_data().order(0, 1)
    assert (third >= 4).sum() == 2
    weighted = (f"labels:{world / 'human'}?weight=3", f"labels:{world / 'human'}?task=part")
    data = SUM(sum_settings(world, labeled=weighted, unlabeled=())).training_data()
    assert (data.order(0, 1) < 4).sum() == 6
    assert [source.task for source in data.sources] == [2, 3]


def test_validation_photos_are_held_out_of_every_human_set(world: Path) -> None:
    kept, held = hold_out(open_human((f"labels:{world / 'human'}?task=part",)), 0.25, 0)
    assert [len(part[0].dataset) for part in (kept, held)] == [3, 1]
    assert held[0].task == 3
    figures = SUM(sum_settings(world, val_share=0.25, task_prompts="both")).evaluate()
    assert set(figures) == {
        "miou", "box_miou", "box_boundary_iou", "click_miou", "click_boundary_iou", "clicks3_miou",
        "clicks3_boundary_iou",
    }  # fmt: skip
    three = [figures[name] for name in ("box_miou", "click_miou", "clicks3_miou")]
    assert figures["miou"] == pytest.approx(np.mean(three))
    assert AlternatingSUM(alternating_settings(world, val_share=0.25)).evaluate()["miou"] > 0
    assert SUM(sum_settings(world)).evaluate() == {}


# -- interactive runs ---------------------------------------------------------------------------------------


def test_task_prompts_learn_in_the_first_round_alone(world: Path) -> None:
    method = SUM(sum_settings(world, task_prompts="both", batch_size=8))
    groups = method.parameter_groups()
    assert any("task_prompts" in name for group in groups for name in group.parameters)
    freeze_rest(method)
    data = method.training_data()
    batch = data.collate([data[ItemKey(index, 0, 1)] for index in data.order(0, 1)])
    method.training_step(batch, context())["loss"].backward()
    table = {n: p.grad for n, p in method.model.named_parameters() if n.startswith("task_prompts")}
    learned = {name for name, gradient in table.items() if gradient is not None and gradient.any()}
    kinds = {"embedding", "tokens"}
    assert learned == {f"task_prompts.{kind}.{task}" for kind in kinds for task in ("unlabeled", "entity")}
    frozen = SUM(sum_settings(world, task_prompts="embedding", freeze_unlabeled_task=True))
    names = {name for name, _ in frozen.model.named_parameters()}
    assert "task_prompts.embedding.unlabeled" not in names
    assert "task_prompts.embedding.part" in names


def context() -> StepContext:
    return StepContext(0, 1, torch.Generator().manual_seed(0))


def test_a_batch_without_a_mask_costs_nothing(world: Path) -> None:
    method = SUM(sum_settings(world))
    data = method.training_data()
    empty = data[ItemKey(7, 0, 1)]
    losses = method.training_step(data.collate([empty, empty]), context())
    assert {float(value.detach()) for value in losses.values()} == {0.0}
    losses["loss"].backward()
    assert not any(p.grad is not None and p.grad.any() for p in method.model.parameters())
    other = AlternatingSUM(alternating_settings(world))
    batch = other.training_data().collate([other.training_data()[ItemKey(7, 0, 1)]])
    losses = other.training_step(batch, context())
    assert float(losses["loss"].detach()) == 0
    losses["loss"].backward()


def test_an_encoder_that_stays_is_asked_once_for_each_photo(world: Path, tmp_path: Path) -> None:
    results = []
    for cache in ("auto", "off", "disk"):
        chosen = sum_settings(world, train="decoder", cache=cache, steps=10, batch_size=1)
        method = SUM(chosen, tmp_path / "embeddings")
        train(method, tmp_path / cache, quiet=True)
        results.append(method.model.state_dict())
        if method.cache is not None:
            assert method.cache.computed == 8
    for name, value in results[0].items():
        assert torch.allclose(value, results[1][name], atol=1e-6), name
        assert torch.allclose(value, results[2][name], atol=1e-6), name
    start = load(world / "nano.safetensors").model.state_dict()
    changed = {name.partition(".")[0] for name, value in results[0].items() if (value != start[name]).any()}
    assert changed == {"prompts", "decoder"}
    with pytest.raises(ValueError, match="cache needs"):
        sum_settings(world, cache="memory")


def test_the_loss_falls_and_what_is_exported_loads(world: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {"name": "adamw", "lr": 3e-3}
    chosen = sum_settings(
        world, steps=40, batch_size=4, val=(f"labels:{world / 'human'}",), evaluate_every=40, log_every=1,
        rounds=2, optimizer=values, task_prompts="embedding", layer_decay=1.0,
    )  # fmt: skip
    outcome = train(SUM(chosen), tmp_path, quiet=True)
    losses = [json.loads(row)["loss"] for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    assert outcome.metrics["miou"] > outcome.before["miou"]
    assert outcome.model is not None
    trained = load(outcome.model)
    assert trained.model.task_prompts is not None
    image = np.zeros((30, 60, 3), np.uint8)
    masks = [trained(image, boxes=[4, 4, 20, 20], task=task).low_res for task in ("unlabeled", "entity")]
    assert not torch.equal(*masks)


class Stopping(SUM):
    """Gets a SIGTERM in the middle of its second step."""

    stop = True

    def training_step(self, batch: Batch, context: StepContext) -> Losses:
        if context.step == 1 and self.stop:
            self.stop = False
            signal.raise_signal(signal.SIGTERM)
        return super().training_step(batch, context)


def test_a_stopped_run_goes_on_bit_for_bit(world: Path, tmp_path: Path) -> None:
    chosen = sum_settings(world, steps=5, batch_size=3, task_prompts="both")
    train(SUM(chosen), tmp_path / "whole", quiet=True)
    assert train(Stopping(chosen), tmp_path / "parts", quiet=True).stopped == signal.SIGTERM
    assert train(SUM(chosen), tmp_path / "parts", quiet=True).step == 5
    whole, parts = (read_state(RunFolder(tmp_path / name).last) for name in ("whole", "parts"))
    assert whole.tensors.keys() == parts.tensors.keys()
    assert all(torch.equal(value, parts.tensors[name]) for name, value in whole.tensors.items())


# -- by turns -----------------------------------------------------------------------------------------------


def test_steps_on_human_and_machine_made_masks_by_turns(world: Path) -> None:
    method = AlternatingSUM(alternating_settings(world, batch_size=3, accumulate=2, unlabeled_photos=2))
    data = method.training_data()
    batches = Batches(data, 1, 3, 2, 2, 1)
    data.begin(batches.items_per_step)
    assert len(data) == 24  # one human step and one other; twelve items each
    assert batches.steps_of(3) == 6
    seen: set[int] = set()
    for step in range(4):
        for keys in batches.keys(step):
            index = [key.index for key in keys]
            if step % 2 == 0:
                assert max(index) < 4
                seen |= set(index)
            else:
                assert all(4 <= place < 8 for place in index[:2])
                assert index[2] == 8
                assert data.source(8) == "(no photo)"
            batch = data.collate([data[key] for key in keys])
            assert isinstance(batch, MachineBatch if step % 2 else HumanBatch)
            assert len(batch.pixels) == (2 if step % 2 else 3)
    assert seen == set(range(4))


@pytest.mark.parametrize("kind", ["box", "points", "mask", "click", "jittered_box"])
def test_one_kind_of_prompt_for_a_photo_and_clicks_by_certainty(world: Path, kind: str) -> None:
    method = AlternatingSUM(alternating_settings(world, prompts=(kind,), task_prompts="tokens"))
    data = method.training_data()
    for index in range(4, 7):
        asked = data[ItemKey(index, 0, 3)].asked  # type: ignore[union-attr]
        assert asked.prompts is not None
        assert asked.prompts.task == 0
        assert asked.prompts.shape == (1, len(asked.objects.masks))
        points = asked.prompts.points
        assert (points is not None) == (kind in ("points", "click"))
        if points is not None:
            assert points.shape[2] == (10 if kind == "points" else 1)
            for mask, some in zip(asked.objects.masks, points[0].long().tolist(), strict=True):
                assert len(set(map(tuple, some))) == len(some)
                assert all(mask[y, x] for x, y in some)


def test_sam_stays_bit_for_bit_and_the_human_step_is_fine_tunings(world: Path, tmp_path: Path) -> None:
    path = str(save(tiny(SAM), tmp_path / "sam.safetensors"))
    chosen = alternating_settings(
        world, model=path, steps=6, task_prompts="tokens", freeze_unlabeled_task=True, log_every=1
    )
    method = AlternatingSUM(chosen)
    outcome = train(method, tmp_path / "run", quiet=True)
    assert outcome.model is not None
    start, trained = load(path).model.state_dict(), load(outcome.model).model
    assert trained.family == "sam_hq"
    assert trained.task_prompts is not None
    state = trained.state_dict()
    assert all(torch.equal(state[name], value) for name, value in start.items())
    assert state["net.mask_decoder.hq_mask_mlp.proj_out.weight"].any()
    assert state["task_prompts.tokens.entity"].any()
    assert not state["task_prompts.tokens.part"].any()
    rows = [json.loads(row) for row in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert ["loss_human" in row for row in rows] == [True, False] * 3
    assert ["loss_machine" in row for row in rows] == [False, True] * 3

    plain = alternating_settings(world, model=path, val_share=0.0)
    ours = AlternatingSUM(plain)
    values = {name: getattr(plain, name) for name in FinetuneSettings.model_fields}
    theirs = Finetune(FinetuneSettings.model_validate(values))
    key = ItemKey(1, 0, 1)
    mine, other = ours.training_data(), theirs.training_data()
    losses = [
        ours.training_step(mine.collate([mine[key]]), context()),
        theirs.training_step(other.collate([other[key]]), context()),
    ]
    assert float(losses[0]["loss"].detach()) == float(losses[1]["loss"].detach())


def test_the_recipes_are_the_published_ones() -> None:
    small = read_recipe("sum").values
    assert (small["steps"], small["batch_size"] * small["accumulate"]) == (6000, 40)
    assert small["optimizer"]["lr"] == 1e-5
    assert (small["max_masks"], small["rounds"], small["layer_decay"]) == (30, 7, 0.8)
    medium = read_recipe("sum-medium").values
    assert medium["labeled"] == [*small["labeled"], "entityseg:EntitySeg"]
    assert {name for name in small if small[name] != medium[name]} == {"labeled"}
    for name in ("vanilla", "mask-refinement"):
        values = read_recipe(name).values
        assert not values["use_uncertainty_loss"]
        assert not values["use_uncertainty_clicks"]
        assert values["task_prompts"] == "none"
        assert values.get("target", "label") == ("refined" if name == "mask-refinement" else "label")
    hq, alternating = read_recipe("hq").values, read_recipe("sum-hq").values
    shared = hq.keys() - {"model"}
    assert all(alternating[name] == hq[name] for name in shared)
    assert (alternating["max_masks"], alternating["min_ratio"]) == (40, 100.0)


# -- processes ----------------------------------------------------------------------------------------------

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from methods.interactive.test_training import both
from maskwright.training.loop import train

world, out = Path(sys.argv[2]), Path(sys.argv[3])
for method, share in both(world, 2):
    train(method, out / method.name, quiet=True)
"""


def both(world: Path, processes: int) -> list[tuple[SUM | AlternatingSUM, int]]:
    share = 4 // processes
    plain = {"name": "sgd", "lr": 0.05}
    return [
        (SUM(sum_settings(world, steps=2, batch_size=share, optimizer=plain, task_prompts="both")), share),
        (
            AlternatingSUM(
                alternating_settings(
                    world, data=(f"labels:{world / 'gap'}",), steps=2, batch_size=share,
                    unlabeled_photos=share, optimizer=plain,
                    prompts=("box", "mask"), loss_points=64,
                )
            ),
            share,
        ),
    ]  # fmt: skip


def test_two_processes_give_the_gradients_of_one(world: Path, tmp_path: Path) -> None:
    # A photo without an object must not make the others of its process weigh more.
    make_human(world / "gap")
    save_image(world / "gap/labels/1.png", np.zeros(SIZES[1], np.uint8))
    tests = Path(__file__).parents[2]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(tests.parent / "src"), "OMP_NUM_THREADS": "1"}
    command = [*run, str(script), str(tests), str(world), str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    for method, _ in both(world, 1):
        train(method, tmp_path / "one" / method.name, quiet=True)
        one, two = (read_state(RunFolder(tmp_path / n / method.name).last) for n in ("one", "two"))
        start = load(world / "nano.safetensors").model.state_dict()
        moved = 0.0
        for name, value in one.part("model").items():
            assert torch.allclose(value, two.part("model")[name], atol=1e-5), (method.name, name)
            if name in start:
                moved = max(moved, float((value - start[name]).abs().max()))
        assert moved > 1e-3
