"""How much of the true shape the frustum volume finds, on models it never saw.

    python benchmarks/frustum_quality.py MODELS [--weights FOLDER] [--set realistic] [--bias 1] [--sheet FILE]

MODELS: a folder of model shards (docs/training.md). FOLDER: the 8-bit pieces that `vid4d train --stage
frustum` wrote; those that ship by default. The first motion of every model is rendered as a clip, from the
azimuth and elevation that `vid4d.training.evaluate` fixes in advance; the prior gets the frames and the true
elevation, as in a run, and what it draws is compared with rendered truth from 16 views at elevation 30 and 16
at elevation 0: IoU of the masks at alpha 0.5, PSNR over white, half-transparent pixels beyond the truth's
(`vid4d.metrics`), error of the guessed elevation. `--set realistic` takes the held-out realistic models of
the training shards.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.files.write import write_text
from vid4d.media.images import over_white, resized, side_by_side, to_uint8
from vid4d.metrics import half_transparent, mask_iou, psnr
from vid4d.priors.frustum.elevation import guess_elevation
from vid4d.priors.frustum.matter import BIAS
from vid4d.priors.frustum.prior import SHIPPED, FrustumMatrixPrior, load_frustum_volume
from vid4d.report.report import UNSURE_ELEVATION
from vid4d.training.evaluate import HELD_OUT, true_clips
from vid4d.training.meshes import MeshBank, read_folder, read_models

VIEWS, SIZE = 16, 128


def line(name: str, values: Tensor, digits: int) -> str:
    """A row of the table: by azimuth distance over both elevations, then the means of the two rings."""
    both = values.view(2, VIEWS)
    columns = [*around(values), float(both[0].mean()), float(both[1].mean())]
    return f"| {name} | " + " | ".join(f"{c:.{digits}f}" for c in columns) + " |"


def around(values: Tensor) -> list[float]:
    """Values of both rings by azimuth distance from the clip's side."""
    both = values.view(2, VIEWS)
    return [float((both[:, i] + both[:, -i % VIEWS]).mean() / 2) for i in range(VIEWS // 2 + 1)]


def note_expected(file: Path, which: str, models: int, overlap: Tensor) -> None:
    """Writes one set's overlaps by azimuth into what reports tell (`vid4d.priors.expected`)."""
    every = json.loads(file.read_text()) if file.is_file() else {}
    measured = {"models": models, "overlap": [round(v, 3) for v in around(overlap)]}
    every["frustum"] = every.get("frustum", {}) | {which: measured}
    write_text(file, json.dumps(every, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--set", choices=("val", "realistic"), default="val")
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--bias", type=float, default=BIAS, help="added to the logits of occupancy")
    parser.add_argument(
        "--expected", type=Path, help="JSON of what reports tell of each side: this set's part is replaced"
    )
    parser.add_argument(
        "--sheet", type=Path, help="a picture: input, 8 azimuths, 2 from elevation 0; truth below"
    )
    options = parser.parse_args()
    prior = FrustumMatrixPrior(load_frustum_volume(weights=options.weights), bias=options.bias)
    if options.set == "realistic":
        meshes = read_models(options.folder, list(HELD_OUT)[: options.models])
    else:
        meshes = read_folder(options.folder, limit=options.models)
    bank = MeshBank(meshes)
    low = Cameras.ring(VIEWS, elevation=0.0, size=SIZE)
    cameras = Cameras.cat([Cameras.ring(VIEWS, size=SIZE), low])
    overlap, quality, hazy, errors, spreads, rows = [], [], [], [], [], []
    for clip in true_clips(bank, frames=options.frames, size=SIZE, extra=low):
        frames = resized(clip.frames, prior.image_size)
        pictures = prior.views(frames, clip.elevation, cameras, cyclic=True)
        guess = guess_elevation(prior.network, frames)
        alpha, true = pictures[..., 3], clip.matrix[..., 3]
        overlap.append(mask_iou(alpha, true).mean(1))
        quality.append(psnr(over_white(pictures), over_white(clip.matrix)).mean(1))
        hazy.append((half_transparent(alpha) - half_transparent(true)).mean(1))
        errors.append(abs(guess.degrees - clip.elevation))
        spreads.append(math.nan if guess.spread is None else guess.spread)
        print(f"{clip.name}: IoU {float(overlap[-1].mean()):.3f}", flush=True)
        chosen = [*range(0, VIEWS, 2), VIEWS + 4, VIEWS + 12]
        for matrix in (pictures, clip.matrix):
            rows.append(over_white(torch.cat([clip.frames[:1], matrix[chosen, 0]])))
    print(f"\n{len(bank)} models ({options.set}), {options.frames} frames, bias {options.bias:g}")
    print("| | " + " | ".join(f"{22.5 * i:g}°" for i in range(VIEWS // 2 + 1)) + " | ring | elevation 0 |")
    print("|---" * (VIEWS // 2 + 4) + "|")
    print(line("IoU", torch.stack(overlap).mean(0), 3))
    print(line("PSNR", torch.stack(quality).mean(0), 2))
    print(line("half-transparent", torch.stack(hazy).mean(0), 3))
    print(f"elevation guess of a clip: mean error {sum(errors) / len(errors):.1f} degrees")
    if agreeing := [e for e, s in zip(errors, spreads, strict=True) if s <= UNSURE_ELEVATION]:
        mean = sum(agreeing) / len(agreeing)
        print(f"  where frames agree within {UNSURE_ELEVATION:g} degrees ({len(agreeing)} clips): {mean:.1f}")
    if options.expected:
        note_expected(options.expected, options.set, len(bank), torch.stack(overlap).mean(0))
    if options.sheet:
        page = to_uint8(side_by_side(torch.cat(rows), len(rows[0])))
        Image.fromarray(page).save(options.sheet, quality=85)


if __name__ == "__main__":
    main()
