"""A small model answers every prompt, a large one those where that is expected to pay (UncertainSAM, sec. 4).

What the large model may gain is 1 − quality, as the small one's heads expect it, or their "model_gap".
Encoding an image with the large model is paid once for all its prompts, so prompts are not chosen one by one:

- Each image offers its best prompts, as many of them as give the highest gain per cost, the image's encoding
  included; the rest of its prompts follow one by one, at the cost of a prompt.
- Offers are taken by gain per cost, the highest first, as long as they fit the budget. Only expected gains
  above 0 are offered.
- If one image alone would bring more than all that was taken, it is taken in their place.

With a budget that counts only prompts, or only images, no other choice gains more; in between, the choice
gains at least half of the best one (the offers are the concave hull of each image's gains, of which the
greedy order misses at most the first offer that does not fit, and that image alone is compared).

For images that come one after the other there is no batch to choose from: `online_threshold` learns on a
batch above which gain a wanted share of the prompts lies.

Axes: A prompts of all images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskwright.errors import ConfigError, InputError
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Embedding, Image, Prompts

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Costs:
    """What asking a model costs, in any one unit.

    Args:
        image: for each image that is asked about at all (encoding it).
        prompt: for each prompt (decoding it).

    Raises:
        InputError: for negative costs, or none at all.
    """

    image: float
    prompt: float

    def __post_init__(self) -> None:
        if not (self.image >= 0 and self.prompt >= 0 and self.image + self.prompt > 0):
            raise InputError(
                f"costs are at least 0, and not both 0: image {self.image}, prompt {self.prompt}."
            )

    def of(self, images: int, prompts: int) -> float:
        """Cost of so many prompts in so many images."""
        return self.image * images + self.prompt * prompts


PER_PROMPT = Costs(0, 1)
"""A budget then is a number of prompts."""


@dataclass(frozen=True)
class Budget:
    """What the large model may take of a whole run.

    Args:
        value: a share of the prompts, or how many times the small model's own time both models may take.
        timed: whether it is a time.
    """

    value: float
    timed: bool = False

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read "30%" or "0.3", a share of the prompts, or "2x", a time.

        Raises:
            ConfigError: with an example.
        """
        timed, percent = text.endswith("x"), text.endswith("%")
        try:
            value = float(text[:-1] if timed or percent else text) / (100 if percent else 1)
        except ValueError:
            value = math.nan
        if not (1 <= value < math.inf if timed else 0 <= value <= 1):
            raise ConfigError(
                f"{text!r} is no budget: give a share of the prompts such as 30%, or how many times the "
                "small model's own time all may take, such as 2x (at least 1x)."
            )
        return cls(value, timed)

    def __str__(self) -> str:
        return f"{self.value:g}x" if self.timed else f"{self.value:.4%}"

    def limit(self, images: int, prompts: int, small: Costs, large: Costs) -> tuple[Costs, float]:
        """Costs and budget for `choose_prompts`.

        Args:
            images: of the run.
            prompts: of the run.
            small: what the small model takes; a share does not look at it.
            large: what the large one takes, in the same unit; likewise.
        """
        if self.timed:
            return large, (self.value - 1) * small.of(images, prompts)
        return PER_PROMPT, math.floor(self.value * prompts + _ROUNDING)


def choose_prompts(
    gains_A: npt.ArrayLike, images_A: Sequence[str | int], costs: Costs, budget: float
) -> BoolArray:
    """Choose the prompts that the large model shall answer; see the top of this file for the rule.

    Args:
        gains_A: what may be gained on each prompt, such as 1 - the expected quality of the selected mask.
        images_A: which image each prompt is of.
        costs: of the large model.
        budget: how much it may cost, in the unit of `costs`.

    Returns:
        (A,) bool.

    Raises:
        InputError: for gains that are not finite or not as many as the images, or a budget below 0.
    """
    gains = np.asarray(gains_A, np.float64)
    if gains.shape != (len(images_A),) or not np.isfinite(gains).all():
        raise InputError(
            f"gains must be finite, one for each of the {len(images_A)} prompts, not of shape {gains.shape}."
        )
    if not budget >= 0:
        raise InputError(f"a budget is at least 0, not {budget}.")
    # Costs of many offers are added up: what fits must not fail for its last bit.
    limit = budget * (1 + _ROUNDING)
    by_image = [_affordable(gains, places, costs, limit) for places in _by_image(images_A)]
    taken = _greedy([offer for places in by_image for offer in _offers(gains, places, costs)], limit)
    alone = max(by_image, key=lambda places: float(gains[places].sum()), default=taken)
    best = max(taken, alone, key=lambda places: float(gains[places].sum()))
    chosen = np.zeros(len(gains), np.bool_)
    chosen[best] = True
    return chosen


def online_threshold(gains_A: npt.ArrayLike, share: float) -> float:
    """The gain above which at most this share of the prompts lies, and never below 0.

    Args:
        gains_A: expected gains of prompts like those to come, at least one.
        share: of the prompts that the large model shall answer, in [0, 1].

    Raises:
        InputError: without gains, for gains that are not finite, or a share outside [0, 1].
    """
    gains = np.sort(np.asarray(gains_A, np.float64))[::-1]
    if not gains.size or not np.isfinite(gains).all():
        raise InputError("a threshold is learned from finite gains, at least one.")
    if not 0 <= share <= 1:
        raise InputError(f"a share lies between 0 and 1, not at {share}.")
    allowed = math.floor(share * gains.size + _ROUNDING)
    return max(0.0, float(gains[allowed])) if allowed < gains.size else 0.0


def measure_costs(segmenter: Segmenter, image: Image, prompts: Prompts, *, repeats: int = 3) -> Costs:
    """Measure what a model takes, in seconds: the least of several times, after a first that is not counted.

    Args:
        segmenter: the model.
        image: any; models see all images at one size.
        prompts: of that image, at least one, such as will be asked.
        repeats: how often.

    Raises:
        InputError: prompts that do not fit the image, or none.
    """
    if not len(prompts):
        raise InputError("costs are measured with at least one prompt.")
    encoding, decoding = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        embedding: Embedding = segmenter.embed(image)
        between = time.perf_counter()
        segmenter.decode(embedding, prompts).iou.cpu()
        encoding.append(between - start)
        decoding.append(time.perf_counter() - between)
    return Costs(min(encoding[1:]), min(decoding[1:]) / len(prompts))


@dataclass(frozen=True)
class _Offer:
    """Some prompts of one image; `opens` says whether the image's own cost comes with them."""

    image: int
    places: list[int]
    gain: float
    cost: float
    opens: bool

    @property
    def density(self) -> float:
        return self.gain / self.cost if self.cost else float("inf")


def _by_image(images: Sequence[str | int]) -> list[list[int]]:
    places: dict[str | int, list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(image, []).append(place)
    return list(places.values())


def _affordable(gains: npt.NDArray[np.float64], places: list[int], costs: Costs, limit: float) -> list[int]:
    """An image's prompts that gain something, the best first, as many as the whole budget would pay."""
    paying = sorted((place for place in places if gains[place] > 0), key=lambda place: -gains[place])
    while paying and costs.of(1, len(paying)) > limit:
        paying.pop()
    return paying


def _offers(gains: npt.NDArray[np.float64], places: list[int], costs: Costs) -> list[_Offer]:
    """What one image offers, in falling order of gain per cost."""
    if not places:
        return []
    counts = np.arange(1, len(places) + 1)
    first = int(np.argmax(gains[places].cumsum() / (costs.image + costs.prompt * counts))) + 1
    opening = places[:first]
    offers = [_Offer(places[0], opening, float(gains[opening].sum()), costs.of(1, first), True)]
    return offers + [
        _Offer(places[0], [place], float(gains[place]), costs.prompt, False) for place in places[first:]
    ]


def _greedy(offers: list[_Offer], limit: float) -> list[int]:
    taken: list[int] = []
    opened: set[int] = set()
    spent = 0.0
    # Python sorts stably, so an image's first offer stays before its others.
    for offer in sorted(offers, key=lambda offer: -offer.density):
        if (offer.opens or offer.image in opened) and spent + offer.cost <= limit:
            taken += offer.places
            opened.add(offer.image)
            spent += offer.cost
    return taken
