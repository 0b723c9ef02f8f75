"""DINO's features for finding the object: better than a SAM's own at telling objects apart between images.

Axes: C channels, h w patches, S side.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from maskwright.errors import InputError, OfflineError, WeightsError
from maskwright.methods.personalize.features import FeatureMap
from maskwright.models.segmenter import weights_digest
from maskwright.runtime import choose_device
from maskwright.types import Geometry, Image

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODEL_TYPES = ("dinov2", "dinov2_with_registers", "dinov3_vit")
SIDE = 518
"""Side in pixels to which images are brought, about: a multiple of the patch size."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DINO:
    """A DINOv2 or DINOv3 from transformers, as a source of features.

    Args:
        net: the model; it is set to evaluation mode.
        name: as it was asked for, for messages.
        device: auto, cpu, cuda, mps.
    """

    def __init__(self, net: PreTrainedModel, name: str, device: str = "auto") -> None:
        self.signature = f"{name}:{weights_digest(net)}"
        self.device = choose_device(device).value
        self.net: Any = net.eval().to(self.device)
        patch = int(net.config.patch_size)
        self.cells = max(1, round(SIDE / patch))
        self.side = self.cells * patch

    @classmethod
    def load(cls, name_or_path: str, *, device: str = "auto", offline: bool = False) -> DINO:
        """Load by hub id (such as "facebook/dinov2-small") or folder, safetensors only.

        Raises:
            InputError: it is no DINO.
            OfflineError: it is not here and cannot be fetched.
            WeightsError: the file is damaged, or holds no safetensors.
        """
        from transformers import AutoConfig, AutoModel

        config = _fetch(AutoConfig, name_or_path, offline)
        if config.model_type not in MODEL_TYPES:
            raise InputError(
                f"{name_or_path} is a {config.model_type}, no DINO: give one of "
                "facebook/dinov2-small, -base, -large, or a DINOv3 ViT."
            )
        net, told = _fetch(
            AutoModel,
            name_or_path,
            offline,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        if missing := sorted(told["missing_keys"]):
            # transformers would draw them at random and only warn.
            raise WeightsError(f"{name_or_path} lacks {len(missing)} tensors: {', '.join(missing[:5])}.")
        return cls(net, name_or_path, device)

    @torch.no_grad()
    def features(self, image: Image) -> FeatureMap:
        """The features of an image's patches; it is stretched to a square."""
        pixels = torch.tensor(image.pixels).permute(2, 0, 1)[None].float() / 255
        square = F.interpolate(pixels, (self.side, self.side), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))
        tokens_BTC = self.net(pixel_values=((square - mean) / std).to(self.device)).last_hidden_state
        # The patches are the last tokens; before them are the image's own and registers.
        patches = tokens_BTC[0, -(self.cells**2) :].T.unflatten(1, (self.cells, self.cells))
        return FeatureMap(patches.float().cpu(), Geometry(image.size, self.side, "stretch"))


def _fetch(kind: Any, name_or_path: str, offline: bool, **options: Any) -> Any:  # noqa: ANN401
    """What transformers makes of a folder or hub id, with our errors."""
    folder = Path(name_or_path).is_dir()
    try:
        # Said outright, for otherwise transformers asks whether to run the code that a folder may hold.
        options |= {"local_files_only": offline or folder, "trust_remote_code": False}
        return kind.from_pretrained(name_or_path, **options)
    except Exception as error:  # a damaged file can raise anything
        line = " ".join(str(error).split())[:200]
        if isinstance(error, OSError) and not folder:
            raise OfflineError(f"{name_or_path} is not here and could not be fetched: {line}") from error
        raise WeightsError(f"{name_or_path} cannot be read as a DINO: {line}") from error
