import numpy as np
import pytest
import torch
from reference import arrays

from vid4d.matrix.confidence import (
    confidence_from_error,
    confidence_maps,
    confidences,
    error_map,
    measuring,
)


def linear(a, b):
    return (a + b) / 2


@pytest.mark.parametrize("kind", ["ssim", "l1"])
def test_equals_the_reference(kind):
    data = arrays("efficient4d_misc")
    rgb, near, far = (
        torch.from_numpy(data[f"conf_{k}"]).movedim(1, -1) for k in ("rgb", "interp_near", "interp_far")
    )
    images = torch.zeros(1, 5, 64, 64, 3)
    images[:, 2] = rgb
    images[:, 1] = 0.25  # marks which pair is interpolated

    def middle(a, b):
        return near if a.mean() == 0.25 else far

    ours = confidence_maps(images, middle, kind=kind)
    # the reference was computed in float32, whose rounding reaches 1e-4 here
    assert np.abs(ours[0, 2].numpy() - data[f"conf_{kind}_near_far"]).max() < 2e-4
    alone = confidence_maps(images[:, 1:4], middle, kind=kind)
    assert np.abs(alone[0, 1].numpy() - data[f"conf_{kind}_near_only"]).max() < 2e-4


def test_premultiplied_pictures_are_compared_over_white():
    """As the colors over white, where the interpolator mixes all channels alike."""
    torch.manual_seed(0)
    images = torch.rand(1, 5, 16, 16, 4)
    images[..., :3] *= images[..., 3:]
    seen = []

    def middle(a, b):
        seen.append(a.shape[-1])
        return linear(a, b)

    found = confidence_maps(images, middle)
    expected = confidence_maps(images[..., :3] + 1 - images[..., 3:], linear)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert set(seen) == {4}


def test_ends_of_an_open_clip_are_trusted():
    torch.manual_seed(0)
    images = torch.rand(2, 6, 16, 16, 3)
    maps = confidence_maps(images, linear)
    assert maps.shape == (2, 6, 16, 16)
    assert (maps[:, [0, -1]] == 1).all()
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert (maps[:, 1:-1] < 0.9).any(-1).any(-1).all()


def test_second_frame_uses_only_its_direct_neighbours():
    torch.manual_seed(0)
    images = torch.rand(1, 6, 16, 16, 3)
    expected = confidence_from_error(error_map(images[:, 1], linear(images[:, 0], images[:, 2])))
    assert torch.allclose(confidence_maps(images, linear)[:, 1], expected)


def test_cyclic_clips_wrap_around():
    torch.manual_seed(0)
    images = torch.rand(1, 6, 16, 16, 3)
    maps = confidence_maps(images, linear, cyclic=True)
    rolled = confidence_maps(images.roll(2, 1), linear, cyclic=True)
    assert torch.allclose(maps.roll(2, 1), rolled)
    assert maps[:, 0].min() < 0.5


@pytest.mark.parametrize("times", [1, 2])
def test_short_clips_are_all_trusted(times):
    assert (confidence_maps(torch.rand(1, times, 16, 16, 3), linear) == 1).all()


def test_a_perfect_prediction_gives_one():
    assert (confidence_maps(torch.full((1, 3, 16, 16, 3), 0.5), linear) == 1).all()


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("count", [5, 6, 9])
def test_moment_by_moment_as_all_at_once(count, cyclic):
    torch.manual_seed(0)
    images = torch.rand(2, count, 16, 16, 4)
    whole = confidence_maps(images, linear, cyclic=cyclic)
    found = list(confidences(iter(images.unbind(1)), count, linear, cyclic=cyclic))
    order = [*range(2, count), 0, 1] if cyclic else list(range(count))
    assert [i for i, _ in found] == order
    for i, confidence in found:
        assert torch.equal(confidence, whole[:, i])


def test_few_moments_are_held():
    """The next is asked for only when the one before it has been told, two moments late."""
    asked = []

    def moments():
        for i in range(20):
            asked.append(i)
            yield torch.rand(1, 16, 16, 4)

    for i, _ in confidences(moments(), 20, linear):
        assert asked[-1] <= i + 2
    with pytest.raises(ValueError, match="3 moments came where 5"):
        list(confidences(iter(torch.rand(3, 1, 16, 16, 4)), 5, linear))


def test_errors_are_measured_where_there_is_double_precision():
    assert measuring("cuda:1") == torch.device("cuda:1")
    assert measuring("mps").type == measuring("cpu").type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_confidence_is_the_same_on_a_card():
    images = torch.rand(2, 6, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    found = confidence_maps(images, linear, device="cuda")
    assert not found.is_cuda
    torch.testing.assert_close(found, confidence_maps(images, linear), rtol=1e-4, atol=1e-5)
    streamed = dict(confidences(images.unbind(1), 6, linear, device="cuda"))
    assert torch.equal(torch.stack([streamed[i] for i in range(6)], 1), found)
