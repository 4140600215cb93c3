"""Trainers of the small prior: first the deterministic lifting, then the joint diffusion on top of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.cameras import RING_DISTANCE, RING_VIEWS, Cameras
from vid4d.metrics import mask_iou, psnr
from vid4d.priors.samplers import q_sample
from vid4d.priors.small.lifting import Lifter
from vid4d.priors.small.model import SmallPrior
from vid4d.training.trainer import LossFunction, SideStream
from vid4d.training.views import TrainingViews, ViewSource, degrade


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses, and how conditions are dropped.

    edge: of differences between neighbouring pixels. alpha: of the composited alpha against the mask.
    hit: of where the targets' rays end; depth: of the input picture's depth (both in nats). elevation: of the
    guess (radians). snr_cap: bound of the signal-to-noise weight. drop_noisy: share of
    frames that see no noisy views (the small Zero123). drop_image, drop_volume: shares for guidance.
    ring_targets: ring views denoised per object. elevation_noise: degrees by which the given one is off.
    """

    edge: float = 0.5
    alpha: float = 0.3
    hit: float = 0.1
    depth: float = 0.05
    elevation: float = 2.0
    snr_cap: float = 5.0
    drop_noisy: float = 0.2
    drop_image: float = 0.08
    drop_volume: float = 0.08
    ring_targets: int = 4
    elevation_noise: float = 3.0


def picture_loss(predicted: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], edge: float) -> Tensor:
    """Squared error of colors and alpha, and of their differences between neighbours."""
    difference = predicted.float() - truth
    across = difference[..., 1:] - difference[..., :-1]
    down = difference[..., 1:, :] - difference[..., :-1, :]
    return difference.square().mean() + edge * (across.square().mean() + down.square().mean())


def hit_loss(
    weight: Float[Tensor, "n d h w"], depth: Float[Tensor, "n h w"], depth_range: float
) -> Float[Tensor, ""]:
    """Negative log-likelihood (nats) of where rays end, mean over rays.

    weight: probabilities of a first hit at each of d depths around RING_DISTANCE, as compositing weights are;
    what is missing to 1 is the probability of no hit. depth: the true one, infinite for no hit.
    """
    count = weight.shape[1]
    position = ((depth - RING_DISTANCE) / depth_range + 1) / 2 * count - 0.5
    hits = depth.isfinite()
    position = torch.where(hits, position, 0).clamp(0, count - 1)
    low = position.floor().clamp(max=count - 2)
    share = position - low
    pair = weight.gather(1, torch.stack([low, low + 1], 1).long())
    hit = pair[:, 0] * (1 - share) + pair[:, 1] * share
    return -torch.log(torch.where(hits, hit, 1 - weight.sum(1)).clamp(min=0) + 1e-3).mean()


def picture_psnr(predicted: Float[Tensor, "n 4 h w"], truth: Float[Tensor, "n 4 h w"]) -> Float[Tensor, ""]:
    """Mean over pictures of the PSNR in dB of their colors, in [-1, 1]."""
    return psnr(predicted[:, :3].float() / 2, truth[:, :3] / 2).mean()


def _input_cameras(elevation: Tensor, noise: float, size: int) -> Cameras:
    """Input cameras with noise on the elevation: users and the guess are some degrees off."""
    noisy = elevation + torch.randn_like(elevation) * noise * (torch.rand_like(elevation) < 0.7)
    return Cameras.orbit(torch.zeros_like(noisy), noisy, size=size, device=noisy.device)


def view_batches(
    model: nn.Module, source: ViewSource, n: int, device: torch.device, reuse: int = 1
) -> SideStream:
    """Batches of n objects' views. reuse: steps in a row that get the same batch."""
    return SideStream(lambda: source.draw(n), device, reuse)


def reused_view_batches(model: nn.Module, source: ViewSource, n: int, device: torch.device) -> SideStream:
    """`view_batches`, each for two steps, which draw other noise and other views of it."""
    return view_batches(model, source, n, device, reuse=2)


def lift_loss(
    model: Lifter,
    source: SideStream,
    device: torch.device,
    config: LossConfig = LossConfig(),
) -> LossFunction:
    """The deterministic half: the pictures of all targets, rendered from the lifted volume."""
    size = model.config.image_size

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        views: TrainingViews = source.next()
        truth = views.targets.flatten(0, 1)
        inputs = _input_cameras(views.elevation, config.elevation_noise, size)
        with torch.autocast(device.type, torch.bfloat16):
            lifted = model(degrade(views.picture), inputs, views.cameras, views.targets.shape[1])
        pictures = lifted.pictures.flatten(0, 1)
        weight, reach = lifted.weight.flatten(0, 1).float(), model.config.depth_range
        mask = F.avg_pool2d(truth[:, 3:] / 2 + 0.5, model.config.patch)[:, 0]
        alpha = F.mse_loss(weight.sum(1), mask)
        hit = hit_loss(weight, views.target_depth.flatten(0, 1), reach)
        depth = hit_loss(lifted.encoded.depth.float().softmax(1)[:, :-1], views.depth, reach)
        elevation = (lifted.encoded.elevation.float() - torch.deg2rad(views.elevation)).square().mean()
        total = (
            picture_loss(pictures, truth, config.edge)
            + config.alpha * alpha
            + config.hit * hit
            + config.depth * depth
            + config.elevation * elevation
        )
        with torch.no_grad():
            numbers = {
                "psnr": picture_psnr(pictures, truth),
                "iou": mask_iou(pictures[:, 3], truth[:, 3], threshold=0).mean(),
                "hit": hit,
                "depth": depth,
                "elevation_error": torch.rad2deg(elevation.sqrt()),
            }
        return total, numbers

    return loss


def diffusion_loss(
    model: SmallPrior,
    source: SideStream,
    device: torch.device,
    config: LossConfig = LossConfig(),
) -> LossFunction:
    """Joint diffusion on top of a finished volume generator: some ring views, all free views are denoised."""
    size = model.config.lift.image_size
    schedule = model.schedule.to(device)

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        views: TrainingViews = source.next()
        b, v = views.targets.shape[:2]
        inputs = _input_cameras(views.elevation, config.elevation_noise, size)
        data = model.encode(views.targets.flatten(0, 1)).unflatten(0, (b, v))
        t = torch.randint(0, len(schedule), (b,), device=device)
        noisy = q_sample(schedule, data, t, torch.randn_like(data))
        chosen = torch.rand(b, RING_VIEWS, device=device).argsort(1)[:, : config.ring_targets]
        free = torch.arange(RING_VIEWS, v, device=device).expand(b, -1)
        chosen = torch.cat([chosen, free], 1)
        rows = torch.arange(b, device=device)[:, None]
        cameras = views.cameras[(rows * v + chosen).flatten()]
        target, truth = data[rows, chosen], views.targets[rows, chosen].flatten(0, 1)

        def kept(share: float) -> Tensor:
            return torch.rand(b, device=device) >= share

        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                condition = model.condition(degrade(views.picture), inputs)
                features = model.render_features(condition, cameras, chosen.shape[1])
            volume = model.synchronous_volume(noisy[:, :RING_VIEWS], t)
            volume = volume * kept(config.drop_noisy)[:, None, None, None, None]
            predicted = model.denoise(
                condition,
                features,
                volume,
                noisy[rows, chosen],
                t,
                image_on=kept(config.drop_image),
                volume_on=kept(config.drop_volume),
            )
        signal = schedule.alphas_cumprod[t]
        weight = (signal / (1 - signal) + 1).clamp(max=config.snr_cap)
        error = (predicted.float() - target).square().flatten(1).mean(1)
        with torch.no_grad():
            numbers = {
                "x0": error.mean(),
                "psnr": picture_psnr(model.decode(predicted.flatten(0, 1)), truth),
                "coarse_psnr": picture_psnr(features.coarse, truth),
            }
        return (weight * error).mean(), numbers

    return loss
