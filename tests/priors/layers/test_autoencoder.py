"""The autoencoder: sizes, and the pieces whose conventions differ between implementations."""

from __future__ import annotations

import torch

from vid4d.priors.layers.autoencoder import (
    AttentionBlock,
    Autoencoder,
    AutoencoderConfig,
    AutoencoderDownsample,
)

SMALL = AutoencoderConfig(channels=8, channel_mult=(1, 2, 2), num_res_blocks=1, norm_groups=4)


def test_sizes():
    torch.manual_seed(0)
    model = Autoencoder(SMALL).eval()
    latents = model.encode(torch.randn(2, 3, 16, 24))
    assert SMALL.factor == 4
    assert latents.shape == (2, 4, 4, 6)
    assert model.decode(latents).shape == (2, 3, 16, 24)
    mean, std = model.moments(torch.randn(1, 3, 8, 8))
    assert mean.shape == std.shape == (1, 4, 2, 2)
    assert (std > 0).all()


def test_downsampling_pads_right_and_below():
    layer = AutoencoderDownsample(1)
    torch.nn.init.ones_(layer.conv.weight)
    torch.nn.init.zeros_(layer.conv.bias)
    out = layer(torch.ones(1, 1, 4, 4))
    torch.testing.assert_close(out[0, 0], torch.tensor([[9.0, 6.0], [6.0, 4.0]]))


def test_attention_by_hand():
    torch.manual_seed(0)
    layer = AttentionBlock(4, groups=2)
    x = torch.randn(1, 4, 2, 3, requires_grad=True)
    y = layer.norm(x)
    q, k, v = (f(y).reshape(4, 6) for f in (layer.q, layer.k, layer.v))
    weights = (q.T @ k / 2).softmax(1)
    expected = x + layer.proj_out((v @ weights.T).reshape(1, 4, 2, 3))
    found = layer(x)
    torch.testing.assert_close(found, expected)
    toward = torch.randn_like(x)
    parameters = [x, *layer.parameters()]
    mine, true = (torch.autograd.grad(y, parameters, toward) for y in (found, expected))
    for a, b in zip(mine, true, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_close():
    torch.manual_seed(0)
    model = Autoencoder(SMALL).eval()
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    full = model.encode(images)
    half = model.to(torch.bfloat16).encode(images.bfloat16()).float()
    assert (half - full).norm() / full.norm() < 0.05
