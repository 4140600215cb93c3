"""Time that goes round, and cameras that follow each other without chasing their own echoes."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.viewer.camera_sync import CameraSync, Pose
from vid4d.viewer.clock import Clock


def test_a_clock_goes_round_at_its_speed():
    clock = Clock(2.0)
    assert clock.advance(0.5) == pytest.approx(0.25)
    clock.run_at(2.0)
    assert clock.advance(0.5) == pytest.approx(0.75)
    assert clock.advance(0.5) == pytest.approx(0.25)  # past the end
    clock.run_at(-1)
    assert clock.advance(10) == pytest.approx(0.25)


def test_seeking_stops_and_stays_inside():
    clock = Clock(2.0)
    for asked, got in ((0.3, 0.3), (1.7, 1.0), (-2.0, 0.0)):
        clock.seek(asked)
        assert not clock.playing
        assert clock.advance(5.0) == got
    clock.play(True)
    assert clock.advance(1.0) == pytest.approx(0.5)


def test_a_clip_without_duration_does_not_spin():
    assert Clock(0.0).seconds == 0.1


class Watch:
    time = 0.0

    def __call__(self) -> float:
        return self.time


def pose(x: float) -> Pose:
    return Pose(np.array([x, 0.0, 1.0]), np.zeros(3), 0.8)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def sync(watch) -> CameraSync:
    sync = CameraSync(hold=0.4, now=watch)
    assert not sync.moved("a", pose(0.0))  # where everybody begins
    assert not sync.moved("b", pose(0.0))
    return sync


def test_echoes_are_not_passed_on(sync, watch):
    """a moves twice; b reports the first of these poses, late, then the second."""
    assert sync.moved("a", pose(1.0))
    watch.time += 0.05
    assert sync.moved("a", pose(2.0))
    watch.time += 0.05
    assert not sync.moved("b", pose(1.0))
    watch.time += 5.0
    assert not sync.moved("b", pose(2.0))
    assert sync.pose is not None
    assert sync.pose.near(pose(2.0))


def test_the_lead_changes_after_a_while(sync, watch):
    assert sync.moved("a", pose(1.0))
    watch.time += 0.3
    assert not sync.moved("b", pose(3.0))
    watch.time += 0.2
    assert sync.moved("b", pose(3.1))
    watch.time += 0.3
    assert not sync.moved("a", pose(4.0))


def test_poses_differ_by_place_aim_and_field_of_view():
    one = pose(1.0)
    assert one.near(pose(1.0005))
    assert not one.near(pose(1.01))
    assert not one.near(one._replace(look_at=np.array([0.0, 0.0, 0.1])))
    assert not one.near(one._replace(fov=0.9))
