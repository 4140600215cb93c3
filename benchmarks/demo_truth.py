"""The demo's asset against its truth: the example clip was rendered, so every other side of it is known.

    python benchmarks/demo_truth.py runs/demo [--picture demo.jpg] [--out demo.json] [--least 0.6]

`examples/make_hopper.py` made the clip. Its animal is framed as clips are, so that it stands where the
asset should, and both are looked at from the clip's elevation, at three moments: all measures of
vid4d.metrics by azimuth distance from the clip's camera. `IoU, framed` is that of masks cut to their own
bounds and scaled alike, so that place and size do not count. `--least` fails below a mean IoU
(framed, all directions but the clip's own), for continuous integration.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from asset_rows import sides_of
from jaxtyping import Float
from torch import Tensor

from vid4d import load
from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians4D
from vid4d.media.images import over_white
from vid4d.metrics import Sides, compare, mask_iou
from vid4d.metrics.sides import MEASURES
from vid4d.report.contact import draw_sheet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import make_hopper

TURNS = (0.0, 22.5, 337.5, 45.0, 315.0, 90.0, 270.0, 135.0, 225.0, 180.0)
SIZE = 192
MOMENTS = tuple(make_hopper.FRAMES * i // 4 for i in (0, 2, 3))
"""Frames of the clip."""
FRAMED = "iou_framed"
NAMES = {FRAMED: "IoU, framed", **MEASURES}


def framed(alpha: Float[Tensor, "h w"], size: int = 128) -> Float[Tensor, "s s"]:
    """A mask cut to the square around its bounds, with a little room, at one size."""
    rows, columns = (alpha > 0.3).nonzero(as_tuple=True)
    if len(rows) == 0:
        return torch.zeros(size, size)
    middle = [(int(x.min()) + int(x.max()) + 1) / 2 for x in (columns, rows)]
    side = max(int(x.max()) + 1 - int(x.min()) for x in (columns, rows)) * 1.06
    h, w = alpha.shape
    scale = torch.tensor([[side / w, 0, 2 * middle[0] / w - 1], [0, side / h, 2 * middle[1] / h - 1]])
    grid = F.affine_grid(scale[None], [1, 1, size, size], align_corners=False)
    return F.grid_sample(alpha[None, None], grid, align_corners=False)[0, 0]


def table(views: dict[str, Float[Tensor, " v"]]) -> str:
    """A line for each azimuth distance, left and right averaged, and the mean of all directions but 0."""
    distance = torch.tensor([min(t, 360 - t) for t in TURNS])
    lines = ["| azimuth | " + " | ".join(NAMES[n] for n in views) + " |", "|---" * (len(views) + 1) + "|"]
    rows = [(f"{d:g}°", distance == d) for d in sorted(set(distance.tolist()))]
    for title, chosen in [*rows, ("all but 0°", distance > 0)]:
        cells = [
            f"{float(v[chosen].nanmean()):.{2 if n in ('color', 'psnr') else 3}f}" for n, v in views.items()
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def seen_and_true(gaussians: Gaussians4D, moments: Sequence[int] = MOMENTS) -> tuple[Sides, Sides]:
    """An asset and the truth, from all `TURNS` at frames of the clip."""
    cameras = Cameras.orbit(TURNS, make_hopper.ELEVATION, size=SIZE)
    asset = sides_of(gaussians, torch.tensor(moments) / make_hopper.FRAMES, cameras)
    return asset, make_hopper.truth_of(moments, cameras)


def scores_of(gaussians: Gaussians4D, moments: Sequence[int] = MOMENTS) -> dict[str, Float[Tensor, " v"]]:
    """`scores` of an asset, over frames of the clip."""
    return scores(*seen_and_true(gaussians, moments))


def scores(asset: Sides, truth: Sides) -> dict[str, Float[Tensor, " v"]]:
    """Measure -> its mean over the moments, for each of `TURNS`."""
    pairs = zip(asset.rgba[..., 3].flatten(0, 1), truth.rgba[..., 3].flatten(0, 1), strict=True)
    ours, true = (torch.stack(x) for x in zip(*((framed(a), framed(b)) for a, b in pairs), strict=True))
    every = {FRAMED: mask_iou(ours, true).view(len(TURNS), -1), **compare(asset, truth)}
    return {name: values.nanmean(1) for name, values in every.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder, or asset.safetensors, made of the example clip")
    parser.add_argument("--picture", type=Path, help="asset above truth, by azimuth, at the three moments")
    parser.add_argument("--out", type=Path, help="JSON of all values")
    parser.add_argument("--least", type=float, help="fail below this mean IoU (framed) of all but 0 degrees")
    options = parser.parse_args()
    gaussians = load(options.run, "cpu").gaussians
    asset, truth = seen_and_true(gaussians)
    views = scores_of(gaussians)
    print(table(views))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        kept = {n: [round(float(x), 4) for x in v] for n, v in views.items()}
        options.out.write_text(json.dumps({"azimuth": TURNS, "scores": kept}) + "\n")
    if options.picture:
        lines = []
        for j, moment in enumerate(MOMENTS):
            for title, sides in (("asset", asset), ("truth", truth)):
                lines.append((title, f"frame {moment}", list(over_white(sides.rgba[:, j]).numpy())))
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        draw_sheet(lines, [f"{t:g}°" for t in TURNS], 128).save(options.picture)
    mean = float(views[FRAMED][1:].mean())
    if options.least is not None and mean < options.least:
        sys.exit(f"mean IoU (framed) away from the clip's side: {mean:.3f}, less than {options.least}")


if __name__ == "__main__":
    main()
