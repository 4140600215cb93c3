"""A 4D asset as it lies in its file: opened, and rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vid4d.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from vid4d.cameras import Cameras
    from vid4d.gaussians.metadata import AssetMetadata
    from vid4d.gaussians.model import Gaussians4D

ASSET = "asset.safetensors"


@dataclass(frozen=True)
class Asset:
    """A 4D asset that can be rendered. path: its asset.safetensors. metadata: what that says of itself."""

    gaussians: Gaussians4D
    metadata: AssetMetadata
    path: Path

    @property
    def root(self) -> Path:
        """The folder it lies in: the run folder, where it comes from a run."""
        return self.path.parent

    @property
    def seconds(self) -> float:
        """Duration of the clip."""
        return self.metadata.seconds

    @property
    def cyclic(self) -> bool:
        """True for a loop."""
        return self.gaussians.cyclic

    @property
    def elevation(self) -> float:
        """Degrees that the clip's camera looks down; `DEFAULT_ELEVATION` where nobody knows.

        Everything that shows the asset shows it from there, unless told otherwise.
        """
        from vid4d.cameras import DEFAULT_ELEVATION

        return DEFAULT_ELEVATION if self.metadata.elevation is None else self.metadata.elevation

    def render(
        self,
        cameras: Cameras,
        time: float | Sequence[float] | Tensor = 0.0,
        *,
        background: float | None = None,
    ) -> Float[Tensor, "n h w c"]:
        """Pictures in [0, 1] of n cameras.

        time: of the clip, from 0 to 1; a single one for all cameras, or as many as cameras.
        background: grey level (c = 3; 1 is white), or None for straight-alpha RGBA (c = 4).
        Raises InputError for times outside of [0, 1] or another number of times than of cameras.
        """
        from vid4d.render import render_asset

        return render_asset(self.gaussians, cameras, time, background=background)


def load(path: str | Path, device: str = "auto") -> Asset:
    """Opens a run folder or an asset.safetensors. Raises InputError where there is no asset."""
    from vid4d.compute.machine import resolve_device
    from vid4d.gaussians.metadata import read_metadata
    from vid4d.gaussians.model import load_asset
    from vid4d.gaussians.raster import splat_device
    from vid4d.runs.folder import refuse_links

    file = Path(path)
    if not file.exists():
        raise InputError(f"there is no {file}: give a run folder or an {ASSET}")
    if file.is_dir():
        if not (file / ASSET).is_file():
            unfinished = (file / "settings.json").is_file()
            reason = (
                "its run is not finished: continue it with --resume"
                if unfinished
                else "it is not a run folder"
            )
            raise InputError(f"{file} holds no {ASSET}: {reason}")
        file = file / ASSET
        refuse_links(file.parent)
    elif (file.parent / "settings.json").is_file():
        refuse_links(file.parent)
    target = resolve_device(device)
    gaussians, metadata = load_asset(file, splat_device(target) if device == "auto" else target)
    return Asset(gaussians, read_metadata(metadata, str(file)), file)
