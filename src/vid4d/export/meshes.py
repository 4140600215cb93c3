"""Meshes of an asset as the options of an export want them: of which moments, of what, with which texture."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from vid4d.dynerf import CascadeField, OccupancyGrid
from vid4d.dynerf.files import load_field
from vid4d.errors import InputError
from vid4d.export.filmed import Filmed, clip_of
from vid4d.export.options import ExportOptions, FrameTimes, frame_times
from vid4d.meshing.deformation import TrackOptions
from vid4d.meshing.dynerf_mesh import surface_of_dynerf
from vid4d.meshing.marching_cubes import MeshOptions
from vid4d.meshing.mesh_sequence import MeshSequence, mesh_sequence, steps_of
from vid4d.meshing.surface import Surface
from vid4d.meshing.texture import Coat, Skin, textured
from vid4d.meshing.tsdf import paint_of, surface_of_splats

if TYPE_CHECKING:
    from vid4d.asset import Asset

log = logging.getLogger("vid4d.export")

DYNERF = "dynerf.safetensors"
"""In the run folder."""
FPS = 10.0
"""Moments a second, where not given: between them the surface is interpolated."""
TEXTURED_VIEWS, TEXTURED_SHARPNESS = 512, 16.0
"""Pixels of the pictures that textures are painted from; more than vertices have it, one picture decides."""
OTHER_MOMENTS, OTHER_SHARE = 4, 0.1
"""Moments beside a key that a texture is painted from, at most, and what one counts: carried places are not
exact, and an average of many moments would be blurred."""
MOST = 48
"""Moments, where not given."""


def sequence_of(
    asset: Asset, options: ExportOptions, track: TrackOptions | None = None, *, colored: bool = True
) -> tuple[MeshSequence, FrameTimes]:
    """The meshes that an export of an asset holds, and the moments they stand for.

    colored: the colors of their vertices are shown; else they only serve to follow places.
    """
    filmed = clip_of(asset)
    plan = mesh_times(asset, filmed, options)
    total = steps_of(len(plan.times))
    sequence = mesh_sequence(
        source_of(asset, filmed, options, colored),
        plan.times,
        options.faces,
        track,
        report=lambda done: options.report_progress(done, total),
    )
    return sequence, plan


def source_of(
    asset: Asset, filmed: Filmed | None, options: ExportOptions, colored: bool = True
) -> Callable[[float], Surface]:
    """Surface as a function of clip time: out of the splats, or of the DyNeRF (`options.surface`).

    colored: see `sequence_of`. Raises InputError where there is no DyNeRF to make it of.
    """
    chosen = MeshOptions(faces=options.faces)
    camera = None if filmed is None else filmed.camera
    if options.surface == "splats":
        return lambda time: Surface.of(
            *surface_of_splats(asset.gaussians, time, chosen, reference=camera, exact=colored)
        )

    dynerf, grid = dynerf_of(asset)
    return lambda time: Surface.of(*surface_of_dynerf(dynerf, time, chosen, grid=grid, reference=camera))


def skin_of(asset: Asset, sequence: MeshSequence, options: ExportOptions) -> Skin:
    """A texture of `options.texture` pixels for a sequence: one picture, with a chart for each part.

    Painted at each part's key from the splats of that moment; where those were seen badly or not at all,
    from other moments, to which the places were carried. Raises InputError where xatlas is missing.
    """
    filmed = clip_of(asset)
    camera = None if filmed is None else filmed.camera
    chosen = MeshOptions(faces=options.faces, size=TEXTURED_VIEWS, sharpness=TEXTURED_SHARPNESS)

    def coat(i: int, share: float) -> Coat:
        return Coat(
            sequence.meshes[i],
            paint_of(asset.gaussians, sequence.times[i], chosen, reference=camera),
            share,
        )

    parts = []
    for part, key in zip(sequence.parts, sequence.keys, strict=True):
        others = [i for i in part if i != key]
        step = max(1, -(-len(others) // OTHER_MOMENTS))
        parts.append([coat(key, 1.0), *(coat(i, OTHER_SHARE) for i in others[::step])])
    return textured(parts, options.texture)


def mesh_times(asset: Asset, filmed: Filmed | None, options: ExportOptions) -> FrameTimes:
    """The moments that have a mesh.

    Where the options leave it open: about FPS a second, MOST at most, and the clip's key frames among them,
    for an asset is sharpest there.
    """
    plan = frame_times(asset, options, fps=FPS)
    if options.time is not None or options.frames is not None or options.fps is not None:
        return plan
    count, end = min(len(plan.times), MOST), 0 if asset.cyclic else 1
    spans = 0 if filmed is None else len(filmed.times) - end
    if 0 < spans <= MOST - end:
        count = spans * max(1, (count - end) // spans) + end
    return frame_times(asset, replace(options, frames=count), fps=FPS)


def dynerf_of(asset: Asset) -> tuple[CascadeField, OccupancyGrid]:
    """The DyNeRF of the run that an asset lies in, on the asset's device.

    Raises InputError where it lies in none, or its run has no DyNeRF.
    """

    file = asset.root / DYNERF
    if not file.is_file():
        raise InputError(
            f"{asset.root} holds no {DYNERF}, which only the run folders of --method consistent4d have: "
            "choose --surface splats"
        )
    return load_field(file, asset.gaussians.means.device)
