from __future__ import annotations

import pytest
import torch

from maskwright.methods.automatic import held
from maskwright.methods.automatic.held import HeldLogits


def test_copies_share_pieces_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "PIECE_CELLS", 3 * 4 * 4)
    logits_Nhw = torch.arange(7.0)[:, None, None].expand(7, 4, 4)
    store = HeldLogits()
    copies = [store.hold(logits_hw) for logits_hw in logits_Nhw]
    assert all(map(torch.equal, copies, logits_Nhw))
    assert len({copy.untyped_storage().data_ptr() for copy in copies}) == 3


def test_the_place_of_what_is_let_go_is_used_again_and_no_other() -> None:
    store = HeldLogits()
    first, second = (store.hold(torch.full((4, 4), value)) for value in (1.0, 2.0))
    store.let_go(first)
    third = store.hold(torch.full((4, 4), 3.0))
    assert third.data_ptr() == first.data_ptr()
    assert torch.equal(second, torch.full((4, 4), 2.0))
    assert torch.equal(third, torch.full((4, 4), 3.0))


def test_logits_larger_than_a_piece_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "PIECE_CELLS", 4)
    assert torch.equal(HeldLogits().hold(torch.ones(4, 4)), torch.ones(4, 4))
