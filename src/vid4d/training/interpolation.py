"""Trainer of the small frame interpolator (RIFE, 2011.06294) on renders of moving objects."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vid4d.priors.rife import CONFIGS, IFNet
from vid4d.training.trainer import LossFunction, SideStream
from vid4d.training.views import ViewSource

DECAY = 0.8
"""Weight of a refinement relative to the next finer one."""


def interpolation_model() -> IFNet:
    """The small interpolator, untrained."""
    return IFNet(CONFIGS["small"])


def pyramid_loss(predicted: Tensor, truth: Tensor, levels: int = 4) -> Tensor:
    """Absolute differences at full size and, growing in weight, at halved sizes: large shapes move first."""
    total = (predicted - truth).abs().mean()
    for level in range(1, levels):
        predicted, truth = F.avg_pool2d(predicted, 2), F.avg_pool2d(truth, 2)
        total = total + 2.0**level * 0.5 * (predicted - truth).abs().mean()
    return total


def motion_batches(model: IFNet, source: ViewSource, n: int, device: torch.device) -> SideStream:
    """Batches of n objects at three times."""
    return SideStream(lambda: source.draw_motion(n), device)


def interpolation_loss(model: IFNet, source: SideStream, device: torch.device) -> LossFunction:
    """Every refinement's frame against the true one. source: of `motion_batches`."""

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        motion = source.next()
        predicted = model(motion.start, motion.end, motion.time)
        count = len(predicted.frames)
        total = sum(
            (
                DECAY ** (count - 1 - i) * pyramid_loss(frame, motion.middle)
                for i, frame in enumerate(predicted.frames)
            ),
            start=torch.zeros((), device=device),
        )
        with torch.no_grad():
            error = (predicted.frame - motion.middle).square().flatten(1).mean(1)
            copied = (motion.start - motion.middle).square().flatten(1).mean(1)
            numbers = {
                "psnr": -10 * torch.log10(error.clamp(min=1e-8)).mean(),
                "psnr_copied": -10 * torch.log10(copied.clamp(min=1e-8)).mean(),
            }
        return total, numbers

    return loss
