"""Display settings of pages: splats or mesh, background, cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["splats", "mesh", "normals"]
BACKGROUNDS = {
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "black": (16, 16, 18),
    "sky": (176, 205, 232),
}


@dataclass(frozen=True)
class Look:
    """Display settings, the same on all pages. background: a name in `BACKGROUNDS`.

    cameras: those of the image matrix. pictures: what they saw (or should have) at this time.
    """

    kind: Kind = "splats"
    background: str = "white"
    cameras: bool = False
    pictures: bool = False
