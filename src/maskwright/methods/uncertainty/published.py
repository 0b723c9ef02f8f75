"""The settings that UncertainSAM's authors trained their heads with, by dataset (released code).

Found by their search on each dataset; all with SGD, a weight decay of 0.001 and no schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Dataset = Literal["coco", "sav", "ade20k", "davis"]

WEIGHT_DECAY = 0.001
ANY = ""

_COCO = (189, 36, 0.0087130695692, 0.1639321491122)

PUBLISHED: dict[Dataset, dict[str, tuple[int, int, float, float]]] = {
    "coco": {ANY: _COCO, "iou_large": (189, 35, 0.0087130695692, 0.1639321491122)},
    "sav": {ANY: (193, 9, 0.0087130695692, 0.1639321491122)},
    "ade20k": {
        ANY: (106, 79, 0.0013075788956, 0.8303298246553),
        "task_gap": (208, 75, 0.0411114656149, 0.2459095045924),
        "prompt_gap": (193, 70, 0.0024243301281, 0.8148493215442),
    },
    "davis": {
        "task_gap": (158, 55, 0.029406075389, 0.7093735218048),
        "iou_base_plus": (130, 70, 0.0016774068549, 0.8908015870842),
        "iou_small": (193, 70, 0.0024243301281, 0.8148493215442),
        "iou_tiny": (151, 63, 0.0702736108729, 0.3075366146863),
        "iou_large": (232, 42, 0.0164839636621, 0.1234703782399),
        "model_gap": (235, 77, 0.0039678611351, 0.1280011787627),
        "refined_iou": (62, 80, 0.0230261929437, 0.2442788582406),
        "unsupervised_iou": (118, 57, 0.0343696361285, 0.8852591752),
        "prompt_gap": (154, 40, 0.0008989134277, 0.5382621589924),
    },
}
"""Rows of a step, epochs, learning rate and momentum of each head; "" is for those not named.

The heads bear our names: refined_iou is theirs iou_dense_prompt.
"""

_SIZES = ("tiny", "small", "base_plus", "large")


def published_values(dataset: Dataset, head: str, models: Sequence[str]) -> dict[str, Any]:
    """The published settings of a head, by the names in `HeadPlan`.

    Args:
        dataset: where the heads learn.
        head: its name; iou_NAME takes the settings of the size in a model's name, such as sam2.1-tiny, and
            of other models the smallest those of tiny, the largest those of large, the rest those of small.
        models: small to large.
    """
    table = PUBLISHED[dataset]
    model = head.removeprefix("iou_")
    size = f"iou_{_size(model, models)}" if head.startswith("iou_") and model in models else head
    batch_size, epochs, lr, momentum = table.get(size) or table[ANY]
    return {
        "batch_size": batch_size,
        "epochs": epochs,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": WEIGHT_DECAY,
    }


def _size(model: str, models: Sequence[str]) -> str:
    named = [size for size in _SIZES if model.replace("-", "_").endswith(size)]
    if named:
        return named[0]
    return {models[0]: "tiny", models[-1]: "large"}.get(model, "small")
