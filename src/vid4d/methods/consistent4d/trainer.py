"""Optimisation of a cascade DyNeRF: reference steps and prior steps (2311.02848, sections 3.1 and 3.3)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.compute.randomness import seed_default_generator, step_generator
from vid4d.dynerf import CascadeField, OccupancyGrid, Rendering, render_field
from vid4d.dynerf.occupancy import uniform_noise
from vid4d.dynerf.render import samples_of
from vid4d.files.checkpoints import (
    check_step,
    identity_of,
    load_checkpoint,
    restoring,
    save_checkpoint,
    with_prefix,
)
from vid4d.files.records import Finite, Step
from vid4d.kernels.cuda_graphs import Recorder
from vid4d.media.images import over_white, resized
from vid4d.methods.consistent4d.batches import Batch, draw_batch, milestone_at, reference_frame
from vid4d.methods.consistent4d.config import Consistent4DConfig
from vid4d.methods.consistent4d.subject import Subject
from vid4d.metrics import losses, psnr
from vid4d.priors.base import ScorePrior
from vid4d.priors.sds import distillation_loss

SMOOTH_RADIUS = 0.01
"""Distance of compared normals, in units of the box (2311.02848, code)."""


class _State(TypedDict):
    step: Step
    numbers: dict[str, Finite]


class _ReferenceFrames(NamedTuple):
    """The clip's frames over white, their masks, and the input camera."""

    camera: Cameras
    color: Float[Tensor, "t h w 3"]
    mask: Float[Tensor, "t h w"]


class _ReferenceDraw(NamedTuple):
    """What is drawn for a reference step, on the device.

    frame: of the clip. weight, orient: of the color loss and of the orientation loss. shift: of each ray's
    samples. chosen, jitter: samples that regularisers look at, and how far aside.
    """

    frame: Int[Tensor, "1"]
    weight: Float[Tensor, ""]
    orient: Float[Tensor, ""]
    shift: Float[Tensor, " r"]
    chosen: Float[Tensor, " k"]
    jitter: Float[Tensor, "k 3"]


class Consistent4DTrainer:
    """Trainer of a cascade DyNeRF: field, occupancy grid, optimiser, step.

    Random numbers of a step follow from the seed and its number.
    """

    def __init__(
        self,
        config: Consistent4DConfig,
        subject: Subject,
        prior: ScorePrior,
        interpolate: losses.Interpolate,
        *,
        middle_only: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.subject, self.prior = config, subject, prior
        self.middle_only = middle_only
        self.interpolate, self.seed, self.device = interpolate, seed, torch.device(device)
        self.times = subject.times.to(device)
        with torch.random.fork_rng(devices=[]):
            seed_default_generator(seed)
            sizes = config.levels.for_clip(len(subject.times), cyclic=subject.cyclic)
            self.field = CascadeField(sizes).on(device)
        self.grid = OccupancyGrid(config.grid_resolution, samples=config.samples_per_ray).to(device)
        on_card = self.device.type == "cuda"
        self.recorder = Recorder() if on_card and self.field.is_fused else None
        self.optimizer = torch.optim.Adam(
            self.field.parameters(),
            lr=config.lr,
            betas=(0.9, 0.99),
            eps=1e-8,
            fused=on_card,
            capturable=self.recorder is not None,
        )
        self.optimizer._warned_capturable_if_run_uncaptured = True  # prior steps are not recorded
        self.step = 0
        self._means: dict[str, Tensor] = {}
        self._reference: dict[int, _ReferenceFrames] = {}

    def advance(self) -> None:
        """One step: a reference step, or every `prior_every`-th time a prior step."""
        c = self.config
        if self.step % c.grid_update_every == 0:
            self.grid.update(self.field, self._generator(3))
        if self.subject.frames is None or self.step % c.prior_every == c.prior_every - 1:
            self.descend(self.prior_step())
        else:
            self.descend_reference_step()
        self.step += 1

    def descend(self, loss: Float[Tensor, ""]) -> None:
        """The optimiser's step by a loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    # Section 3.1: the frames

    def reference_step(self) -> Float[Tensor, ""]:
        """Color and mask loss of the input camera's render at one frame, summed over the levels."""
        size, drawn = self._reference_draw()
        return self._reference_loss(size, None, *drawn)

    def descend_reference_step(self) -> None:
        """A reference step with all that follows from its loss, on a graphics card from a recording.

        A card works for a seventh of the time that a step takes to start from Python. Recordings have room
        for samples, a power of two, so that there are few of them.
        """
        size, drawn = self._reference_draw()
        count = 0
        if self.recorder is not None:
            camera, c = self._reference_frames(size).camera, self.config
            time = self.times[drawn.frame]
            count = samples_of(self.field, camera, time, self.grid, drawn.shift, c.samples_per_ray)
        if self.recorder is None or count == 0 or count < self.config.n_reg_samples:
            self.descend(self._reference_loss(size, None, *drawn))
            return
        self.optimizer.zero_grad(set_to_none=True)
        room = 1 << (count - 1).bit_length()

        def work(*values: Tensor) -> tuple[Tensor, ...]:
            loss = self._reference_loss(size, room, *values)
            self.descend(loss)
            return (loss.detach(),)

        self.recorder((size, room), work, drawn)

    def _forget_recordings(self) -> None:
        """Tensors moved that recorded steps read."""
        if self.recorder is not None:
            self.recorder.forget()

    def _reference_draw(self) -> tuple[int, _ReferenceDraw]:
        """Size of the picture, and what is drawn for a reference step, on the device."""
        c, device = self.config, self.device
        size = milestone_at(c.milestones, self.step).size
        index = self.step - self.step // c.prior_every
        numbers = [
            float(reference_frame(self.seed, index, len(self.times))),
            float(c.weights_at(self.step)[0]),
            float(c.lambda_orient.at(self.step)),
        ]
        frame, weight, orient = torch.tensor(numbers).to(device, non_blocking=True).unbind()
        shift = uniform_noise((size * size,), self._generator(5), device)
        return size, _ReferenceDraw(frame.long()[None], weight, orient, shift, *self._regulariser_draw())

    def _reference_loss(
        self,
        size: int,
        room: int | None,
        frame: Int[Tensor, "1"],
        weight: Float[Tensor, ""],
        orient: Float[Tensor, ""],
        shift: Float[Tensor, " r"],
        chosen: Float[Tensor, " k"],
        jitter: Float[Tensor, "k 3"],
    ) -> Float[Tensor, ""]:
        """Loss of a reference step by what was drawn for it. room: for samples, where nothing may wait."""
        reference = self._reference_frames(size)
        rendered = self._render(reference.camera, self.times[frame], shift=shift, room=room)
        target, target_mask = reference.color[frame], reference.mask[frame]
        color = torch.stack([F.mse_loss(level.color, target) for level in rendered]).sum()
        mask = torch.stack([losses.mask_loss(level.alpha, target_mask) for level in rendered]).sum()
        score = psnr(rendered[-1].color.detach().clamp(0, 1), target)
        self._note(color=color, mask=mask, psnr=score)
        regularisers = self._regularisers(rendered, chosen, jitter, orient)
        return weight * color + self.config.lambda_mask * mask + regularisers

    # Section 3.1: the prior; section 3.3: the interpolation-driven consistency loss

    def prior_step(self) -> Float[Tensor, ""]:
        """Score distillation on random views; interpolation consistency on consecutive ones."""
        c, stage = self.config, milestone_at(self.config.milestones, self.step)
        batch = draw_batch(
            c.batch,
            self.seed,
            self.step,
            batch=stage.batch,
            frames=len(self.times),
            cyclic=self.subject.cyclic,
        )
        cameras = batch.cameras(stage.size, self.device)
        rendered = self._render(
            cameras, self.times[batch.frame.to(self.device)], generator=self._generator(5)
        )
        sds = self._distillation(rendered, cameras, batch)
        orient = torch.tensor(float(c.lambda_orient.at(self.step)))
        regularisers = self._regularisers(rendered, *self._regulariser_draw(), orient)
        loss = c.weights_at(self.step)[1] * sds + regularisers
        self._note(sds=sds)
        if batch.is_consecutive:
            icl = losses.interpolation_consistency(
                torch.stack([x.premultiplied() for x in rendered]),
                self.interpolate,
                middle_only=self.middle_only,
            ) * len(rendered)
            self._note(icl=icl)
            loss = loss + c.lambda_icl * icl
        return loss

    def _distillation(self, rendered: list[Rendering], cameras: Cameras, batch: Batch) -> Float[Tensor, ""]:
        """Score distillation loss, summed over the levels, which all get the same noise."""
        color, alpha = (torch.stack(x) for x in zip(*((x.color, x.alpha) for x in rendered), strict=True))
        noise_range = self.config.t_range.at(self.step)
        generator = step_generator(self.seed, self.step, purpose=4)
        return distillation_loss(self.prior, color, alpha, cameras, batch.frame, noise_range, generator)

    # What both kinds of steps need

    def _render(self, cameras: Cameras, times: Float[Tensor, " n"], **options: Any) -> list[Rendering]:
        return render_field(
            self.field,
            cameras,
            times,
            grid=self.grid,
            samples=self.config.samples_per_ray,
            chunk=self.config.chunk,
            **options,
        )

    def _regulariser_draw(self) -> tuple[Float[Tensor, " k"], Float[Tensor, "k 3"]]:
        """Which samples the regularisers look at, in [0, 1), and how far aside."""
        count, generator, device = self.config.n_reg_samples, self._generator(6), self.device
        chosen = torch.rand(count, generator=generator, device=device)
        return chosen, torch.randn(count, 3, generator=generator, device=device)

    def _regularisers(
        self,
        rendered: list[Rendering],
        chosen: Float[Tensor, " k"],
        jitter: Float[Tensor, "k 3"],
        orient: Float[Tensor, ""],
    ) -> Float[Tensor, ""] | float:
        """Normal smoothness and orientation losses at random samples of the rendering. orient: its weight."""
        c, samples = self.config, rendered[0].samples
        assert samples is not None
        if len(samples.points) == 0 or c.n_reg_samples == 0:
            return 0.0
        count: Tensor | int = len(samples.points)
        if samples.used is None:
            chosen, jitter = chosen[:count], jitter[:count]
        else:
            count = samples.used[0]
        at = (chosen.double() * count).long()
        points, time = samples.points[at], samples.time[at]
        moved = points + SMOOTH_RADIUS * jitter
        normals, around = self.field.normals(torch.cat([points, moved]), time.repeat(2)).chunk(2, 1)
        smooth = losses.normal_smoothness_loss(normals, around) * len(rendered)
        weights = torch.stack([level.samples.weight[at] for level in rendered if level.samples])
        rays = samples.rays * len(at) / count
        facing = losses.orientation_loss(normals, samples.direction[at], weights, rays)
        return c.lambda_normal_smooth * smooth + orient.to(facing) * facing

    def _generator(self, purpose: int) -> torch.Generator:
        """Generator of this step's random numbers, on the device: there are as many as samples."""
        return step_generator(self.seed, self.step, purpose, self.device)

    def _reference_frames(self, size: int) -> _ReferenceFrames:
        """Reference frames at the size that is rendered; the last size is kept."""
        if size not in self._reference:
            assert self.subject.frames is not None
            frames = resized(self.subject.frames, size).to(self.device)
            camera = Cameras.orbit([0.0], self.subject.elevation, size=size, device=self.device)
            self._forget_recordings()
            self._reference = {size: _ReferenceFrames(camera, over_white(frames), frames[..., 3])}
        return self._reference[size]

    def _note(self, **values: Tensor) -> None:
        """Running means, kept as tensors: reading them would wait for the device."""
        for name, value in values.items():
            new, old = value.detach().float().mean(), self._means.get(name)
            if old is None:
                self._means[name] = new
            else:  # in place, as a recorded step does
                old.lerp_(new, 0.05)

    # For people, and for going on later

    @property
    def numbers(self) -> dict[str, float]:
        """Running means of the losses before their weights, and of the input view's PSNR in dB."""
        return {name: float(value) for name, value in self._means.items()}

    def line(self) -> str:
        """Log line: step, size, noise range, occupancy, running means of the losses."""
        c, stage = self.config, milestone_at(self.config.milestones, max(self.step - 1, 0))
        low, high = c.t_range.at(self.step)
        numbers = self.numbers
        score = f", input PSNR {numbers.pop('psnr'):.2f} dB" if "psnr" in numbers else ""
        losses_text = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        return (
            f"dynerf: step {self.step} of {c.steps}, {stage.size} px, noise {low:.2f}..{high:.2f}, "
            f"{100 * float(self.grid.occupied.float().mean()):.1f} % occupied: {losses_text}{score}"
        )

    def identity(self) -> str:
        """Hash of the configuration, seed and subject, without the step."""
        same = asdict(self.config) | {"validate_every": 0, "checkpoint_every": 0, "report_every": 0}
        same |= {"distill": None, "fit": None, "validate_size": 0}
        return identity_of([same, self.seed, self.subject.digest()])

    def save(self, path: Path) -> None:
        """Writes a checkpoint of field, grid and optimiser, whole or not at all."""
        tensors = {f"field.{k}": v for k, v in self.field.state_dict().items()}
        tensors |= {f"grid.{k}": v for k, v in self.grid.state_dict().items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        save_checkpoint(path, tensors, {"step": self.step, "numbers": self.numbers}, self.identity())

    def load(self, path: Path) -> None:
        """Restores training. Raises InputError for a checkpoint of another clip, configuration or seed."""
        tensors, state = load_checkpoint(path, self.identity(), "clip, configuration or seed", _State)
        with restoring(path):
            check_step(state["step"], self.config.steps)
            self._restore(tensors)
        self.step = state["step"]
        self._means = {name: torch.tensor(v, device=self.device) for name, v in state["numbers"].items()}
        self._forget_recordings()

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts the tensors of a checkpoint in their places."""
        self.field.load_state_dict(with_prefix(tensors, "field."))
        self.grid.load_state_dict(with_prefix(tensors, "grid."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in with_prefix(tensors, "adam.").items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        for (
            parameter,
            moment,
        ) in self.optimizer.state.items():  # in its memory layout, which files do not keep
            for key, value in moment.items():
                if value.shape == parameter.shape:
                    moment[key] = torch.empty_like(parameter).copy_(value)
