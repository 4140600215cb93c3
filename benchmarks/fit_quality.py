"""How good the fit alone is: 4D Gaussians from true image matrices, judged on views that were not in them.

For every validation model: 16 views at elevation 30, 8 times, 128 px, rendered from the mesh; fit; PSNR,
SSIM and mask IoU of views at elevations 0 and 30 with azimuths half way between those of the matrix, at the
same times, and at the times half way between them (`between`; the matrix says nothing about those, so it is
for information).

    python benchmarks/fit_quality.py --models 13 --budget 60

Needs the folder of models that `vid4d train` uses (`--assets`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.fit import fit
from vid4d.gaussians.fit_config import PRESETS
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.raster import rasterize_4d
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over_white, side_by_side, to_uint8
from vid4d.metrics import mask_iou, psnr, ssim
from vid4d.training.evaluate import true_clips
from vid4d.training.meshes import MeshBank, read_folder

DEFAULT_ASSETS = Path(__file__).resolve().parents[2] / "shared" / "assets"


@dataclass(frozen=True)
class Truth:
    """A true image matrix and pictures of other views: test (a, t, h, w, 4), between (a, t - 1, h, w, 4)."""

    name: str
    matrix: ImageMatrix
    cameras: Cameras
    test: Float[Tensor, "a t h w 4"]
    between_times: Float[Tensor, " b"]
    between: Float[Tensor, "a b h w 4"]


def truths(bank: MeshBank, *, size: int = 128, test_views: int = 8) -> Iterator[Truth]:
    """Every second pose of a clip of 16 makes the matrix, the poses between are kept aside."""
    ring = Cameras.ring(size=size)
    azimuth = [(180.0 / len(ring) + 360.0 * i / test_views) % 360 for i in range(test_views)]
    test = Cameras.cat([Cameras.orbit(azimuth, elevation, size=size) for elevation in (0.0, 30.0)])
    for clip in true_clips(bank, frames=16, size=size, extra=test):
        true, other = clip.matrix[: len(ring)], clip.matrix[len(ring) :]
        frames = true[:, ::2].shape[1]
        times = torch.linspace(0, 1, frames)
        between = other[:, 1::2][:, : frames - 1]
        yield Truth(
            clip.name,
            ImageMatrix(true[:, ::2].contiguous(), ring, times),
            test,
            other[:, ::2],
            (times[1:] + times[:-1]) / 2,
            between,
        )


@torch.no_grad()
def renders(gaussians: Gaussians4D, times: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Colors over white (a, t, h, w, 3) and opacities of all cameras at all times."""
    parts = [rasterize_4d(gaussians, time.expand(len(cameras)), cameras) for time in times]
    return torch.stack([p.color.clamp(0, 1) for p in parts], 1), torch.stack([p.alpha for p in parts], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=13, help="how many validation models")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each fit, hull included")
    parser.add_argument("--preset", choices=list(PRESETS), default="standard")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--assets", type=Path, default=DEFAULT_ASSETS)
    parser.add_argument("--contact", type=Path, help="folder for pictures: fit above truth")
    args = parser.parse_args()
    if not (args.assets / "val").is_dir():
        sys.exit(f"no folder {args.assets / 'val'}: give the models with --assets")
    torch.set_num_threads(args.threads)
    bank = MeshBank(read_folder(args.assets / "val", limit=args.models))
    config = replace(PRESETS[args.preset], seconds=args.budget)
    columns = ("el 0", "el 30", "mean", "SSIM", "IoU", "between", "steps", "seconds", "splats")
    print(f"{'model':14}" + "".join(f"{c:>9}" for c in columns))
    rows = []
    for truth in truths(bank):
        gaussians, report = fit(truth.matrix, config, seed=args.seed)
        color, alpha = renders(gaussians, truth.matrix.times, truth.cameras)
        target = over_white(truth.test)
        quality = psnr(color, target)
        half = len(truth.cameras) // 2
        between = psnr(renders(gaussians, truth.between_times, truth.cameras)[0], over_white(truth.between))
        values = [quality[:half].mean(), quality[half:].mean(), quality.mean()]
        values += [ssim(color, target).mean(), mask_iou(alpha, truth.test[..., 3]).mean(), between.mean()]
        row = [float(v) for v in values] + [report.iterations, report.seconds, report.splats]
        rows.append(row)
        print_row(truth.name, row)
        if args.contact:
            save_contact(args.contact / f"{truth.name}.png", color, target)
    print_row("mean", torch.tensor(rows, dtype=torch.float64).mean(0).tolist())


def print_row(name: str, row: list[float]) -> None:
    digits = (2, 2, 2, 4, 3, 2, 0, 1, 0)
    print(f"{name:14}" + "".join(f"{v:9.{d}f}" for v, d in zip(row, digits, strict=True)), flush=True)


def save_contact(path: Path, color: Tensor, target: Tensor) -> None:
    """First, middle and last time of four views: the fit above, the truth below."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    some = torch.tensor([0, color.shape[0] // 4, color.shape[0] // 2, 3 * color.shape[0] // 4])
    times = torch.tensor([0, color.shape[1] // 2, color.shape[1] - 1])
    shown = torch.cat([x[some][:, times].flatten(0, 1) for x in (color, target)])
    Image.fromarray(to_uint8(side_by_side(shown, len(shown) // 2))).save(path)


if __name__ == "__main__":
    main()
