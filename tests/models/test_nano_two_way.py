"""nano's two-way transformer and small networks equal transformers', whose names its weights have."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamFeedForward, SamTwoWayTransformer

from maskwright.models.nano_two_way import FeedForward, TwoWayTransformer

WIDTH, HEADS, HIDDEN = 32, 4, 48


def pair() -> tuple[TwoWayTransformer, SamTwoWayTransformer]:
    torch.manual_seed(0)
    settings = SamMaskDecoderConfig(
        hidden_size=WIDTH, num_attention_heads=HEADS, mlp_dim=HIDDEN, layer_norm_eps=1e-5
    )
    settings._attn_implementation = "eager"
    ours, theirs = TwoWayTransformer(WIDTH, HEADS, HIDDEN), SamTwoWayTransformer(settings)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_transformer_and_its_gradients() -> None:
    ours, theirs = pair()
    tokens = torch.randn(3, 1, 6, WIDTH)
    image, position = torch.randn(3, WIDTH, 5, 7), torch.randn(1, WIDTH, 5, 7)
    results = []
    for transformer in (ours, theirs):
        transformer.zero_grad()
        found = transformer(tokens, image, position, attention_similarity=None)
        sum(part.square().sum() for part in found).backward()
        results.append([*found, *(parameter.grad for parameter in transformer.parameters())])
    assert len(results[0]) == len(results[1]) > 2
    largest = max(float(other.detach().abs().max()) for other in results[1])
    for mine, other in zip(*results, strict=True):
        # Of a key's bias the gradient is zero, and rounding what is found.
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6 * largest)


def test_transformer_under_autocast() -> None:
    """Softmax stays in float32."""
    ours, theirs = pair()
    arguments = torch.randn(2, 1, 4, WIDTH), torch.randn(2, WIDTH, 3, 3), torch.randn(1, WIDTH, 3, 3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, expected = (t(*arguments, attention_similarity=None) for t in (ours, theirs))
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.float(), other.float(), rtol=0.05, atol=0.05)


def test_feed_forward() -> None:
    ours, theirs = FeedForward(WIDTH, 5), SamFeedForward(WIDTH, WIDTH, 5, 3)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, WIDTH)
    torch.testing.assert_close(ours(x), theirs(x))


def test_new_weights_are_drawn_in_the_same_order() -> None:
    """So runs from nothing with a seed stay what they were."""
    torch.manual_seed(5)
    ours = FeedForward(WIDTH, 5), TwoWayTransformer(WIDTH, HEADS, HIDDEN)
    torch.manual_seed(5)
    settings = SamMaskDecoderConfig(hidden_size=WIDTH, num_attention_heads=HEADS, mlp_dim=HIDDEN)
    theirs = SamFeedForward(WIDTH, WIDTH, 5, 3), SamTwoWayTransformer(settings)
    for mine, other in zip(ours, theirs, strict=True):
        for name, value in other.state_dict().items():
            assert torch.equal(mine.state_dict()[name], value), name


@pytest.mark.parametrize("heads", [3, 64])
def test_heads_that_do_not_fit(heads: int) -> None:
    with pytest.raises(ValueError, match=f"{heads} heads do not divide"):
        TwoWayTransformer(WIDTH, heads, HIDDEN)


def test_nano_needs_no_transformers() -> None:
    """Its import takes longer than most commands' own work."""
    code = (
        "import sys, numpy; from maskwright import load;"
        "load('nano')(numpy.zeros((64, 64, 3), numpy.uint8), boxes=[[8, 8, 40, 40]]);"
        "assert 'transformers' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
