"""Copies of a network on other devices: even shares, the same pictures, errors that are not lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch

from vid4d.errors import InputError, MachineError
from vid4d.kernels import cuda_graphs
from vid4d.priors.latent_diffusion import LatentPrior
from vid4d.priors.multiview_sampling import batch_within, more_devices, prepare_for_inference
from vid4d.priors.samplers import Sampling
from vid4d.priors.smoothing import smoothing_matrix
from vid4d.priors.syncdreamer import CONFIGS as SYNCDREAMER
from vid4d.priors.syncdreamer import SyncDreamer
from vid4d.priors.zero123 import CONFIGS as ZERO123
from vid4d.priors.zero123 import Zero123


def randomised(prior: LatentPrior) -> LatentPrior:
    """A network without the zeros that would hide its branches."""
    for name, parameter in prior.eval().requires_grad_(False).named_parameters():
        if name.startswith(("unet.", "spatial_volume.")) and parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return prior


@pytest.fixture(scope="module")
def networks() -> dict[str, LatentPrior]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {
            "syncdreamer": randomised(SyncDreamer(SYNCDREAMER["tiny"])),
            "zero123": randomised(Zero123(ZERO123["tiny"])),
        }


@pytest.fixture(params=["syncdreamer", "zero123"])
def prior(request, networks) -> Iterator[LatentPrior]:
    yield networks[request.param]
    networks[request.param].spread([])


FRAMES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def sampled(prior: LatentPrior, steps: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return prior.sample(FRAMES, 10.0, Sampling(steps=steps), generator=generator, batch=5)


def test_shares_are_even_and_in_order(prior):
    prior.spread(["cpu", "cpu"])
    done: list[tuple[int, int, int]] = []

    def work(network: LatentPrior, part: slice) -> torch.Tensor:
        done.append(([prior, *prior.copies].index(network), part.start, part.stop))
        return torch.arange(part.start, part.stop)

    assert prior.shared_out(work, 8).tolist() == list(range(8))
    assert sorted(done) == [(0, 0, 2), (1, 2, 5), (2, 5, 8)]
    done.clear()
    assert prior.shared_out(work, 2).tolist() == [0, 1]
    assert sorted(done) == [(0, 0, 1), (1, 1, 2)]


def test_pictures_are_those_of_one_device(prior):
    """More devices than frames, too. Frames, or pictures, go to other batches, whose sums are rounded."""
    alone = sampled(prior)
    for count in (1, 3):
        prior.spread(["cpu"] * count)
        torch.testing.assert_close(sampled(prior), alone, rtol=1e-3, atol=1e-3)


def test_volumes_meet_on_all_devices(networks):
    """A change of one frame is seen in those that another device has, through the smoothing alone."""
    prior = networks["syncdreamer"]
    assert isinstance(prior, SyncDreamer)
    prior.spread(["cpu"])
    condition = prior.condition(FRAMES[:2], 10.0)
    x = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    changed, t = x.clone(), torch.tensor(500)
    changed[0] += 1
    apart = [prior.noise(y, t, condition)[1] for y in (x, changed)]
    assert torch.equal(*apart)
    joined = [prior.noise(y, t, condition, smoothing=smoothing_matrix(2))[1] for y in (x, changed)]
    assert (joined[0] - joined[1]).abs().max() > 1e-6
    prior.spread([])


def test_copies_are_no_part_of_the_network(prior):
    names = list(prior.state_dict())
    prior.spread(["cpu"])
    assert list(prior.state_dict()) == names
    copies = prior.copies
    prior.spread(["cpu"])
    assert prior.copies == copies, "made once"
    assert batch_within(prior, None, 20) == 10, "each has its share"
    prior.spread([])
    assert prior.copies == ()


def test_an_error_on_another_device_is_raised(prior):
    prior.spread(["cpu"])

    def work(network: LatentPrior, part: slice) -> torch.Tensor:
        if network is not prior:
            raise InputError("too little memory there")
        return torch.zeros(1)

    with pytest.raises(InputError, match="too little memory there"):
        prior.shared_out(work, 2)


@pytest.mark.parametrize("devices", [1, 2])
def test_pictures_are_those_without_recordings(prior, devices, recorded, monkeypatch):
    """From a step on, a recording is told all that changes; nothing of it is left afterwards."""
    expected = sampled(prior, steps=5)
    prior.spread(["cpu"] * (devices - 1))

    @contextmanager
    def recording(self):
        for network in (self, *self.copies):
            network._recorder = cuda_graphs.Recorder()
        with plain(self):
            yield

    plain = LatentPrior.recording
    monkeypatch.setattr(LatentPrior, "recording", recording)
    torch.testing.assert_close(sampled(prior, steps=5), expected, rtol=1e-4, atol=1e-5)
    assert len(recorded) >= devices
    assert all(network._recorder is None for network in (prior, *prior.copies))


@pytest.mark.parametrize("part", ["unet.out.2", "autoencoder.decoder.conv_out"])
def test_a_device_that_gives_something_else_is_refused(prior, part):
    """Before anything is sampled, and named."""
    prior.spread(["cpu"])
    with torch.no_grad():
        prior.copies[0].get_submodule(part).weight.mul_(1.5)
    with pytest.raises(MachineError, match=r"cpu does not give what cpu gives.*leave --devices out"):
        sampled(prior)


def test_devices_are_graphics_cards(monkeypatch):
    assert more_devices("cpu", 1) == []
    with pytest.raises(InputError, match="--device is cpu"):
        more_devices("cpu", 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert more_devices("cuda:1", 3) == [torch.device("cuda", 2), torch.device("cuda", 3)]
    with pytest.raises(InputError, match="more than the 4 graphics cards"):
        more_devices("cuda:2", 3)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("recorded", [False, True])
def test_pictures_of_two_cards_are_those_of_one(prior, recorded, monkeypatch):
    """Latents first: a difference that is there alone is the decoder's."""
    import copy

    decode, latents = LatentPrior.decode, []
    monkeypatch.setattr(LatentPrior, "decode", lambda *a, **k: latents.append(a[1].cpu()) or decode(*a, **k))
    if not recorded:
        monkeypatch.setattr(LatentPrior, "recording", lambda self: nullcontext())
    here = copy.deepcopy(prior).to("cuda:0")
    alone = sampled(here, steps=5)
    here.spread(["cuda:1"])
    pictures = sampled(here, steps=5)
    torch.testing.assert_close(latents[-1], latents[0], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(pictures, alone, rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_card_plays_what_it_would_do(prior, monkeypatch):
    import copy

    here = prepare_for_inference(copy.deepcopy(prior).to("cuda"))
    quick = sampled(here, steps=5)
    monkeypatch.setattr(LatentPrior, "recording", lambda self: nullcontext())
    torch.testing.assert_close(quick, sampled(here, steps=5), rtol=1e-2, atol=1e-2)
