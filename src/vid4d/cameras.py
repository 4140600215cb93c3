"""Cameras in batches: intrinsics, poses, rings and orbits.

World: right-handed, z up, the object inside [-0.5, 0.5]^3. Azimuth 0 lies on +x and grows towards +y;
elevation 0 is the equator. Cameras are world-to-camera with OpenCV axes (x right, y down, z forward).
Pixel centres lie at half-integers: the centre of the upper left pixel is (0.5, 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

FOCAL_PER_WIDTH = 280.0 / 256.0
"""Focal length over picture width of the SyncDreamer ring: a field of view of 49.1 degrees."""

RING_DISTANCE = 1.5
RING_ELEVATION = 30.0
DEFAULT_ELEVATION = 15.0
"""Degrees from which things are shown that no clip's camera has seen."""
RING_VIEWS = 16


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras that share one picture size.

    world_to_camera: rigid transforms, OpenCV axes.
    focal: focal length in pixels (square pixels, principal point at the picture's centre).
    """

    world_to_camera: Float[Tensor, "n 4 4"]
    focal: Float[Tensor, " n"]
    width: int
    height: int

    def __post_init__(self) -> None:
        n = self.focal.shape[0]
        if self.world_to_camera.shape != (n, 4, 4):
            raise ValueError(
                f"world_to_camera has shape {tuple(self.world_to_camera.shape)}, expected ({n}, 4, 4)"
            )
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a picture of {self.width} x {self.height} pixels has no pixels")

    @classmethod
    def orbit(
        cls,
        azimuth: Sequence[float] | Tensor | float,
        elevation: Sequence[float] | Tensor | float,
        *,
        distance: Sequence[float] | Tensor | float = RING_DISTANCE,
        size: int = 256,
        focal: float | None = None,
        device: torch.device | str | None = None,
    ) -> Cameras:
        """Cameras on a sphere that look at the origin.

        azimuth, elevation: degrees, broadcast against each other. distance: world units.
        focal: in pixels; the ring's 280 / 256 of the picture's width where not given.
        """
        az, el, dist = torch.broadcast_tensors(
            torch.atleast_1d(torch.as_tensor(azimuth, dtype=torch.float64)),
            torch.atleast_1d(torch.as_tensor(elevation, dtype=torch.float64)),
            torch.atleast_1d(torch.as_tensor(distance, dtype=torch.float64)),
        )
        a, e = az * (math.pi / 180), el * (math.pi / 180)
        zero = torch.zeros_like(a)
        outward = torch.stack([e.cos() * a.cos(), e.cos() * a.sin(), e.sin()], -1)
        right = torch.stack([-a.sin(), a.cos(), zero], -1)
        down = torch.stack([e.sin() * a.cos(), e.sin() * a.sin(), -e.cos()], -1)
        pose = torch.zeros(len(a), 4, 4, dtype=torch.float64, device=a.device)
        pose[:, :3, :3] = torch.stack([right, down, -outward], 1)
        pose[:, 2, 3] = dist
        pose[:, 3, 3] = 1
        f = FOCAL_PER_WIDTH * size if focal is None else focal
        focal_all = torch.full((len(a),), f, dtype=torch.float32)
        return cls(pose.float(), focal_all, size, size).to(device)

    @classmethod
    def ring(
        cls,
        views: int = RING_VIEWS,
        *,
        elevation: float = RING_ELEVATION,
        distance: float = RING_DISTANCE,
        size: int = 256,
        device: torch.device | str | None = None,
    ) -> Cameras:
        """The ring of SyncDreamer (2309.03453, section 3): azimuths 0, 360 / views, ... at one elevation."""
        azimuth = [360.0 * i / views for i in range(views)]
        return cls.orbit(azimuth, elevation, distance=distance, size=size, device=device)

    def __len__(self) -> int:
        return self.focal.shape[0]

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Cameras:
        """A sub-batch; a single integer gives a batch of one."""
        i = [index] if isinstance(index, int) else index
        return Cameras(self.world_to_camera[i], self.focal[i], self.width, self.height)

    def to(self, device: torch.device | str | None) -> Cameras:
        if device is None:
            return self
        return Cameras(self.world_to_camera.to(device), self.focal.to(device), self.width, self.height)

    def resized(self, size: int) -> Cameras:
        """Cameras at another picture width; the height keeps its proportion."""
        scale = size / self.width
        return Cameras(self.world_to_camera, self.focal * scale, size, round(self.height * scale))

    @staticmethod
    def cat(batches: Sequence[Cameras]) -> Cameras:
        """Joins batches of one picture size."""
        sizes = {(c.width, c.height) for c in batches}
        if len(sizes) != 1:
            raise ValueError(f"cameras of different picture sizes cannot be joined: {sorted(sizes)}")
        width, height = sizes.pop()
        pose = torch.cat([c.world_to_camera for c in batches])
        return Cameras(pose, torch.cat([c.focal for c in batches]), width, height)

    @property
    def rotation(self) -> Float[Tensor, "n 3 3"]:
        return self.world_to_camera[:, :3, :3]

    @property
    def translation(self) -> Float[Tensor, "n 3"]:
        return self.world_to_camera[:, :3, 3]

    @property
    def position(self) -> Float[Tensor, "n 3"]:
        """Camera centres in the world."""
        return -torch.einsum("nji,nj->ni", self.rotation, self.translation)

    @property
    def intrinsics(self) -> Float[Tensor, "n 3 3"]:
        k = torch.zeros(len(self), 3, 3, device=self.focal.device)
        k[:, 0, 0] = k[:, 1, 1] = self.focal
        k[:, 0, 2], k[:, 1, 2], k[:, 2, 2] = self.width / 2, self.height / 2, 1
        return k

    @property
    def azimuth(self) -> Float[Tensor, " n"]:
        """Degrees in [0, 360)."""
        p = self.position
        return torch.rad2deg(torch.atan2(p[:, 1], p[:, 0])) % 360

    @property
    def elevation(self) -> Float[Tensor, " n"]:
        """Degrees."""
        p = self.position
        return torch.rad2deg(torch.asin((p[:, 2] / p.norm(dim=-1)).clamp(-1, 1)))

    def project(self, points: Float[Tensor, "p 3"]) -> tuple[Float[Tensor, "n p 2"], Float[Tensor, "n p"]]:
        """World points to pixels and to depth along the optical axis (world units)."""
        camera = torch.einsum("nij,pj->npi", self.rotation, points) + self.translation[:, None]
        depth = camera[..., 2]
        centre = torch.tensor([self.width / 2, self.height / 2], device=points.device)
        pixels = camera[..., :2] / depth[..., None].clamp(min=1e-6) * self.focal[:, None, None] + centre
        return pixels, depth

    def rays(self) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n h w 3"]]:
        """Origins and directions of the rays through the pixel centres.

        Directions have unit length along the optical axis, so that origin + depth * direction has that depth.
        """
        device = self.focal.device
        y, x = torch.meshgrid(
            torch.arange(self.height, device=device) + 0.5 - self.height / 2,
            torch.arange(self.width, device=device) + 0.5 - self.width / 2,
            indexing="ij",
        )
        f = self.focal[:, None, None]
        direction = torch.stack([x / f, y / f, torch.ones_like(x).expand(len(self), -1, -1)], -1)
        return self.position, torch.einsum("nji,nhwj->nhwi", self.rotation, direction)
