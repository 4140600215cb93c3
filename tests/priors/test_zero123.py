"""Zero123: the camera change by hand, guidance algebra, batching, gradients, sampling, precision."""

from __future__ import annotations

import pytest
import torch
from checkpoint_files import randomised

from vid4d.errors import InputError, MachineError
from vid4d.priors.guidance import PLAIN, ClassifierFree
from vid4d.priors.latent_diffusion import LATENT_SCALE
from vid4d.priors.samplers import Sampling
from vid4d.priors.zero123 import CONFIGS, Zero123


@pytest.fixture(scope="module")
def tiny() -> Zero123:
    return randomised(Zero123(CONFIGS["tiny"])).requires_grad_(False)


def pictures(count: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_guidance_is_the_published_formula(tiny):
    torch.manual_seed(1)
    x, latent, context = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 1, 12)
    t = torch.tensor([100, 900])
    seen = tiny.unet(torch.cat([x, latent], 1), t, context)
    blind = tiny.unet(torch.cat([x, 0 * latent], 1), t, 0 * context)
    assert (seen - blind).abs().max() > 0.1
    torch.testing.assert_close(tiny.noise(x, t, context, latent, PLAIN), seen)
    guided = tiny.noise(x, t, context, latent, ClassifierFree(5.0))
    torch.testing.assert_close(guided, blind + 5 * (seen - blind), rtol=1e-3, atol=1e-4)


def test_scaling_of_latents(tiny):
    images = pictures(2)
    latent = tiny.latent(images)
    torch.testing.assert_close(tiny.encode(images), LATENT_SCALE * latent)
    torch.testing.assert_close(tiny.condition(images).latent, latent)
    torch.testing.assert_close(tiny.condition(images, batch=1).latent, latent, rtol=1e-4, atol=1e-5)
    decoded = tiny.decode(LATENT_SCALE * latent)
    expected = ((tiny.autoencoder.decode(latent) + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-5)


def test_a_render_gets_a_gradient(tiny):
    images = pictures(1).requires_grad_()
    tiny.encode(images).square().sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().amax((0, 1)) > 0).float().mean() > 0.9


def test_pictures_in_batches_equal_all_at_once(tiny):
    def run(batch):
        generator = torch.Generator().manual_seed(0)
        return tiny.sample(
            pictures(2),
            torch.tensor([0.0, 20.0]),
            Sampling(steps=2),
            azimuths_deg=(0, 120, 240),
            batch=batch,
            generator=generator,
        )

    together = run(6)
    assert together.shape == (2, 3, 3, 64, 64)
    assert together.min() >= 0
    assert together.max() <= 1
    for batch in (1, 4):
        torch.testing.assert_close(run(batch), together, rtol=1e-3, atol=1e-3)


def test_sampling_sees_frame_and_view(tiny):
    def run(images, azimuths, seed=0, sampler="ddim", **options):
        generator, sampling = torch.Generator().manual_seed(seed), Sampling(sampler, 2)
        return tiny.sample(images, 0.0, sampling, azimuths_deg=azimuths, generator=generator, **options)

    first = run(pictures(1), (0, 90))
    assert torch.equal(first, run(pictures(1), (0, 90)))
    for other in (run(pictures(1, 4), (0, 90)), run(pictures(1), (0, 90), seed=1)):
        assert (first - other).abs().max() > 1e-2
    turned = run(pictures(1), (0, 200))
    torch.testing.assert_close(turned[:, 0], first[:, 0], rtol=1e-4, atol=1e-4)
    assert (turned[:, 1] - first[:, 1]).abs().max() > 1e-4
    same = pictures(1).expand(2, -1, -1, -1)
    shared, own = run(same, (0,)), run(same, (0,), shared_noise=False)
    torch.testing.assert_close(shared[0], shared[1], rtol=1e-3, atol=1e-3)
    assert (own[0] - own[1]).abs().max() > 1e-2
    seen: list[tuple[int, int]] = []
    run(pictures(1), (0,), progress=lambda *p: seen.append(p), sampler="dpm")
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype):
    model = randomised(Zero123(CONFIGS["tiny"])).requires_grad_(False)
    x, t, view = torch.randn(2, 4, 8, 8), torch.tensor([300, 700]), torch.randn(2, 4)

    def run() -> tuple[torch.Tensor, ...]:
        known = model.condition(pictures(2))
        context = model.context(known.embedding, view)
        noise = model.noise(x, t, context, known.latent, ClassifierFree(3.0))
        return known.embedding, known.latent, noise, model.decode(x)

    full = run()
    model.to(dtype)
    half = run()
    assert half[0].dtype == dtype
    assert half[2].dtype == half[3].dtype == torch.float32
    for a, b in zip(full, half, strict=True):
        assert (a - b.float()).norm() / a.norm() < 0.08


def test_bad_input_is_refused(tiny):
    with pytest.raises(InputError, match="resize"):
        tiny.condition(torch.rand(1, 3, 32, 32))
    with pytest.raises(MachineError, match=r"it needs 0\.0*[1-9]\d* GB"):  # not 0.0
        tiny.pairs_within(1e-6)
    assert tiny.pairs_within(1.0) > tiny.pairs_within(0.5) > 0
