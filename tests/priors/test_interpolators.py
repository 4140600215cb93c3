"""Interpolators by name and file; the one that ships with the package; frames between frames."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from vid4d.errors import InputError
from vid4d.priors import rife_versions
from vid4d.priors.interpolators import (
    as_midpoint,
    check_interpolator,
    finds_middles_only,
    frame_at,
    interpolate,
    load_interpolator,
)
from vid4d.priors.rife import IFNet, IFNetConfig
from vid4d.priors.rife3 import IFNet3
from vid4d.priors.weights.convert import convert
from vid4d.priors.weights.files import config_to_json

TINY = IFNetConfig(widths=(8, 8), scales=(2, 1), depth=1, image_channels=3)


@pytest.fixture(scope="module")
def tiny() -> IFNet:
    torch.manual_seed(0)
    return IFNet(TINY).eval()


@pytest.fixture(scope="module")
def interpolator():
    return load_interpolator()


def square(x: int, y: int = 24) -> torch.Tensor:
    """(1, 4, 64, 64) RGBA: a square of 20 pixels with an orange upper and a blue lower half."""
    picture = torch.zeros(1, 4, 64, 64)
    picture[0, :, y : y + 10, x : x + 20] = torch.tensor([0.9, 0.5, 0.1, 1.0])[:, None, None]
    picture[0, :, y + 10 : y + 20, x : x + 20] = torch.tensor([0.1, 0.2, 0.8, 1.0])[:, None, None]
    return picture


def over_white(rgba: torch.Tensor) -> torch.Tensor:
    return rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]


@pytest.mark.parametrize(
    ("first", "second", "middle"), [((16, 24), (28, 24), (22, 24)), ((20, 18), (20, 30), (20, 24))]
)
def test_the_middle_of_a_motion_is_better_than_a_blend(interpolator, first, second, middle):
    a, b, truth = square(*first), square(*second), square(*middle)
    found = frame_at(interpolator, a, b)
    error = (over_white(found) - over_white(truth)).square().mean()
    blend = ((over_white(a) + over_white(b)) / 2 - over_white(truth)).square().mean()
    assert error < blend / 4
    assert (found[:, 3] - truth[:, 3]).abs().mean() < ((a + b)[:, 3] / 2 - truth[:, 3]).abs().mean() / 2


def test_frames_between_move_on(interpolator):
    """The centre of the mask goes from one side to the other, 3 pixels a frame."""
    clip = interpolate(interpolator, torch.cat([square(14), square(26)]), 3)
    mask = clip[:, 3]
    centre = (mask.sum(1) * (torch.arange(64) + 0.5)).sum(1) / mask.sum((1, 2))
    torch.testing.assert_close(centre, torch.tensor([24.0, 27.0, 30.0, 33.0, 36.0]), atol=1.5, rtol=0)
    assert (centre.diff() > 1).all()


def test_where_nothing_moves_nothing_changes(interpolator):
    still = square(20)
    found = frame_at(interpolator, still, still)
    assert (over_white(found) - over_white(still)).abs().mean() < 0.01


def test_other_weights_that_do_not_fit_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="does not fit this network"):
        load_interpolator(str(tmp_path / "w.safetensors"))


def test_rife_3_halves_intervals():
    model = IFNet3().eval()
    frames = torch.rand(2, 3, 32, 32)
    out = interpolate(model, frames, 3)
    assert out.shape[0] == 5
    torch.testing.assert_close(out[1:2], interpolate(model, out[::2], 1)[1:2])
    with pytest.raises(ValueError, match="halves"):
        interpolate(model, frames, 2)


def test_alpha_moves_with_color(tiny):
    """A red picture stays red, whatever its alpha and the flow do."""
    first, second = torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 16, 16)
    first[:, 0] = second[:, 0] = 1
    first[:, 3, :, 4:9], second[:, 3, :, 6:11] = 1, 1
    out = interpolate(tiny, torch.cat([first, second]), 1)[1]
    visible = out[3] > 0.01
    assert visible.any()
    assert (out[0][visible] - 1).abs().max() < 1e-3
    assert out[1:3].abs().max() < 1e-3


def test_what_is_faint_between_frames_is_black(tiny):
    pair = torch.full((2, 1, 4, 16, 16), 0.5)
    pair[:, :, 3] = 5e-4
    out = frame_at(tiny, *pair)
    assert bool((out[:, 3] > 0).any())
    assert bool((out[:, :3] == 0).all())


@pytest.mark.parametrize(("cyclic", "count"), [(False, 9), (True, 12)])
def test_given_frames_stay_and_counts_are_right(tiny, cyclic, count):
    frames = torch.rand(3, 3, 16, 16)
    out = interpolate(tiny, frames, 3, cyclic=cyclic, batch=2)
    assert out.shape == (count, 3, 16, 16)
    assert torch.equal(out[::4], frames)
    expected = tiny(frames[1:2], frames[2:3], 0.5).frame.clamp(0, 1)
    torch.testing.assert_close(out[6:7], expected)
    if cyclic:
        expected = tiny(frames[2:], frames[:1], 0.75).frame.clamp(0, 1)
        torch.testing.assert_close(out[11:], expected)


def test_sixteen_key_frames_become_sixty_one(tiny):
    assert interpolate(tiny, torch.rand(16, 3, 8, 8)).shape[0] == 61


def test_one_frame_has_nothing_between(tiny):
    frames = torch.rand(1, 3, 8, 8)
    assert torch.equal(interpolate(tiny, frames), frames)


def test_counts_below_none_are_refused(tiny):
    with pytest.raises(ValueError, match="between"):
        interpolate(tiny, torch.zeros(2, 3, 8, 8), -1)


# Names and files


def theirs(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {f"module.{name}": value for name, value in model.state_dict().items()}


@pytest.fixture
def known(monkeypatch):
    """The tiny network as a version of RIFE 4."""
    config = IFNetConfig(widths=(8, 8, 8, 8), depth=1)
    monkeypatch.setitem(rife_versions.VERSIONS, "tiny", config)
    torch.manual_seed(0)
    return IFNet(config).eval()


def test_a_published_file_is_used_as_it_is_or_converted(tmp_path, monkeypatch, known):
    source = tmp_path / "flownet.pkl"
    torch.save(theirs(known), source)
    converted = convert(source, tmp_path / "a.safetensors")
    monkeypatch.setenv("VID4D_WEIGHTS", str(tmp_path))
    (tmp_path / "rife-4.safetensors").write_bytes(converted.read_bytes())
    pair = torch.rand(2, 1, 4, 32, 32)
    expected = frame_at(known, *pair)
    for name in (str(source), str(converted), "rife-4"):
        model = load_interpolator(name)
        assert torch.equal(frame_at(model, *pair), expected)
        assert not finds_middles_only(model)
        assert not any(p.requires_grad for p in model.parameters())


def test_rife_3_is_known_to_find_middles_only(tmp_path):
    torch.save(theirs(IFNet3()), tmp_path / "flownet.pkl")
    assert finds_middles_only(load_interpolator(str(tmp_path / "flownet.pkl")))


def test_what_was_trained_here_is_loaded_in_its_size(tmp_path, tiny):
    metadata = {"stage": "interpolation", "config": config_to_json(TINY)}
    save_file(tiny.state_dict(), tmp_path / "weights.safetensors", metadata)
    model = load_interpolator(str(tmp_path / "weights.safetensors"))
    assert isinstance(model, IFNet)
    assert model.config == TINY


def test_what_is_no_interpolator_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("VID4D_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match="no interpolator 'rife'"):
        load_interpolator("rife")
    with pytest.raises(InputError, match="rife-3 are not on this machine"):
        load_interpolator("rife-3")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pkl")
    with pytest.raises(InputError, match="none of the networks"):
        load_interpolator(str(tmp_path / "other.pkl"))


def test_a_network_of_another_stage_is_refused_before_a_run(tmp_path):
    path = tmp_path / "sharpener.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"stage": "sharpening", "config": '{"blocks": 4}'})
    with pytest.raises(InputError, match="stage 'sharpening', no interpolator"):
        check_interpolator(str(path))


def test_premultiplied_and_opaque_pictures_have_the_same_middle(tiny):
    """A middle of colors is that of opaque RGBA; RGBA is given back as RGBA."""
    middle = as_midpoint(tiny)
    a, b = torch.rand(2, 1, 16, 16, 3)
    one = torch.ones(1, 16, 16, 1)
    rgba = middle(torch.cat([a, one], -1), torch.cat([b, one], -1))
    assert rgba.shape[-1] == 4
    torch.testing.assert_close(rgba[..., :3], middle(a, b))
