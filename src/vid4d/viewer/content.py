"""Content of a run: its asset moment by moment, the clip, the image matrix."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8

from vid4d import api
from vid4d.errors import InputError
from vid4d.gaussians.culling import FAINTEST, splats_over_time
from vid4d.gaussians.model import Gaussians3D, slice_at
from vid4d.matrix.descriptions import read_described
from vid4d.matrix.io import load_matrix
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over_white, to_uint8

if TYPE_CHECKING:
    from vid4d.meshing.tsdf import Mesh

MOMENTS_A_SECOND = 24.0
MOST_MOMENTS = 480


@dataclass(frozen=True, eq=False)
class Content:
    """A run that is looked at. times: of the moments shown, in [0, 1]. matrix: None where a run has none."""

    name: str
    asset: api.Asset
    matrix: ImageMatrix | None
    times: tuple[float, ...]
    sizes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path, device: str = "auto") -> Content:
        """Reads a run folder, or an asset.safetensors alone. Raises InputError where there is no asset."""
        asset = api.load(path, device)
        folder = asset.root / "matrix"
        matrix = None
        if Path(path).is_dir() and (folder / "cameras.json").is_file():
            refuse_outside(folder)
            matrix = load_matrix(folder)
        sizes = {"asset": asset.path.stat().st_size}
        player = asset.root / "player.html"
        if player.is_file():
            sizes["player"] = player.stat().st_size
        times = shown_times(asset)
        name = asset.root.resolve().name if Path(path).is_dir() else asset.path.name
        return cls(name, asset, matrix, times, sizes)

    def nearest(self, time: float) -> int:
        """Index of the moment nearest to a time; in a loop its beginning is near to its end."""
        return nearest(self.times, time, cyclic=self.asset.cyclic)

    @functools.cached_property
    def _covariances(self) -> torch.Tensor:
        return self.asset.gaussians.covariance4d().detach()

    @torch.no_grad()
    def splats(self, index: int) -> Gaussians3D:
        """The visible splats of a moment, on the CPU."""
        g = self.asset.gaussians
        splats = slice_at(
            g.means, self._covariances, g.opacities, g.sh, self.times[index], g.period, g.cyclic
        )
        visible = splats.opacities >= FAINTEST
        return Gaussians3D(
            splats.means[visible], splats.covariances[visible], splats.opacities[visible], splats.sh[visible]
        ).to("cpu", torch.float32)

    @functools.cached_property
    def most_splats(self) -> int:
        """Largest number of visible splats at one moment."""
        return max(splats_over_time(self.asset.gaussians, self.times))

    def mesh(self, index: int) -> Mesh:
        """The surface of a moment. Raises InputError where there is none."""
        from vid4d.meshing.tsdf import MeshOptions, mesh_at

        return mesh_at(self.asset.gaussians, self.times[index], MeshOptions(faces=20_000))

    def clip_frame(self, time: float) -> UInt8[np.ndarray, "h w 3"] | None:
        """The clip's frame nearest to a time, over white; None where the run has no clip."""
        m = self.matrix
        if m is None or m.input_images is None or m.input_times is None:
            return None
        index = nearest(tuple(m.input_times.tolist()), time, cyclic=m.cyclic)
        return to_uint8(over_white(m.input_images[index]))

    def matrix_pictures(self, time: float) -> list[UInt8[np.ndarray, "h w 4"]]:
        """The image matrix's pictures of the moment nearest to a time, one per view, with alpha."""
        if self.matrix is None:
            return []
        index = nearest(tuple(self.matrix.times.tolist()), time, cyclic=self.matrix.cyclic)
        return list(to_uint8(self.matrix.images[:, index]))


def nearest(times: tuple[float, ...], time: float, *, cyclic: bool) -> int:
    """Index of the time nearest to another; around the corner where `cyclic`."""
    apart = np.abs(np.asarray(times) - time)
    return int(np.argmin(np.minimum(apart, 1 - apart) if cyclic else apart))


def shown_times(asset: api.Asset) -> tuple[float, ...]:
    """24 a second, evenly over the clip, its end included but for loops."""
    count = max(2, min(round(max(asset.seconds, 0.5) * MOMENTS_A_SECOND), MOST_MOMENTS))
    last = count if asset.cyclic else count - 1
    return tuple(i / last for i in range(count))


def refuse_outside(folder: Path) -> None:
    """Raises InputError where an image matrix's cameras.json names files outside of its folder."""
    file = folder / "cameras.json"
    described = read_described(file)
    patterns = [
        described.images,
        described.confidence or "",
        described.input.images if described.input else "",
    ]
    for pattern in patterns:
        parts = pattern.replace("\\", "/").split("/")
        if ".." in parts or pattern.startswith(("/", "\\")) or ":" in parts[0].split("{")[0]:
            raise InputError(
                f"{file} names files outside of its folder ({pattern}): only those inside are shown"
            )
