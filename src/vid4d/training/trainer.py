"""A training loop for one machine with any number of GPUs: budgeted by time or steps, resumable.

Gradients are averaged by one all-reduce over a flat buffer; the moving average of the weights (EMA) is what
gets shipped. A checkpoint holds model, average, optimiser and budget: a run that was cut off goes on.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from vid4d.files.checkpoints import identity_of, load_checkpoint, restoring, save_checkpoint, with_prefix
from vid4d.files.records import Amount, Step
from vid4d.training.muon import Muon, split_for_muon

LossFunction = Callable[[int], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class TrainerConfig:
    """Budget, learning rates and averaging.

    steps, seconds: the budget; whichever ends first ends the run, and the learning rate follows the larger
    share. seconds counts training in earlier parts of a resumed run too, but not the first step of a part, in
    which networks are compiled. optimizer: muon (with Adam for vectors and outer layers) or adam.
    warmup: steps of linear warm-up.
    """

    steps: int = 100_000
    seconds: float = math.inf
    lr: float = 4e-4
    optimizer: str = "adam"
    final_lr_ratio: float = 0.02
    warmup: int = 200
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.999
    log_every: int = 50
    checkpoint_every: float = 120.0


def world() -> tuple[int, int]:
    """Rank and number of processes (torchrun's environment; a single process without it)."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def start_distributed() -> torch.device:
    """Joins the process group where there is one; returns this process's device."""
    _, size = world()
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    if size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl", device_id=device)
    return device


class _State(TypedDict):
    step: Step
    elapsed: Amount


class Trainer:
    """Optimises a module under a loss function that draws its own batches.

    loss: called with the step, returns the loss and numbers to log (tensors, read only when logged).
    outer: ends of the names of layers that Muon leaves to Adam.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        config: TrainerConfig,
        folder: Path,
        outer: tuple[str, ...] = (),
    ) -> None:
        self.model, self.loss, self.config, self.folder = model, loss, config, Path(folder)
        self.rank, self.size = world()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizers = self._optimizers(outer)
        self.ema = [p.detach().clone() for p in self.parameters]
        self.step, self.elapsed = 0, 0.0
        self.folder.mkdir(parents=True, exist_ok=True)

    def _optimizers(self, outer: tuple[str, ...]) -> list[torch.optim.Optimizer]:
        c = self.config
        matrices: list[Tensor] = []
        rest: list[Tensor] = list(self.parameters)
        if c.optimizer == "muon":
            matrices, rest = split_for_muon(self.model, outer)
        decay = [p for p in rest if p.ndim > 1]
        plain = [p for p in rest if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decay}, {"params": plain, "weight_decay": 0.0}]
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                groups,
                lr=c.lr,
                betas=c.betas,
                weight_decay=c.weight_decay,
                fused=self.parameters[0].is_cuda,
            )
        ]
        if matrices:
            optimizers.append(Muon(matrices, lr=c.lr, weight_decay=c.weight_decay))
        return optimizers

    @property
    def checkpoint(self) -> Path:
        return self.folder / "trainer.safetensors"

    def _identity(self) -> str:
        """Hash of the network's shapes and the optimiser's name; budget, batch and rates may change."""
        shapes = {name: list(value.shape) for name, value in self.model.state_dict().items()}
        return identity_of({"shapes": shapes, "optimizer": self.config.optimizer})

    def save(self) -> None:
        """Writes the whole state, atomically; rank 0 only."""
        if self.rank != 0:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"ema.{i}": value for i, value in enumerate(self.ema)}
        for i, optimizer in enumerate(self.optimizers):
            for index, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer{i}.{index}.{name}": value for name, value in values.items()}
        state = {"step": self.step, "elapsed": self.elapsed}
        save_checkpoint(self.checkpoint, tensors, state, self._identity())

    def resume(self) -> bool:
        """Continues from the folder's checkpoint where there is one.

        Raises InputError for a damaged one, and for one of another network or optimiser.
        """
        if not self.checkpoint.exists():
            return False
        tensors, state = load_checkpoint(self.checkpoint, self._identity(), "network or optimiser", _State)
        with restoring(self.checkpoint):
            self._restore(tensors)
        self.step, self.elapsed = state["step"], state["elapsed"]
        return True

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts the tensors of a checkpoint in their places."""
        self.model.load_state_dict(with_prefix(tensors, "model."))
        for i, optimizer in enumerate(self.optimizers):
            kept: dict[int, dict[str, Tensor]] = {}
            for key, value in with_prefix(tensors, f"optimizer{i}.").items():
                index, name = key.split(".")
                kept.setdefault(int(index), {})[name] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": kept, "param_groups": groups})
        for i, mine in enumerate(self.ema):
            mine.copy_(tensors[f"ema.{i}"])

    def averaged_state(self) -> dict[str, Tensor]:
        """The model's state with the averaged weights in place of the current ones."""
        names = [n for n, p in self.model.named_parameters() if p.requires_grad]
        state = {k: v.detach() for k, v in self.model.state_dict().items()}
        return state | dict(zip(names, self.ema, strict=True))

    def _lr(self) -> float:
        c = self.config
        progress = min(1.0, max(self.step / c.steps, self.elapsed / c.seconds))
        cosine = c.final_lr_ratio + (1 - c.final_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
        return c.lr * cosine * min(1.0, (self.step + 1) / c.warmup)

    def _average_gradients(self) -> None:
        if self.size == 1:
            return
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch._utils._flatten_dense_tensors(gradients)
        torch.distributed.all_reduce(flat, op=torch.distributed.ReduceOp.AVG)
        parts = torch._utils._unflatten_dense_tensors(flat, gradients)
        torch._foreach_copy_(gradients, list(parts))

    def _over(self) -> bool:
        """Test for the end of the budget; every rank hears the same answer."""
        over = self.step >= self.config.steps or self.elapsed >= self.config.seconds
        if self.size == 1:
            return over
        flag = torch.tensor([float(over)], device=self.parameters[0].device)
        torch.distributed.broadcast(flag, 0)
        return bool(flag.item())

    def run(self, until: float = math.inf, report: Callable[[dict[str, Any]], None] | None = None) -> bool:
        """Trains until the budget is used up (returns True) or `until` seconds passed (returns False)."""
        begin, last_save, last_log = time.monotonic(), time.monotonic(), time.monotonic()
        base, log = self.elapsed, self.folder / "log.jsonl"
        last_logged, first_step = 0, self.step
        while True:
            if self.step % 20 == 0:
                now = time.monotonic()
                self.elapsed = base + now - begin
                stop = torch.tensor([float(now - begin > until)], device=self.parameters[0].device)
                if self.size > 1:
                    torch.distributed.broadcast(stop, 0)
                over = self._over()
                if over or stop.item():
                    self.save()
                    return over
                if now - last_save > self.config.checkpoint_every:
                    self.save()
                    last_save = now
            elif self.step >= self.config.steps:
                self.save()
                return True
            lr = self._lr()
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
                for group in optimizer.param_groups:
                    group["lr"] = lr
            loss, numbers = self.loss(self.step)
            loss.backward()
            self._average_gradients()
            norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
            for optimizer in self.optimizers:
                optimizer.step()
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.ema, [p.detach() for p in self.parameters], 1 - decay)
            self.step += 1
            if self.step == first_step + 1 and self.parameters[0].is_cuda:
                torch.cuda.synchronize()
                begin = last_log = time.monotonic()
            if self.rank == 0 and self.step % self.config.log_every == 0:
                now = time.monotonic()
                entry = {
                    "step": self.step,
                    "seconds": round(base + now - begin, 1),
                    "steps_per_second": round(
                        (self.step - max(last_logged, first_step)) / (now - last_log), 2
                    ),
                    "loss": float(loss.detach()),
                    "gradient": float(norm),
                    **{k: float(v) for k, v in numbers.items()},
                }
                last_log, last_logged = now, self.step
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
                if report:
                    report(entry)


class SideStream:
    """Draws batches on a stream of its own: rendering overlaps with the training step queued before it.

    reuse: how many times in a row a batch is handed out (where the step draws targets and noise afresh).
    """

    def __init__(self, draw: Callable[[], Any], device: torch.device, reuse: int = 1) -> None:
        self.draw, self.device, self.reuse = draw, device, reuse
        self.batch: Any = None
        self.used = 0
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def next(self) -> Any:
        """The batch of this step: a new one, or the last one again up to `reuse` times."""
        if self.batch is None or self.used >= self.reuse:
            self.batch, self.used = self._fresh(), 0
        self.used += 1
        return self.batch

    def _fresh(self) -> Any:
        if self.stream is None:
            return self.draw()
        with torch.cuda.stream(self.stream):
            batch = self.draw()
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.stream)
        for tensor in _tensors(batch):
            tensor.record_stream(current)
        return batch


def _tensors(batch: Any) -> Iterator[Tensor]:
    """All tensors in a dataclass and in the dataclasses (cameras) it holds."""
    for value in vars(batch).values():
        if isinstance(value, Tensor):
            yield value
        elif is_dataclass(value):
            yield from _tensors(value)
