"""Run lengths of a mask on any device: from a GPU come the places where runs end, not the pixels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from maskwright.io.rle import RLE


def encode(mask_HW: Tensor) -> RLE:
    """Run lengths of an (H, W) bool mask."""
    if mask_HW.device.type == "cpu":
        return RLE.encode(mask_HW.numpy())
    return encode_by_ends(mask_HW)


def encode_by_ends(mask_HW: Tensor) -> RLE:
    """The same by operations of the mask's device."""
    pixels_L = mask_HW.t().flatten()
    # Runs go down the columns and begin with one of background, which may be empty.
    is_end_L = pixels_L.new_zeros(len(pixels_L) + 1)
    is_end_L[0] = pixels_L[0]
    is_end_L[1:-1] = pixels_L[1:] != pixels_L[:-1]
    is_end_L[-1] = True
    ends = is_end_L.nonzero()[:, 0].cpu().numpy()
    return RLE.from_runs(np.diff(ends, prepend=0), (mask_HW.shape[0], mask_HW.shape[1]))
