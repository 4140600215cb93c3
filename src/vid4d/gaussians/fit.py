"""Fits 4D Gaussians to an image matrix with the confidence-aware loss (Efficient4D, 2401.08742, section 3.3).

From the visual hulls of some key times, each with splats of its own that last about as long as their key
time, some hundred steps of Adam over batches of (view, time). Splats learn to move and to last (their
rotation in 4D is a velocity); where pictures differ between times they stay short, and in a loop all stay
shorter than half of it.

Beyond the paper: a surface that the video itself shows takes its colors from there; the matrix's pictures of
it, which a prior made up, count less.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.files.checkpoints import (
    check_step,
    identity_of,
    load_checkpoint,
    restoring,
    save_checkpoint,
    with_prefix,
)
from vid4d.files.records import Amount, Finite, Step
from vid4d.gaussians.adam import SplatAdam
from vid4d.gaussians.densify import Densifier
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.fit_losses import picture_loss, render_together
from vid4d.gaussians.fit_pictures import Choice, StepPictures
from vid4d.gaussians.fit_recording import Done, RecordedSteps
from vid4d.gaussians.fit_targets import resize_matrix
from vid4d.gaussians.guide import Guide
from vid4d.gaussians.hull import gaussians_from_hull
from vid4d.gaussians.model import LONGEST_IN_LOOP, Gaussians4D
from vid4d.gaussians.raster import rasterize_4d
from vid4d.gaussians.raster.room import EntryRoom, Wanted
from vid4d.gaussians.shape import bound_shape
from vid4d.matrix.io import check_matrix
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over_white
from vid4d.metrics import psnr

Callback = Callable[[int, int, float, float, int], None]
"""step, total, loss (running mean), PSNR of the input view in dB, number of splats."""

LATE = 8
"""Steps that may be under way before it is known whether an earlier one counts."""

ON_CARDS = 5
"""Times as many steps from one report or checkpoint to the next, where steps are recorded."""


@dataclass(frozen=True)
class FitReport:
    """Steps done, seconds of all runs, running mean of the loss, PSNR of the input view in dB, splats."""

    iterations: int
    seconds: float
    loss: float
    input_psnr: float
    splats: int


def fit(
    matrix: ImageMatrix,
    config: FitConfig | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    callback: Callback | None = None,
    checkpoint_path: str | os.PathLike[str] | None = None,
    resume: bool = False,
    start: Gaussians4D | None = None,
    guide: Guide | None = None,
    beside: Gaussians4D | None = None,
) -> tuple[Gaussians4D, FitReport]:
    """4D Gaussians that look like the image matrix.

    The same matrix, config and seed give the same bytes on a CPU, resumed or not (without a budget in
    seconds).
    start: splats to begin with, instead of the matrix's hull. guide: another loss. beside: splats that are
    there, too, and stay as they are; they are not returned.
    checkpoint_path: a safetensors file, written every `checkpoint_every` steps. resume: go on from it if it
    is there. callback: called every `report_every` steps and at the end; an exception in it stops the fit.
    Where steps are recorded (on a graphics card, without a guide), they take some milliseconds, and both
    come `ON_CARDS` times as rarely.

    Raises InputError for a matrix with NaN or without a hull, and for a checkpoint of another matrix or
    config.
    """
    config = config or FitConfig()
    check_matrix(matrix)
    began = time.monotonic()
    matrix = resize_matrix(matrix, config.size, device)
    state = FitState(matrix, config, seed, start, guide, beside)
    path = None if checkpoint_path is None else Path(checkpoint_path)
    if resume and path is not None and path.exists():
        state.load(path)
    before, rarely = state.seconds, 1 if state.recorded is None else ON_CARDS
    input_psnr = state.input_psnr()
    while True:
        state.seconds = before + time.monotonic() - began
        progress = state.step / config.iterations if config.iterations else 1.0
        if config.seconds is not None:
            progress = max(progress, state.seconds / config.seconds)
        if progress >= 1 and state.settle():
            break
        at = state.step
        if progress < 1:
            state.advance(progress)
        saving = path is not None and state.step % (rarely * config.checkpoint_every) == 0
        telling = callback is not None and state.step % (rarely * config.report_every) == 0
        if state.step <= at or ((saving or telling) and not state.settle()):
            continue  # steps have to be done again
        if path is not None and saving:
            state.save(path)
        if callback is not None and telling:
            input_psnr = state.input_psnr()
            callback(state.step, config.iterations, state.loss, input_psnr, len(state.optimizer))
    input_psnr = state.input_psnr()
    if path is not None:
        state.save(path)
    if callback is not None and state.step % (rarely * config.report_every):
        callback(state.step, config.iterations, state.loss, input_psnr, len(state.optimizer))
    report = FitReport(state.step, state.seconds, state.loss, input_psnr, len(state.optimizer))
    return state.gaussians().detach(), report


class _State(TypedDict):
    step: Step
    loss: Finite | None
    seconds: Amount
    n_updates: Step


def _rates(start: Gaussians4D, config: FitConfig, moving: bool) -> Float[Tensor, " k"]:
    """Learning rates of the k numbers of a splat, parameter after parameter; none in time without time."""
    c, of_all = config, []
    by_name = {"quats_left": c.rotation_lr, "quats_right": c.rotation_lr, "opacity_logits": c.opacity_lr}
    by_name["sh"] = c.color_lr
    by_column = {"means": (c.position_lr, c.time_lr), "log_scales": (c.scale_lr, c.scale_lr)}
    for name, value in start.tensors().items():
        if name in by_column:
            in_space, in_time = by_column[name]
            of_all += [in_space] * 3 + [in_time * moving]
        else:
            of_all += [by_name[name]] * value.shape[1:].numel()
    return torch.tensor(of_all, device=start.means.device)


def recordable(matrix: ImageMatrix, guide: Guide | None) -> bool:
    """Whether steps may be recorded: on a graphics card, and what a guide does is not known."""
    return matrix.images.is_cuda and guide is None


class FitState:
    """The state of a fit between two steps: splats, optimiser, densification, what was looked up."""

    def __init__(
        self,
        matrix: ImageMatrix,
        config: FitConfig,
        seed: int,
        start: Gaussians4D | None = None,
        guide: Guide | None = None,
        beside: Gaussians4D | None = None,
    ) -> None:
        self.matrix, self.config, self.seed = matrix, config, seed
        self.pictures = StepPictures(matrix, config, seed)
        self.given, self.guide, self.beside = start, guide, beside
        if start is None:
            start = gaussians_from_hull(matrix, config.hull, sh_degree=config.sh_degree, seed=seed)
        self.period = start.period
        self.optimizer = SplatAdam(start.tensors())
        spacing = 1 / self.pictures.pairs if self.pictures.pairs else float("inf")
        self.densifier = Densifier(
            config.densify, len(start), frame_spacing=spacing, device=matrix.images.device
        )
        self.rates = _rates(start, config, matrix.frames > 1)
        self.step, self.seconds = 0, 0.0
        self._mean_loss, self._losses = float("nan"), list[Float[Tensor, ""]]()
        self.room, self._unsure = EntryRoom(), deque[tuple[int, Wanted]]()
        self.recorded = RecordedSteps() if recordable(matrix, guide) else None

    @property
    def loss(self) -> float:
        """Running mean of the loss. Waits for the device, so it is not asked for in every step."""
        values = torch.stack(self._losses).tolist() if self._losses else []
        self._losses.clear()
        for step, value in enumerate(values, self.step - len(values) + 1):
            self._mean_loss = value if step == 1 else 0.95 * self._mean_loss + 0.05 * value
        return self._mean_loss

    def gaussians(self) -> Gaussians4D:
        """Current splats, which do not move where the matrix has a single time.

        Equal quaternions do not turn space into time.
        """
        values = dict(self.optimizer.parameters)
        if self.matrix.frames == 1:
            values["quats_right"] = values["quats_left"].clone()
        return Gaussians4D(**values, period=self.period, cyclic=self.matrix.cyclic)

    def shown(self) -> Gaussians4D:
        """What is rendered: the splats that are fitted, and those beside them."""
        own = self.gaussians()
        return own if self.beside is None else Gaussians4D.cat([own, self.beside])

    def settle(self, wait: bool = True) -> bool:
        """Looks whether the steps so far had room for their tile entries; else goes back to the first that
        had not, from which on nothing was changed, with more room, and is false.

        wait: for the last of them; else only for what is on its way for more than LATE steps.
        """
        while self._unsure and (wait or len(self._unsure) > LATE or self._unsure[0][1].here()):
            step, wanted = self._unsure.popleft()
            if not self.room.enough_for(wanted.read()):
                self._unsure.clear()
                self._forget_recordings()
                del self._losses[len(self._losses) - (self.step - step) :]
                self.step = step
                return False
        return True

    def advance(self, progress: float) -> None:
        """One step, at this share of the schedules; or none, where an earlier one has to be done again."""
        c = self.config
        densify, look = self.densifier.due(progress), self.pictures.due(progress)
        if not self.settle(wait=densify or look):
            return
        if densify:
            self.densifier.densify(self.optimizer)
            self.room.forget()
        if look:
            self.pictures.look(self.shown())
        if densify or look:
            self._forget_recordings()
        lr_scale = torch.tensor(c.final_lr_ratio**progress).to(self.rates.device, non_blocking=True)
        choice = self.pictures.choose(self.step)
        with_ssim = c.ssim_weight > 0 and self.step % c.ssim_every == 0
        if self.recorded is None:
            loss, complete = self._step(choice, lr_scale, with_ssim)
        else:
            known = self.room.size is not None
            loss, complete = self.recorded(self._step, choice, lr_scale, with_ssim, recordable=known)
        self._losses.append(loss)
        if complete is not None:
            self._unsure.append((self.step, self.room.ask()))
        self.step += 1

    def _forget_recordings(self) -> None:
        """Tensors moved that recorded steps read."""
        if self.recorded is not None:
            self.recorded.forget()

    def _step(self, choice: Choice, lr_scale: Float[Tensor, ""], with_ssim: bool) -> Done:
        """A step with what was chosen for it, which reads nothing from the device; see `fit_recording`."""
        c = self.config
        gaussians, asked = self.shown(), self.pictures.of(choice)
        renders = render_together(gaussians, asked, self.room)
        compared = zip(renders, asked, strict=True)
        losses = [picture_loss(render, pictures, c, with_ssim=with_ssim) for render, pictures in compared]
        loss = torch.stack(losses).sum()
        visible = torch.cat([render.radii for render in renders]).amax(0) > 0
        guided = self.guide(gaussians, self.step) if self.guide is not None else None
        if guided is not None:
            loss, visible = loss + guided[0], visible | guided[1]
        loss.backward()
        complete = self.room.complete()
        if complete is not None:
            visible = visible & complete
        self.densifier.collect(renders[0], complete)
        self.optimizer.step(self._scaled_rates(lr_scale), visible[: len(self.optimizer)])
        self._bound(complete)
        return loss.detach(), complete

    def _scaled_rates(self, lr_scale: Float[Tensor, ""]) -> dict[str, Float[Tensor, "..."]]:
        """Learning rates of all numbers of a splat, at this share of those at the start."""
        shapes = {name: value.shape[1:] for name, value in self.optimizer.parameters.items()}
        rates = (lr_scale * self.rates).split([shape.numel() for shape in shapes.values()])
        return {name: rate.view(shape) for (name, shape), rate in zip(shapes.items(), rates, strict=True)}

    def _bound(self, complete: Bool[Tensor, ""] | None) -> None:
        """Keeps the splats' shapes within bounds, if the step counts."""
        scales = self.optimizer.parameters["log_scales"].data
        before = None if complete is None else scales.clone()
        bound_shape(scales, self.config.max_elongation, self.config.max_flatness)
        if self.matrix.cyclic and self.matrix.frames > 1:
            scales.clamp_(max=math.log(LONGEST_IN_LOOP))
        if complete is not None and before is not None:
            torch.where(complete, scales, before, out=scales)

    @torch.no_grad()
    def input_psnr(self) -> float:
        """PSNR of the input view in dB, over white: mean over at most 4 of the reference frames."""
        t = self.pictures.reference
        some = torch.linspace(0, len(t.times) - 1, min(4, len(t.times))).round().long()
        cameras = Cameras.cat([t.camera] * len(some))
        render = rasterize_4d(self.shown().detach(), t.times[some], cameras)
        return float(psnr(render.color.clamp(0, 1), over_white(t.images[some])).mean())

    @functools.cached_property
    def _identity(self) -> str:
        """Hash of everything the result depends on, besides the step."""
        same = asdict(self.config) | {"seconds": None, "checkpoint_every": 0, "report_every": 0}
        parts = [b"cyclic" if self.matrix.cyclic else b"", self.matrix.images[:, :, ::4, ::4]]
        parts += [x for v in self.matrix.also for x in (v.images[:, ::4, ::4], v.camera.world_to_camera)]
        if self.given is not None:
            parts += self.given.tensors().values()
        if self.beside is not None:
            parts += self.beside.tensors().values()
        if self.guide is not None:
            parts.append(self.guide.identity.encode())
        return identity_of([same, self.seed], *parts)

    def save(self, path: Path) -> None:
        """Writes a checkpoint of the fit, whole or not at all."""
        tensors = {f"adam.{k}": v for k, v in self.optimizer.state().items()}
        tensors |= {f"densify.{k}": v for k, v in self.densifier.state().items()}
        if self.pictures.visible_in_input is not None:
            tensors["visible_in_input"] = torch.from_numpy(
                np.packbits(self.pictures.visible_in_input.cpu().numpy())
            )
        state = {
            "step": self.step,
            "loss": loss if math.isfinite(loss := self.loss) else None,
            "seconds": self.seconds,
            "n_updates": self.pictures.n_updates,
        }
        save_checkpoint(path, tensors, state, self._identity)

    def load(self, path: Path) -> None:
        """Restores a fit. Raises InputError for a checkpoint of another matrix, configuration or seed."""
        what = "image matrix, configuration or seed"
        stored, state = load_checkpoint(path, self._identity, what, _State)
        tensors = {k: v.to(self.matrix.images.device) for k, v in stored.items()}
        with restoring(path):
            self.optimizer.load(with_prefix(tensors, "adam."))
            self.densifier.load(with_prefix(tensors, "densify."))
            self._fits_together()
            check_step(state["step"], self.config.iterations)
        self.step, self.seconds, self.pictures.n_updates = state["step"], state["seconds"], state["n_updates"]
        self._mean_loss = math.nan if state["loss"] is None else state["loss"]
        self._losses.clear()
        self._unsure.clear()
        self._forget_recordings()
        if "visible_in_input" in tensors:
            shape = self.matrix.images.shape[:4]
            bits = np.unpackbits(tensors["visible_in_input"].cpu().numpy(), count=shape.numel()).astype(bool)
            self.pictures.visible_in_input = torch.from_numpy(bits).view(shape).to(self.matrix.images.device)

    def _fits_together(self) -> None:
        """Raises ValueError where restored tensors are not those of one set of splats."""
        o, n = self.optimizer, len(self.gaussians())
        for name, value in o.parameters.items():
            moments = (o.mean[name], o.square[name])
            if any(v.shape != value.shape or v.dtype != torch.float32 for v in (value.detach(), *moments)):
                raise ValueError(f"{name} and its moments differ in size or type")
        for counts in (o.steps, self.densifier.gradient, self.densifier.n_visible):
            if counts.shape[0] != n:
                raise ValueError(f"counts of {counts.shape[0]} splats for {n}")
