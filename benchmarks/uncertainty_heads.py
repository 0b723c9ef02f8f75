"""What uncertainty heads add to the time of decoding: each decoding with and without them, turn about.

    python benchmarks/uncertainty_heads.py [--model nano --model sam2-tiny] [--prompts 1 16 64 256]
        [--repeats 9] [--hidden 64 64] [--published] [--single]

Both sides are one model and one embedding; the prompts are clicks, of which each gets three masks (but with
--single), so that the heads have most to do beside the least decoding. Time is CPU time, which other
programs on the machine disturb least; the ratio is the median of those of the pairs, with their quartiles.
`heads alone` is the time of the heads' own part over that of decoding, which the noise of two decodings
does not blur. The heads' weights are random, for their time does not depend on them.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from timing import seconds

import maskwright
from maskwright.choices import HeadsKind
from maskwright.models.mask_features import FEATURES
from maskwright.models.sam2 import SAM2
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import GAPS, VALUES, HeadsConfig, UncertaintyHeads, mask_inputs
from maskwright.types import Embedding, Prompts

SAM2_TINY = "sam2-tiny"
COMPONENTS = 16
PUBLISHED = ("iou_tiny", "iou_small", "iou_base", "iou_large", "refined_iou", "unsupervised_iou", *GAPS)


def plain(name: str) -> Segmenter:
    """A model without heads; SAM 2 in the sizes of its tiny one, with random weights."""
    if name != SAM2_TINY:
        return maskwright.load(name, heads=None, device="cpu")
    torch.manual_seed(0)
    from transformers.models.sam2 import Sam2Config

    return Segmenter(SAM2.from_config(Sam2Config().to_dict()), SAM2_TINY)


def with_heads(
    segmenter: Segmenter, embedding: Embedding, hidden: tuple[int, ...], *, published: bool
) -> Segmenter:
    """The same model with heads: the published ones read two tokens, the others all there is of a mask."""
    kind: HeadsKind = "published" if published else "selected"
    names = PUBLISHED if published else VALUES
    all_values = mask_inputs(segmenter.decode(embedding, clicks(1, embedding))).shape[2]
    known = (("tiny", segmenter.digest),)
    if published:
        config = HeadsConfig(kind, names, 2 * segmenter.model.output_tokens().shape[1], hidden, known)
    else:
        inputs, tokens = COMPONENTS + len(FEATURES), all_values - len(FEATURES)
        config = HeadsConfig(kind, names, inputs, hidden, known, COMPONENTS, tokens)
    return Segmenter(segmenter.model, segmenter.name, heads=UncertaintyHeads(config))


def clicks(count: int, embedding: Embedding) -> Prompts:
    """So many clicks, anywhere in the image."""
    height, width = embedding.geometry.size
    points = torch.rand(count, 1, 2, generator=torch.Generator().manual_seed(0))
    return Prompts(points * torch.tensor([width, height]), torch.ones(count, 1, dtype=torch.long))


def measure(
    both: tuple[Segmenter, Segmenter], embedding: Embedding, count: int, repeats: int, *, multimask: bool
) -> tuple[float, list[float], list[float]]:
    """Seconds of decoding without heads (median), ratios of the pairs, and ratios of the heads alone."""
    without, headed = both
    prompts = clicks(count, embedding)
    masks = without.decode(embedding, prompts, multimask=multimask)
    headed.decode(embedding, prompts, multimask=multimask)
    times, ratios, alone = [], [], []
    for _ in range(repeats):
        first = seconds(lambda: without.decode(embedding, prompts, multimask=multimask))
        second = seconds(lambda: headed.decode(embedding, prompts, multimask=multimask))
        own = seconds(lambda: [headed.annotate(masks) for _ in range(10)]) / 10
        times.append(first)
        ratios.append(second / first)
        alone.append(own / first)
    return float(np.median(times)), ratios, alone


def main() -> None:
    """Measure, and print a table of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help=f"by default nano and {SAM2_TINY}")
    parser.add_argument("--prompts", type=int, nargs="+", default=(1, 16, 64, 256), help="decoded together")
    parser.add_argument("--repeats", type=int, default=9, help="pairs that are timed")
    parser.add_argument("--hidden", type=int, nargs="+", help="widths of the heads' hidden layers")
    parser.add_argument("--published", action="store_true", help="nine heads in place of four")
    parser.add_argument(
        "--single", action="store_true", help="one mask a prompt, as `segment` asks by default"
    )
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), help="height and width of the photo")
    given = parser.parse_args()
    hidden = tuple(given.hidden or ((512, 512) if given.published else (64, 64)))
    photo = np.random.default_rng(0).integers(0, 256, (*given.size, 3), dtype=np.uint8)
    table = Table("model", "prompts", "decoding", "with heads / without", "heads alone / decoding")
    for name in given.model or ("nano", SAM2_TINY):
        segmenter = plain(name)
        embedding = segmenter.embed(photo)
        both = segmenter, with_heads(segmenter, embedding, hidden, published=given.published)
        for count in given.prompts:
            taken, ratios, alone = measure(both, embedding, count, given.repeats, multimask=not given.single)
            low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
            own = f"{np.median(alone):.2%} (at most {max(alone):.2%})"
            ratio = f"{middle:.3f} ({low:.3f} to {high:.3f})"
            table.add_row(name, str(count), f"{taken * 1000:.0f} ms", ratio, own)
    count, threads = len(PUBLISHED if given.published else VALUES), torch.get_num_threads()
    masks = "one mask" if given.single else "three masks"
    print(f"{count} heads, hidden layers of {hidden}, {masks} a prompt, {threads} thread(s)")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
