"""`vid4d enhance RUN`: sharper videos of a finished run, by a network of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from vid4d.errors import InputError, printable


@dataclass(frozen=True)
class Enhance:
    """Make the videos of a finished run sharper, by a network that learns its object."""

    root: Positional[Annotated[Path, arg(metavar="RUN")]]
    """A run folder. Pictures and videos go into its folder enhanced/, and its report shows them."""
    preset: Literal["draft", "standard"] = "draft"
    """draft: some minutes on two cores. standard: a network as wide as the authors', for a graphics card."""
    sharpened: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Sharp pictures that a tool of yours (a diffusion upscaler, say) made of what --to-sharpen wrote. Where
    not given, other sides than the clip's are left as the small sharpener that ships makes them."""
    to_sharpen: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Only write the renders that are to be sharpened, into a new folder."""
    seed: int = 0
    """Of first weights and of the order of pictures."""
    resume: Annotated[bool, arg(aliases=["-r"])] = False
    """Go on with a training that was stopped."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""

    def run(self) -> None:
        """Enhances, or writes what is to be sharpened, and prints where it lies."""
        if self.to_sharpen is not None and self.sharpened is not None:
            raise InputError("--to-sharpen writes renders and --sharpened reads pictures: give one of them")
        if self.to_sharpen is not None and self.resume:
            raise InputError("--resume has no effect on --to-sharpen: leave it out")
        from vid4d.enhance.enhance import enhance, write_to_sharpen
        from vid4d.runs.progress import Progress

        if self.to_sharpen is not None:
            count = write_to_sharpen(self.root, self.to_sharpen, preset=self.preset, device=self.device)
            print(f"{count} renders in {printable(str(self.to_sharpen))}")
            return
        with Progress() as progress:
            folder = enhance(
                self.root,
                preset=self.preset,
                sharp_pictures=self.sharpened,
                seed=self.seed,
                resume=self.resume,
                device=self.device,
                progress=progress,
            )
        print(printable(str(folder)))
