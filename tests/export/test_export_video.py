"""The turntable turns while time plays."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from toys import jumping_ball

from vid4d.cameras import Cameras
from vid4d.export.video import write_turntable
from vid4d.render import loops_to_play, render_asset, turntable_frames


@pytest.mark.parametrize(("seconds", "loops"), [(2.0, 2), (4.0, 1), (1.0, 4), (10.0, 1), (1.9, 3)])
def test_short_clips_are_repeated_to_four_seconds(seconds, loops):
    assert loops_to_play(seconds) == loops


def test_frames_of_an_orbit_are_renders_at_their_azimuth_and_time():
    ball = jumping_ball(60)
    frames = list(turntable_frames(ball, seconds=1.0, duration=1.0, fps=12, elevation=10, size=24))
    assert len(frames) == 12
    for i in (0, 5, 11):
        camera = Cameras.orbit([360.0 * i / 12], 10, size=24)
        expected = render_asset(ball, camera, i / 12, background=1.0)[0].numpy()
        np.testing.assert_allclose(frames[i], expected, atol=1e-5)


def test_the_clip_starts_again_after_its_end():
    ball = jumping_ball(60)
    frames = list(turntable_frames(ball, seconds=0.5, duration=1.0, fps=8, size=24))
    camera = Cameras.orbit([180.0], 15, size=24)
    expected = render_asset(ball, camera, 0.0, background=1.0)[0].numpy()
    np.testing.assert_allclose(frames[4], expected, atol=1e-5)


@pytest.mark.parametrize(("seconds", "frames"), [(1.2, 115), (1.9, 137), (4.01, 96)])
def test_the_file_lasts_whole_repetitions_of_the_clip(tmp_path, seconds, frames):
    write_turntable(tmp_path / "t.mp4", jumping_ball(20), seconds=seconds, size=16)
    with av.open(str(tmp_path / "t.mp4")) as container:
        (stream,) = container.streams.video
        assert stream.frames == frames
        assert float(stream.duration * stream.time_base) == pytest.approx(
            loops_to_play(seconds) * seconds, abs=1e-4
        )
        times = [float(f.pts * stream.time_base) for f in container.decode(stream)]
    np.testing.assert_allclose(np.diff(times), loops_to_play(seconds) * seconds / frames, atol=1e-4)


def test_the_file_plays(tmp_path):
    told = []
    write_turntable(
        tmp_path / "t.mp4",
        jumping_ball(60),
        seconds=1.0,
        duration=1.0,
        fps=10,
        size=64,
        report=lambda done, total: told.append((done, total)),
    )
    with av.open(str(tmp_path / "t.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate) == pytest.approx(10)
    assert len(frames) == 10
    assert frames[0].shape == (64, 64, 3)
    front, back = frames[0].min(-1), frames[5].min(-1)
    assert front.min() < 150 < 250 < front.max()  # the ball on white
    redness = [
        float(f[..., 0].astype(float)[m < 200].mean()) for f, m in ((frames[0], front), (frames[5], back))
    ]
    assert redness[0] > redness[1] + 30  # the ball is red in front only
    assert told[0] == (0, 10)


def test_straight_alpha_over_white_is_the_render_on_white():
    ball, camera = jumping_ball(60), Cameras.orbit([0, 120], 20, size=32)
    rgba = render_asset(ball, camera, torch.tensor([0.25, 0.8]))
    white = render_asset(ball, camera, torch.tensor([0.25, 0.8]), background=1.0)
    over = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    assert (over - white).abs().max() < 2e-3
