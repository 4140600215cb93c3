"""Nothing in a step of a fit waits for the device: on a CPU, that nothing asks what a tensor holds."""

from dataclasses import replace

import pytest
import torch
from ellipsoids import matrix, picture
from raster_scenes import needs_interpreter, random_splats
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vid4d.cameras import Cameras
from vid4d.gaussians import fit_losses, fit_targets
from vid4d.gaussians.fit import FitState
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.fit_targets import Windows
from vid4d.gaussians.hull import HullConfig
from vid4d.gaussians.raster import SplatRender, rasterize_4d
from vid4d.gaussians.raster.room import EntryRoom
from vid4d.matrix.matrix import TrustedView

READS = ("item", "tolist", "numpy", "cpu", "nonzero", "__bool__", "__float__", "__int__", "__index__")


class NoReads(TorchFunctionMode):
    """Raises where Python asks what a tensor holds."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        masks = name == "__getitem__" and getattr(args[1], "dtype", None) == torch.bool
        if name in READS or masks:
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


class NoReadsInside(TorchDispatchMode):
    """The same for what happens inside of torch, backward too: sizes that depend on values."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2"):
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("read", [lambda x: x.item(), bool, float, lambda x: x.tolist(), lambda x: x[x > 0]])
def test_reads_are_found(read):
    with pytest.raises(AssertionError, match="waits"), NoReads(), NoReadsInside():
        read(torch.ones(1))


def painted(gaussians, times, cameras, *, background, room):
    """Stands for a rasteriser on a device: every pixel has all splats' mean."""
    room.take(torch.tensor(7))
    views, n = len(cameras), len(gaussians)
    screen = torch.zeros(views, n, 2, requires_grad=True)
    mean = sum(value.mean() for value in gaussians.tensors().values()).sigmoid()
    color = 0.5 * background[:, None, None] + 0.5 * mean + screen.sum((1, 2))[:, None, None, None]
    alpha = mean.expand(views, cameras.height, cameras.width)
    radii = torch.ones(views, n)
    return SplatRender(color.expand(*alpha.shape, 3), alpha, alpha, screen.detach(), radii, screen)


def trusting():
    """A loop with confidence, a clip, and smaller pictures of another camera."""
    given, times = matrix(4, 3, 24), torch.tensor([0.0, 0.3, 0.6])
    cameras = Cameras.orbit([0.0], 0.0, size=24), Cameras.orbit([180.0], 0.0, size=16)
    frames, behind = (torch.cat([picture(c, float(t)) for t in times]) for c in cameras)
    confidence = torch.ones(given.images.shape[:4])
    clip = {"input_images": frames, "input_camera": cameras[0], "input_times": times}
    also = (TrustedView(behind, cameras[1], times),)
    return replace(given, **clip, times=times, also=also, confidence=confidence, cyclic=True)


def test_a_step_reads_nothing_from_the_device(monkeypatch):
    """Steps with and without SSIM and frames between, for each camera; the rasteriser is another test's."""
    monkeypatch.setattr(fit_losses, "rasterize_4d", painted)
    monkeypatch.setattr(fit_targets, "_Slices", fit_targets._Gathered)  # as where corners are on a device
    config = FitConfig(hull=HullConfig(resolution=24, splats=30, min_splats=0))
    state = FitState(trusting(), config, seed=0)
    state.advance(0.0)
    before = state.gaussians().detach().map(torch.clone)
    for step in range(1, 5):
        choice, lr_scale = state.pictures.choose(step), torch.tensor(1.0)
        with NoReads(), NoReadsInside():
            state._step(choice, lr_scale, step % config.ssim_every == 0)
    assert not torch.equal(state.gaussians().means, before.means)


@needs_interpreter
def test_a_call_with_room_reads_nothing_from_the_device(monkeypatch):
    """Once the room is set aside; without a room the number of entries is read."""
    from vid4d.gaussians.raster import triton as backend

    monkeypatch.setattr(backend, "TILE", 16)
    monkeypatch.setattr(backend, "ENTRIES", 32)
    scene, room, cameras = random_splats(20, 0, seed=3), EntryRoom(), Cameras.ring(1, size=9)

    def call(room):
        leaves = scene.trainable()
        render = rasterize_4d(leaves, [0.5], cameras, background=0.25, backend="triton", room=room)
        render.color.sum().backward()
        return leaves.means.grad

    expected = call(room)
    with NoReadsInside():
        again = call(room)
        with pytest.raises(AssertionError, match="waits"):
            call(None)
    assert torch.equal(again, expected)


@pytest.mark.parametrize("shape", [(2, 9, 12, 3), (2, 9, 12)])
def test_windows_by_either_way_are_the_same(shape):
    """By slices of corners that the host knows, and pixel by pixel: values and gradients, by hand as well."""
    g = torch.Generator().manual_seed(0)
    images, corner = torch.rand(shape, generator=g).requires_grad_(), torch.tensor([[0, 7], [4, 2]])
    upstream = torch.rand(2, 5, 5, *shape[3:], generator=g)
    found = []
    for way in (fit_targets._Slices, fit_targets._Gathered):
        crops = way.apply(images, corner, 5)
        images.grad = None
        (crops * upstream).sum().backward()
        found.append((crops.detach(), images.grad))
    (slices, by_slices), (gathered, by_gathered) = found
    assert torch.equal(slices, gathered)
    assert torch.equal(by_slices, by_gathered)
    assert torch.equal(slices, Windows(corner, 5).crop(images).detach())
    assert torch.equal(slices[1], images[1, 4:9, 2:7].detach())
    assert torch.equal(by_slices[0, 0:5, 7:12], upstream[0])
    assert by_slices.sum() == pytest.approx(float(upstream.sum()), rel=1e-5)
