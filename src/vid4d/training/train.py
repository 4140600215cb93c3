"""Trainings of the shipped weights: their options, and the loop of a stage put together from its row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vid4d.errors import InputError
from vid4d.settings import check_seed
from vid4d.training.stages import TrainingStage, stage_named


@dataclass(frozen=True)
class TrainOptions:
    """Train a network that ships, on your own models or on ours."""

    stage: str
    """Name of a row of `training.stages.STAGES`."""
    models: Path
    """Folder of model shards (docs/training.md has their layout); the models that priors are evaluated on
    are left out."""
    out: Path
    """Folder for checkpoint, log and weights; a second call with the same folder resumes."""
    initial: Path | None = None
    """Weights to start from: a file (safetensors), for frustum a folder of 8-bit pieces."""
    batch: int = 32
    """Objects per step and GPU."""
    steps: int = 100_000
    """Budget in steps; the learning rate falls along the budget."""
    seconds: float = float("inf")
    """Budget in seconds of training, earlier parts of a resumed run included."""
    until: float = float("inf")
    """Leave off after so many seconds of this call, to be resumed by a later one."""
    lr: float = 4e-4
    """The highest learning rate, after the warm-up."""
    optimizer: Literal["muon", "adam"] = "muon"
    """Muon for matrices and kernels with Adam for the rest, or Adam for everything."""
    made_up: int | None = None
    """Made-up animals, plants and vessels that are drawn beside the models; as many as the stage has by
    default."""
    seed: int = 0
    """Of weights and batches."""
    compile: bool = True
    """Without it networks are not compiled: slower steps, but no wait before the first one."""


def view_source(options: TrainOptions, device: Any, stage: TrainingStage) -> Any:
    """A `ViewSource` of the models, but for the held-out ones, and of the stage's made-up things."""
    import torch

    from vid4d.training.evaluate import HELD_OUT
    from vid4d.training.made_up.things import thing
    from vid4d.training.meshes import MeshBank, read_folder
    from vid4d.training.views import ViewsConfig, ViewSource

    meshes = read_folder(options.models, leave_out=HELD_OUT)
    weight = torch.tensor([6.0 if len(m.poses) > 1 else 0.15 if m.modular else 1.0 for m in meshes])
    count = stage.made_up if options.made_up is None else options.made_up
    if count < 0:
        raise InputError(f"{count} made-up things cannot be drawn: --made-up is at least 0")
    if count:
        meshes += [thing(number) for number in range(count)]
        each = stage.made_up_share / (1 - stage.made_up_share) * weight.sum() / count
        weight = torch.cat([weight, each.expand(count)])
    return ViewSource(MeshBank(meshes, device), ViewsConfig(**stage.views), weight)


def _refuse_foreign_weights(folder: Path) -> None:
    """Raises InputError where the training would replace weights that it did not make."""
    there = [folder / "weights.safetensors", *sorted(folder.glob("weights/part_*.safetensors"))]
    for file in there:
        if file.exists() and not (folder / "trainer.safetensors").is_file():
            raise InputError(
                f"{file} would be replaced, and {folder} holds no training to continue: name another --out"
            )


def _compile(model: Any, parts: Iterable[str]) -> None:
    """Compiles modules and methods of a network, for fixed shapes; names of parameters stay as they are."""
    import torch

    for name in parts:
        owner, _, own = name.rpartition(".")
        part = getattr(model.get_submodule(owner), own)
        if isinstance(part, torch.nn.Module):
            part.compile(dynamic=False)
        else:
            setattr(model.get_submodule(owner), own, torch.compile(part, dynamic=False))


def train(options: TrainOptions, report: Callable[[dict[str, Any]], None] | None = None) -> bool:
    """Runs or resumes a training and writes its weights; returns whether the budget is used up.

    Raises InputError for a stage that there is not, and for initial weights that do not fit.
    """
    import torch

    from vid4d.compute.randomness import rank_seed, seed_default_generator
    from vid4d.priors.base import named_object
    from vid4d.priors.weights.eight_bit import save_pieces
    from vid4d.priors.weights.files import save_weights
    from vid4d.training.trainer import Trainer, TrainerConfig, start_distributed, world

    check_seed(options.seed)
    stage = stage_named(options.stage)
    device = start_distributed()
    rank, _ = world()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    seed_default_generator(options.seed)  # the same initial weights on every rank
    model, config_text = named_object(stage.network)(options)
    model.to(device)
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    seed_default_generator(rank_seed(options.seed, rank))
    source = view_source(options, device, stage)
    batches = named_object(stage.data)(model, source, options.batch, device)
    loss = named_object(stage.loss)(model, batches, device)
    config = TrainerConfig(
        steps=options.steps, seconds=options.seconds, lr=options.lr, optimizer=options.optimizer
    )
    if rank == 0:
        _refuse_foreign_weights(options.out)
    trainer = Trainer(model, loss, config, options.out, stage.outer)
    if trainer.resume():  # other batches than those that the first part began with
        seed_default_generator(rank_seed(options.seed, rank, trainer.step))
    if options.compile:
        _compile(model, stage.compiled)
    done = trainer.run(until=options.until, report=report)
    metadata = {"stage": options.stage, "config": config_text}
    if rank == 0 and stage.eight_bit:
        save_pieces(options.out / "weights", trainer.averaged_state(), metadata)
    elif rank == 0:
        save_weights(options.out / "weights.safetensors", trainer.averaged_state(), metadata)
    return done
