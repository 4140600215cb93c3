"""Splats as one file of 3D Gaussians per moment, numbered, with their times beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vid4d.export.options import Axes, ExportOptions, FrameTimes, frame_name, frame_times
from vid4d.export.splats import splats_at
from vid4d.files.write import write_json

if TYPE_CHECKING:
    from vid4d.asset import Asset
    from vid4d.gaussians.model import Gaussians3D

TIMES = "times.json"


def write_moments(
    asset: Asset,
    out: Path,
    options: ExportOptions,
    ending: str,
    write_one: Callable[[Path, Gaussians3D, float], object],
    usual: Axes = "y-down",
) -> list[Path]:
    """A file of splats for `options.time`, else numbered ones in a folder and their times in times.json.

    ending: of the files' names. write_one: writes the splats of a time to a path. usual: the axes where no
    others are asked for.
    """
    axes, plan = options.axes_in_file(usual), frame_times(asset, options)
    alone = options.time is not None
    files = [out] if alone else [out / frame_name(i, ending) for i in range(len(plan.times))]
    for i, (path, time) in enumerate(zip(files, plan.times, strict=True)):
        write_one(path, splats_at(asset, time, walking=options.root_motion, axes=axes), time)
        options.report_progress(i + 1, len(plan.times))
    if alone:
        return files
    write_json(out / TIMES, _times(asset, plan, files, axes))
    return [*files, out / TIMES]


def _times(asset: Asset, plan: FrameTimes, files: list[Path], axes: str) -> dict[str, object]:
    """Metadata for players of the sequence."""
    return {
        "fps": plan.fps,
        "seconds": plan.seconds,
        "cyclic": asset.cyclic,
        "axes": axes,
        "frames": [{"file": f.name, "time": t} for f, t in zip(files, plan.times, strict=True)],
    }
