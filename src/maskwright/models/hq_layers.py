"""Give a SAM or MobileSAM the layers of SAM-HQ, fresh, to be trained (Ke et al. 2023, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn

from maskwright.errors import InputError
from maskwright.models.base import MaskModel
from maskwright.models.checkpoint import family_config
from maskwright.models.parts import HQ_OF, HQ_PREFIXES
from maskwright.models.registry import family_class
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.task_prompts import PREFIX, carry_over


def add_hq_layers(model: MaskModel) -> SAMHQ:
    """Make a SAM-HQ of a SAM, or a Light HQ-SAM of a MobileSAM: all weights are SAM's, the HQ layers are new.

    They start as PyTorch makes them, as published, but for the last layer of the HQ token's MLP, which is
    zero. So the HQ logits are zero at first, and in the default mode "sum" the untrained model gives SAM's
    masks, but for the little that one more token changes in the decoder's attention.

    Raises:
        InputError: the model is no plain SAM or MobileSAM.
    """
    if model.family not in HQ_OF:
        raise InputError(f"HQ layers can be added to a SAM, not to a {model.family}.")
    family = HQ_OF[model.family]
    made: SAMHQ = family_class(family, family).from_config(family_config(model.config_dict(), family))
    state = {name: value for name, value in model.state_dict().items() if not name.startswith(PREFIX)}
    missing, unexpected = made.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith(HQ_PREFIXES) for name in missing), missing
    decoder = made.net.mask_decoder
    for name, module in decoder.named_modules():
        if f"net.mask_decoder.{name}.".startswith(HQ_PREFIXES) and hasattr(module, "reset_parameters"):
            module.reset_parameters()
    with torch.no_grad():
        last: nn.Linear = decoder.hq_mask_mlp.proj_out
        last.weight.zero_()
        last.bias.zero_()
    carry_over(model, made)
    return made
