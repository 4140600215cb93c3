"""What `--refine` changes: the score alone, the consistency alone, both; and as many steps of neither.

    python benchmarks/refinement.py runs/demo [--sds 3] [--icl 50] [--steps 200] [--sheet sheet.jpg]

The run is one of the example clip without `--refine`; its matrix and asset are where all rows begin. Measures
are those of `demo_truth.py`: means of all directions but the clip's own, against the known truth.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from demo_truth import NAMES, TURNS, scores_of, seen_and_true
from PIL import Image

from vid4d.clip.files import load_frames
from vid4d.gaussians.fit import fit
from vid4d.gaussians.model import Gaussians4D, load_asset
from vid4d.gaussians.raster import splat_device
from vid4d.matrix.io import load_matrix
from vid4d.media.images import over_white, side_by_side, to_uint8
from vid4d.methods.efficient4d import PRESETS
from vid4d.methods.refine import RefineConfig, prior_guide, refine_config
from vid4d.priors.base import DEFAULT_PRIORS
from vid4d.runs.kept_settings import read_settings


def rows(config: RefineConfig) -> dict[str, RefineConfig]:
    return {
        "as many steps of the fit": replace(config, sds_weight=0.0, icl_weight=0.0),
        "score": replace(config, icl_weight=0.0),
        "consistency": replace(config, sds_weight=0.0),
        "score and consistency": config,
    }


def line(name: str, gaussians: Gaussians4D, seconds: float) -> str:
    views = scores_of(gaussians)
    cells = [f"{float(v[1:].nanmean()):.{2 if n in ('color', 'psnr') else 3}f}" for n, v in views.items()]
    cells += [f"{float(views['psnr'][0]):.2f}", f"{seconds:.0f}"]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder, made of the example clip")
    parser.add_argument("--sds", type=float, default=RefineConfig.sds_weight)
    parser.add_argument("--icl", type=float, default=RefineConfig.icl_weight)
    parser.add_argument("--device", default="cpu", help="of the prior; splats lie where they are fastest")
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--rows", nargs="+", choices=list(rows(RefineConfig())))
    parser.add_argument("--sheet", type=Path, help="picture: each row from all directions, the truth last")
    options = parser.parse_args()
    settings, matrix = read_settings(options.run), load_matrix(options.run / "matrix")
    clip, base = load_frames(options.run / "frames").at_keys(), PRESETS[settings.preset]
    steps = options.steps or base.refine.steps
    config = replace(base.refine, sds_weight=options.sds, icl_weight=options.icl, steps=steps)
    start, _ = load_asset(options.run / "asset.safetensors", splat_device(options.device))
    print("| | " + " | ".join([*NAMES.values(), "PSNR, the clip's side", "seconds"]) + " |")
    print("|---" * (len(NAMES) + 3) + "|")
    fitted = start.to("cpu")
    print(line("fitted", fitted, 0), flush=True)
    sheet = [fitted]
    for name, variant in rows(config).items():
        if options.rows and name not in options.rows:
            continue
        frames, times = torch.from_numpy(clip.frames), torch.from_numpy(clip.times).float()
        prior = DEFAULT_PRIORS["score"]
        guide = prior_guide(frames, times, matrix, variant, prior=prior, device=options.device)
        began = time.monotonic()
        gaussians, _ = fit(
            matrix,
            refine_config(base.fit, variant),
            seed=settings.seed,
            device=start.means.device,
            start=start,
            guide=guide,
        )
        gaussians = gaussians.to("cpu")
        print(line(name, gaussians, time.monotonic() - began), flush=True)
        sheet.append(gaussians)
    if options.sheet:
        pictures = [seen_and_true(g)[0].rgba[:, 0] for g in sheet]
        pictures.append(seen_and_true(fitted)[1].rgba[:, 0])
        together = over_white(torch.cat(pictures))
        Image.fromarray(to_uint8(side_by_side(together, len(TURNS)))).save(options.sheet)


if __name__ == "__main__":
    main()
