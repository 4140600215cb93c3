"""turntable.mp4: a camera goes once around the object while time plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vid4d.gaussians.model import Gaussians4D
from vid4d.render import loops_to_play, orbit
from vid4d.video import write_mp4


def write_turntable(
    path: str | Path,
    gaussians: Gaussians4D,
    *,
    seconds: float,
    duration: float | None = None,
    fps: float = 24.0,
    azimuth: float = 0.0,
    elevation: float = 15.0,
    size: int = 384,
    report: Callable[[int, int], object] | None = None,
) -> Path:
    """Writes the turntable as H.264. Arguments as in `vid4d.render.orbit`; report: frames done, of how many.

    Raises InputError where the file cannot be written.
    """
    duration = duration if duration is not None else loops_to_play(seconds) * seconds
    total = max(2, round(duration * fps))
    frames = orbit(
        gaussians,
        seconds=seconds,
        duration=duration,
        fps=fps,
        azimuth=azimuth,
        elevation=elevation,
        size=size,
    )

    def told():  # type: ignore[no-untyped-def]
        for i, frame in enumerate(frames):
            if report is not None:
                report(i, total)
            yield frame

    return write_mp4(path, told(), fps)
