"""Consistent4D (2311.02848): a clip becomes a cascade DyNeRF by score distillation from an image prior.

clip  --reference steps-->  the input camera's renders look like the frames       (section 3.1)
      --prior steps------>  score distillation (SDS) on random views, and consistency with what a frame
                            interpolator expects between their neighbours (ICL)   (sections 3.1, 3.3)
      --rendered--------->  image matrix, from which 4D Gaussians are fitted: the outputs of every method

A clip of one frame gives a static object; a text instead of a clip has no reference steps.
"""

from __future__ import annotations

from dataclasses import asdict

from vid4d.dynerf import CascadeField, OccupancyGrid
from vid4d.dynerf.files import load_field, save_field
from vid4d.errors import InputError
from vid4d.files.write import write_json
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.io import load_matrix, save_matrix
from vid4d.matrix.matrix import ImageMatrix
from vid4d.methods import stages
from vid4d.methods.consistent4d.config import PRESETS, Consistent4DConfig
from vid4d.methods.consistent4d.limits import check_frames, check_memory
from vid4d.methods.consistent4d.subject import Subject, make_prior, read_subject, spec_of
from vid4d.methods.consistent4d.trainer import Consistent4DTrainer
from vid4d.methods.consistent4d.views import render_matrix, write_validation
from vid4d.methods.tuning import tuned
from vid4d.priors.base import Offer
from vid4d.priors.interpolators import as_interpolator, finds_middles_only, load_interpolator
from vid4d.runs.progress import Bar
from vid4d.runs.run import Run

NEEDS: Offer = "score"
"""Protocol of the prior: gradients for a DyNeRF's renders."""

FROM_TEXT = True
"""Whether a text will do instead of a clip."""


def make_matrix(run: Run) -> ImageMatrix:
    """The DyNeRF, and the image matrix rendered from it. Stages `frames`, `dynerf`, `matrix`."""
    preset, config = run.settings.preset, _config(run)
    if run.settings.source == "matrix":
        raise InputError(
            "consistent4d starts from a clip, not from an image matrix: use --method efficient4d"
        )
    check_frames(config, preset, run.settings.frames or 0)
    check_memory(
        PRESETS | {preset: config}, preset, spec_of(run.settings).memory_gib, run.device, run.settings.memory
    )
    subject = read_subject(run, config.frames, config.clip_size)
    check_frames(config, preset, len(subject.times))
    write_json(run.path("config.json"), asdict(config))
    path = run.path("dynerf.safetensors")

    def make(bar: Bar) -> tuple[CascadeField, OccupancyGrid]:
        return train_dynerf(run, config, subject, bar)

    dynerf, grid = run.stage(
        "dynerf",
        make,
        save=lambda trained: save_field(path, *trained),
        load=lambda: load_field(path, run.device),
    )
    folder = run.path("matrix")
    return run.stage(
        "matrix",
        lambda bar: render_matrix(dynerf, grid, subject, config.distill, config.samples_per_ray, bar.update),
        save=lambda matrix: save_matrix(matrix, stages.emptied(run, folder)),
        load=lambda: load_matrix(folder),
    )


def make_asset(run: Run, matrix: ImageMatrix) -> Gaussians4D:
    """The DyNeRF distilled into 4D Gaussians, so that every export works. Stage `fit`."""
    return stages.fit_asset(run, matrix, _config(run).fit)


def _config(run: Run) -> Consistent4DConfig:
    return tuned(PRESETS[run.settings.preset], run.settings.tune)


def train_dynerf(
    run: Run, config: Consistent4DConfig, subject: Subject, bar: Bar
) -> tuple[CascadeField, OccupancyGrid]:
    """All steps, from the run's checkpoint where there is one; with log lines and validation renders."""
    prior = make_prior(run, subject, config.guidance)
    interpolator = load_interpolator(run.settings.interpolator, run.device)
    trainer = Consistent4DTrainer(
        config,
        subject,
        prior,
        as_interpolator(interpolator),
        middle_only=finds_middles_only(interpolator),
        seed=run.settings.seed,
        device=run.device,
    )
    checkpoint = run.checkpoint("dynerf")
    if checkpoint.exists():
        trainer.load(checkpoint)
        run.progress.say(f"dynerf: goes on from step {trainer.step}")
    while trainer.step < config.steps:
        trainer.advance()
        step = trainer.step
        if step % config.report_every == 0 or step == config.steps:
            bar.update(step, config.steps, **trainer.numbers)
        if step % config.validate_every == 0 or step == config.steps:
            folder = run.path("validation", f"step_{step:05d}")
            write_validation(
                folder,
                trainer.field,
                trainer.grid,
                subject,
                size=config.validate_size,
                samples=config.samples_per_ray,
            )
        if step % config.checkpoint_every == 0 or step == config.steps:  # last: a resumed run has its videos
            trainer.save(checkpoint)
            run.log(trainer.line())
    return trainer.field, trainer.grid
