"""Recorded steps of a fit: the same numbers as steps that are done one by one."""

import gc
import weakref
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from ellipsoids import matrix
from test_fit_waits import painted, trusting

from vid4d.gaussians import fit_losses, fit_targets
from vid4d.gaussians.densify import DensifyConfig
from vid4d.gaussians.fit import FitState, fit, recordable
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.fit_pictures import Choice
from vid4d.gaussians.fit_recording import RecordedSteps, choice_tensors, with_tensors
from vid4d.gaussians.hull import HullConfig
from vid4d.gaussians.raster.room import EntryRoom
from vid4d.kernels import cuda_graphs
from vid4d.kernels.cuda_graphs import BEFORE

CONFIG = FitConfig(iterations=24, hull=HullConfig(resolution=24, splats=30, min_splats=0))


def a_choice(cameras=(0,), between=True):
    numbers = iter(range(1, 20))
    take = lambda n: torch.full((n,), next(numbers))  # noqa: E731
    frames = tuple((camera, take(1)) for camera in cameras)
    return Choice(take(3), take(4), take(4), frames, (take(1), take(1), take(1)) if between else None)


@pytest.mark.parametrize("between", [True, False])
@pytest.mark.parametrize("cameras", [(), (0,), (0, 2)])
def test_a_choice_is_its_tensors_and_its_kind(cameras, between):
    choice = a_choice(cameras, between)
    values = choice_tensors(choice)
    assert len(values) == 3 + len(cameras) + 3 * between
    again = with_tensors(choice, [x + 100 for x in values])
    assert [camera for camera, _ in again.frames] == list(cameras)
    assert (again.between is not None) == between
    for before, after in zip(values, choice_tensors(again), strict=True):
        assert torch.equal(after, before + 100)
    changed = with_tensors(choice, values)
    assert torch.equal(changed.when, choice.when)
    assert torch.equal(changed.background, choice.background)


def test_steps_of_a_kind_are_recorded_once_they_have_been_done(recorded):
    """And with the numbers of their own choice, never those of the first."""
    seen = []

    def step(choice, lr_scale, with_ssim):
        seen.append((float(choice.view[0]), float(lr_scale), with_ssim))
        return choice.view.sum().float(), torch.tensor(True)

    steps, choice = partial(RecordedSteps(), step), a_choice()
    for i in range(5):
        given = choice._replace(view=torch.full((4,), i))
        loss, complete = steps(given, torch.tensor(i / 10), True, recordable=True)
        assert (float(loss), bool(complete)) == (4 * i, True)
        assert len(recorded) == (i >= BEFORE)
        assert seen[-1] == (i, pytest.approx(i / 10), True)
    for other in (choice._replace(between=None), choice._replace(frames=()), a_choice((1,))):
        for _ in range(BEFORE + 2):
            steps(other, torch.tensor(1.0), True, recordable=True)
    for _ in range(BEFORE + 2):
        steps(choice, torch.tensor(1.0), False, recordable=True)
        assert seen[-1][2] is False
    assert len(recorded) == 5
    steps.func.forget()
    for _ in range(BEFORE + 3):
        steps(choice, torch.tensor(1.0), True, recordable=False)
    assert len(recorded) == 5


@pytest.mark.usefixtures("recorded")
def test_what_asks_the_device_is_not_recorded():
    """A rasteriser that takes no room for its entries has asked how many there are."""
    steps = partial(RecordedSteps(), lambda choice, lr_scale, with_ssim: (lr_scale, None))
    for _ in range(BEFORE + 2):
        assert steps(a_choice(), torch.tensor(1.0), True, recordable=False)[1] is None
    with pytest.raises(RuntimeError, match="asks nothing"):
        steps(a_choice(), torch.tensor(1.0), True, recordable=True)


def used_by(state):
    """What a step of a fit reads and changes, besides what is drawn for it."""
    o, d = state.optimizer, state.densifier
    tensors = [x for store in (o.parameters, o.mean, o.square) for x in store.values()]
    mask = state.pictures.visible_in_input
    return [*tensors, o.steps, d.gradient, d.n_visible, mask, state.room._wanted, state.room.size]


class Growing(EntryRoom):
    """Rooms that turn out to be too small once, when steps have been recorded."""

    asked = 0

    def enough_for(self, wanted):
        self.asked += 1
        return super().enough_for(self.size + 1 if self.asked == 9 else wanted)


@pytest.mark.parametrize("room", [EntryRoom, Growing])
def test_recordings_end_where_tensors_move(recorded, monkeypatch, room):
    """Density control, what the video shows, more room: none is played afterwards, all are made again."""
    monkeypatch.setattr(fit_losses, "rasterize_4d", painted)
    monkeypatch.setattr(fit_targets, "_Slices", fit_targets._Gathered)
    densify = DensifyConfig(growth=1.5, n_densify=2, begin=0.3, end=0.6, prune_opacity=0)
    config = replace(CONFIG, iterations=40, densify=densify, visibility_updates=(0.0, 0.8))
    fitted = []
    for with_recordings in (False, True):
        state = FitState(trusting(), config, seed=0)
        state.recorded = RecordedSteps() if with_recordings else None
        state.room = room()
        recorded.used = lambda state=state: used_by(state)
        made = []
        while state.step < config.iterations:
            state.advance(state.step / config.iterations)
            made.append(len(recorded))
        fitted.append(state.gaussians())
    for name, value in fitted[0].tensors().items():
        assert torch.equal(value, fitted[1].tensors()[name]), name
    assert 0 < made[11] < made[23] < made[31] < made[-1]  # before, between and after what moves tensors


@pytest.mark.usefixtures("recorded")
def test_recordings_go_with_their_fit(monkeypatch):
    """Without the garbage collector, which must not find graphs while another fit records."""
    monkeypatch.setattr(fit_losses, "rasterize_4d", painted)
    state = FitState(matrix(4, 1, 24), CONFIG, seed=0)
    state.recorded = RecordedSteps()
    for _ in range(BEFORE + 3):
        state.advance(0.0)
    kept = weakref.ref(state)
    gc.disable()
    try:
        del state
        assert kept() is None
    finally:
        gc.enable()


def test_no_recordings_on_a_processor_or_beside_a_guide():
    assert FitState(matrix(4, 1, 24), CONFIG, seed=0).recorded is None
    on_a_card = SimpleNamespace(images=SimpleNamespace(is_cuda=True))
    assert recordable.__wrapped__(on_a_card, None)
    assert not recordable.__wrapped__(on_a_card, lambda gaussians, step: None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("room", ["enough", "too small"])
def test_recorded_on_a_card_as_ever(monkeypatch, room):
    """The same bytes; also where the room for tile entries has to grow under way."""
    from vid4d.gaussians.raster import room as rooms

    monkeypatch.setattr(rooms, "SPARE", 1.5 if room == "enough" else 0.7)
    enough, record, answers, recordings = rooms.EntryRoom.enough_for, cuda_graphs.record, [], []
    monkeypatch.setattr(
        rooms.EntryRoom, "enough_for", lambda self, n: answers.append(enough(self, n)) or answers[-1]
    )
    monkeypatch.setattr(cuda_graphs, "record", lambda *given: recordings.append(1) or record(*given))
    config, fitted = replace(CONFIG, iterations=80), []
    for kind in (lambda: None, RecordedSteps):
        monkeypatch.setattr("vid4d.gaussians.fit.RecordedSteps", kind)
        fitted.append(fit(trusting(), config, device="cuda")[0].tensors())
    for name, value in fitted[0].items():
        assert torch.equal(value, fitted[1][name]), name
    assert recordings
    assert all(answers) == (room == "enough")
