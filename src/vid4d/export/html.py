"""player.html: one file that plays and turns, opened from the disk without a server or a network.

The page holds the 4D Gaussians themselves, as a `.v4d` file (`vid4d.export.v4d`), and draws them with WebGL
2: it slices them at any time, with their colors from every side, as `vid4d.gaussians.raster` does. A
recorded sequence of 3D splats would be many times as large, and slow where all moments' splats are sorted
together.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from vid4d.cameras import DEFAULT_ELEVATION, FOCAL_PER_WIDTH, RING_DISTANCE
from vid4d.export.moving import moving
from vid4d.export.options import ExportOptions
from vid4d.export.root_motion import root_motion
from vid4d.export.v4d import packed
from vid4d.files.write import write_text
from vid4d.gaussians import raster
from vid4d.gaussians.model import MARGINAL_CUT, Gaussians4D

if TYPE_CHECKING:
    from vid4d.asset import Asset

WAY, WAY_RATE = 129, 16
"""Places on the path of an object that goes along one, at least, and for each second."""
TEMPLATE, READER = "player.html", "v4d.js"
HELD, CLEARLY = 0.995, 0.1
"""Share of splats that the first view holds, of those whose opacity is above this: a few stray ones."""
FILLED, NEAREST = 0.9, 0.4
"""Share of the window's shorter side that the object gets; least distance in units of the ring's."""


@torch.no_grad()
def fitting(gaussians: Gaussians4D, time: float | None = None, moments: int = 9) -> dict[str, Any]:
    """Target and distance of a camera that has the object in its frame from all sides.

    The object is the sphere, around a place on the axis that cameras turn about, that holds `HELD` of the
    centers of all clearly visible splats at each of some moments (or at `time` alone).
    """
    times = torch.linspace(0, 1, moments).tolist() if time is None else [time]
    shown = [gaussians.at(t) for t in times]
    means = [splats.means[splats.opacities > CLEARLY].double().numpy() for splats in shown]
    means = [m for m in means if len(m)]
    if not means:
        return {"target": [0.0, 0.0, 0.0], "distance": 1.15 * RING_DISTANCE}
    low, high = np.transpose([np.quantile(m[:, 2], (1 - HELD, HELD)) for m in means])
    middle = float(low.min() + high.max()) / 2
    lengths = [np.linalg.norm(m - [0, 0, middle], axis=1) for m in means]
    radius = max(float(np.quantile(length, HELD)) for length in lengths)
    angle = math.atan(FILLED / 2 / FOCAL_PER_WIDTH)
    return {"target": [0.0, 0.0, middle], "distance": max(radius / math.sin(angle), NEAREST * RING_DISTANCE)}


def _view(gaussians: Gaussians4D, time: float | None, way: Float[np.ndarray, "n 3"] | None) -> dict[str, Any]:
    """`fitting` for an object that goes along a way: all of it is in the frame."""
    view = fitting(gaussians, time)
    if way is not None:
        low, high = way.min(0), way.max(0)
        view["target"] = (np.array(view["target"]) + (low + high) / 2).tolist()
        view["distance"] += RING_DISTANCE * float(np.linalg.norm(high - low))
    return view


def player_html(
    gaussians: Gaussians4D,
    *,
    seconds: float,
    time: float | None = None,
    azimuth: float = 0.0,
    elevation: float = DEFAULT_ELEVATION,
    title: str = "vid4d",
    way: Float[np.ndarray, "n 3"] | None = None,
    report: Callable[[int, int], object] | None = None,
) -> str:
    """The page as text.

    seconds: duration of the clip, which plays again and again. time: show only this moment, without a
    timeline.
    azimuth, elevation: of the first view, degrees. way: where the object is, from time 0 to 1 in even steps;
    None where it stays in its place. report: called once, when done.
    """
    gaussians = gaussians.detach().to("cpu", torch.float32)
    splats = moving(gaussians, time)
    about: dict[str, Any] = {
        "count": len(splats),
        "harmonics": gaussians.sh.shape[1],
        "fourier": gaussians.fourier_terms,
        "cyclic": gaussians.cyclic,
        "seconds": 0.0 if time is not None else max(float(seconds), 0.05),
        "time": 0.0 if time is None else float(time),
        "view": {"azimuth": azimuth, "elevation": elevation} | _view(gaussians, time, way),
        "way": [] if way is None else np.round(way, 5).tolist(),
        "focal": FOCAL_PER_WIDTH,
        "near": raster.NEAR,
        "cut": MARGINAL_CUT,
    }
    numbers = {
        "period": float(gaussians.period),
        "low_pass": raster.LOW_PASS,
        "compensation": raster.COMPENSATION_MIN,
        "most": raster.ALPHA_MAX,
        "margin": raster.JACOBIAN_MARGIN,
    }
    # GLSL wants a point in every floating-point number.
    about |= {name: f"{value:.8f}" for name, value in numbers.items()}
    data = base64.b64encode(packed(splats, seconds=seconds, elevation=elevation)).decode("ascii")
    page, reader = (files("vid4d.export").joinpath(f).read_text(encoding="utf-8") for f in (TEMPLATE, READER))
    filled = {
        "title": escape(title),
        "about": json.dumps(about).replace("<", "\\u003c"),
        "data": data,
        "reader": re.sub(r"^export ", "", reader, flags=re.MULTILINE),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda place: filled[place[1]], page)
    if report is not None:
        report(1, 1)
    return page


def write_player(path: str | Path, gaussians: Gaussians4D, *, seconds: float, **options) -> Path:  # type: ignore[no-untyped-def]
    """Writes `player_html` (same options), whole or not at all."""
    write_text(path, player_html(gaussians, seconds=seconds, **options))
    return Path(path)


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """The page as an export. It shows every moment, whatever `frames` and `fps` say."""
    places = max(WAY, 1 + round(WAY_RATE * asset.seconds))
    moments = np.linspace(0, 1, places) if options.time is None else np.full(2, options.time)
    write_player(
        out,
        asset.gaussians,
        seconds=asset.seconds,
        time=options.time,
        azimuth=options.azimuth,
        elevation=options.elevation_for(asset),
        title=asset.root.resolve().name,
        way=root_motion(asset, moments) if options.root_motion else None,
        report=options.report,
    )
    return [out]
