"""A 4D asset as it lies in its file: opened, rendered, shown, exported.

Exports and the player are layers above this one, which they know: `Asset.export` and `show` name them, and
import them when they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from vid4d.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from vid4d.cameras import Cameras
    from vid4d.gaussians.metadata import AssetMetadata
    from vid4d.gaussians.model import Gaussians4D

ASSET = "asset.safetensors"


class Points(NamedTuple):
    """Splats that are there at one moment. positions: centres, world units. colors: RGB in [0, 1], as seen
    on average from all sides. opacities: in [0, 1]."""

    positions: Float[Tensor, "n 3"]
    colors: Float[Tensor, "n 3"]
    opacities: Float[Tensor, " n"]


@dataclass(frozen=True, repr=False)
class Asset:
    """A 4D asset that can be rendered. path: its asset.safetensors. metadata: what that says of itself."""

    gaussians: Gaussians4D
    metadata: AssetMetadata
    path: Path

    def __repr__(self) -> str:
        loop = ", a loop" if self.cyclic else ""
        return f"Asset({str(self.path)!r}: {len(self.gaussians)} splats, {self.seconds:.4g} s{loop})"

    def _repr_html_(self) -> str:
        """The player, in a notebook."""
        page = escape(self._player(), quote=True)
        style = "width: 100%; max-width: 640px; height: 480px; border: 0"
        about = f'sandbox="allow-scripts" allowfullscreen title="{escape(str(self))}" style="{style}"'
        return f'<iframe srcdoc="{page}" {about}></iframe>'

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

    def points(self, time: float = 0.0) -> Points:
        """The splats that can be seen at a time in [0, 1], as points. Raises InputError for other times."""
        from vid4d.gaussians import sh
        from vid4d.gaussians.culling import FAINTEST

        if not 0 <= time <= 1:
            raise InputError(f"time {time:g} lies outside of the clip: 0 is its start and 1 its end")
        splats = self.gaussians.detach().at(time)
        seen = splats.opacities >= FAINTEST
        colors = sh.to_rgb(splats.sh[seen, 0]).clamp(0, 1)
        return Points(splats.means[seen], colors, splats.opacities[seen])

    def export(self, to: str, out: str | Path | None = None, **options: Any) -> list[Path]:
        """Writes the asset in a format that other tools open, e.g. `asset.export("glb", texture=1024)`.

        to: a name that `vid4d export --to` takes. out: a file, or a folder for numbered files; `export/`
        beside the asset where not given. options: of `vid4d.export.options.ExportOptions`.
        Returns the files. Raises InputError where the options or the place will not do.
        """
        chosen = import_module("vid4d.export.options").ExportOptions(**options)
        files = import_module("vid4d.export.formats").export(self, to, out, chosen)
        return cast("list[Path]", files)

    def show(self) -> Path:
        """Opens the player in a browser; in a notebook the asset's name alone shows it. Returns the page."""
        import tempfile
        import webbrowser

        page = Path(tempfile.mkdtemp(prefix="vid4d-player-")) / "player.html"
        page.write_text(self._player(), encoding="utf-8")
        webbrowser.open(page.as_uri())
        return page

    def _player(self) -> str:
        player_html = import_module("vid4d.export.html").player_html
        page = player_html(
            self.gaussians, seconds=self.seconds, elevation=self.elevation, title=self.root.resolve().name
        )
        return cast(str, page)


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
                else "it is not a run folder; give one that vid4d generate has made"
            )
            raise InputError(f"{file} holds no {ASSET}: {reason}")
        file = file / ASSET
        refuse_links(file.parent)
    elif (file.parent / "settings.json").is_file():
        refuse_links(file.parent)
    target = resolve_device(device)
    gaussians, metadata = load_asset(file, splat_device(target) if device == "auto" else target)
    return Asset(gaussians, read_metadata(metadata, str(file)), file)
