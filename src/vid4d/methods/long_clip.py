"""Long clips (`efficient4d`): the image matrix moment by moment into its folder, the fit by segments in time.

No more is held than what a segment needs, so that memory does not grow with the clip but for its own frames,
and time grows with its length. A segment's splats are fitted in a time of their own, as long for all, beside
those of the segments before, which stay as they are: their splats reach over the seam, and the new ones learn
to fit beside them. A segment is fitted a little beyond its end; what it has there is thrown away again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.clip.clip import Clip
from vid4d.files.checkpoints import identity_of
from vid4d.files.write import folder_written_whole
from vid4d.gaussians.culling import Spans
from vid4d.gaussians.fit import Callback, fit
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.fit_targets import resize_matrix
from vid4d.gaussians.hull import gaussians_from_hull
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.raster import splat_device
from vid4d.gaussians.retime import retimed
from vid4d.matrix.cleanup import remove_small_components
from vid4d.matrix.confidence import confidences, measuring
from vid4d.matrix.io import OneByOne, write_description, write_moment
from vid4d.matrix.matrix import ImageMatrix
from vid4d.matrix.stored import StoredMatrix, open_matrix
from vid4d.media.images import as_floats, premultiplied, resized
from vid4d.methods import stages
from vid4d.methods.drawn_moments import kept_or_drawn
from vid4d.priors.base import DrawRequest, SequentialPrior, load_matrix_prior
from vid4d.priors.interpolators import (
    Interpolator,
    as_midpoint,
    frames_between,
    load_interpolator,
    times_between,
)
from vid4d.runs.folder import PART, remove_parts
from vid4d.runs.progress import Bar
from vid4d.runs.run import Run

WHOLE = 32
"""Key frames up to which a clip is made as a whole."""

SEGMENT, OVERLAP = 16, 2
"""Key frames of a segment, and those beyond its ends that it sees, too."""

GUESSED_FROM = 16
"""Key frames that the elevation is guessed from."""


def is_long(run: Run, clip: Clip) -> bool:
    """Whether a clip is made in parts: by a prior that draws frame by frame, without what needs the whole."""
    settings = run.settings
    keys = len(clip) if clip.keys is None else len(clip.keys)
    if keys <= WHOLE:
        return False
    asked = {"--also": settings.also, "--canonical": settings.canonical, "--refine": settings.refine}
    whole = next((name for name, value in asked.items() if value), "")
    if not whole and not isinstance(load_matrix_prior(settings.prior, run.device), SequentialPrior):
        whole = f"the prior {settings.prior}"
    if whole:
        run.progress.say(f"warning: {whole} needs all {keys} key frames at once: memory grows with the clip")
    return not whole


def make_matrix(run: Run, clip: Clip, n_interpolated: int) -> ImageMatrix:
    """Stage `matrix` of a long clip. Returns an overview of it."""
    folder = run.path("matrix")

    def make(bar: Bar) -> ImageMatrix:
        with folder_written_whole(stages.emptied(run, folder)) as part:
            _draw(run, clip, n_interpolated, part, bar)
        return open_matrix(folder).overview()

    overview = run.stage(
        "matrix", make, save=lambda overview: None, load=lambda: open_matrix(folder).overview()
    )
    remove_parts(run.root, "matrix")
    return overview


def _draw(run: Run, clip: Clip, n_interpolated: int, part: Path, bar: Bar) -> None:
    """Draws all moments, writes each as soon as its neighbours tell how far it can be trusted."""
    keys, settings = clip.at_keys(), run.settings
    some = torch.linspace(0, len(keys) - 1, GUESSED_FROM).round().long()
    elevation = stages.input_elevation(run, torch.from_numpy(as_floats(keys.pixels[some])))
    prior = load_matrix_prior(settings.prior, run.device)
    if not isinstance(prior, SequentialPrior):
        raise TypeError(f"the prior {settings.prior} does not draw frame by frame")
    interpolator = load_interpolator(settings.interpolator, run.device)
    size, key_times = prior.image_size, torch.from_numpy(keys.times).float()
    pictures = torch.empty(len(keys), size, size, 4)
    for i, pixels in enumerate(keys.pixels):  # one in float32 at a time
        pictures[i] = resized(torch.from_numpy(as_floats(pixels[None])), size)[0]
    del keys
    draw = partial(
        prior.draw_each,
        pictures,
        elevation,
        DrawRequest(settings.preset, settings.sampler, settings.steps, settings.memory),
        cyclic=clip.cyclic,
        progress=bar.update,
    )
    drawn = kept_or_drawn(
        lambda first: draw(first=first),
        len(pictures),
        lambda i: run.checkpoint(f"matrix{PART}{i:04d}"),
        identity_of([settings.prior, settings.preset, elevation, clip.cyclic], pictures),
    )
    times = times_between(key_times, n_interpolated, cyclic=clip.cyclic)

    def written() -> Iterator[Float[Tensor, "v h w 4"]]:
        for i, images in enumerate(filled(drawn, interpolator, n_interpolated, cyclic=clip.cyclic)):
            write_moment(part, "images", i, images)
            yield premultiplied(images)

    middle, device = as_midpoint(interpolator), measuring(run.device)
    for i, confidence in confidences(written(), len(times), middle, cyclic=clip.cyclic, device=device):
        write_moment(part, "confidence", i, confidence[..., None])
    frames = (torch.from_numpy(as_floats(one)) for one in clip.pixels)
    camera = Cameras.orbit([0.0], elevation, size=clip.pixels.shape[2])
    write_description(
        part,
        prior.cameras,
        times,
        seconds=clip.seconds,
        cyclic=clip.cyclic,
        confidence=True,
        clip=OneByOne(frames, camera, torch.from_numpy(clip.times).float()),
    )


def filled(
    keys: Iterator[Float[Tensor, "v h w 4"]], interpolator: Interpolator, count: int, *, cyclic: bool
) -> Iterator[Float[Tensor, "v h w 4"]]:
    """Cleaned pictures of key frames, and `count` between each two; of a loop, also after the last."""
    device = next(interpolator.parameters()).device
    first = before = None
    for drawn in keys:
        images = remove_small_components(drawn[:, None])[:, 0]
        if before is not None:
            yield from _between(interpolator, before, images, count, device)
        yield images
        first, before = images if first is None else first, images
    if cyclic and first is not None and before is not None:
        yield from _between(interpolator, before, first, count, device)


def _between(
    interpolator: Interpolator, first: Tensor, second: Tensor, count: int, device: torch.device
) -> Iterator[Float[Tensor, "v h w 4"]]:
    a, b = (x.permute(0, 3, 1, 2).to(device) for x in (first, second))
    for images in frames_between(interpolator, a, b, count):
        yield images.permute(0, 2, 3, 1).cpu()


@dataclass(frozen=True)
class Segment:
    """Moments `first` to `end` (not included) of a clip, fitted with those from `low` to `high`.

    Of a loop they may lie before its first moment and after its last: they are those of other rounds.
    """

    first: int
    end: int
    low: int
    high: int


def segments(moments: int, each: int, overlap: int, *, cyclic: bool) -> list[Segment]:
    """Segments of about `each` moments, which see `overlap` more at each of their seams."""
    count = max(1, round(moments / each))
    seams = [round(i * moments / count) for i in range(count + 1)]
    low, high = (-overlap, moments + overlap) if cyclic else (0, moments)
    return [Segment(a, b, max(low, a - overlap), min(high, b + overlap)) for a, b in pairwise(seams)]


def fit_asset(run: Run, matrix: ImageMatrix, config: FitConfig, n_interpolated: int) -> Gaussians4D:
    """Stage `fit` of a long clip, each segment with a checkpoint of its own. matrix: an overview."""
    stored = open_matrix(run.path("matrix"))
    plan = segments(
        stored.frames,
        SEGMENT * (n_interpolated + 1),
        OVERLAP * (n_interpolated + 1),
        cyclic=stored.cyclic,
    )

    def make(bar: Bar) -> Gaussians4D:
        def report(step: int, total: int, loss: float, psnr: float, splats: int) -> None:
            bar.update(step, total, psnr=psnr, loss=loss, splats=splats)

        return fit_segments(
            stored,
            config,
            plan,
            seed=run.settings.seed,
            device=splat_device(run.device),
            callback=report,
            checkpoint=lambda i: run.checkpoint(f"fit{PART}{i:04d}"),
        )

    return run.stage(
        "fit",
        make,
        save=lambda gaussians: stages.keep_asset(run, gaussians, matrix),
        load=lambda: stages.kept_asset(run),
    )


def fit_segments(
    stored: StoredMatrix,
    config: FitConfig,
    plan: Sequence[Segment],
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    callback: Callback | None = None,
    checkpoint: Callable[[int], Path] | None = None,
) -> Gaussians4D:
    """4D Gaussians that look like a stored matrix, fitted segment after segment; `config` is of each.

    checkpoint: where the n-th segment's is kept; finished ones are read from there.
    """
    unit = max(_time(stored, s.high - 1) - _time(stored, s.low) for s in plan)
    done: list[Gaussians4D] = []
    owned: set[int] = set()
    for i, segment in enumerate(plan):
        begin = _time(stored, segment.low)
        matrix = resize_matrix(_window(stored, segment, begin, unit), config.size, device)
        fresh = [k - segment.low for k in range(segment.low, segment.high) if k % stored.frames not in owned]
        own = replace(
            matrix,
            images=matrix.images[:, fresh],
            times=matrix.times[fresh],
            confidence=None if matrix.confidence is None else matrix.confidence[:, fresh],
        )
        start = gaussians_from_hull(own, config.hull, sh_degree=config.sh_degree, seed=seed)

        def report(step: int, total: int, loss: float, psnr: float, splats: int, number: int = i) -> None:
            if callback is not None:
                before = sum(map(len, done))
                callback(number * total + step, len(plan) * total, loss, psnr, before + splats)

        fitted, _ = fit(
            matrix,
            config,
            seed=seed,
            device=device,
            callback=report,
            checkpoint_path=None if checkpoint is None else checkpoint(i),
            resume=checkpoint is not None,
            start=start,
            beside=_beside(done, begin, unit, cyclic=stored.cyclic),
        )
        low, high = -float("inf"), float("inf")
        if (segment.first - 1) % stored.frames not in owned and segment.low < segment.first:
            low = (_seam(stored, segment.first) - begin) / unit
        if segment.end % stored.frames not in owned and segment.end < segment.high:
            high = (_seam(stored, segment.end) - begin) / unit
        t = fitted.means[:, 3]
        done.append(retimed(fitted.select((t >= low) & (t < high)), unit, begin))
        owned |= {k % stored.frames for k in range(segment.first, segment.end)}
    return replace(Gaussians4D.cat(done), cyclic=stored.cyclic)


def _time(stored: StoredMatrix, moment: int) -> float:
    """Clip time of a moment, of a loop also of other rounds."""
    rounds, place = divmod(moment, stored.frames)
    return stored.times[place] + rounds


def _seam(stored: StoredMatrix, moment: int) -> float:
    """Clip time half way between a moment and the one before it."""
    return (_time(stored, moment - 1) + _time(stored, moment)) / 2


def _window(stored: StoredMatrix, segment: Segment, begin: float, unit: float) -> ImageMatrix:
    """What a segment sees, in a time that begins at `begin` and has another unit."""
    moments = range(segment.low, segment.high)
    last = _time(stored, segment.high - 1)
    seen = sorted(
        (time + rounds, i)
        for i, time in enumerate(stored.input_times)
        for rounds in ((-1, 0, 1) if stored.cyclic else (0,))
        if begin - 1e-6 <= time + rounds <= last + 1e-6
    )
    part = stored.part([k % stored.frames for k in moments], [i for _, i in seen])
    times = torch.tensor([_time(stored, k) for k in moments], dtype=torch.float64)
    inputs = torch.tensor([time for time, _ in seen], dtype=torch.float64)
    return replace(
        part,
        times=((times - begin) / unit).float().clamp(0, 1),
        input_times=None if part.input_times is None else ((inputs - begin) / unit).float().clamp(0, 1),
        seconds=stored.seconds * unit,
        cyclic=False,
        of_moments=None,
    )


def _beside(done: Sequence[Gaussians4D], begin: float, unit: float, *, cyclic: bool) -> Gaussians4D | None:
    """Splats of other segments that are there while one lasts, in its time."""
    parts = []
    for gaussians in done:
        for rounds in (-1, 0, 1) if cyclic else (0,):
            alive = Spans.of(gaussians).between(begin - rounds, begin - rounds + unit)
            if alive.any():
                parts.append(retimed(gaussians.select(alive), 1 / unit, (rounds - begin) / unit))
    return Gaussians4D.cat(parts) if parts else None
