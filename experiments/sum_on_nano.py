"""Does SUM work? nano fine-tuned on its own masks: as they are (vanilla), refined, weighed (SUM), or both.

    python experiments/sum_on_nano.py --data DATA --out runs/sum_on_nano

DATA holds BSDS500 and DAVIS2016. Each step is a `maskwright` command whose result stays below --out, so the
same command goes on where it was stopped. At the end docs/results/sum.json is written, and from it the page
and its pictures. About two hours on two cores.

The photos are parted in three. On the first part's human masks the refiner is trained, and they are the
human masks of all fine-tuning. The second part is labelled by nano; its human masks are not used. On the
third everything is measured. (nano itself has learned from the human masks of the first two parts; the third
it has never seen.)
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from disagreement import disagreement
from spoil import spoil_set
from sum_page import write_page
from sum_summary import METHODS, Outcome, summarise

from maskwright.data.registry import open_dataset
from maskwright.io.files import read_json, write_json

RESULT = Path(__file__).parent.parent / "docs" / "results" / "sum.json"
HUMAN = (
    "bsds500:{}/BSDS500?split=trainval&fold=1/2",
    "davis2016:{}/DAVIS2016?sequences=bmx-trees,breakdance,car-roundabout,cows,drift-chicane&fold=1/3",
)
UNLABELED = (
    "bsds500:{}/BSDS500?split=trainval&fold=-1/2",
    "davis2016:{}/DAVIS2016?sequences=horsejump-high,kite-surf,motocross-jump,paragliding-launch,scooter-black&fold=1/3",
)
ANY_HUMAN = ("bsds500:{}/BSDS500?split=trainval&annotator=all", "davis2016:{}/DAVIS2016")
HELD_OUT = {
    "entity": "bsds500:{}/BSDS500?split=test",
    "salient": "davis2016:{}/DAVIS2016?sequences=blackswan,goat,parkour",
}
LABELS = ("labels", "spoiled")
PREDICTED_IOU = 0.45
"""Masks that nano believes in more than this are labels."""
CLICKS = (1, 3, 5)


@dataclass(frozen=True)
class Experiment:
    """Where things are, and how much is done."""

    data: Path
    out: Path
    steps: int
    refiner_steps: int
    seeds: Sequence[int]
    points_per_side: int
    photos: int
    test_photos: int
    jobs: int
    rate: float

    def at(self, *specs: str) -> list[str]:
        """Data with the folder filled in."""
        return [spec.format(self.data) for spec in specs]

    def command(self, name: str, *words: str | Path) -> Any:  # noqa: ANN401
        """Run a `maskwright` command, unless its result is there; return that."""
        path = self.out / "results" / f"{name}.json"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            print(f"{name} ...", flush=True)
            with (path.parent / f"{name}.log").open("a") as log:
                argv = [sys.executable, "-m", "maskwright", *map(str, words), "--json", f"{path}.part"]
                subprocess.run(argv, check=True, stdout=log, stderr=log)  # noqa: S603
            Path(f"{path}.part").rename(path)
        return read_json(path)

    def label(self) -> None:
        """The second part's photos with nano's masks, and a spoiled copy of these."""
        sets = [open_dataset(spec) for spec in self.at(*UNLABELED)]
        photos = [found.image_path(index) for found in sets for index in range(len(found))]
        every = max(1, round(len(photos) / self.photos))
        how = f"--points-per-side {self.points_per_side} --pred-iou-thresh {PREDICTED_IOU}".split()
        self.command("label", "label", "masks", *photos[::every], "--out", self.out / "labels", *how)
        if not (self.out / "spoiled" / "set.json").is_file():
            spoil_set(self.out / "labels", self.out / "spoiled", seed=0)

    def train_refiner(self) -> Any:  # noqa: ANN401
        """On the first part; validated, with the calibration of its uncertainty, on the third."""
        data = ("--data", *self.at(*HUMAN), "--val", *self.at(*HELD_OUT.values()))
        how = f"--steps {self.refiner_steps} --evaluate-every {self.refiner_steps} --precision bf16".split()
        return self.command("refiner", "train", "refiner", *data, *how, "--out", self.out / "refiner")

    def refine(self, labels: str) -> None:
        """Refine a set of labels."""
        refiner = self.out / "refiner" / "model" / "refiner.safetensors"
        self.command(f"refine-{labels}", "label", "refine", self.out / labels, "--refiner", refiner)

    def disagreement(self, labels: str) -> list[dict[str, Any]]:
        """Who is right where labels and refined masks differ, by the second part's human masks."""
        path = self.out / "results" / f"disagreement-{labels}.json"
        if not path.is_file():
            write_json(path, disagreement(self.out / labels, self.at(*ANY_HUMAN)))
        found: list[dict[str, Any]] = read_json(path)
        return found

    def train(self, labels: str, method: str, seed: int) -> None:
        """Fine-tune nano with one of the recipes; then measure it."""
        name = f"{labels}-{method}-{seed}"
        data = ("--unlabeled", str(self.out / labels), "--labeled", *self.at(*HUMAN), "--val-share", "0")
        size = f"--steps {self.steps} --accumulate 4 --rounds 4 --max-masks 6 --loss-at masks"
        rate = f"--optimizer.lr {self.rate} --schedule.name cosine --schedule.warmup {self.steps // 10}"
        how = f"{size} {rate} --precision bf16 --workers 0 --seed {seed}".split()
        self.command(f"train-{name}", "train", method, *data, *how, "--out", self.out / name)
        self.evaluate(name, self.out / name / "model")

    def evaluate(self, name: str, model: str | Path) -> list[Any]:
        """Box, and five clicks, on the third part."""
        tasks = [word for task, spec in HELD_OUT.items() for word in ("--task", task, *self.at(spec))]
        words = ["evaluate", "prompted", "--model", model, *tasks, "--limit", str(self.test_photos)]
        clicks = ",".join(map(str, CLICKS))
        box = self.command(f"evaluate-{name}-box", *words, "--prompt", "box")
        point = self.command(f"evaluate-{name}-point", *words, "--prompt", "point", "--clicks", clicks)
        return [*box["results"], *point["results"]]

    def run(self) -> dict[str, Any]:
        """All of it; returns the summary."""
        with ThreadPoolExecutor(self.jobs) as pool:
            first = (self.label, self.train_refiner, partial(self.evaluate, "base", "nano"))
            finish(pool.submit(step) for step in first)
            finish(pool.submit(self.refine, labels) for labels in LABELS)
            finish(pool.submit(self.train, *run) for run in self.runs())
        outcomes = [Outcome("base", None, None, self.evaluate("base", "nano"))]
        outcomes += [
            Outcome(method, labels, seed, self.evaluate(f"{labels}-{method}-{seed}", ""))
            for labels, method, seed in self.runs()
        ]
        found = {labels: self.disagreement(labels) for labels in LABELS}
        return summarise(outcomes, self.train_refiner(), found, self.settings())

    def settings(self) -> dict[str, Any]:
        """What decides the result, and no folder of this machine; `photos` and `masks` were labelled."""
        asked = {name: value for name, value in vars(self).items() if name not in ("data", "out", "jobs")}
        labels = self.command("label")
        found = {"photos": labels["n"], "masks": labels["masks"]}
        return asked | found | {"clicks": CLICKS, "pred_iou_thresh": PREDICTED_IOU}

    def runs(self) -> list[tuple[str, str, int]]:
        """Labels, method and seed of every training."""
        return [(labels, method, seed) for seed, labels, method in product(self.seeds, LABELS, METHODS)]


def finish(steps: Iterable[Future[Any]]) -> None:
    """Wait for all, then raise the first error."""
    for step in list(steps):
        step.result()


def arguments() -> Experiment:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of BSDS500 and DAVIS2016")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of everything that is made on the way"
    )
    parser.add_argument("--steps", type=int, default=80, help="of each fine-tuning")
    parser.add_argument("--refiner-steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--points-per-side", type=int, default=16, help="clicks of the labelling, along each side"
    )
    parser.add_argument("--photos", type=int, default=120, help="about so many are labelled")
    parser.add_argument("--test-photos", type=int, default=45, help="at most, of each dataset")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time")
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate of the fine-tuning")
    return Experiment(**vars(parser.parse_args()))


def main() -> None:
    """Run what is not done and write the result and its page."""
    write_json(RESULT, arguments().run())
    write_page(RESULT)


if __name__ == "__main__":
    main()
