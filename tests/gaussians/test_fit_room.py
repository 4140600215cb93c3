"""Fits whose rasteriser has too little room for tile entries: steps are done again, nothing else changes."""

from dataclasses import replace

import pytest
import torch
from ellipsoids import matrix
from raster_scenes import needs_interpreter

from vid4d.gaussians import fit_losses
from vid4d.gaussians.densify import DensifyConfig
from vid4d.gaussians.fit import LATE, FitState, fit
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.hull import HullConfig, gaussians_from_hull
from vid4d.gaussians.raster import VARIABLE, rasterize_4d, room

CONFIG = FitConfig(
    iterations=30,
    hull=HullConfig(resolution=48, splats=60, min_splats=0),
    densify=DensifyConfig(growth=2.0, n_densify=2),
    report_every=15,
    checkpoint_every=15,
)


def with_room(gaussians, times, cameras, *, background, room):
    """As a rasteriser of a device has it; visible splats stand for tile entries."""
    render = rasterize_4d(gaussians, times, cameras, background=background)
    _, fits = room.take(render.visible.sum())
    paper = background[:, None, None].expand_as(render.color)
    return replace(render, color=torch.where(fits, render.color, paper), alpha=render.alpha * fits)


@pytest.mark.parametrize("late", [False, True])
def test_a_step_without_room_is_done_again(monkeypatch, tmp_path, late):
    """Same bytes as with enough room, same losses, no matter how late it is told; some steps were in vain."""
    given, steps, reports = matrix(6, 3, 32), [], []
    start = gaussians_from_hull(given, CONFIG.hull, seed=1)
    needles = start.log_scales + torch.tensor([1.5, 0.0, 0.0, 0.0])  # which the first step shortens
    start = replace(start, log_scales=needles)
    expected, report = fit(given, CONFIG, seed=1, start=start, callback=lambda *a: reports.append(a))
    monkeypatch.setattr(fit_losses, "rasterize_4d", with_room)
    monkeypatch.setattr(room, "SPARE", 0.5)
    if late:
        monkeypatch.setattr(room.Wanted, "here", lambda self: False)
    advance = FitState.advance

    def counted(self, progress):
        before = self.step
        advance(self, progress)
        steps.append((before, self.step))

    monkeypatch.setattr(FitState, "advance", counted)
    again = []
    path = tmp_path / "fit.safetensors"
    found, told = fit(
        given, CONFIG, seed=1, start=start, callback=lambda *a: again.append(a), checkpoint_path=path
    )
    gone_back = [before - after for before, after in steps if after <= before]
    assert gone_back
    assert max(gone_back) == (LATE + 1 if late else 1)
    for name, value in expected.tensors().items():
        assert torch.equal(found.tensors()[name], value), name
    assert told.loss == report.loss
    assert told.iterations == report.iterations == 30
    assert again == reports
    resumed, _ = fit(given, CONFIG, seed=1, start=start, checkpoint_path=path, resume=True)
    assert torch.equal(resumed.means, expected.means)


def test_with_room_enough_no_step_is_done_again(monkeypatch):
    """And the device is asked once, and again after each round of density control."""
    given, waits = matrix(6, 3, 32), []
    take = room.EntryRoom.take

    def spy(self, count):
        waits.append(self.size is None)
        return take(self, count)

    monkeypatch.setattr(room.EntryRoom, "take", spy)
    monkeypatch.setattr(fit_losses, "rasterize_4d", with_room)
    monkeypatch.setattr(room, "SPARE", 3.0)
    fit(given, CONFIG, seed=1)
    assert len(waits) == 30
    assert sum(waits) == 3
    assert waits[0]


@needs_interpreter
def test_by_triton_kernels_too(monkeypatch):
    """Steps of a small fit that is rendered in Triton's interpreter, with too little room and with enough."""
    from vid4d.gaussians.raster import triton as backend

    monkeypatch.setenv(VARIABLE, "triton")
    monkeypatch.setattr(backend, "TILE", 16)
    monkeypatch.setattr(backend, "ENTRIES", 32)
    given, found = matrix(2, 2, 16), []
    config = replace(
        CONFIG,
        batch=1,
        ssim_weight=0.0,
        interpolation_weight=0.0,
        hull=HullConfig(resolution=16, splats=20, min_splats=0),
    )
    for spare in (3.0, 0.8):
        monkeypatch.setattr(room, "SPARE", spare)
        state, steps = FitState(given, config, seed=0), []
        while state.step < 2 or not state.settle():
            state.advance(0.0)
            steps.append(state.step)
        found.append((state, steps))
    (enough, steps), (scarce, repeated) = found
    assert steps == [1, 2]
    assert len(repeated) > 2
    assert scarce.room.size > enough.room.size / 3.0
    for name, value in enough.gaussians().tensors().items():
        assert torch.equal(scarce.gaussians().tensors()[name], value), name
    assert scarce.loss == enough.loss
