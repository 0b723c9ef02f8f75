"""Low-resolution logits of candidates, in few large pieces of memory.

Copied one by one, they would lie between the large tensors that come and go with each batch of clicks, and
these would find no room where others were: memory would grow with the clicks though nothing is kept of them.
"""

from __future__ import annotations

from torch import Tensor

PIECE_CELLS = 2**20  # 4 MB, which stay as long as one of the copies in them


class HeldLogits:
    """Places for logits (h, w) of one size, type and device, which are used again."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []

    def hold(self, logits_hw: Tensor) -> Tensor:
        """A copy, valid until it is let go."""
        if not self._free:
            places = max(1, PIECE_CELLS // logits_hw.numel())
            self._free = list(logits_hw.new_empty(places, *logits_hw.shape))[::-1]
        return self._free.pop().copy_(logits_hw)

    def let_go(self, held_hw: Tensor) -> None:
        """Have the place of a copy used for others."""
        self._free.append(held_hw)
