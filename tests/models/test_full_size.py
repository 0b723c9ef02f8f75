"""At the published sizes our predictor equals transformers' own SAM, its eps set to the original's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models.golden import assert_close
from transformers import SamConfig, SamModel

from maskwright.models.preprocess import preprocess, to_image
from maskwright.models.sam import DECODER_NORM_EPS, SAM
from maskwright.models.segmenter import Segmenter


def random_net() -> SamModel:
    """ViT-B's sizes with weights that keep the signal alive; transformers' own encoder starts nearly at zero.

    Four layers, one of them without windows: further ones only repeat these.
    """
    config = SamConfig()
    config.vision_config.num_hidden_layers, config.vision_config.global_attn_indexes = 4, [2]
    config.mask_decoder_config.layer_norm_eps = DECODER_NORM_EPS
    net = SamModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "layer_norm" in name and name.endswith("weight"):
                continue
            parameter.normal_(std=1.0 if "positional" in name else 0.03, generator=generator)
    return net


@pytest.mark.slow
def test_sam_at_the_sizes_of_vit_b_equals_transformers() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8).repeat(5, 0).repeat(6, 1)
    height, width = image.shape[:2]
    net = random_net()
    box, point = [100.0, 80.0, 600.0, 400.0], [300.0, 200.0]
    with torch.no_grad():
        model = SAM.from_config(net.config.to_dict())
        model.net.load_state_dict(net.state_dict(), assign=True)
        pixels, geometry = preprocess(to_image(image), model)
        reference = net(
            pixels[None],
            input_points=geometry.to_input(torch.tensor([[[point]]])),
            input_labels=torch.ones(1, 1, 1),
            input_boxes=geometry.to_input(torch.tensor(box).view(1, 1, 2, 2)).flatten(2),
        )
    masks = Segmenter(model)(image, points=[point], boxes=box, multimask=True)
    assert masks.logits().shape == (1, 3, height, width)
    assert reference.pred_masks.std() > 1e-3
    assert_close(masks.low_res, reference.pred_masks[0], "masks")
    assert_close(masks.iou, reference.iou_scores[0], "iou")
