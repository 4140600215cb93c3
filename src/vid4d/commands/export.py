"""`vid4d export RUN --to FORMAT`: files that other tools open."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Export:
    """Write an asset in a format that other tools open (docs/formats.md)."""

    asset: Positional[Annotated[str, arg(metavar="RUN")]]
    """A run folder or an asset.safetensors."""
    to: Literal["ply", "usd", "usdz", "glb", "obj", "html", "mp4", "webm", "gif", "png"]
    """Splats: ply (a file per moment), usd, usdz. Meshes: glb (animated), obj (a file per moment). To look
    at: html (a page that plays and turns), mp4, webm and gif (with transparency), png (numbered pictures)."""
    out: Path | None = None
    """A file, or a folder for numbered files. Where not given: in export/ beside the asset."""
    force: bool = False
    """Replace files that exist."""
    time: float | None = None
    """One moment between 0 (the clip's start) and 1 (its end) instead of all of them."""
    frames: int | None = None
    """How many moments or pictures. Where not given: as many as the duration holds."""
    fps: float | None = None
    """Moments or pictures a second. Where not given: 24, for GIF and pages 12, for meshes 10."""
    size: int = 512
    """Width and height of pictures in pixels."""
    faces: int = 20_000
    """Triangles of a mesh, at most."""
    background: str = "auto"
    """Of pictures: transparent, white, black or a colour like '#3080ff'. 'auto': transparent, mp4 white."""
    view: Literal["turntable", "fixed", "both"] = "turntable"
    """Once around the object, from a camera that stands still, or both side by side."""
    azimuth: float = 0.0
    """Degrees around the object, where the turntable begins; 0 is where the clip was filmed from."""
    elevation: float = 15.0
    """Degrees above the object's equator."""
    seconds: float | None = None
    """Duration of a video. Where not given: whole repetitions of the clip."""
    cameras: Path | None = None
    """A camera path as JSON (docs/formats.md) instead of --view."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""

    def run(self) -> None:
        from vid4d import api
        from vid4d.export.formats import ExportOptions, export
        from vid4d.progress import Progress

        names = {f.name for f in dataclasses.fields(ExportOptions)} - {"report"}
        options = ExportOptions(**{name: getattr(self, name) for name in names})
        asset = api.load(self.asset, self.device)
        with Progress() as progress, progress.stage(f"export {self.to}") as bar:
            files = export(asset, self.to, self.out, dataclasses.replace(options, report=bar.update))
        for file in _shown(files):
            print(file)


def _shown(files: list[Path]) -> list[Path]:
    """What to print: the files, or the folder where they are numbered."""
    return [files[0].parent] if files[0].stem.startswith("frame_") else files
