"""Kernels that read memory once: the same numbers as plain torch, and the same networks with them."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vid4d import kernels as kernels_room
from vid4d.priors.guidance import ClassifierFree
from vid4d.priors.layers import blocks, fused_ops
from vid4d.priors.layers.autoencoder import Autoencoder
from vid4d.priors.syncdreamer import CONFIGS, SyncDreamer


@pytest.fixture(scope="module")
def kernels():
    """Run by Triton's interpreter, on tensors of the processor."""
    pytest.importorskip("triton", reason="Triton is not installed (there is none for this system)")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("TRITON_INTERPRET is not 1: kernels are compiled, and tested on the GPU")
    from vid4d.priors.layers import fused_kernels

    return fused_kernels


@pytest.fixture
def in_use(kernels, monkeypatch):
    """The kernels serve tensors on the CPU; counts what they served."""
    served: list[str] = []

    def note(name):
        function = getattr(kernels, name)

        def noted(*arguments):
            served.append(name)
            return function(*arguments)

        return noted

    counted = type("Counted", (), {n: staticmethod(note(n)) for n in kernels.__all__})
    monkeypatch.setattr(fused_ops, "_kernels", lambda: counted)
    monkeypatch.setattr(fused_ops, "_is_supported", lambda x: kernels_room.enabled)
    return served


def norm_of(groups: int, channels: int) -> nn.GroupNorm:
    norm = nn.GroupNorm(groups, channels, eps=1e-4).requires_grad_(False)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


ACTIVATIONS = {"none": lambda x: x, "silu": F.silu, "relu": F.relu}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("rows", "channels", "groups"), [(5, 6, 3), (300, 72, 8), (64, 128, 32)])
@pytest.mark.parametrize("added", [None, "channel", "picture"])
def test_group_norm(kernels, activation, rows, channels, groups, added):
    torch.manual_seed(0)
    x = torch.randn(2, rows, channels) * 2 + 1
    norm = norm_of(groups, channels)
    add = {None: None, "channel": torch.randn(channels), "picture": torch.randn(2, channels)}[added]
    x.requires_grad_()
    got = kernels.group_norm(x, groups, norm.weight, norm.bias, norm.eps, activation, add)
    moved = x if add is None else x + (add if add.ndim == 1 else add[:, None])
    expected = ACTIVATIONS[activation](norm(moved.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    same_gradients(got, expected, x)


def same_gradients(got: torch.Tensor, expected: torch.Tensor, x: torch.Tensor) -> None:
    toward = torch.randn_like(expected)
    mine, true = (torch.autograd.grad(y, x, toward)[0] for y in (got, expected))
    torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-5)


def test_group_norm_of_many_positions(kernels):
    """More than one chunk, of the large kind."""
    x = torch.randn(1, 5000, 8, requires_grad=True)
    norm = norm_of(2, 8)
    got = kernels.group_norm(x, 2, norm.weight, norm.bias, norm.eps)
    expected = norm(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    same_gradients(got, expected, x)


@pytest.mark.parametrize("split", [1, 30, 64, 71])
def test_group_norm_of_channels_in_two_tensors(kernels, split):
    """A group may have channels of both."""
    x, norm = torch.randn(2, 300, 72) * 2 + 1, norm_of(8, 72)
    parts = x[..., :split].contiguous(), x[..., split:].contiguous()
    got = kernels.group_norm_of_both(*parts, 8, norm.weight, norm.bias, norm.eps, "silu")
    expected = F.silu(norm(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    plain = fused_ops.group_norm_of_both(norm, *(y.transpose(1, 2) for y in parts), "silu")
    torch.testing.assert_close(plain.transpose(1, 2), expected)


def test_group_norm_has_one_derivative_only(kernels):
    x, norm = torch.randn(1, 6, 4, requires_grad=True), norm_of(2, 4)
    y = kernels.group_norm(x, 2, norm.weight, norm.bias, norm.eps, "silu")
    (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_sum_and_gate(kernels):
    x, y, bias = torch.randn(3, 7, 70), torch.randn(3, 7, 70), torch.randn(70)
    x.requires_grad_()
    total = kernels.plus(x, y.requires_grad_(), bias)
    torch.testing.assert_close(total, x + y + bias)
    toward = torch.randn_like(total)
    for gradient in torch.autograd.grad(total, (x, y), toward):
        assert torch.equal(gradient, toward)
    z = torch.randn(2, 67, 140)
    value, gate = z.chunk(2, -1)
    torch.testing.assert_close(kernels.geglu(z), value * F.gelu(gate), rtol=1e-5, atol=1e-6)


def test_sum_with_a_bias_of_each_picture(kernels):
    x, y, bias = torch.randn(3, 70, 5), torch.randn(3, 70, 5), torch.randn(3, 5)
    torch.testing.assert_close(kernels.plus(x, y, bias), x + y + bias[:, None])


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_and_its_bias(in_use, monkeypatch, kind, stride):
    conv = kernels_room.channels_last(kind(5, 70, 3, stride=stride, padding=1))
    last = torch.channels_last if kind is nn.Conv2d else torch.channels_last_3d
    x = torch.randn(2, 5, *([4] * (conv.weight.ndim - 2))).contiguous(memory_format=last)
    with torch.no_grad():
        found = fused_ops.convolved(conv, x)
        if kind is nn.Conv2d:  # torch may lay out the results of others in another way
            assert in_use == ["add_bias"]
        torch.testing.assert_close(found, conv(x))
        monkeypatch.setattr(kernels_room, "enabled", False)
        assert torch.equal(fused_ops.convolved(conv, x), conv(x))


def test_a_bias_in_place(kernels):
    x, bias = torch.randn(3, 67, 70), torch.randn(70)
    expected = x + bias
    kernels.add_bias(x, bias)
    torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 3, 5, 70)])
def test_every_pixel_four_times(kernels, shape):
    x = torch.randn(shape)
    got = kernels.doubled(x)
    assert torch.equal(got, x.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert torch.equal(got.movedim(-1, 1), fused_ops.doubled(x.movedim(-1, 1)))


@pytest.mark.parametrize("channels", [5, 320, 1280])
@pytest.mark.parametrize("added", [False, True])
def test_layer_norm(kernels, channels, added):
    x, norm = torch.randn(3, 7, channels) * 2 + 5, nn.LayerNorm(channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    add = torch.randn(3, channels) if added else None
    got = kernels.layer_norm(x, norm.weight, norm.bias, norm.eps, add)
    expected = norm(x + (0 if add is None else add[:, None]))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fused_ops.layer_norm(norm, x, add), expected)


def test_volumes_are_sampled_as_grid_sample_does(kernels):
    """Inside, at the faces, at a corner, half a voxel and far outside; frames and places in any order."""
    volume = torch.randn(3, 4, 4, 4, 5)
    grid = torch.rand(2, 3, 7, 5, 3) * 2.8 - 1.4
    grid[0, 0, 0] = torch.tensor([[1, 1, 1], [-1, 0.5, 1], [1 + 1 / 3, 0, 0], [-1.3, 1, -1], [5, 0, 0.0]])
    frame, place = torch.tensor([2, 0, 2, 1]), torch.tensor([0, 1, 1, 0])
    got = kernels.sample_volume(volume, frame, grid, place)
    first = volume.movedim(-1, 1)
    expected = F.grid_sample(first[frame], grid[place], align_corners=True).movedim(1, -1)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got[0, 0, 0, 0], volume[2, 3, 3, 3])
    torch.testing.assert_close(got[0, 0, 0, 4], torch.zeros(5))
    plain = fused_ops.sample_volume(first, frame, grid, place)
    torch.testing.assert_close(plain.movedim(1, -1), expected)


@pytest.mark.parametrize(("depths", "width"), [(6, 5), (8, 16), (1, 3), (48, 64)])
def test_attention_along_rays(kernels, depths, width):
    """Every ray by itself: softmax of the scaled products, and the mean of the ray under it."""
    query, rays = torch.randn(2, 3, 4, width), torch.randn(2, 3, depths, width)
    got = kernels.along_rays(query, rays, 0.7)
    for index in ((0, 0), (1, 2)):
        weights = (query[index] @ rays[index].T * 0.7).softmax(-1)
        torch.testing.assert_close(got[index], weights @ rays[index])
    torch.testing.assert_close(got, fused_ops.along_rays(query, rays, 0.7))


@pytest.mark.parametrize("shape", [(2, 8, 5, 4), (2, 8, 3, 5, 4)])
def test_any_layout_gives_the_same(in_use, shape):
    x, add, norm = torch.randn(shape), torch.randn(2, 8), norm_of(4, 8)
    with torch.no_grad():
        plain = fused_ops.group_norm(norm, x, "silu", add)
        assert in_use == []
        last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
        quick = fused_ops.group_norm(norm, x.contiguous(memory_format=last), "silu", add)
    assert in_use == ["group_norm"]
    assert fused_ops.is_channels_last(quick)
    torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-5)


def lively(model: nn.Module) -> nn.Module:
    """Weights without the zeros that would hide its branches."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        else:
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_networks_are_the_same_with_kernels(in_use, monkeypatch):
    """One guided step of SyncDreamer, whose kernels have every branch of the UNet and volumes to pass."""
    tiny = CONFIGS["tiny"]
    model = lively(SyncDreamer(replace(tiny, volumes=replace(tiny.volumes, views=2))))
    images = torch.rand(1, 3, 64, 64)
    x, t = torch.randn(1, 2, 4, 8, 8), torch.tensor(500)

    def step():
        with torch.no_grad():
            return model.noise(x, t, model.condition(images, 10.0), guidance=ClassifierFree())

    monkeypatch.setattr(kernels_room, "enabled", False)
    plain = step()
    assert in_use == []
    monkeypatch.setattr(kernels_room, "enabled", True)
    kernels_room.channels_last(model)
    quick = step()
    every = {
        "add_bias",
        "along_rays",
        "doubled",
        "geglu",
        "group_norm",
        "group_norm_of_both",
        "layer_norm",
        "plus",
    }
    assert every | {"sample_volume"} == set(in_use)
    torch.testing.assert_close(quick, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("cross", [True, False])
def test_transformers_are_the_same_in_place(in_use, monkeypatch, tokens, cross):
    """Two blocks in a row, whose biases and single tokens are carried beside the pictures."""
    config = replace(CONFIGS["tiny"].unet, transformer_depth=2, context_dim=12 if cross else None)
    model = lively(blocks.SpatialTransformer(8, config))
    context = torch.randn(2, tokens, 12) if cross else None
    x = torch.randn(2, 8, 4, 6).to(memory_format=torch.channels_last)
    kept = x.clone()
    with torch.no_grad():
        quick = model(x, context)
        assert in_use.count("layer_norm") == 2 * (3 if cross and tokens > 1 else 2)
        monkeypatch.setattr(kernels_room, "enabled", False)
        plain = model(x, context)
    torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-4)
    assert torch.equal(x, kept)


def test_pictures_are_the_same_with_kernels(in_use, monkeypatch):
    model = lively(Autoencoder(CONFIGS["tiny"].autoencoder))
    z = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        monkeypatch.setattr(kernels_room, "enabled", False)
        plain = model.decode(z)
        monkeypatch.setattr(kernels_room, "enabled", True)
        quick = kernels_room.channels_last(model).decode(z)
    assert in_use.count("group_norm") > 10
    torch.testing.assert_close(quick, plain, rtol=1e-3, atol=1e-3)


def test_a_frozen_autoencoder_takes_the_same_gradient_to_a_picture(in_use, monkeypatch):
    model = kernels_room.channels_last(lively(Autoencoder(CONFIGS["tiny"].autoencoder)).requires_grad_(False))
    images, toward = torch.rand(2, 3, 32, 32), torch.randn(2, 4, 4, 4)

    def gradient():
        x = images.clone().requires_grad_()
        return torch.autograd.grad(model.encode(x), x, toward)[0]

    monkeypatch.setattr(kernels_room, "enabled", False)
    plain = gradient()
    assert in_use == []
    monkeypatch.setattr(kernels_room, "enabled", True)
    quick = gradient()
    assert in_use.count("group_norm") > 10
    assert set(in_use) == {"group_norm", "plus"}
    torch.testing.assert_close(quick, plain, rtol=1e-3, atol=1e-4)


def test_networks_that_learn_take_the_plain_way(in_use):
    block = blocks.TimestepResBlock(8, 8, 4, CONFIGS["tiny"].unet)
    x = torch.randn(1, 8, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    block(x, torch.randn(1, 4)).sum().backward()
    fused_ops.group_norm(block.in_layers[0], x).sum().backward()
    assert x.grad is not None
    assert block.in_layers[0].weight.grad is not None
    assert in_use == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_kernels_on_the_gpu(dtype, near):
    torch.manual_seed(0)
    norm = norm_of(32, 320).to("cuda", dtype)
    x = (torch.randn(3, 320, 32, 32, device="cuda") * 2 + 1).to(dtype, memory_format=torch.channels_last)
    add = torch.randn(3, 320, device="cuda", dtype=dtype)
    y = torch.randn_like(x)
    q, r = (torch.randn(3, 9, 9, n, 64, device="cuda", dtype=dtype) for n in (4, 48))
    bias = torch.randn(320, device="cuda", dtype=dtype)
    layer_norm, z = nn.LayerNorm(320).to("cuda", dtype), torch.randn(5, 77, 640, device="cuda", dtype=dtype)
    rows = x.movedim(1, -1).flatten(1, 2)
    volume = torch.randn(2, 64, 8, 8, 8, device="cuda", dtype=dtype)
    grid = torch.rand(2, 5, 9, 7, 3, device="cuda") * 2.4 - 1.2
    frame, place = torch.tensor([1, 0, 1], device="cuda"), torch.tensor([0, 0, 1], device="cuda")
    sampled = F.grid_sample(volume[frame].float(), grid[place], align_corners=True)
    with torch.no_grad():
        assert fused_ops.usable(x)
        parts = (y.contiguous(memory_format=torch.channels_last) for y in x.split([120, 200], 1))
        pairs = [
            (fused_ops.group_norm(norm, x, "silu", add), F.silu(norm(x + add[..., None, None]))),
            (fused_ops.group_norm_of_both(norm, *parts), norm(x)),
            (fused_ops.plus(x, y, bias), x + y + bias[:, None, None]),
            (fused_ops.plus(x, y, add), x + y + add[..., None, None]),
            (fused_ops.doubled(x), F.interpolate(x, scale_factor=2.0)),
            (fused_ops.layer_norm(layer_norm, rows, add), layer_norm(rows + add[:, None])),
            (fused_ops.along_rays(q, r, 0.2), (q.float() @ r.float().mT * 0.2).softmax(-1) @ r.float()),
            (fused_ops.geglu(z), z.chunk(2, -1)[0] * F.gelu(z.chunk(2, -1)[1])),
            (fused_ops.sample_volume(volume, frame, grid, place), sampled),
        ]
    leaf, toward = x.detach().requires_grad_(), torch.randn_like(x)
    assert fused_ops.normalisable(leaf, norm)
    ways = (fused_ops.group_norm(norm, leaf, "silu"), F.silu(norm(leaf)))
    mine, true = (torch.autograd.grad(y, leaf, toward)[0] for y in ways)
    for got, expected in [*pairs, (mine, true)]:
        assert (got - expected).float().norm() / expected.float().norm() < near
