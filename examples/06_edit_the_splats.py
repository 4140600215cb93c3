"""Splats are tensors: cut an asset, recolor it, slow it down, put two of them into one scene.

python examples/06_edit_the_splats.py runs/demo --out edited.safetensors
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import tyro
from tyro.conf import Positional

import vid4d
from vid4d.gaussians.model import Gaussians4D, save_asset


def main(run: Positional[str], out: Path = Path("edited.safetensors")) -> Gaussians4D:
    """run: a run folder or an asset.safetensors. out: the edited asset, which `vid4d render` takes."""
    asset = vid4d.load(run, device="cpu")
    splats = asset.gaussians

    # Leave out what is nearly transparent at all times.
    splats = splats.select(splats.opacities > 0.02)

    # A copy that stands beside it, half as large, in grey. Scales are logarithms.
    small = replace(
        splats,
        means=splats.means * torch.tensor([0.5, 0.5, 0.5, 1.0]) + torch.tensor([0.0, 0.45, -0.15, 0.0]),
        log_scales=splats.log_scales + torch.log(torch.tensor([0.5, 0.5, 0.5, 1.0])),
        sh=splats.sh.mean(-1, keepdim=True).expand_as(splats.sh).contiguous(),
    )
    both = Gaussians4D.cat([splats, small])

    # Twice as slow: seconds are only how fast time plays.
    save_asset(out, both, {"seconds": repr(2 * asset.seconds)})
    print(f"{len(splats)} splats and a grey copy in {out}")
    return both


if __name__ == "__main__":
    tyro.cli(main)
