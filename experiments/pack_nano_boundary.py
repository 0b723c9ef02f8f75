"""From a run of `maskwright train nano-boundary` to the file in the package.

    python experiments/pack_nano_boundary.py --run RUN --data DATA/BSDS500 --out nano-boundary.safetensors

The consensus loss weighs boundaries by how rare they are, so its best threshold is not a half. It is looked
for on the photos of the training, by the benchmark, and the last bias is shifted so that it becomes 0.5: then
the default level of the region tree cuts where boundaries are as often right as missed. The order of
probabilities, and so nearly every figure of the benchmark, stays. Numbers are stored as float16.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import torch

from maskwright.models.boundary_files import load_boundary, save_boundary
from maskwright.models.nano_boundary import NanoBoundary


def best_threshold(model: Path, data: Path, limit: int, workers: int) -> float:
    """The threshold of the best F over photos of the training."""
    told = model.with_suffix(".trainval.json")
    command = [sys.executable, "-m", "maskwright", "evaluate", "boundaries", "--model", str(model)]
    command += ["--data", f"bsds500:{data}?split=trainval", "--limit", str(limit), "--workers", str(workers)]
    subprocess.run([*command, "--json", str(told), "--quiet"], check=True)  # noqa: S603
    content = json.loads(told.read_text(encoding="utf-8"))
    at = float(content["ods_at"]["threshold"])
    print(f"on {content['n']} photos of the training: ODS {content['ods']:.4f} at {at:.3f}")
    return at


def main() -> None:
    """Measure, shift, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--data", type=Path, required=True, help="folder of BSDS500")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=300, help="at most so many photos")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    file = given.run / "model" / "boundary.safetensors"
    threshold = best_threshold(file, given.data, given.limit, given.workers)
    model = load_boundary(file, device="cpu").model
    assert isinstance(model, NanoBoundary)
    bias = model.head.out.bias
    assert bias is not None
    with torch.no_grad():
        bias -= math.log(threshold / (1 - threshold))
    save_boundary(model, given.out, resolution=None, dtype=torch.float16)
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB, {threshold:.3f} became 0.5")


if __name__ == "__main__":
    main()
