"""The network of the frustum volume: shapes, where its voxels lie, and what starts at nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_frustum import TINY

from vid4d.priors.frustum.matter import SKIN, without_detail
from vid4d.priors.frustum.network import FrustumVolume


@pytest.fixture(scope="module")
def network() -> FrustumVolume:
    torch.manual_seed(0)
    return FrustumVolume(TINY).eval()


def test_shapes(network: FrustumVolume) -> None:
    picture = torch.rand(2, 4, 64, 64) * 2 - 1
    solid = network(picture, torch.tensor([0.1, 0.4]))
    assert solid.logits.shape == (2, 1, 24, 24, 24)
    assert solid.color.shape == (2, 3, 24, 24, 24)
    assert solid.elevation.shape == (2,)


def test_colors_begin_as_the_picture_itself_along_every_ray(network: FrustumVolume) -> None:
    picture = torch.rand(1, 4, 64, 64) * 2 - 1
    fine, tokens, _ = network.encode(picture)
    weight, bias = network.leave.weight.clone(), network.leave.bias.clone()
    with torch.no_grad():
        network.leave.weight.zero_()
        network.leave.bias.zero_()
        _, color = network.decode(fine, tokens, torch.zeros(1), picture)
        network.leave.weight.copy_(weight)
        network.leave.bias.copy_(bias)
    shown = network.columns(picture)[:, :3]
    torch.testing.assert_close(color, shown[:, :, None].expand_as(color))
    # 48 pixels of the crop in 24 columns: the middle of each pair of pixels, by bilinear interpolation
    pairs = picture[:, :3, 8:56, 8:56].unflatten(3, (24, 2)).unflatten(2, (24, 2)).mean((3, 5))
    torch.testing.assert_close(shown, pairs, atol=1e-5, rtol=1e-4)


def test_a_closed_gate_keeps_the_picture_out(network: FrustumVolume) -> None:
    gated = FrustumVolume(replace(TINY, gated=True)).eval()
    gated.load_state_dict(network.state_dict(), strict=False)
    assert gated.gate is not None
    assert gated.gate.bias is not None
    picture = torch.rand(1, 4, 64, 64) * 2 - 1
    with torch.no_grad():
        open_color = gated(picture, torch.zeros(1)).color
        gated.gate.bias[5] = -1.0  # in the voxels that are second, first and second along depth, row, column
        color = gated(picture, torch.zeros(1)).color
    shown = gated.columns(picture)[:, :3, None].expand_as(color)
    closed = torch.zeros_like(color, dtype=torch.bool)
    closed[:, :, 1::2, 0::2, 1::2] = True
    torch.testing.assert_close(color[closed], (open_color - shown)[closed])
    torch.testing.assert_close(color[~closed], open_color[~closed])


def test_detail_stops_at_the_first_matter_and_reaches_it(network: FrustumVolume) -> None:
    config = replace(TINY, detail_stops=True)
    stopping = FrustumVolume(config).eval()
    stopping.load_state_dict(network.state_dict())
    picture = torch.rand(1, 4, 64, 64) * 2 - 1
    with torch.no_grad():
        stopping.leave.weight.zero_()
        for logit, seen in ((-30.0, 24), (30.0, SKIN + 1)):  # nothing anywhere, matter everywhere
            stopping.leave.bias.zero_()
            stopping.leave.bias[:8] = logit
            color = stopping(picture, torch.zeros(1)).color
            columns = stopping.columns(picture)
            shown, soft = columns[:, :3, None], without_detail(columns)[:, :, None]
            torch.testing.assert_close(color[:, :, :seen], shown.expand(-1, -1, seen, -1, -1))
            behind = color[:, :, seen + 3 :]
            torch.testing.assert_close(behind, soft.expand_as(behind), atol=1e-3, rtol=0)


def test_every_cell_spreads_over_its_own_voxels(network: FrustumVolume) -> None:
    """The last layer's outputs are laid out as cell * 2 + (depth, row, column) within the cell."""
    picture = torch.zeros(1, 4, 64, 64)
    fine, tokens, _ = network.encode(picture)
    bias = network.leave.bias.clone()
    weight = network.leave.weight.clone()
    with torch.no_grad():
        network.leave.weight.zero_()
        network.leave.bias.copy_(torch.arange(32.0))  # 4 outputs of 2 x 2 x 2 voxels
        logits, _ = network.decode(fine, tokens, torch.zeros(1), picture)
        network.leave.bias.copy_(bias)
        network.leave.weight.copy_(weight)
    inner = torch.arange(8.0).view(2, 2, 2)
    torch.testing.assert_close(logits[0, 0], inner.repeat(12, 12, 12))


def test_what_lies_outside_of_the_crop_is_not_seen(network: FrustumVolume) -> None:
    picture = torch.rand(1, 4, 64, 64) * 2 - 1
    other = picture.clone()
    other[..., :8, :] = 1
    other[..., 56:] = -1
    first, second = network(picture, torch.zeros(1)), network(other, torch.zeros(1))
    torch.testing.assert_close(first.logits, second.logits)
