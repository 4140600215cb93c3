from dataclasses import replace

import pytest
import torch
from ellipsoids import matrix, picture

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.gaussians import fit as fits
from vid4d.gaussians.densify import DensifyConfig
from vid4d.gaussians.fit import fit
from vid4d.gaussians.fit_config import PRESETS, FitConfig
from vid4d.gaussians.fit_targets import object_windows
from vid4d.gaussians.hull import HullConfig
from vid4d.gaussians.model import LONGEST_IN_LOOP, MARGINAL_CUT
from vid4d.gaussians.raster import rasterize_4d
from vid4d.matrix.matrix import TrustedView
from vid4d.media.images import resized
from vid4d.metrics import psnr

SMALL = FitConfig(
    iterations=60,
    hull=HullConfig(resolution=64, splats=200, min_splats=0),
    densify=DensifyConfig(max_splats=800, growth=2.0, n_densify=3),
    checkpoint_every=20,
)


def same(a, b):
    return all(torch.equal(x, b.tensors()[k]) for k, x in a.tensors().items())


def quality(gaussians, time, size=48):
    """PSNR of views that were not in the matrix."""
    cameras = Cameras.orbit([15.0, 105.0, 195.0], 15.0, size=size)
    truth = picture(cameras, time)
    with torch.no_grad():
        color = rasterize_4d(gaussians, torch.full((3,), time), cameras).color.clamp(0, 1)
    return float(psnr(color, truth[..., :3] * truth[..., 3:] + 1 - truth[..., 3:]).mean())


@pytest.fixture(scope="module")
def moving():
    return matrix(12, 3, 48)


@pytest.fixture(scope="module")
def fitted(moving):
    return fit(moving, SMALL, seed=3)


def test_new_views_of_a_moving_object(fitted):
    gaussians, report = fitted
    assert min(quality(gaussians, t) for t in (0.0, 0.5, 1.0)) > 27
    assert quality(gaussians, 1.0) > quality(gaussians, 0.0) - 3
    assert report.iterations == 60
    assert report.splats == len(gaussians) <= 800
    assert report.input_psnr > 27


def test_fitting_is_better_than_the_start(moving, fitted):
    start, _ = fit(moving, replace(SMALL, iterations=0), seed=3)
    assert quality(fitted[0], 0.5) > quality(start, 0.5) + 3


def test_same_seed_same_bytes(moving, fitted):
    again, _ = fit(moving, SMALL, seed=3)
    assert same(again, fitted[0])
    other, _ = fit(moving, replace(SMALL, iterations=2), seed=4)
    first, _ = fit(moving, replace(SMALL, iterations=2), seed=3)
    assert not torch.equal(other.means, first.means)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_it_stays_there_and_is_as_good(moving, fitted):
    gaussians, report = fit(moving, SMALL, seed=3, device="cuda")
    assert all(value.is_cuda for value in gaussians.tensors().values())
    assert report.input_psnr > fitted[1].input_psnr - 1
    assert report.splats > 0.8 * fitted[1].splats
    assert report.loss == pytest.approx(fitted[1].loss, rel=0.2)
    there = gaussians.to("cpu")
    assert min(quality(there, t) for t in (0.0, 0.5, 1.0)) > 27


class StopError(Exception):
    pass


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_reports_and_checkpoints_are_five_times_as_rare(moving, tmp_path):
    calls, path = [], tmp_path / "fit.safetensors"
    kept = []

    def told(step, *_):
        calls.append(step)
        kept.append(path.exists())

    config = replace(SMALL, report_every=5, checkpoint_every=10)
    fit(moving, config, device="cuda", checkpoint_path=path, callback=told)
    assert calls == [25, 50, 60]
    assert kept == [False, True, True]


def test_a_stopped_fit_goes_on_to_the_same_result(moving, fitted, tmp_path):
    def stop(step, total, loss, input_psnr, splats):
        if step >= 40:
            raise StopError

    path = tmp_path / "fit.safetensors"
    with pytest.raises(StopError):
        fit(moving, replace(SMALL, report_every=5), seed=3, checkpoint_path=path, callback=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.safetensors"]
    calls = []
    gaussians, report = fit(
        moving, SMALL, seed=3, checkpoint_path=path, resume=True, callback=lambda *a: calls.append(a)
    )
    assert same(gaussians, fitted[0])
    assert report.iterations == 60
    assert [c[:2] for c in calls] == [(60, 60)]
    again, _ = fit(moving, SMALL, seed=3, checkpoint_path=path, resume=True)
    assert same(again, gaussians)


def test_the_pictures_are_hashed_once_for_all_checkpoints(moving, tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(fits, "identity_of", lambda *parts: hashed.append(parts) or "same")
    config = replace(SMALL, iterations=6, checkpoint_every=2)
    fit(moving, config, checkpoint_path=tmp_path / "fit.safetensors")
    assert len(hashed) == 1


def test_a_foreign_checkpoint_is_refused(moving, tmp_path):
    path = tmp_path / "fit.safetensors"
    few = replace(SMALL, iterations=2)
    fit(moving, few, seed=0, checkpoint_path=path)
    with pytest.raises(InputError, match="another image matrix"):
        fit(moving, few, seed=1, checkpoint_path=path, resume=True)
    with pytest.raises(InputError, match="another image matrix"):
        fit(replace(moving, cyclic=True), few, seed=0, checkpoint_path=path, resume=True)
    path.write_bytes(b"junk")
    with pytest.raises(InputError, match="cannot be read"):
        fit(moving, few, seed=0, checkpoint_path=path, resume=True)


def test_a_single_time_gives_a_static_object():
    still = matrix(12, 1, 48)
    gaussians, _ = fit(still, replace(SMALL, iterations=40))
    assert quality(gaussians, 0.0) > 26
    cameras = Cameras.ring(2, size=32)
    early, late = (rasterize_4d(gaussians, torch.full((2,), t), cameras).color for t in (0.0, 1.0))
    assert float(psnr(early, late).mean()) > 60


def test_a_budget_in_seconds_stops_early(moving):
    _, report = fit(moving, replace(SMALL, iterations=100_000, seconds=3.0))
    assert report.iterations < 5000
    assert report.seconds < 6


def test_pictures_without_confidence_are_not_followed(moving):
    """Two views turn green, with no confidence: the object must not."""
    images = moving.images.clone()
    images[::3, ..., :3] = torch.tensor([0.0, 1.0, 0.0])
    confidence = torch.ones(images.shape[:4])
    confidence[::3] = 0
    wrong = replace(moving, images=images)
    trusting, _ = fit(wrong, SMALL)
    careful, _ = fit(wrong.with_confidence(confidence), SMALL)
    assert quality(careful, 0.5) > quality(trusting, 0.5) + 2


def test_the_input_view_is_followed_where_it_differs(moving):
    """The matrix has lost its color; the reference input view has it."""
    grey = moving.images.clone()
    grey[..., :3] = grey[..., :3].mean(-1, keepdim=True)
    camera = Cameras.orbit([0.0], 0.0, size=96)
    frames = torch.stack([picture(camera, t)[0] for t in (0.0, 0.5, 1.0)])
    with_input = replace(
        moving, images=grey, input_images=frames, input_camera=camera, input_times=moving.times
    )
    _, ignored = fit(with_input, replace(SMALL, input_weight=0.0))
    _, used = fit(with_input, replace(SMALL, input_every=1))
    assert used.input_psnr > ignored.input_psnr + 1


def trusting_a_video(moving, images):
    camera = Cameras.orbit([0.0], 0.0, size=48)
    frames = torch.stack([picture(camera, t)[0] for t in (0.0, 0.5, 1.0)])
    return replace(moving, images=images, input_images=frames, input_camera=camera, input_times=moving.times)


def test_what_the_video_shows_keeps_its_colors_from_other_sides(moving):
    """The matrix has lost its color. From a side that shows much of what the video shows, it is there."""
    grey = moving.images.clone()
    grey[..., :3] = grey[..., :3].mean(-1, keepdim=True)
    matrix = trusting_a_video(moving, grey)

    def colorfulness(gaussians, azimuth):
        with torch.no_grad():
            render = rasterize_4d(gaussians, torch.tensor([0.5]), Cameras.orbit([azimuth], 15.0, size=48))
        inside = render.color[render.alpha > 0.9]
        return float((inside.amax(-1) - inside.amin(-1)).mean())

    as_published, _ = fit(matrix, replace(SMALL, iterations=200, observed_color_weight=1.0))
    ours, _ = fit(matrix, replace(SMALL, iterations=200, observed_color_weight=0.05))
    for azimuth in (30.0, 60.0):
        assert colorfulness(ours, azimuth) > 1.1 * colorfulness(as_published, azimuth)
    assert colorfulness(ours, 180.0) < 0.2 * colorfulness(ours, 30.0)


def test_a_stopped_fit_remembers_what_the_video_shows(moving, tmp_path):
    matrix, path = trusting_a_video(moving, moving.images), tmp_path / "fit.safetensors"
    whole, _ = fit(matrix, SMALL)

    def stop(step, *told):
        if step >= 45:
            raise StopError

    with pytest.raises(StopError):
        fit(matrix, replace(SMALL, report_every=5), checkpoint_path=path, callback=stop)
    assert same(fit(matrix, SMALL, checkpoint_path=path, resume=True)[0], whole)


def test_frames_between_the_matrix_times_sharpen_the_clips_side(moving):
    """The matrix and some reference frames show 3 moments; more reference frames show those between, too."""
    camera = Cameras.orbit([0.0], 0.0, size=48)

    def trusting(times):
        frames = torch.stack([picture(camera, t)[0] for t in times])
        matrix = replace(moving, input_images=frames, input_camera=camera, input_times=torch.tensor(times))
        return fit(matrix, replace(SMALL, iterations=120))[0]

    def likeness(gaussians, time):
        with torch.no_grad():
            color = rasterize_4d(gaussians, torch.tensor([time]), camera).color.clamp(0, 1)
        truth = picture(camera, time)
        return float(psnr(color, truth[..., :3] * truth[..., 3:] + 1 - truth[..., 3:]))

    few, many = trusting([0.0, 0.5, 1.0]), trusting([0.0, 0.25, 0.5, 0.75, 1.0])
    for time in (0.25, 0.75):
        assert likeness(many, time) > likeness(few, time) + 2
    other_sides = [sum(quality(g, t) for t in (0.0, 0.25, 0.5, 0.75, 1.0)) / 5 for g in (few, many)]
    assert other_sides[1] > other_sides[0]
    assert min(likeness(many, t) for t in (0.0, 0.5, 1.0)) > 30


def test_each_trusted_frame_comes_once_an_epoch(moving):
    camera = Cameras.orbit([0.0], 0.0, size=48)
    frames = moving.images[:1, [0, 1, 2, 0, 1]][0]
    times = torch.linspace(0, 1, 5)
    matrix = replace(moving, input_images=frames, input_camera=camera, input_times=times)
    run = fits.FitState(matrix, replace(SMALL, iterations=0), seed=0)
    seen = [run.pictures.input_frames[0][i] for i in range(20)]
    epochs = [seen[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_nan_is_refused(moving):
    images = moving.images.clone()
    images[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        fit(replace(moving, images=images), SMALL)


def test_windows_hold_the_object(moving):
    masks = moving.images[..., 3]
    windows = object_windows(masks)
    assert windows.size % 8 == 0
    for t in range(3):
        inside = windows.crop(masks[:, t]).sum((1, 2))
        assert torch.allclose(inside, masks[:, t].sum((1, 2)))


def test_resizing_keeps_the_premultiplied_mean():
    image = torch.rand(2, 8, 8, 4, generator=torch.Generator().manual_seed(0))
    small = resized(image, 4)
    mean = (image[..., :3] * image[..., 3:]).view(2, 4, 2, 4, 2, 3).mean((2, 4))
    assert torch.allclose(small[..., :3] * small[..., 3:], mean, atol=1e-5)


def test_presets_differ_in_effort():
    steps = [PRESETS[name].iterations for name in ("draft", "standard", "high")]
    assert steps == sorted(steps)
    assert len(set(steps)) == 3


def test_between_two_frames_the_object_stays_solid(moving):
    """Only the frames are given; where the object rests it must not fade out half way between them."""
    cameras = moving.cameras[[0, 6]]
    rest = torch.minimum(moving.images[[0, 6], 0, ..., 3], moving.images[[0, 6], 1, ..., 3]) > 0.99
    holes = []
    for weight in (0.0, 1.0):
        gaussians, _ = fit(
            moving, replace(SMALL, iterations=150, interpolation_every=1, interpolation_weight=weight)
        )
        with torch.no_grad():
            alpha = rasterize_4d(gaussians, torch.full((2,), 0.25), cameras).alpha
        holes.append(float(1 - alpha[rest].mean()))
    assert holes[1] < 0.04
    assert holes[1] < holes[0] / 2


@pytest.mark.parametrize("weight", [0.2, 1.0])
def test_what_frames_between_and_the_video_add_to_the_loss(moving, monkeypatch, weight):
    """Each joins the batch's loss with its own weight, at every so many steps: 0.2 and 2 unless told."""
    compare, terms = fits.picture_loss, []

    def spy(render, pictures, *rest, **options):
        loss = compare(render, pictures, *rest, **options)
        if pictures.windows is None:  # those between frames have no SSIM
            terms.append(float(loss.detach()) / pictures.weight)
        return loss

    monkeypatch.setattr(fits, "picture_loss", spy)
    matrix = trusting_a_video(moving, moving.images)

    def losses(steps=1, **changes):
        run = fits.FitState(matrix, replace(SMALL, **changes), seed=0)
        values = []
        for _ in range(steps):
            run.advance(0.0)
            values.append(run.loss)
        return values

    alone = losses(interpolation_weight=0.0, input_weight=0.0)
    assert terms == []
    middle = losses(interpolation_weight=weight, input_weight=0.0)
    assert terms[0] > 0
    assert middle[0] - alone[0] == pytest.approx(weight * terms[0], rel=1e-3)
    unit = losses(interpolation_weight=0.0, input_weight=1.0)[0] - alone[0]
    assert unit > 0
    usual = losses()[0] - alone[0]
    assert usual == pytest.approx(0.2 * terms[0] + 2 * unit, rel=1e-3)
    del terms[:]
    losses(4, interpolation_every=3, interpolation_weight=weight)
    assert len(terms) == 2, "at steps 0 and 3"


def loop_of(matrix, frames):
    """These frames of a matrix as a loop."""
    times = torch.arange(len(frames)) / len(frames)
    return replace(matrix, images=matrix.images[:, frames].contiguous(), times=times, cyclic=True)


def test_between_the_last_frame_of_a_loop_and_its_first_the_object_stays_solid(moving):
    """There and back again: about as solid there as between any other two frames.

    Splats that do not wrap around, in the fit or when they are drawn, fade after the last frame, and just
    before the first comes round again the object is in pieces: some tenths of it are missing.
    """
    cameras, loop = moving.cameras[[0, 6]], loop_of(moving, [0, 1, 2, 1])
    rest = torch.minimum(moving.images[[0, 6], 0, ..., 3], moving.images[[0, 6], 1, ..., 3]) > 0.99
    config = replace(SMALL, interpolation_every=1)

    def holes(gaussians, *times):
        """The share of the object that is missing, at worst, at some times."""
        with torch.no_grad():
            shown = [rasterize_4d(gaussians, torch.full((2,), t), cameras).alpha[rest] for t in times]
        return max(float(1 - alpha.mean()) for alpha in shown)

    wrapping, _ = fit(loop, config)
    ending, _ = fit(replace(loop, cyclic=False), config)
    assert wrapping.cyclic
    assert not ending.cyclic
    inside = holes(wrapping, 0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
    assert inside < 0.06
    assert holes(wrapping, 0.8125, 0.875, 0.9375, 0.97) < inside + 0.06
    assert holes(wrapping, 0.97) < 0.06
    assert holes(ending, 0.97) > 0.15
    assert holes(replace(wrapping, cyclic=False), 0.97) > 0.15


@pytest.mark.parametrize("cyclic", [False, True])
def test_times_between_frames_are_drawn_from_the_whole_clip(moving, monkeypatch, cyclic):
    """From before the last frame; of a loop from after it too."""
    render, asked = fits.render_together, []

    def spy(gaussians, pictures, room):
        asked.append(float(pictures[-1].times))
        return render(gaussians, pictures, room)

    monkeypatch.setattr(fits, "render_together", spy)
    config = replace(SMALL, iterations=40, interpolation_every=1, input_weight=0.0)
    fit(replace(loop_of(moving, [0, 1, 2, 1]), cyclic=cyclic), config)
    assert len(asked) == 40
    assert {int(4 * time) for time in asked} == ({0, 1, 2, 3} if cyclic else {0, 1, 2})
    assert max(asked) < 1


def test_in_a_loop_no_splat_is_there_half_a_loop_away(moving):
    """A splat that moves would jump there. Of two frames, the splats start as long as they may be."""
    gaussians, _ = fit(loop_of(moving, [0, 2]), SMALL)
    longest = gaussians.covariance4d()[:, 3, 3].sqrt().max()
    assert 0.95 * LONGEST_IN_LOOP < longest < LONGEST_IN_LOOP * 1.0001
    assert gaussians.marginal(gaussians.means[:, 3] + 0.5).max() < MARGINAL_CUT


def test_a_still_loop_lasts_for_ever(moving):
    gaussians, _ = fit(loop_of(moving, [0]), SMALL)
    assert gaussians.marginal(0.5).min() > 0.998


def test_another_camera_is_followed_as_the_clip_is(moving):
    """Blue from behind, which the matrix's pictures do not know."""
    camera = Cameras.orbit([180.0], 0.0, size=48)
    blue = torch.stack([picture(camera, float(t))[0] for t in moving.times])
    blue[..., :3] = torch.tensor([0.1, 0.2, 0.9])
    seen = TrustedView(blue, camera, moving.times)
    config = replace(SMALL, iterations=40)

    def behind(given):
        gaussians, _ = fit(given, config)
        render = rasterize_4d(gaussians, moving.times[:1], camera)
        inside = render.alpha[0] > 0.5
        return render.color[0][inside].mean(0)

    without, followed = behind(moving), behind(replace(moving, also=(seen,)))
    assert followed[2] - followed[0] > without[2] - without[0] + 0.05
