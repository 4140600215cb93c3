"""The UNet: the checkpoints' parameter names, shapes, types, and the algebra of depth attention."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vid4d.priors.layers.blocks import timestep_embedding
from vid4d.priors.layers.depth_attention import DepthAttention
from vid4d.priors.layers.unet import UNet
from vid4d.priors.layers.unet_config import DepthAttentionConfig, UNetConfig

SMALL = UNetConfig(
    in_channels=6,
    out_channels=5,
    model_channels=16,
    channel_mult=(2, 3, 4),
    num_res_blocks=1,
    attention_levels=(False, True, True),
    head_dim=16,
    context_dim=12,
    norm_groups=8,
)
DEPTH = replace(SMALL, depth_attention=DepthAttentionConfig(volume_channels=(8, 16, 16), heads=2))


def randomised(config: UNetConfig) -> UNet:
    """A network without the zeros that would hide its branches."""
    torch.manual_seed(0)
    net = UNet(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net


def volumes(batch: int, depths: int = 6) -> dict[int, torch.Tensor]:
    return {
        8: torch.randn(batch, 8, depths, 8, 8),
        4: torch.randn(batch, 16, depths // 2, 4, 4),
        2: torch.randn(batch, 16, 1, 2, 2),
    }


def test_parameters_are_those_of_the_syncdreamer_checkpoint(shared_dir):
    keys = json.loads((shared_dir / "reference" / "syncdreamer_keys.json").read_text())
    prefix = "model.diffusion_model."
    expected = {k.removeprefix(prefix): tuple(s) for k, s in keys.items() if k.startswith(prefix)}
    with torch.device("meta"):
        net = UNet(UNetConfig(depth_attention=DepthAttentionConfig()))
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == expected


def test_parameters_are_those_of_the_zero123_checkpoint(shared_dir):
    keys = json.loads((shared_dir / "reference" / "zero123_keys.json").read_text())
    prefix = "model.diffusion_model."
    expected = {k.removeprefix(prefix): tuple(s) for k, s in keys.items() if k.startswith(prefix)}
    with torch.device("meta"):
        net = UNet(UNetConfig())
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == expected


@pytest.mark.fullsize
def test_equals_the_authors_zero123(shared_dir):
    folder = shared_dir / "reference"
    spec = importlib.util.spec_from_file_location("fill", folder / "fill.py")
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    net = UNet(UNetConfig()).eval()
    for name, parameter in net.state_dict().items():
        parameter.copy_(fill.fill(f"model.diffusion_model.{name}", parameter.shape))
    reference = {k: torch.from_numpy(v) for k, v in np.load(folder / "zero123.npz").items() if k != "image"}
    x = torch.cat([reference["noisy"], reference["latent_mode"]], 1)
    with torch.no_grad():
        out = net(x, reference["t"], reference["cross"])
    error = ((out - reference["eps"]).norm() / reference["eps"].norm()).item()
    print(f"zero123 eps: {error:.2e}")
    assert error < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_shapes_and_types(dtype):
    net = randomised(DEPTH).to(dtype)
    x, context = torch.randn(2, 6, 8, 8).to(dtype), torch.randn(2, 3, 12).to(dtype)
    out = net(x, torch.tensor([1, 999]), context, {k: v.to(dtype) for k, v in volumes(2).items()})
    assert out.shape == (2, 5, 8, 8)
    assert out.dtype == dtype
    assert out.isfinite().all()


def test_channels_last_changes_nothing():
    net = randomised(SMALL)
    x, t, context = torch.randn(2, 6, 8, 8), torch.tensor([3.5, 70.0]), torch.randn(2, 7, 12)
    expected = net(x, t, context)
    got = net.to(memory_format=torch.channels_last)(
        x.contiguous(memory_format=torch.channels_last), t, context
    )
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_batch_entries_do_not_mix():
    net = randomised(DEPTH)
    x, t, context, v = torch.randn(3, 6, 8, 8), torch.tensor([5, 50, 500]), torch.randn(3, 2, 12), volumes(3)
    together = net(x, t, context, v)
    alone = net(x[1:2], t[1:2], context[1:2], {k: a[1:2] for k, a in v.items()})
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_a_new_depth_attention_is_the_identity():
    torch.manual_seed(0)
    net = UNet(DEPTH).eval()
    torch.nn.init.normal_(net.out[2].weight)
    x, t, context = torch.randn(1, 6, 8, 8), torch.tensor([10]), torch.randn(1, 2, 12)
    torch.testing.assert_close(net(x, t, context, volumes(1)), net(x, t, context))


def test_depth_attention_equals_attention_with_projected_keys_and_values():
    torch.manual_seed(0)
    layer = DepthAttention(dim=12, volume_channels=6, heads=3)
    x, volume = torch.randn(2, 12, 4, 5), torch.randn(2, 6, 7, 4, 5)
    q = layer.to_q(x).reshape(2, 3, 4, 1, 4, 5)
    k = layer.to_k(volume).reshape(2, 3, 4, 7, 4, 5)
    v = layer.to_v(volume).reshape(2, 3, 4, 7, 4, 5)
    weights = ((q * k).sum(2, keepdim=True) / 2).softmax(3)
    expected = layer.to_out((v * weights).sum(3).reshape(2, 12, 4, 5))
    torch.testing.assert_close(layer(x, volume), expected)


def test_timestep_embedding_by_hand():
    e = timestep_embedding(torch.tensor([2]), 4)
    expected = torch.tensor([[2.0, 0.02]])
    torch.testing.assert_close(e, torch.cat([expected.cos(), expected.sin()], -1))


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="attention_levels"):
        UNetConfig(attention_levels=(True,))
    with pytest.raises(ValueError, match="norm groups"):
        UNetConfig(model_channels=100)
    net = UNet(SMALL)
    with pytest.raises(ValueError, match="context"):
        net(torch.zeros(1, 6, 8, 8), torch.tensor([0]))
    with pytest.raises(ValueError, match="depth attention"):
        net(torch.zeros(1, 6, 8, 8), torch.tensor([0]), torch.zeros(1, 1, 12), volumes(1))
