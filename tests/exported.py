"""What the tests of exports share: assets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from toys import jumping_ball

from vid4d.asset import Asset
from vid4d.export import meshes
from vid4d.gaussians.metadata import AssetMetadata
from vid4d.gaussians.model import Gaussians3D, Gaussians4D, save_asset
from vid4d.meshing.marching_cubes import MeshOptions


def tumbling(count: int = 40, degree: int = 1, fourier: int = 1) -> Gaussians4D:
    """Splats turned at random in space and time, that move, come and go."""
    rng = torch.Generator().manual_seed(3)
    k = (degree + 1) ** 2
    turn = torch.nn.functional.normalize(torch.randn(count, 4, generator=rng), dim=-1)
    return Gaussians4D(
        torch.cat([0.2 * torch.randn(count, 3, generator=rng), torch.rand(count, 1, generator=rng)], 1),
        torch.tensor([0.05, 0.02, 0.01, 0.15]).log() + 0.2 * torch.randn(count, 4, generator=rng),
        turn,
        torch.nn.functional.normalize(turn + 0.1 * torch.randn(count, 4, generator=rng), dim=-1),
        torch.randn(count, generator=rng) + 1,
        0.5 * torch.randn(count, k, fourier, 3, generator=rng),
    )


def asset_of(folder: Path, gaussians: Gaussians4D, seconds: float = 1.0, cyclic: bool = False) -> Asset:
    gaussians = replace(gaussians, cyclic=cyclic)
    save_asset(folder / "asset.safetensors", gaussians, {"seconds": repr(seconds)})
    return Asset(gaussians, AssetMetadata(seconds=seconds), folder / "asset.safetensors")


def ball_asset(folder: Path, seconds: float = 1.0, cyclic: bool = False) -> Asset:
    return asset_of(folder, jumping_ball(60), seconds, cyclic)


def coarse_meshes(monkeypatch: pytest.MonkeyPatch, resolution: int = 40) -> None:
    """Meshes in exports are made on a coarse grid and painted from few small pictures: for quick tests."""
    coarse = partial(MeshOptions, resolution=resolution, views=16, size=96)
    monkeypatch.setattr(meshes, "MeshOptions", coarse)
    monkeypatch.setattr(meshes, "TEXTURED_VIEWS", 96)


def visible(asset: Asset, time: float) -> Gaussians3D:
    """The splats that leave a trace in 8 bits."""
    splats = asset.gaussians.at(time)
    mask = splats.opacities >= 1 / 255
    return Gaussians3D(splats.means[mask], splats.covariances[mask], splats.opacities[mask], splats.sh[mask])
