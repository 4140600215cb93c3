"""What Apple's GPUs cannot do, checked without one: they have no double precision."""

from __future__ import annotations

import pytest
import torch
import torch.fx.experimental._config as experimental
from tiny_frustum import tiny_frustum
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vid4d.cameras import Cameras
from vid4d.priors.frustum import drawing
from vid4d.priors.frustum.framing import network_pictures
from vid4d.priors.frustum.rendering import render_solid
from vid4d.priors.interpolators import frames_between, load_interpolator
from vid4d.priors.smoothing import smoothing_matrix


class SinglePrecision(TorchDispatchMode):
    """Refuses tensors in double precision on the device "meta", which stands for the GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves((args, kwargs or {}, out)):
            if isinstance(x, torch.Tensor) and x.is_meta:
                assert x.dtype not in (torch.float64, torch.complex128), f"{func} in double precision"
        return out


def test_double_precision_is_noticed():
    with SinglePrecision(), pytest.raises(AssertionError, match="double precision"):
        torch.ones(2, device="meta").double()
    with SinglePrecision():
        assert smoothing_matrix(2).dtype == torch.float64, "on the processor it may be"


def test_the_shipped_prior_draws_in_single_precision(monkeypatch):
    monkeypatch.setattr(experimental, "meta_nonzero_assume_all_nonzero", True)
    network = tiny_frustum()
    config = network.config
    frames = torch.rand(2, 2 * config.image_size, 2 * config.image_size, 4)
    framing, pictures = network_pictures(frames, config)
    camera = Cameras.orbit([0.0], 10.0, size=config.image_size)
    network, pictures, framing = network.to("meta"), pictures.to("meta"), framing.to("meta")
    with SinglePrecision():
        camera, ring = camera.to("meta"), Cameras.ring(size=config.image_size).to("meta")
        elevation, weights = torch.deg2rad(camera.elevation), smoothing_matrix(2).to(pictures)
        assert weights.dtype == torch.float32
        plain, mirrored = (drawing._features(network, picture, elevation) for picture in pictures.split(1))
        solid = drawing._solid(network, plain, mirrored, pictures[:1])
        views = render_solid(solid, camera, ring, config, framing=framing[:1], size=config.image_size)
    assert views.shape == (1, 16, config.image_size, config.image_size, 4)


def test_the_shipped_interpolator_works_in_single_precision():
    network = load_interpolator().to("meta")
    frame = torch.empty(1, 4, 64, 64, device="meta")
    with SinglePrecision():
        assert [x.shape for x in frames_between(network, frame, frame, 3)] == [frame.shape] * 3
