"""Rendering of assets to pictures: stills, turntables, in chunks, without gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import DEFAULT_ELEVATION, RING_DISTANCE, Cameras
from vid4d.errors import InputError
from vid4d.gaussians.culling import Spans
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.raster import rasterize_4d
from vid4d.media.images import straight

CHUNK_PIXELS = 8 << 20
"""Pixels rendered in one call."""
MANY = 100_000
"""Splats from which on those are left out that are not there at a time: of a long clip nearly all."""
BATCH = 8
"""Frames of a turntable rendered in one call."""


def times_for(time: float | Sequence[float] | Tensor, cameras: Cameras) -> Float[Tensor, " n"]:
    """One clip time per camera: a single number is meant for all of them.

    Raises InputError where they are not in [0, 1], or not as many as cameras.
    """
    times = torch.as_tensor(time, dtype=torch.float32).flatten()
    if len(times) == 1:
        times = times.expand(len(cameras))
    if len(times) != len(cameras):
        raise InputError(
            f"{len(times)} times for {len(cameras)} cameras: give one time, or one for each camera"
        )
    if not bool(((times >= 0) & (times <= 1)).all()):
        raise InputError("a time lies outside of 0 to 1: 0 is the clip's first frame and 1 its last")
    return times


@torch.no_grad()
def render_asset(
    gaussians: Gaussians4D,
    cameras: Cameras,
    time: float | Sequence[float] | Tensor = 0.0,
    *,
    background: float | None = None,
    spans: Spans | None = None,
) -> Float[Tensor, "n h w c"]:
    """Pictures of n cameras, on the splats' device; arguments as `Asset.render`.

    spans: of the splats, where pictures of many moments are made one after the other.
    """
    times = times_for(time, cameras)
    device = gaussians.means.device
    chunk = max(1, CHUNK_PIXELS // (cameras.width * cameras.height))
    if spans is None and len(gaussians) > MANY:
        spans = Spans.of(gaussians)
    parts = []
    for i in range(0, len(cameras), chunk):
        some = cameras[i : i + chunk].to(device)
        when = times[i : i + chunk]
        shown = gaussians if spans is None else gaussians.select(spans.at(when))
        rendered = rasterize_4d(shown, when, some, background=background or 0.0)
        if background is None:
            parts.append(straight(torch.cat([rendered.color, rendered.alpha[..., None]], -1)).clamp(0, 1))
        else:
            parts.append(rendered.color.clamp(0, 1))
    return torch.cat(parts)


def loops_to_play(seconds: float, shortest: float = 4.0) -> int:
    """Repetitions of a clip for a video of it that lasts `shortest` seconds at least."""
    return max(1, math.ceil(shortest / max(seconds, 1e-3) - 1e-6))


def frames_of(duration: float, fps: float) -> tuple[int, float]:
    """Number of pictures of a video, and their rate, at which they last exactly as long.

    duration: seconds. fps: the rate to come close to.
    """
    count = max(1, round(duration * fps))
    return count, count / duration


def turntable_frames(
    gaussians: Gaussians4D,
    *,
    seconds: float,
    duration: float | None = None,
    fps: float = 24.0,
    azimuth: float = 0.0,
    elevation: float = DEFAULT_ELEVATION,
    size: int = 384,
    distance: float = RING_DISTANCE,
) -> Iterator[Float[np.ndarray, "h w 3"]]:
    """Frames of one turn around the object, over white, while time plays.

    seconds: the clip's duration. duration: of the video; whole repetitions of the clip, 4 seconds at least,
        where not given. fps: about; `frames_of` has their number and exact rate.
    azimuth: degrees, where the turn begins. elevation: degrees.
    """
    duration = duration if duration is not None else loops_to_play(seconds) * seconds
    count, frame_rate = frames_of(duration, fps)
    spans = Spans.of(gaussians) if len(gaussians) > MANY else None
    for i in range(0, count, BATCH):
        frames = torch.arange(i, min(i + BATCH, count))
        cameras = Cameras.orbit(azimuth + 360.0 * frames / count, elevation, distance=distance, size=size)
        played = frames / frame_rate / max(seconds, 1e-3)
        pictures = render_asset(gaussians, cameras, played % 1.0, background=1.0, spans=spans)
        yield from pictures.cpu().numpy()
