"""From a clip to a 4D asset, and where to look.

    python examples/01_first_asset.py examples/hopper.mp4

What `vid4d generate` does, from Python.
"""

from __future__ import annotations

from typing import Literal

import tyro
from tyro.conf import Positional

import vid4d


def main(
    clip: Positional[str] = "examples/hopper.mp4",
    out: str | None = None,
    preset: Literal["draft", "standard", "high"] = "draft",
) -> vid4d.Asset:
    """clip: a video, GIF, folder of pictures or a picture. out: the run folder. preset: time to spend."""
    asset = vid4d.generate(clip, out=out, preset=preset, quiet=False)
    print(f"{len(asset.gaussians)} splats, {asset.seconds:.2f} s, a loop: {asset.cyclic}")
    print(f"open {asset.root / 'report.html'} in a browser")
    return asset


if __name__ == "__main__":
    tyro.cli(main)
