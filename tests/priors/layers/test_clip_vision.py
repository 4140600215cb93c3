"""The image tower of CLIP: what it sees, and one layer written out by hand."""

from __future__ import annotations

import pytest
import torch

from vid4d.priors.layers.clip_vision import MEAN, STD, CLIPVision, CLIPVisionConfig, Layer

SMALL = CLIPVisionConfig(image_size=12, patch_size=4, width=8, layers=2, heads=2, embed_dim=5)


@pytest.fixture(scope="module")
def model() -> CLIPVision:
    torch.manual_seed(0)
    return CLIPVision(SMALL).eval()


def test_a_plain_picture_is_normalised(model):
    seen = model.preprocess(torch.full((1, 3, 30, 40), 0.5))
    assert seen.shape == (1, 3, 12, 12)
    for channel in range(3):
        expected = (0.75 - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(seen[0, channel], torch.full((12, 12), expected), rtol=1e-4, atol=1e-4)


def test_corners_stay_corners(model):
    images = torch.rand(1, 3, 31, 45) * 2 - 1
    seen = model.preprocess(images)[0, 0] * STD[0] + MEAN[0]
    expected = (images[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]] + 1) / 2
    torch.testing.assert_close(seen[[0, 0, -1, -1], [0, -1, 0, -1]], expected, rtol=1e-4, atol=1e-4)


def test_one_embedding_per_picture(model):
    images = torch.rand(3, 3, 20, 20) * 2 - 1
    out = model(images)
    assert out.shape == (3, 5)
    torch.testing.assert_close(out[1:2], model(images[1:2]), rtol=1e-4, atol=1e-5)


def test_a_layer_by_hand():
    torch.manual_seed(0)
    layer = Layer(8, 2).eval()
    x = torch.randn(1, 3, 8)
    y = layer.ln_1(x)
    q, k, v = (y @ layer.attn.in_proj_weight.T + layer.attn.in_proj_bias).chunk(3, -1)
    heads = []
    for h in (slice(0, 4), slice(4, 8)):
        heads.append((q[..., h] @ k[..., h].transpose(1, 2) / 2).softmax(-1) @ v[..., h])
    expected = x + layer.attn.out_proj(torch.cat(heads, -1))
    y = layer.mlp["c_fc"](layer.ln_2(expected))
    expected = expected + layer.mlp["c_proj"](y / (1 + torch.exp(-1.702 * y)))
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
