"""player.html: one file that plays and turns, opened from the disk without a server or a network.

The splats of a number of moments are recorded with viser, which embeds the recording and its own viewer into
one HTML file with a timeline; moments are shown one after the other by their visibility.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from html import escape
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import RIG_DISTANCE, Cameras
from vid4d.export.formats import FAINTEST, ExportOptions, moments
from vid4d.files import write_text
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D, Gaussians4D

if TYPE_CHECKING:
    from vid4d.api import Asset

STEPS_A_SECOND = 12.0
MOST_STEPS = 48
MOST_SPLATS = 640_000
"""Splats of all moments together: the viewer holds and sorts them all."""
GRID = 2.0**-12
"""World units: splats are put on a grid this fine, a small part of a pixel, so that the page packs well."""

WORKERS_FROM_DISK = """<script>
// Chromium starts no module worker from a blob: address in a page opened from the disk, and without its
// worker viser's viewer never sorts the splats. The same source as a data: address starts.
if (location.protocol === "file:") {
  const sourceOfBlob = new WeakMap(), sourceOfUrl = new Map();
  const PlainBlob = Blob, PlainWorker = Worker, createUrl = URL.createObjectURL.bind(URL);
  window.Blob = class extends PlainBlob {
    constructor(parts, options) {
      super(parts, options);
      if (options?.type?.startsWith("text/javascript")) sourceOfBlob.set(this, parts.join(""));
    }
  };
  URL.createObjectURL = (blob) => {
    const url = createUrl(blob);
    if (sourceOfBlob.has(blob)) sourceOfUrl.set(url, sourceOfBlob.get(blob));
    return url;
  };
  window.Worker = class extends PlainWorker {
    constructor(url, options) {
      const source = sourceOfUrl.get(String(url));
      const data = "data:text/javascript;charset=utf-8," + encodeURIComponent(source);
      super(source === undefined ? url : data, options);
    }
  };
}
</script>"""


def moments_to_record(seconds: float, splats: int) -> int:
    """How many moments of the clip go into the page: 12 a second, fewer for long clips or many splats."""
    wanted = round(max(seconds, 0.5) * STEPS_A_SECOND)
    return max(2, min(wanted, MOST_STEPS, MOST_SPLATS // max(splats, 1)))


@torch.no_grad()
def most_visible(gaussians: Gaussians4D) -> int:
    """How many splats can be seen at once, looked up at nine moments."""
    return max(int((gaussians.at(i / 8).opacities >= FAINTEST).sum()) for i in range(9))


def fixed_colours(splats: Gaussians3D) -> Float[Tensor, "n 3"]:
    """One colour per splat in [0, 1], for viewers without harmonics: as it looks from outside.

    Directions around the object's ring and above are weighted by how much they face the splat's own side.
    """
    degree = harmonics.degree_of(splats.sh.shape[1])
    if degree == 0:
        return (splats.sh[:, 0] * harmonics.C0 + 0.5).clamp(0, 1)
    azimuth = [float(a) for a in range(0, 360, 30)]
    places = Cameras.cat([Cameras.orbit(azimuth, e, distance=1.0) for e in (0.0, 30.0)]).position
    outward = places.to(splats.means)  # unit vectors from the object to the viewer
    basis = harmonics.basis(-outward, degree)  # the harmonics' direction runs from the viewer to the splat
    seen = (torch.einsum("dk,nkc->ndc", basis, splats.sh) + 0.5).clamp(0, 1)
    facing = torch.nn.functional.normalize(splats.means, dim=-1) @ outward.T
    weight = facing.clamp(min=0) + 1e-3
    return torch.einsum("nd,ndc->nc", weight / weight.sum(1, keepdim=True), seen)


@torch.no_grad()
def player_html(
    gaussians: Gaussians4D,
    *,
    seconds: float,
    cyclic: bool = False,
    steps: int | None = None,
    times: Sequence[float] | None = None,
    azimuth: float = 0.0,
    elevation: float = 15.0,
    title: str = "vid4d",
    report: Callable[[int, int], object] | None = None,
) -> str:
    """The page as text.

    seconds: duration of the clip, which plays again and again. cyclic: its end meets its beginning.
    steps: moments recorded; `moments_to_record` where not given. times: these moments instead, in [0, 1].
    azimuth, elevation: of the first view, degrees. report: moments done, of how many.
    """
    import viser

    if times is None:
        steps = steps or moments_to_record(seconds, most_visible(gaussians))
        times = [i / max(steps if cyclic else steps - 1, 1) for i in range(steps)]
    for name in ("websockets.server", "websockets"):  # a server that nobody visits has nothing to say
        logging.getLogger(name).setLevel(logging.ERROR)
    with redirect_stdout(StringIO()):  # nor an address to announce
        server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        camera = Cameras.orbit([azimuth], elevation, distance=1.15 * RIG_DISTANCE)
        server.scene.set_up_direction("+z")
        server.initial_camera.position = camera.position[0].double().numpy()
        server.initial_camera.look_at = np.zeros(3)
        server.initial_camera.up = np.array([0.0, 0.0, 1.0])
        server.initial_camera.fov = float(2 * torch.atan(camera.height / 2 / camera.focal[0]))
        nodes = []
        for i, time in enumerate(times):
            splats = gaussians.at(time).to("cpu", torch.float32)
            there = splats.opacities >= FAINTEST
            nodes.append(
                server.scene.add_gaussian_splats(
                    f"/moment_{i:03}",
                    centers=(splats.means[there] / GRID).round().mul(GRID).numpy(),
                    covariances=splats.covariances[there].numpy(),
                    rgbs=fixed_colours(splats)[there].numpy(),
                    opacities=splats.opacities[there, None].numpy(),
                    visible=i == 0,
                )
            )
            if report is not None:
                report(i + 1, len(times))
        recording = server.get_scene_serializer()
        shown_for = max(seconds, 0.5) / len(times)
        for before, after in pairwise(nodes):
            recording.insert_sleep(shown_for)
            after.visible = True
            before.visible = False
        recording.insert_sleep(shown_for)
        page = recording.as_html()
    finally:
        with redirect_stdout(StringIO()):
            server.stop()
    page = page.replace("<title>Viser</title>", f"<title>{escape(title)}</title>", 1)
    return page.replace("<head>", f"<head>{WORKERS_FROM_DISK}", 1)


def write_player(path: str | Path, gaussians: Gaussians4D, *, seconds: float, **options) -> Path:  # type: ignore[no-untyped-def]
    """Writes `player_html` (same options), whole or not at all."""
    write_text(path, player_html(gaussians, seconds=seconds, **options))
    return Path(path)


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """The page as an export: all moments asked for, 12 a second or as many as a browser can hold."""
    plan = moments(asset, options, fps=STEPS_A_SECOND)
    if options.time is None and options.frames is None and options.fps is None:
        fewer = moments_to_record(asset.seconds, most_visible(asset.gaussians))
        plan = moments(asset, replace(options, frames=fewer))
    write_player(
        out,
        asset.gaussians,
        seconds=plan.seconds,
        cyclic=asset.cyclic,
        times=plan.times,
        azimuth=options.azimuth,
        elevation=options.elevation,
        title=asset.root.resolve().name,
        report=options.report,
    )
    return [out]
