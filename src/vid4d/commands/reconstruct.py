"""`vid4d reconstruct FOLDER`: from an image matrix to a 4D asset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from vid4d.settings import Settings

Folder = Positional[Annotated[str, arg(metavar="FOLDER")]]


@dataclass(frozen=True)
class Reconstruct:
    """Make a 4D asset from the folder of an image matrix: ours or another tool's."""

    folder: Folder
    """The matrix: ours, Efficient4D's strips, SV4D's videos, Zero123++ grids, pictures and cameras.json."""
    out: Path | None = None
    """The run folder. Where not given: runs/ and the folder's name, numbered when that is taken."""
    layout: str = "auto"
    """How the folder is laid out: cameras-json, transforms, efficient4d, sv4d, sv4d2, sv4d2-8views,
    zero123plus-v1.1, zero123plus-v1.2, stag4d or stag4d-v1.2. 'auto' finds out; of the two rigs of Zero123++,
    whose grids look alike, it takes the one whose silhouettes agree better."""
    method: Literal["efficient4d"] = "efficient4d"
    """How the asset is made."""
    preset: Literal["draft", "standard", "high"] = "standard"
    """How much time to spend."""
    interpolator: str = "small"
    """What finds the confidence of pictures that have none, by their neighbours in time: 'small' comes with
    vid4d; 'rife-3' and 'rife-4' are the official RIFE (`vid4d weights`); or a file, such as a flownet.pkl."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""
    seed: int = 0
    """The same seed gives the same bytes on the CPU."""
    resume: Annotated[bool, arg(aliases=["-r"])] = False
    """Continue a run that was stopped. The settings must be the same."""

    def run(self) -> None:
        """Fits an image matrix and writes the asset."""
        from vid4d import api
        from vid4d.runs.progress import Progress

        settings = Settings(
            clip=self.folder,
            method=self.method,
            preset=self.preset,
            interpolator=self.interpolator,
            device=self.device,
            seed=self.seed,
            source="matrix",
            layout=self.layout,
        )
        with Progress() as progress:
            asset = api.make(settings, out=self.out, resume=self.resume, progress=progress)
            progress.say(f"finished: open {asset.root / 'report.html'} in a browser")
