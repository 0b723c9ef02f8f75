"""SAM 2 as a tracker with its own memory: each frame attends to the masks and object tokens of earlier ones.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024, section 4; over transformers' video model.
Frames are given one by one, and what no later frame can look at is forgotten, so that memory does not grow
with the length of the video.

Axes: K objects, S side of the model's input.
"""

from __future__ import annotations

from typing import Any, Self

import torch
import torch.nn.functional as F
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from maskwright.models.preprocess import preprocess
from maskwright.models.sam2_video import SAM2Video, load_video
from maskwright.models.segmenter import weights_digest
from maskwright.types import BoolArray, FloatArray, Image


class SAM2Memory:
    """SAM 2 with its memory.

    Args:
        model: from `models.sam2_video.load_video`.
        name: what to call it.
    """

    def __init__(self, model: SAM2Video, name: str = "sam2") -> None:
        self.model = model.eval()
        self.signature = f"sam2-memory {name}:{weights_digest(model)}"

    @classmethod
    def from_model(cls, model: str, **how: Any) -> Self:  # noqa: ANN401
        """With a SAM 2 model; arguments and errors as for `load_video`."""
        return cls(load_video(model, **how), model)

    def start(self, image: Image, masks: BoolArray) -> _Remembered:
        """Begin with the K objects of an image."""
        return _Remembered(self.model, image, masks)


class _Remembered:
    """K objects, and what transformers keeps of the frames that they were in."""

    def __init__(self, model: SAM2Video, image: Image, masks: BoolArray) -> None:
        self.model = model
        device = next(model.parameters()).device
        self.session = Sam2VideoInferenceSession(
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=torch.float32,
        )
        self.frame = 0
        side = (model.image_size, model.image_size)
        for number, mask in enumerate(masks):
            place = self.session.obj_id_to_idx(number)
            # As the released predictor does it: stretched to the square, and binary there.
            soft = F.interpolate(
                torch.tensor(mask)[None, None].float(), side, mode="bilinear", antialias=True
            )
            self.session.add_mask_inputs(place, 0, (soft >= 0.5).float())
        self.session.obj_with_new_inputs = list(range(len(masks)))
        self._see(image)

    def step(self, image: Image, previous: BoolArray) -> FloatArray:
        """Find the objects by the memory of them; the previous masks are in it already."""
        self.frame += 1
        return self._see(image)

    def _see(self, image: Image) -> FloatArray:
        pixels, geometry = preprocess(image, self.model)
        found = self.model.net(self.session, frame_idx=self.frame, frame=pixels[None])
        self._forget()
        logits: FloatArray = geometry.to_image(found.pred_masks[:, 0].float()).cpu().numpy()
        return logits

    def _forget(self) -> None:
        """Drop the frame itself, the masks at the input's size, and answers that are out of reach."""
        config = self.model.net.config
        reach = max(config.num_maskmem, config.max_object_pointers_in_encoder)
        self.session.processed_frames = {}
        for number, outputs in self.session.output_dict_per_obj.items():
            outputs["non_cond_frame_outputs"].pop(self.frame - reach, None)
            self.session.frames_tracked_per_obj[number].pop(self.frame - reach, None)
            for kind in outputs.values():
                kind.get(self.frame, {}).pop("high_res_masks", None)
