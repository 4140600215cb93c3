"""Training of an enhancer: it learns what makes renders sharp, and a resumed training is the same one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vid4d.enhance.config import PRESETS, EnhancerConfig
from vid4d.enhance.footage import Footage
from vid4d.enhance.network import GeneratorConfig
from vid4d.enhance.trainer import Trainer
from vid4d.errors import InputError

TINY = EnhancerConfig(
    size=16,
    group=3,
    steps=8,
    lr=4e-3,
    generator=GeneratorConfig(width=8, halvings=2, heads=2),
    patch_width=4,
    checkpoint_every=4,
)


def darker(seed: int, frames: int = 5) -> Footage:
    """Random pictures, which are to become darker."""
    renders = 0.3 + 0.7 * torch.rand(frames, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Footage(renders, renders - 0.3)


def test_it_learns():
    trainer = Trainer([darker(0)], [darker(1)], replace(TINY, steps=40, gan_weight=0.0))
    first = float(trainer.advance())
    generator = trainer.run()
    unseen = darker(2)
    with torch.no_grad():
        assert float((generator(unseen.renders) - unseen.sharp).abs().mean()) < 0.5 * first


def test_a_resumed_training_is_the_same(tmp_path):
    whole = Trainer([darker(0)], [darker(1)], TINY, seed=3).run().state_dict()
    stopped = Trainer([darker(0)], [darker(1)], TINY, seed=3)

    for _ in range(4):
        stopped.advance()
    stopped.save(tmp_path / "half")
    again = Trainer([darker(0)], [darker(1)], TINY, seed=3).run(tmp_path / "half").state_dict()
    assert all(torch.equal(whole[k], again[k]) for k in whole)


def test_a_checkpoint_of_other_footage_is_refused(tmp_path):
    Trainer([darker(0)], [], TINY).save(tmp_path / "half")
    for other in (
        Trainer([darker(1)], [], TINY),
        Trainer([], [darker(0)], TINY),
        Trainer([darker(0)], [], TINY, seed=1),
    ):
        with pytest.raises(InputError, match="belongs to another asset, clip"):
            other.run(tmp_path / "half")


def test_loops_are_drawn_over_their_end():
    renders = torch.arange(6.0)[:, None, None, None].expand(6, 3, 16, 16) / 6
    trainer = Trainer([Footage(renders, renders, cyclic=True)], [], replace(TINY, steps=1000))
    starts = set()
    for step in range(60):
        trainer.step = step
        drawn = (trainer._drawn().renders[:, 0, 0, 0] * 6).round().long()
        assert ((drawn.diff() % 6) == 1).all()
        starts.add(int(drawn[0]))
    assert starts == set(range(6))


def test_the_rate_stays_and_then_falls():
    trainer = Trainer([darker(0)], [], replace(TINY, steps=100, decay=0.5, lr=1.0))
    rates = []
    for trainer.step in (0, 50, 75, 99):
        rates.append(trainer._lr())
    assert rates == pytest.approx([1.0, 1.0, 0.5, 0.02])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_their_pictures(name):
    config = PRESETS[name]
    assert config.size % 2**config.generator.halvings == 0
    assert config.frames >= config.group
    assert config.generator.channels(config.generator.halvings - 1) % config.generator.heads == 0
