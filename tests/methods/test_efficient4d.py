"""Efficient4D from a clip to an asset, with a tiny prior of random weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clips import disc
from safetensors.torch import save_file
from tiny_frustum import ship, slab
from tiny_runs import EFFICIENT as TINY
from toys import toy_matrix

from vid4d import api
from vid4d.errors import InputError
from vid4d.gaussians.model import load_asset
from vid4d.matrix.io import load_matrix
from vid4d.media.images import resized
from vid4d.methods import efficient4d, stages
from vid4d.methods.efficient4d import interpolate_frames, with_confidence
from vid4d.metrics import mask_iou
from vid4d.outputs import input_psnr
from vid4d.priors.base import DEFAULT_PRIORS
from vid4d.priors.rife import IFNet, IFNetConfig
from vid4d.priors.weights.files import config_to_json
from vid4d.runs.kept_settings import read_settings
from vid4d.runs.progress import Progress
from vid4d.runs.run import Run
from vid4d.settings import Settings


@pytest.fixture(scope="module")
def interpolator() -> IFNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return IFNet(IFNetConfig((16, 8), (2, 1), depth=1, image_channels=4)).eval().requires_grad_(False)


def test_frames_between_of_an_open_clip(interpolator):
    """3 key frames and 1 between each two: 5, the key frames in places 0, 2, 4."""
    matrix = toy_matrix(views=2)
    times = torch.tensor([0.0, 0.4, 1.0])
    more = interpolate_frames(replace(matrix, times=times), interpolator, 1)
    torch.testing.assert_close(more.times, torch.tensor([0.0, 0.2, 0.4, 0.7, 1.0]))
    assert more.images.shape == (2, 5, 32, 32, 4)
    assert torch.equal(more.images[:, ::2], matrix.images)
    assert (more.images[:, 1] - matrix.images[:, 0]).abs().max() > 0.1
    assert torch.equal(more.input_times, matrix.input_times)


def test_frames_between_of_a_loop(interpolator):
    """The last key frame is followed by the first at time 1, which itself is not repeated."""
    matrix = replace(toy_matrix(views=2), times=torch.tensor([0.0, 0.3, 0.7]), cyclic=True)
    more = interpolate_frames(matrix, interpolator, 2)
    expected = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.3 + 0.4 / 3, 0.3 + 0.8 / 3, 0.7, 0.8, 0.9])
    torch.testing.assert_close(more.times, expected)
    assert torch.equal(more.images[:, ::3], matrix.images)
    assert more.images.shape[1] == 9


def test_frames_between_are_not_always_wanted(interpolator):
    matrix = toy_matrix(views=2)
    assert interpolate_frames(matrix, interpolator, 0) is matrix
    still = toy_matrix(views=2, frames=1)
    assert interpolate_frames(still, interpolator, 3) is still


def test_confidence_is_one_number_per_pixel(interpolator):
    matrix = toy_matrix(views=2)
    assert matrix.confidence is None
    weighted = with_confidence(matrix, interpolator)
    assert weighted.confidence is not None
    assert weighted.confidence.shape == matrix.images.shape[:-1]
    assert weighted.confidence.min() == 0
    assert weighted.confidence.max() == 1
    assert (weighted.confidence[:, [0, 2]] == 1).all()
    assert torch.equal(weighted.images, matrix.images)
    assert with_confidence(weighted, interpolator) is weighted


def test_confidence_sees_what_moves_over_its_own_color(interpolator):
    """White on nothing is white over white; the interpolator is given alpha, which moves."""
    images = torch.ones(1, 3, 32, 32, 4)
    images[..., 3] = 0
    for i in range(3):
        images[0, i, 4:12, 2 + 4 * i : 6 + 4 * i, 3] = 1
    matrix = replace(toy_matrix(views=1, frames=3), images=images, confidence=None)
    asked = []

    hook = interpolator.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    with_confidence(matrix, interpolator)
    hook.remove()
    assert asked
    assert all(bool((x[:, 3] == 0).any() and (x[:, 3] == 1).any()) for x in asked)


def test_resizing_keeps_the_mean_of_what_is_visible():
    """Red beside nothing: half the alpha, and red still."""
    frames = torch.rand(2, 16, 16, 4, generator=torch.Generator().manual_seed(0))
    small = resized(frames, 4)
    assert small.shape == (2, 4, 4, 4)
    for full, less in ((frames, small), (frames[:, :4, :4], small[:, :1, :1])):
        torch.testing.assert_close(
            (less[..., :3] * less[..., 3:]).mean((1, 2)), (full[..., :3] * full[..., 3:]).mean((1, 2))
        )
        torch.testing.assert_close(less[..., 3].mean((1, 2)), full[..., 3].mean((1, 2)))
    edge = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]).repeat(2, 1, 1)[None]
    torch.testing.assert_close(resized(edge, 1).flatten(), torch.tensor([1.0, 0.0, 0.0, 0.5]))


def test_presets_are_in_order_of_effort():
    draft, standard, high = (efficient4d.PRESETS[p] for p in ("draft", "standard", "high"))
    for less, more in ((draft, standard), (standard, high)):
        assert less.fit.iterations < more.fit.iterations
        assert less.frames <= more.frames


LAST = ("fit", "contact", "turntable", "player", "report")
MADE = (
    "asset.safetensors turntable.mp4 contact.png player.html report.html strip.png report.json "
    "matrix/cameras.json"
)


@pytest.fixture
def clip(tmp_path) -> Path:
    return disc(tmp_path / "disc", 3)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(efficient4d.PRESETS, "draft", TINY)
    ship(monkeypatch, slab())


def generate(clip: Path, out: Path, **settings) -> api.Asset:
    return api.generate(clip, out=out, **{"preset": "draft", "device": "cpu"} | settings)


def test_a_clip_becomes_an_asset(tiny, clip, tmp_path):
    """The outputs are there; a run that is resumed after its matrix ends in the same bytes."""
    first = generate(clip, tmp_path / "a", seed=1)
    assert read_settings(tmp_path / "a").prior == DEFAULT_PRIORS["matrix"], "'auto' is written as what it was"
    for name in MADE.split():
        assert (tmp_path / "a" / name).stat().st_size > 0, name
    matrix = load_matrix(tmp_path / "a" / "matrix")
    assert (matrix.views, matrix.frames) == (16, 5)
    assert matrix.confidence is not None
    assert matrix.input_images is not None
    assert matrix.input_images.shape == (3, 32, 32, 4)
    torch.testing.assert_close(matrix.times, torch.linspace(0, 1, 5))
    assert len(first.gaussians) > 50
    whole = first.path.read_bytes()

    for stage in LAST:
        (tmp_path / "a" / ".done" / stage).unlink()
    shutil.rmtree(tmp_path / "a" / "checkpoints")
    first.path.unlink()
    assert generate(clip, tmp_path / "a", seed=1, resume=True).path.read_bytes() == whole
    assert sorted(p.name for p in (tmp_path / "a" / ".done").iterdir()) == sorted([*LAST, "frames", "matrix"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_card_gives_the_same_bytes_twice(tiny, clip, tmp_path):
    for name in "ab":
        generate(clip, tmp_path / name, seed=1, device="cuda")
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a" / "matrix").rglob("*.png")]
    assert len(files) == 2 * 5 + 3, "pictures and confidence of the moments, and the clip's frames"
    for file in (*files, Path("asset.safetensors")):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_the_interpolator_that_is_named_fills_the_time_between(tiny, clip, tmp_path):
    """A file of another than the shipped one: the key frames stay, those between change."""
    other = IFNetConfig((8, 8), (2, 1), depth=1, image_channels=4)
    torch.manual_seed(0)
    file = tmp_path / "weights.safetensors"
    save_file(IFNet(other).state_dict(), file, {"config": config_to_json(other)})

    def drawn(out: Path, **settings) -> torch.Tensor:
        chosen = Settings(clip=str(clip), preset="draft", device="cpu", cyclic="no", **settings)
        root = api.make_matrix(chosen, out=out, resume=False, progress=Progress(quiet=True))
        return load_matrix(root / "matrix").images

    small, named = drawn(tmp_path / "a"), drawn(tmp_path / "b", interpolator=str(file))
    assert torch.equal(small[:, ::2], named[:, ::2])
    assert not torch.equal(small[:, 1::2], named[:, 1::2])


def test_an_interpolator_that_is_not_there_is_refused_before_the_run(clip, tmp_path):
    with pytest.raises(InputError, match="no interpolator 'rife'"):
        generate(clip, tmp_path / "a", interpolator="rife")
    assert not (tmp_path / "a").exists()


@pytest.fixture
def longer(tmp_path) -> Path:
    return disc(tmp_path / "longer", 9, drift=1)


@pytest.mark.parametrize(("most", "count"), [(64, 9), (5, 5), (0, 3)])
def test_the_clips_frames_are_trusted_up_to_a_bound(tiny, longer, tmp_path, monkeypatch, most, count):
    """The views are drawn at the 3 key times; these are among the reference frames' times."""
    monkeypatch.setitem(efficient4d.PRESETS, "draft", replace(TINY, reference_frames=most))
    settings = Settings(clip=str(longer), preset="draft", device="cpu", cyclic="no")
    root = api.make_matrix(settings, out=tmp_path / "a", resume=False, progress=Progress(quiet=True))
    matrix = load_matrix(root / "matrix")
    torch.testing.assert_close(matrix.times, torch.linspace(0, 1, 5))
    assert matrix.input_times is not None
    assert matrix.input_images is not None
    assert matrix.input_images.shape == (count, 32, 32, 4)
    assert {0.0, 0.5, 1.0} <= set(matrix.input_times.tolist())
    torch.testing.assert_close(matrix.input_times * 8, (matrix.input_times * 8).round())
    where = matrix.input_images[..., 3].sum(2).argmax(1).float()
    assert (where.diff() <= 0).all(), "the disc rises from frame to frame"


def test_the_report_tells_all_frames_from_key_frames(tiny, longer, tmp_path):
    root = generate(longer, tmp_path / "a", cyclic="no").root
    metadata = json.loads((root / "report.json").read_text())
    matrix, asset = load_matrix(root / "matrix"), load_asset(root / "asset.safetensors")[0]
    assert metadata["input_psnr_db"] == pytest.approx(input_psnr(asset, matrix), abs=1e-2)
    keys = input_psnr(asset, matrix, [0.0, 0.5, 1.0])
    assert metadata["key_frame_psnr_db"] == pytest.approx(keys, abs=1e-2)
    assert metadata["key_frame_psnr_db"] != metadata["input_psnr_db"]
    again = generate(root / "matrix", tmp_path / "b", source="matrix")
    metadata = json.loads((again.root / "report.json").read_text())
    assert metadata["input_psnr_db"] is not None
    assert metadata["key_frame_psnr_db"] is None, "a matrix alone does not say which frames are key frames"


def test_a_run_from_before_there_were_frames_between_goes_on(tiny, longer, tmp_path):
    """Its folder of frames holds the key frames alone."""
    settings = Settings(clip=str(longer), preset="draft", prior="frustum", device="cpu", cyclic="no")
    run = Run.create(tmp_path / "a", settings)
    stages.frames(run, frames=3, size=32)
    assert len(list(run.path("frames").glob("*.png"))) == 3
    generate(longer, tmp_path / "a", cyclic="no", resume=True)
    matrix = load_matrix(tmp_path / "a" / "matrix")
    assert matrix.input_times is not None
    assert matrix.input_times.tolist() == [0.0, 0.5, 1.0]
    assert json.loads((tmp_path / "a" / "report.json").read_text())["key_frame_psnr_db"] is not None


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_the_seed_decides_about_the_fit(tiny, clip, tmp_path, monkeypatch, seed, same):
    """Of the asset; the pictures of a prior that is asked once are the same. Outputs are left out here."""
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    made = [generate(clip, tmp_path / name, seed=s) for name, s in (("a", 1), ("b", seed))]
    assert (made[0].path.read_bytes() == made[1].path.read_bytes()) == same
    pictures = [[p.read_bytes() for p in sorted(a.root.glob("matrix/images/*.png"))] for a in made]
    assert len(pictures[0]) == 5
    assert pictures[0] == pictures[1]


def test_the_elevation_is_guessed_or_told(tiny, clip, tmp_path):
    elevations = []
    for name, settings in (("guessed", {}), ("told", {"elevation": 25.0})):
        root = api.make_matrix(
            Settings(clip=str(clip), preset="draft", device="cpu", **settings),
            out=tmp_path / name,
            resume=False,
            progress=Progress(quiet=True),
        )
        camera = load_matrix(root / "matrix").input_camera
        assert camera is not None
        elevations.append(float(camera.elevation))
    assert elevations[1] == pytest.approx(25.0, abs=1e-3)
    assert -10.01 <= elevations[0] <= 40.01
    assert abs(elevations[0] - 25.0) > 0.1
    log = (tmp_path / "guessed" / "log.txt").read_text()
    assert f"look down by {round(elevations[0])} degrees" in log


def test_the_drawn_view_from_the_clips_side_is_the_clip(tiny, clip, tmp_path, monkeypatch):
    """A solid of what the clip shows, looked at from its camera; its outline moves as the clip does."""
    ship(monkeypatch, slab(0))
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    generate(clip, tmp_path / "a", elevation=30.0)
    matrix = load_matrix(tmp_path / "a" / "matrix")
    assert matrix.cameras.elevation[0] == pytest.approx(30.0, abs=1e-3)
    own, clips = matrix.images[0, ::2, ..., 3], matrix.input_images[..., 3]
    side = matrix.images[4, ::2, ..., 3]
    assert mask_iou(own, clips).min() > 0.75
    assert mask_iou(side, clips).max() < mask_iou(own, clips).min()
    assert (own[0] - own[2]).abs().mean() > 0.05


def test_a_frame_of_which_the_prior_makes_nothing_is_named(tiny, clip, tmp_path, monkeypatch):
    draw = efficient4d.draw_views

    def thin(*arguments, **options):
        views = draw(*arguments, **options)
        views.images.fill_(1)[:, 0] = 0
        return views

    monkeypatch.setattr(efficient4d, "draw_views", thin)
    with pytest.raises(InputError, match=r"frustum finds nothing solid in the frame at 0\.00 s: .* thin"):
        generate(clip, tmp_path / "a", elevation=30.0)
    assert not (tmp_path / "a" / "matrix").exists()


def test_an_unknown_prior_is_refused(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(efficient4d.PRESETS, "draft", TINY)
    with pytest.raises(InputError, match="there is no prior 'large'"):
        generate(clip, tmp_path / "a", prior="large")


@pytest.mark.parametrize(
    ("settings", "unused"),
    [
        ({"prior": "frustum", "steps": 3}, "steps"),
        ({"prior": "frustum", "sampler": "dpm"}, "sampler"),
        ({"memory": 4.0}, "memory"),
        ({"method": "consistent4d", "steps": 3}, "steps"),
        ({"text_model": "mine"}, "text-model"),
    ],
)
def test_options_without_effect_are_refused(clip, tmp_path, settings, unused):
    with pytest.raises(InputError, match=f"--{unused} has no effect"):
        generate(clip, tmp_path / "a", **settings)
    assert not (tmp_path / "a").exists()


def test_a_network_without_a_sampler_takes_one_step():
    assert api.resolved(Settings(clip="a.mp4", prior="frustum", steps=1)).steps == 1


def test_options_of_a_clip_have_no_effect_on_a_text():
    with pytest.raises(InputError, match="--every has no effect, for a text has no clip"):
        api.resolved(Settings(text="a red cat", every=2))


def test_options_with_an_effect_are_taken(monkeypatch):
    monkeypatch.setattr("vid4d.priors.weights.registry.require", lambda name: name)
    for settings in ({"prior": "syncdreamer", "steps": 3}, {"method": "consistent4d", "memory": 4.0}):
        api.resolved(Settings(clip="any.mp4", **settings))
