"""Random numbers by seed and step: the formulas, which are part of what a run makes."""

from __future__ import annotations

import pytest
import torch

from vid4d.compute.randomness import (
    Shuffled,
    epoch_generator,
    normal,
    rank_seed,
    seed_default_generator,
    seed_generator,
    step_generator,
)


def test_formulas_stay():
    assert seed_generator(7).initial_seed() == 7
    assert step_generator(7, 5).initial_seed() == 7 * 1_000_003 + 5
    assert step_generator(7, 5, 2).initial_seed() == (7 * 1_000_003 + 5) * 10 + 2
    assert epoch_generator(7, 5, 11).initial_seed() == 8 * 11 + 5
    assert rank_seed(7, 3) == 7004
    assert rank_seed(7, 3, 2) == 7004 + 2 * 1_000_003


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normal_numbers_are_the_generators(dtype):
    like, shape = torch.empty(7, dtype=dtype), (2, 3)
    drawn = normal(shape, like, seed_generator(3))
    assert drawn.dtype == dtype
    assert torch.equal(drawn, torch.randn(2, 3, generator=seed_generator(3)).to(dtype))
    torch.manual_seed(5)
    assert torch.equal(normal(shape, like), torch.randn(2, 3, generator=seed_generator(5)).to(dtype))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_normal_numbers_are_the_same_on_a_card():
    like = torch.empty(1, device="cuda")
    drawn = normal((1000, 100), like, seed_generator(3))
    assert drawn.is_cuda
    assert torch.equal(drawn.cpu(), torch.randn(1000, 100, generator=seed_generator(3)))


def test_ranks_and_steps_draw_different_numbers():
    seeds = {rank_seed(seed, rank, step) for seed in range(3) for rank in range(8) for step in range(5)}
    assert len(seeds) == 3 * 8 * 5


def test_shuffled_has_everything_once_an_epoch():
    order = Shuffled(5, lambda epoch: epoch_generator(0, epoch, 11))
    drawn = torch.tensor([order[i] for i in range(15)]).view(3, 5)
    assert bool((drawn.sort(1).values == torch.arange(5)).all())


def test_the_default_generator_gives_what_one_of_that_seed_does():
    with torch.random.fork_rng(devices=[]):
        seed_default_generator(7)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=seed_generator(7)))
