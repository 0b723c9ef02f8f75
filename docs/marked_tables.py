"""Tables marked `<!-- table: NAME -->` in README, tutorial and model card, from docs/results."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maskwright.io.files import read_json, write_text

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "results"
PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "tutorial" / "fine-tune-nuclei.md",
    ROOT / "src" / "maskwright" / "models" / "weights" / "README.md",
)
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
# As published: ODS, OIS, AP, covering, PRI, VOI of BSDS500's test photos.
PUBLISHED = {
    "Canny": (".611", ".676", ".520", "–", "–", "–"),
    "gPb-owt-ucm": (".729", ".755", ".745", ".588", ".827", "1.690"),
    "structured edges": (".743", ".764", ".800", "–", "–", "–"),
    "HED": (".788", ".808", ".840", "–", "–", "–"),
}
# Rows of docs/benchmarks.md that the README shows: benchmark, beginning of the row's name, what it is called.
HEADLINES = (
    ("encoder", "SAM, batch 1, float32", "image encoder, SAM ViT-B, float32"),
    ("encoder", "SAM, batch 1, float32, beside", "the same, beside OpenVINO"),
    ("encoder", "SAM, batch 4, float32", "the same, four images at once"),
    ("encoder", "SAM, batch 4, float32, beside", "the same four, beside OpenVINO"),
    ("encoder", "SAM-HQ, batch 1, float32", "image encoder, SAM-HQ ViT-B, float32"),
    ("encoder", "SAM-HQ, batch 4, float32", "the same, four images at once"),
    (
        "encoder.avx512",
        "SAM-HQ, batch 1, float32",
        "image encoder, SAM-HQ ViT-B, float32, an earlier version",
    ),
    ("encoder.avx512", "SAM-HQ, batch 1, bfloat16", "the same, bfloat16"),
    (
        "automatic_generation",
        "automatic masks, nano shapes",
        "automatic masks, nano's shapes, 1024 clicks, from the embedding",
    ),
    ("automatic_generation", "automatic masks, ViT-B", "the same with ViT-B's shapes"),
    ("training", "SAM-HQ ViT-B, 512 px: a step on 2", "training step of HQ-SAM"),
    (
        "training",
        "SAM-HQ ViT-B, 512 px: a step on a photo",
        "training step on one photo seen before (embedding cache)",
    ),
    ("run_lengths", "pack 64 blobs, 1024 × 1024", "64 masks to run lengths"),
    ("boundary_iou", "32 mask(s), 1080p", "boundary IoU of 32 masks, 1080p"),
    ("watershed", "segments 1024 × 1024", "boundary map to segments, 1024 px"),
    ("boundary_evaluation", "photo 100007", "BSDS500 counts of a photo"),
)


def boundaries() -> str:
    """nano-boundary beside what is published."""
    shipped = read_json(FOLDER / "everything.json")["shipped"]
    ours = [f"{shipped[key]:.3f}" for key in ("ods", "ois", "ap", "covering", "pri", "voi")]
    lines = ["| BSDS500 test | ODS | OIS | AP | covering | PRI | VOI |", "|---|---|---|---|---|---|---|"]
    rows: Mapping[str, Any] = {"nano-boundary": ours} | PUBLISHED
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())]) + "\n"


def speed() -> str:
    """How many times faster than its peers what most people wait for is."""
    lines = ["| work | times faster than | processor with |", "|---|---|---|"]
    for benchmark, start, title in HEADLINES:
        record = read_json(FOLDER / "benchmarks" / f"{benchmark}.json")
        machine, rows = record["machine"], record["rows"]
        # Older records do not tell the instructions; those that compute bfloat16 have AVX-512.
        processor = "AVX-512" if machine["limits"]["bfloat16"] else machine["instructions"]
        for row in [row for row in rows if row["name"].startswith(start)][:1]:
            peers = [
                (name, peer["ratio"]) for name, peer in row["peers"].items() if not name.startswith("ours")
            ]
            told = (f"{name} {ratio:.{2 if ratio < 2 else 1 if ratio < 10 else 0}f}" for name, ratio in peers)
            lines.append(f"| {title} | {', '.join(told)} | {processor} |")
    return "\n".join(lines) + "\n"


def fill(tables: Mapping[str, Callable[[], str]]) -> None:
    """Write every marked table anew.

    Args:
        tables: what else makes one, by the name in its mark.
    """
    known = {"boundaries": boundaries, "speed": speed, **tables}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        write_text(path, MARKED.sub(lambda match: match[1] + known[match[2]]() + match[3], text))
