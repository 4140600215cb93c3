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
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.raster import rasterize_4d
from vid4d.matrix import ImageMatrix
from vid4d.methods.fit import PRESETS, fit
from vid4d.metrics import mask_iou, psnr, ssim
from vid4d.training.meshes import MeshBank, MeshBatch, read_folder
from vid4d.training.render import fit_to_frame, render

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


def posed(bank: MeshBank, model: int, frames: int) -> tuple[MeshBatch, Tensor]:
    """The first animation of a model as 2 * frames - 1 objects in one frame of reference, and their times."""
    count = 2 * frames - 1
    clips = bank.clips[model]
    start, length = (clips[0]["start"], clips[0]["n"]) if clips else (0, int(bank.n_poses[model]))
    poses = start + torch.arange(count) * (length - 1) // max(1, count - 1)
    batch = bank.batch(torch.full((count,), model), poses)
    group = torch.zeros(count, dtype=torch.long)
    batch = fit_to_frame(batch, Cameras.orbit([0.0], 0.0, size=256), group=group)
    return batch, torch.linspace(0, 1, count)


def make_truth(
    bank: MeshBank, model: int, *, views: int = 16, frames: int = 8, size: int = 128, test_views: int = 8
) -> Truth:
    batch, times = posed(bank, model, frames)

    def pictures(cameras: Cameras, objects: range) -> Tensor:
        count = len(cameras)
        parts = [render(batch, cameras, torch.full((count,), i), supersample=3) for i in objects]
        return torch.stack(parts, 1)

    ring = Cameras.ring(views, size=size)
    azimuth = [(180.0 / views + 360.0 * i / test_views) % 360 for i in range(test_views)]
    test = Cameras.cat([Cameras.orbit(azimuth, elevation, size=size) for elevation in (0.0, 30.0)])
    at, between = range(0, batch.objects, 2), range(1, batch.objects, 2)
    matrix = ImageMatrix(pictures(ring, at), ring, times[::2])
    return Truth(bank.names[model], matrix, test, pictures(test, at), times[1::2], pictures(test, between))


@torch.no_grad()
def renders(gaussians: Gaussians4D, times: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Colours over white (a, t, h, w, 3) and opacities of all cameras at all times."""
    parts = [rasterize_4d(gaussians, time.expand(len(cameras)), cameras) for time in times]
    return torch.stack([p.color.clamp(0, 1) for p in parts], 1), torch.stack([p.alpha for p in parts], 1)


def over_white(rgba: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3"]:
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


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
    for i in range(len(bank)):
        truth = make_truth(bank, i)
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
    strips = [torch.cat(list(x[some][:, times].flatten(0, 1)), 1) for x in (color, target)]
    Image.fromarray((torch.cat(strips) * 255).round().byte().numpy()).save(path)


if __name__ == "__main__":
    main()
