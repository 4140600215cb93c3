"""Meshes as Wavefront OBJ, one numbered file per moment, with vertex colors.

y up and the front towards +z, as most programs expect of OBJ files. Colors (sRGB) stand behind the
coordinates of the vertices, which Blender, MeshLab and Houdini read. Where the topology is fixed all files
have the same faces, so that they can be read as a shape cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vid4d.export.glb import to_y_up
from vid4d.export.meshes import sequence_of
from vid4d.export.options import ExportOptions, frame_name
from vid4d.export.root_motion import walking
from vid4d.files.write import write_json
from vid4d.meshing.tsdf import Mesh

if TYPE_CHECKING:
    from vid4d.asset import Asset

TIMES = "times.json"


def obj_text(mesh: Mesh, comments: tuple[str, ...] = ()) -> str:
    """One mesh as text."""
    lines = [f"# {comment}" for comment in comments]
    lines.append("o object")
    vertices = np.concatenate([to_y_up(mesh.vertices), np.clip(mesh.colors, 0, 1)], 1)
    lines += ["v {:.6f} {:.6f} {:.6f} {:.4f} {:.4f} {:.4f}".format(*row) for row in vertices.tolist()]
    lines += ["vn {:.4f} {:.4f} {:.4f}".format(*row) for row in to_y_up(mesh.normals).tolist()]
    lines += ["f {0}//{0} {1}//{1} {2}//{2}".format(*row) for row in (mesh.faces + 1).tolist()]
    return "\n".join(lines) + "\n"


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """One OBJ for `options.time`, else a folder of numbered ones with their times in times.json."""
    sequence, plan = sequence_of(asset, options)
    if options.root_motion:
        sequence = walking(sequence, asset)

    def put(path: Path, mesh: Mesh, time: float) -> Path:
        comments = ("vid4d: y up, front +z, vertex colors sRGB", f"time {time:.6g} of 0 to 1")
        path.write_text(obj_text(mesh, comments), encoding="ascii")
        return path

    if options.time is not None:
        return [put(out, sequence.meshes[0], options.time)]
    files = [
        put(out / frame_name(i, ".obj"), mesh, time)
        for i, (mesh, time) in enumerate(zip(sequence.meshes, sequence.times, strict=True))
    ]
    metadata = {
        "fps": plan.fps,
        "seconds": plan.seconds,
        "cyclic": asset.cyclic,
        "up_axis": "y",
        "same_faces": sequence.tracked,
        "frames": [{"file": f.name, "time": t} for f, t in zip(files, sequence.times, strict=True)],
    }
    write_json(out / TIMES, metadata)
    return [*files, out / TIMES]
