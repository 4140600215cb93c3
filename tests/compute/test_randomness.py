"""Random numbers by seed and step: the formulas, which are part of what a run makes."""

from __future__ import annotations

import torch

from vid4d.compute.randomness import (
    Shuffled,
    epoch_generator,
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
