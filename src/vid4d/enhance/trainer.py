"""Training of an object's enhancer: pix2pix (1611.07004) on groups of consecutive frames.

Every random number follows from the seed and the step, and a checkpoint holds all that a step reads, so that
a training that was stopped goes on to the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.compute.randomness import seed_default_generator, step_generator
from vid4d.enhance.config import EnhancerConfig
from vid4d.enhance.footage import Footage
from vid4d.enhance.network import Generator, PatchDiscriminator
from vid4d.files.checkpoints import (
    check_step,
    identity_of,
    load_checkpoint,
    restoring,
    save_checkpoint,
    with_prefix,
)
from vid4d.files.records import Step


class _State(TypedDict):
    step: Step


class Trainer:
    """Optimises an enhancer on footage.

    own: of the clip's own side, whose sharp pictures are its frames. others: of other sides; either may be
    empty.
    """

    def __init__(
        self,
        own: Sequence[Footage],
        others: Sequence[Footage],
        config: EnhancerConfig,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if not own and not others:
            raise ValueError("there is no footage to learn from")
        self.own, self.others, self.config, self.seed = own, others, config, seed
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            seed_default_generator(seed)
            self.generator = Generator(config.generator).to(device)
            self.discriminator = PatchDiscriminator(config.patch_width).to(device)
        self.optimizers = [
            torch.optim.Adam(net.parameters(), lr=config.lr, betas=config.betas) for net in self._networks
        ]
        self.step = 0

    @property
    def _networks(self) -> list[nn.Module]:
        return [self.generator, self.discriminator]

    def run(
        self, checkpoint: Path | None = None, report: Callable[[int, int, float], object] | None = None
    ) -> Generator:
        """Trains to the end, from the checkpoint where there is one; returns the generator.

        report: step, of how many, and the absolute difference. Raises InputError for a damaged checkpoint and
        for one of other footage or settings.
        """
        if checkpoint is not None and checkpoint.is_file():
            self.resume(checkpoint)
        total = self.config.steps
        while self.step < total:
            difference = self.advance()
            if report is not None and (self.step % 10 == 0 or self.step == total):
                report(self.step, total, float(difference))
            if checkpoint is not None and self.step % self.config.checkpoint_every == 0:
                self.save(checkpoint)
        return self.generator.eval().requires_grad_(False)

    def advance(self) -> Float[Tensor, ""]:
        """One step of both networks; returns the mean absolute difference to the sharp pictures."""
        c = self.config
        footage = self._drawn()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._lr()
        renders, sharp = footage.renders.to(self.device), footage.sharp.to(self.device)
        made = self.generator(renders, footage.cyclic)
        if c.gan_weight:
            real, fake = (self.discriminator(renders, p) for p in (sharp, made.detach()))
            self._update(1, (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2)
        difference = (made - sharp).abs().mean()
        loss = c.l1_weight * difference
        if c.gan_weight:
            loss = loss + c.gan_weight * F.softplus(-self.discriminator(renders, made)).mean()
        self._update(0, loss)
        self.step += 1
        return difference.detach()

    def _update(self, which: int, loss: Tensor) -> None:
        self.optimizers[which].zero_grad(set_to_none=True)
        gradients = torch.autograd.grad(loss, list(self._networks[which].parameters()))
        for parameter, gradient in zip(self._networks[which].parameters(), gradients, strict=True):
            parameter.grad = gradient
        self.optimizers[which].step()

    def _lr(self) -> float:
        c = self.config
        falling = max(1.0, c.decay * c.steps)
        return c.lr * min(1.0, (c.steps - self.step) / falling)

    def _drawn(self) -> Footage:
        """Consecutive frames of this step, mirrored half the time."""
        c, generator = self.config, step_generator(self.seed, self.step)
        chance = torch.rand(4, generator=generator).tolist()
        is_own = bool(self.own) and (chance[0] < c.clip_share or not self.others)
        pool = self.own if is_own else self.others
        footage = pool[int(chance[1] * len(pool))]
        count = len(footage.renders)
        if count > c.group:
            last = count - 1 if footage.cyclic else count - c.group
            chosen = (int(chance[2] * (last + 1)) + torch.arange(c.group)) % count
            footage = Footage(footage.renders[chosen], footage.sharp[chosen])
        if chance[3] < 0.5:
            return replace(footage, renders=footage.renders.flip(-1), sharp=footage.sharp.flip(-1))
        return footage

    # Checkpoints

    @functools.cached_property
    def _identity(self) -> str:
        same = replace(self.config, checkpoint_every=0)
        pictures = [p for f in (*self.own, *self.others) for p in (f.renders, f.sharp)]
        shapes = [[len(self.own), len(self.others)], [[f.cyclic, list(f.sharp.shape)] for f in self.others]]
        return identity_of([asdict(same), self.seed, shapes], *pictures)

    def save(self, path: Path) -> None:
        """Writes a checkpoint, whole or not at all."""
        tensors: dict[str, Tensor] = {}
        for i, (network, optimizer) in enumerate(zip(self._networks, self.optimizers, strict=True)):
            tensors |= {f"network{i}.{k}": v for k, v in network.state_dict().items()}
            for index, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer{i}.{index}.{k}": v for k, v in values.items()}
        save_checkpoint(path, tensors, {"step": self.step}, self._identity)

    def resume(self, path: Path) -> None:
        """Goes on from a checkpoint. Raises InputError for one of other footage, settings or seed."""
        what = "asset, clip, sharp pictures, preset or seed"
        tensors, state = load_checkpoint(path, self._identity, what, _State)
        with restoring(path):
            check_step(state["step"], self.config.steps)
            for i, (network, optimizer) in enumerate(zip(self._networks, self.optimizers, strict=True)):
                network.load_state_dict(with_prefix(tensors, f"network{i}."))
                kept: dict[int, dict[str, Tensor]] = {}
                for key, value in with_prefix(tensors, f"optimizer{i}.").items():
                    index, name = key.split(".")
                    kept.setdefault(int(index), {})[name] = value
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({"state": kept, "param_groups": groups})
        self.step = state["step"]
