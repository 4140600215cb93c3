"""Pictures of an asset: any side, any moment, with transparency or over a color.

python examples/02_pictures_from_all_sides.py runs/demo --out pictures
"""

from __future__ import annotations

from pathlib import Path

import torch
import tyro
from PIL import Image
from tyro.conf import Positional

import vid4d


def main(run: Positional[str], out: Path = Path("pictures"), size: int = 256) -> list[Path]:
    """run: a run folder or an asset.safetensors. out: a folder. size: width of the pictures."""
    asset = vid4d.load(run)
    out.mkdir(parents=True, exist_ok=True)

    # Four sides at the same moment. Azimuth 0 is where the clip was filmed from.
    ring = vid4d.Cameras.orbit([0, 90, 180, 270], elevation=20, size=size)
    sides = asset.render(ring, time=0.5)  # (4, size, size, 4): RGBA in [0, 1], straight alpha
    files = [save(out / f"side_{a:03}.png", p) for a, p in zip((0, 90, 180, 270), sides, strict=True)]

    # One side at four moments, over white.
    times = [0.0, 0.25, 0.5, 0.75]
    still = vid4d.Cameras.orbit([30.0] * len(times), elevation=15, size=size)
    moments = asset.render(still, time=times, background=1.0)  # (4, size, size, 3)
    files += [save(out / f"time_{t:.2f}.png", p) for t, p in zip(times, moments, strict=True)]

    # A camera of your own: 35 degrees of view instead of the ring's 49, from further away.
    focal = size / 2 / torch.tan(torch.deg2rad(torch.tensor(35.0)) / 2)
    lens = vid4d.Cameras.orbit([45.0], elevation=30, distance=2.2, size=size, focal=float(focal))
    files.append(save(out / "long_lens.png", asset.render(lens, time=0.0)[0]))
    print(f"{len(files)} pictures in {out}")
    return files


def save(path: Path, picture: torch.Tensor) -> Path:
    """picture: (h, w, 3 or 4) in [0, 1]."""
    Image.fromarray((picture * 255).round().byte().cpu().numpy()).save(path)
    return path


if __name__ == "__main__":
    tyro.cli(main)
