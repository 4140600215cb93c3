"""`vid4d train`: the networks that ship, on your own models.

Runs in one process, or under torchrun on every GPU of a machine (docs/training.md).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import arg

from vid4d.errors import InputError
from vid4d.training.stages import STAGES
from vid4d.training.train import TrainOptions, train


@dataclass(frozen=True)
class Train(TrainOptions):
    """Train the networks that ship with vid4d on your own models."""

    stage: Annotated[
        str, arg(metavar="|".join(STAGES), help="; ".join(f"{k}: {v.help}" for k, v in STAGES.items()) + ".")
    ]

    def run(self) -> None:
        """Trains a stage, resumed where its folder exists."""
        if not self.models.is_dir():
            raise InputError(
                f"no folder of models at {self.models}: give a folder of shards (docs/training.md)"
            )
        for name in ("batch", "steps", "seconds", "lr"):
            value = getattr(self, name)
            if not value > 0:
                option = name.replace("_", "-")
                raise InputError(f"--{option} {value:g} cannot be used: give more than 0")

        def report(entry: dict[str, Any]) -> None:
            print("  ".join(f"{k} {v:.4g}" for k, v in entry.items()), flush=True)

        done = train(self, report)
        print("the budget is used up" if done else "left off; the same command continues", file=sys.stderr)
