"""`vid4d generate CLIP`: from a clip to a 4D asset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, Suppress, UseAppendAction, arg

from vid4d.priors.base import DEFAULT_PRIORS, PRIORS, PriorSpec
from vid4d.settings import Settings

Clip = Positional[Annotated[str, arg(metavar="CLIP")]]


def _prior_help(spec: PriorSpec) -> str:
    """Line of `--prior`'s help for one prior."""
    methods = ["efficient4d"] * spec.offers("matrix") + ["consistent4d"] * spec.offers("score")
    return f"{spec.help}; for {' and '.join(methods)}"


PRIOR_HELP = "\n".join(
    [
        "The network that imagines the other sides.",
        f"auto: {' or '.join(dict.fromkeys(DEFAULT_PRIORS[offer] for offer in ('matrix', 'score')))}",
        *(f"{name}: {_prior_help(spec)}" for name, spec in PRIORS.items()),
    ]
)


@dataclass(frozen=True)
class FromClip(Settings):
    clip: Clip = ""
    """The clip: a video, GIF or WebP, a folder or quoted glob of pictures, or one picture."""
    prior: Annotated[str, arg(metavar="|".join(["auto", *PRIORS]), help=PRIOR_HELP)] = "auto"
    tune: Annotated[tuple[str, ...], UseAppendAction, arg(metavar="NAME=VALUE")] = ()
    """A number of the preset, such as fit.iterations=300 (docs/methods.md#numbers-of-a-preset). May be given
    again."""
    click: Annotated[tuple[str, ...], UseAppendAction, arg(metavar="X,Y")] = ()
    """Which of several things is the object: X,Y on it, in pixels of the source, in the first frame that is
    used. May be given again, for a thing in several pieces."""
    box: Annotated[str, arg(metavar="X0,Y0,X1,Y1")] = ""
    """The same by a box around it: X0,Y0,X1,Y1, left, top, right, bottom."""
    crop: Annotated[str, arg(metavar="X0,Y0,X1,Y1")] = ""
    """Look at this part of the picture alone, in pixels of the source: inside a window or a frame of a screen
    recording, beside another picture, where the background is plain."""
    sheet: Annotated[str, arg(metavar="CxR")] = ""
    """The picture is a sheet of frames in so many columns and rows of equal cells, such as 4x2; 1x1 if it is
    one picture that looks like a sheet."""
    also: Annotated[tuple[str, ...], UseAppendAction, arg(metavar="FILE@AZIMUTH[,ELEVATION]")] = ()
    """Another camera's picture or clip of the same object, with its degrees from the clip's camera (90: it
    stands to the clip's right, 180: behind), and those it looks down, where they are not the clip's. A clip
    has the timing of the main one, a picture shows its first moment. May be given again."""
    canonical: Annotated[str, arg(metavar="FILE")] = ""
    """A finished object that the clip shows at its first moment: an asset or run folder of ours, a PLY of 3D
    Gaussians, or a GLB of another tool. The clip gives it its motion."""
    canonical_azimuth: Annotated[Literal["auto"] | float, arg(metavar="auto|DEGREES")] = "auto"
    """Degrees by which that object has to be turned to the left, seen from above. Found where 'auto'."""
    source: Suppress[Literal["clip", "matrix"]] = "clip"
    layout: Suppress[str] = "auto"
    out: Path | None = None
    """The run folder. Where not given: runs/ and the clip's name, numbered when that is taken."""
    resume: Annotated[bool, arg(aliases=["-r"])] = False
    """Continue a run that was stopped. The settings must be the same."""

    def settings(self) -> Settings:
        return Settings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Settings)})


@dataclass(frozen=True)
class Generate(FromClip):
    """Make a 4D asset from a clip."""

    def run(self) -> None:
        """Runs the generation and reports progress."""
        from vid4d import api
        from vid4d.runs.progress import Progress

        with Progress() as progress:
            asset = api.make(self.settings(), out=self.out, resume=self.resume, progress=progress)
            progress.say(f"finished: open {asset.root / 'report.html'} in a browser")
