"""Conversions between our cameras and other people's. docs/conventions.md draws the picture."""

from __future__ import annotations

import torch
from jaxtyping import Float, Real
from torch import Tensor

from vid4d.cameras import Cameras

OPENCV_TO_OPENGL = (1.0, -1.0, -1.0, 1.0)
"""Camera axes: OpenCV has y down and z forward, OpenGL (Blender, NeRF) has y up and z backward."""

AXES = {
    "z-up": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "y-up": ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
    "y-down": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)),
}
"""Rotations from our world to those of others, all right-handed: our own (front +x); y up, front +z, as in
glTF and three.js; y down, front -z, as in OpenCV, COLMAP and the files of captured splats. In the last two a
camera where such programs put it looks at the front."""


def axes(name: str) -> Float[Tensor, "3 3"]:
    """The rotation of `AXES`: multiplied with a place in our world it gives the place in theirs."""
    return torch.tensor(AXES[name])


def to_opengl(cameras: Cameras) -> Float[Tensor, "n 4 4"]:
    """Camera-to-world matrices with OpenGL axes, as in Blender, glTF and NeRF's `transform_matrix`.

    The world stays ours: right-handed, z up. (A y-up format such as glTF turns it once more, at its edge.)
    """
    flip = torch.tensor(OPENCV_TO_OPENGL, device=cameras.focal.device)
    inverse = torch.zeros_like(cameras.world_to_camera)
    inverse[:, :3, :3] = cameras.rotation.transpose(1, 2)
    inverse[:, :3, 3] = cameras.position
    inverse[:, 3, 3] = 1
    return inverse * flip


def from_opengl(
    camera_to_world: Float[Tensor, "n r 4"], focal: Float[Tensor, " n"], width: int, height: int
) -> Cameras:
    """Cameras of camera-to-world matrices with OpenGL axes, the last row of which may be missing.

    focal: pixels. The inverse of `to_opengl`, in the precision of the matrices, rounded to float32.
    """
    flip = torch.tensor(OPENCV_TO_OPENGL, device=camera_to_world.device)
    rotation = (camera_to_world * flip)[:, :3, :3].transpose(1, 2)
    pose = camera_to_world.new_zeros(len(camera_to_world), 4, 4)
    pose[:, :3, :3] = rotation
    pose[:, :3, 3] = -torch.einsum("nij,nj->ni", rotation, camera_to_world[:, :3, 3])
    pose[:, 3, 3] = 1
    return Cameras(pose.float(), focal, width, height)


def view_change(
    elevation_deg: Real[Tensor, "*#b"],
    azimuth_deg: Real[Tensor, "*#b"],
    input_elevation_deg: Real[Tensor, "*#b"] | float,
    distance_change: Real[Tensor, "*#b"] | float = 0.0,
) -> Float[Tensor, "*b 4"]:
    """A camera relative to the input's, as Zero123 and SyncDreamer are told it: [d_polar, sin d_azimuth,
    cos d_azimuth, d_distance], in radians and world units.

    elevation_deg, azimuth_deg: of the camera; the input's azimuth is 0. The polar angle is counted from the
    pole: a camera that *rises* has a negative d_polar. Source: Zero-1-to-3 (2303.11328), section 3.2, and its
    code.
    """
    elevation, azimuth, given, distance = torch.broadcast_tensors(
        *(
            torch.as_tensor(x, dtype=torch.float32, device=elevation_deg.device)
            for x in (elevation_deg, azimuth_deg, input_elevation_deg, distance_change)
        )
    )
    polar, around = torch.deg2rad(given - elevation), torch.deg2rad(azimuth)
    return torch.stack([polar, around.sin(), around.cos(), distance], -1)
