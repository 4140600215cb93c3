"""Trainings of the shipped weights: their options, and each stage's network, data and loss put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

OUTER = (
    "stem",
    "enter",
    "input_blocks.0.0",
    "head.leave",
    "volume.leave.2",
    "elevation.3",
    "encoder.depth",
    "unet.out.2",
)
"""Ends of the names of the layers that see pictures or predict them: Muon leaves them to Adam. Of the first
prior and the interpolator; `frustum.OUTER` of the second."""


@dataclass(frozen=True)
class TrainOptions:
    """Train a network that ships, on your own models or on ours."""

    stage: Literal["lift", "diffusion", "interpolation", "frustum"]
    """lift: the deterministic half; diffusion: the whole prior, started from lift's weights; interpolation:
    the small RIFE; frustum: the second-generation prior, in the making."""
    models: Path
    """Folder of model shards (docs/training.md has their layout); the models that priors are evaluated on
    are left out."""
    out: Path
    """Folder for checkpoint, log and weights; a second call with the same folder resumes."""
    initial: Path | None = None
    """Weights to start from (safetensors): the network's own; for diffusion also those of lift, for lift also
    those of the whole prior; for frustum a folder of 8-bit pieces."""
    batch: int = 32
    """Objects per step and GPU."""
    steps: int = 100_000
    """Budget in steps; the learning rate falls along the budget."""
    seconds: float = float("inf")
    """Budget in seconds of training, earlier parts of a resumed run included."""
    until: float = float("inf")
    """Leave off after so many seconds of this call, to be resumed by a later one."""
    learning_rate: float = 4e-4
    """The highest, after the warm-up."""
    optimizer: Literal["muon", "adam"] = "muon"
    """Muon for matrices and kernels with Adam for the rest, or Adam for everything."""
    lifter: Path | None = None
    """For diffusion: weights of lift that replace those in the initial file."""
    seed: int = 0
    """Of weights and batches."""
    compile: bool = True
    """Compile the networks, which makes steps faster and the first one slow."""


def _source(options: TrainOptions, device: Any, views: Any) -> Any:
    import torch

    from vid4d.training.evaluate import HELD_OUT
    from vid4d.training.meshes import MeshBank, read_folder
    from vid4d.training.views import ViewSource

    meshes = read_folder(options.models, leave_out=HELD_OUT)
    weight = torch.tensor([6.0 if len(m.poses) > 1 else 0.15 if m.modular else 1.0 for m in meshes])
    return ViewSource(MeshBank(meshes, device), views, weight)


def _compile(model: Any) -> None:
    """Compiles the parts that run on fixed shapes; names of parameters stay as they are."""
    import torch

    from vid4d.priors.frustum.network import FrustumVolume
    from vid4d.priors.layers.unet import UNet
    from vid4d.priors.small.lifting import PictureEncoder, RenderHead, VolumeNet
    from vid4d.priors.small.model import FrustumNet, NoisyVolume

    if isinstance(model, FrustumVolume):
        for part in ("encode", "decode"):
            setattr(model, part, torch.compile(getattr(model, part), dynamic=False))
    for module in model.modules():
        if isinstance(module, (PictureEncoder, RenderHead, VolumeNet, NoisyVolume, FrustumNet, UNet)):
            module.compile(dynamic=False)


def _model(options: TrainOptions) -> tuple[Any, str]:
    """The network of a stage in its sizes, with its first weights, and its configuration as JSON.

    Initial weights are of the same network, of the one the stage builds on, or of the one it is part of.
    """
    from vid4d.priors.frustum.network import FrustumConfig, FrustumVolume
    from vid4d.priors.small.lifting import LiftConfig, Lifter
    from vid4d.priors.small.model import SmallConfig, SmallPrior
    from vid4d.priors.weights.eight_bit import read_pieces
    from vid4d.priors.weights.files import (
        config_from_json,
        config_to_json,
        fill,
        load_into,
        read_metadata,
        read_weights,
    )
    from vid4d.training.interpolation import interpolation_model

    path = options.initial
    if options.stage == "interpolation":
        interpolator = interpolation_model()
        if path is not None:
            load_into(interpolator, path)
        return interpolator, config_to_json(interpolator.config)
    if options.stage == "frustum":
        state, metadata = ({}, {}) if path is None else read_pieces(path)
        volume = FrustumVolume(config_from_json(FrustumConfig, metadata.get("config")))
        if path is not None:
            fill(volume, state, path)
        return volume, config_to_json(volume.config)
    state, metadata = ({}, {}) if path is None else read_weights(path)
    whole = any(name.startswith("lifter.") for name in state)
    settings = metadata.get("config")
    config = (
        config_from_json(SmallConfig, settings)
        if whole
        else SmallConfig(config_from_json(LiftConfig, settings))
    )
    if options.stage == "lift":
        lifter = Lifter(config.lift)
        if path is not None:
            fill(lifter, state, path, "lifter." if whole else "")
        return lifter, config_to_json(config.lift)
    if options.lifter is not None:
        settings = read_metadata(options.lifter).get("config")
        config = replace(config, lift=config_from_json(LiftConfig, settings))
    prior = SmallPrior(config)
    if path is not None:
        fill(prior if whole else prior.lifter, state, path)
    if options.lifter is not None:
        load_into(prior.lifter, options.lifter)
    return prior, config_to_json(config)


def train(options: TrainOptions, report: Callable[[dict[str, Any]], None] | None = None) -> bool:
    """Runs or resumes a training and writes its weights; returns whether the budget is used up."""
    import torch

    from vid4d.priors.frustum.network import FrustumVolume
    from vid4d.priors.rife import IFNet
    from vid4d.priors.small.lifting import Lifter
    from vid4d.priors.small.model import SmallPrior
    from vid4d.priors.weights.eight_bit import save_pieces
    from vid4d.priors.weights.files import save_weights
    from vid4d.randomness import rank_seed
    from vid4d.training import frustum, prior_losses
    from vid4d.training.interpolation import interpolation_loss
    from vid4d.training.trainer import SideStream, Trainer, TrainerConfig, start_distributed, world
    from vid4d.training.views import ViewsConfig

    device = start_distributed()
    rank, _ = world()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(options.seed)  # the same initial weights on every rank
    model, config_text = _model(options)
    if isinstance(model, SmallPrior):
        model.lifter.requires_grad_(False)
    model.to(device)
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    torch.manual_seed(rank_seed(options.seed, rank))
    losses = prior_losses.LossConfig()
    reuse = 2 if options.stage == "diffusion" else 1
    views = {
        "lift": ViewsConfig(ring_views=2, free_views=1),
        "frustum": ViewsConfig(combine=0.03, augment=0.5),
    }.get(options.stage, ViewsConfig())
    source = _source(options, device, views)
    terms = frustum.FrustumLossConfig()
    batch_source = (
        frustum.FrustumSource(source, model.config, terms) if isinstance(model, FrustumVolume) else source
    )
    batches = SideStream(lambda: batch_source.draw(options.batch), device, reuse)
    if isinstance(model, FrustumVolume):
        loss = frustum.frustum_loss(model, batches, terms, device)
    elif isinstance(model, Lifter):
        loss = prior_losses.lift_loss(model, batches, losses, device)
    elif isinstance(model, SmallPrior):
        loss = prior_losses.diffusion_loss(model, batches, losses, device)
    else:
        assert isinstance(model, IFNet)
        loss = interpolation_loss(model, source, options.batch, device)
    config = TrainerConfig(
        steps=options.steps,
        seconds=options.seconds,
        learning_rate=options.learning_rate,
        optimizer=options.optimizer,
    )
    outer = frustum.OUTER if isinstance(model, FrustumVolume) else OUTER
    trainer = Trainer(model, loss, config, options.out, outer)
    if trainer.resume():  # other batches than those that the first part began with
        torch.manual_seed(rank_seed(options.seed, rank, trainer.step))
    if options.compile:
        _compile(model)
    done = trainer.run(until=options.until, report=report)
    metadata = {"stage": options.stage, "config": config_text}
    if rank == 0 and options.stage == "frustum":
        save_pieces(options.out / "weights", trainer.averaged_state(), metadata)
    elif rank == 0:
        save_weights(options.out / "weights.safetensors", trainer.averaged_state(), metadata)
    return done
