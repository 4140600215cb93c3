"""The enhancer's networks: nothing is changed at first, and frames see their neighbours, no others."""

from __future__ import annotations

import pytest
import torch

from vid4d.enhance.apply import MARGIN, enhanced
from vid4d.enhance.footage import window
from vid4d.enhance.network import CrossFrameAttention, Generator, GeneratorConfig, PatchDiscriminator

SMALL = GeneratorConfig(width=8, halvings=2, heads=2)


def trained_like(seed: int = 0) -> Generator:
    """A small generator whose last layer is not zero."""
    torch.manual_seed(seed)
    generator = Generator(SMALL)
    torch.nn.init.normal_(generator.leave.weight, std=0.1)
    return generator.eval()


def test_an_untrained_generator_changes_nothing():
    pictures = torch.rand(3, 3, 16, 24)
    torch.testing.assert_close(Generator(SMALL)(pictures), pictures)


def test_pictures_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        Generator(SMALL)(torch.rand(1, 3, 16, 18))


@pytest.mark.parametrize("cyclic", [False, True])
def test_attention_is_that_of_each_place_to_all_places_of_both_neighbours(cyclic):
    torch.manual_seed(1)
    heads, channels, frames = 2, 8, 4
    attention = CrossFrameAttention(channels, heads)
    x = torch.randn(frames, channels, 2, 3)
    with torch.no_grad():
        found = attention(x, cyclic)
        h = attention.norm(x)
        query, (key, value) = attention.to_query(h), attention.to_key_value(h).chunk(2, 1)
        mixed = torch.zeros_like(x)
        depth = channels // heads
        for i in range(frames):
            around = (
                [(i - 1) % frames, (i + 1) % frames] if cyclic else [max(i - 1, 0), min(i + 1, frames - 1)]
            )
            for head in range(heads):
                part = slice(head * depth, (head + 1) * depth)
                for row in range(2):
                    for column in range(3):
                        keys = torch.cat([key[j, part].flatten(1) for j in around], 1)
                        values = torch.cat([value[j, part].flatten(1) for j in around], 1)
                        weights = (query[i, part, row, column] @ keys / depth**0.5).softmax(0)
                        mixed[i, part, row, column] = values @ weights
        expected = x + attention.leave(mixed)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_frame_sees_its_neighbours_and_no_others():
    generator = trained_like()
    frames = torch.rand(5, 3, 16, 16)
    other = frames.clone()
    other[0] = torch.rand(3, 16, 16)
    differs = (generator(frames) - generator(other)).abs().amax((1, 2, 3)) > 1e-7
    assert differs.tolist() == [True, True, False, False, False]
    differs = (generator(frames, True) - generator(other, True)).abs().amax((1, 2, 3)) > 1e-7
    assert differs.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("cyclic", [False, True])
def test_batches_do_not_show(cyclic):
    generator = trained_like()
    frames = torch.ones(7, 3, 32, 32)
    frames[:, :, 8:20, 10:24] = torch.rand(7, 3, 12, 14)
    whole = enhanced(generator, frames, cyclic=cyclic, batch=7)
    assert (whole - frames).abs().max() > 0.01
    torch.testing.assert_close(enhanced(generator, frames, cyclic=cyclic, batch=2), whole)


def test_white_far_from_the_object_stays_white():
    frames = torch.ones(2, 3, 64, 64)
    frames[:, :, 30:34, 30:34] = 0.2
    made = enhanced(trained_like(), frames)
    inside = slice(30 - MARGIN, 34 + MARGIN)
    made[..., inside, inside] = 1
    assert bool((made == 1).all())


def test_windows_hold_what_is_seen_in_whole_multiples():
    pictures = torch.ones(2, 3, 96, 96)
    pictures[0, :, 40, 5] = 0
    pictures[1, 1, 62, 50] = 0.5
    rows, columns = window(pictures, 32)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (64, 96)
    assert rows.start <= 24
    assert rows.stop >= 79
    assert columns.start == 0


def test_the_discriminator_sees_patches():
    judge = PatchDiscriminator(4)
    picture = torch.rand(1, 3, 96, 96, requires_grad=True)
    logits = judge(torch.rand(1, 3, 96, 96), picture)
    assert logits.shape == (1, 1, 10, 10)
    layers = [m for m in judge.layers if isinstance(m, torch.nn.Conv2d)]
    reach = 1
    for layer in reversed(layers):
        reach = (reach - 1) * layer.stride[0] + layer.kernel_size[0]
    assert reach == 70
