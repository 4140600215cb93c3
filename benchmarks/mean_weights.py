"""The mean of two trainings' weights of the frustum prior, as it ships: neighbors in one valley (2203.05482).

    python benchmarks/mean_weights.py FIRST SECOND --out FOLDER [--share 0.5]

FIRST, SECOND: folders of 8-bit pieces, the second trained on from the first. What the first did not have yet
(gates) counts as zero there, which is how such a training begins.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vid4d.priors.weights.eight_bit import read_pieces, save_pieces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5, help="of the second")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} is there already: name another --out")
    first, _ = read_pieces(options.first)
    second, metadata = read_pieces(options.second)
    foreign = first.keys() - second.keys()
    if foreign:
        parser.error(f"the second has no {min(foreign)}: it was not trained on from the first")
    mean = {
        name: torch.lerp(first.get(name, torch.zeros_like(value)), value, options.share)
        for name, value in second.items()
    }
    for path in save_pieces(options.out, mean, {k: v for k, v in metadata.items() if k != "pieces"}):
        print(path)


if __name__ == "__main__":
    main()
