"""Python interface: `vid4d.generate(...)`, `vid4d.load(...).render(cameras, time)`; what commands call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from vid4d.asset import Asset, load
from vid4d.compute.threads import fixed_threads
from vid4d.errors import InputError, machine_at_fault
from vid4d.methods.tuning import tuned
from vid4d.priors.base import DEFAULT_PRIORS, Offer, prior_spec, priors_with
from vid4d.runs.progress import Progress, Report
from vid4d.runs.run import Run
from vid4d.settings import MethodName, Settings, read_also

if TYPE_CHECKING:
    from vid4d.gaussians.model import Gaussians4D
    from vid4d.matrix.matrix import ImageMatrix


@runtime_checkable
class Method(Protocol):
    """Interface of a method's module; `vid4d.methods.stages` has the stages that they share.

    PRESETS: name -> configuration. NEEDS: what it asks of a prior. FROM_TEXT: whether it can do with a text
    instead of a clip.
    """

    PRESETS: dict[str, Any]
    NEEDS: Offer
    FROM_TEXT: bool

    def make_matrix(self, run: Run) -> ImageMatrix:
        """The image matrix, by stages of the run: `frames` and `matrix`, and others before it."""
        ...

    def make_asset(self, run: Run, matrix: ImageMatrix) -> Gaussians4D:
        """4D Gaussians from the image matrix, stage `fit`; asset.safetensors is written."""
        ...


METHODS: dict[MethodName, str] = {
    "efficient4d": "vid4d.methods.efficient4d",
    "consistent4d": "vid4d.methods.consistent4d.method",
}
"""Name -> module, which is a `Method`."""

COMMON_PRESETS = ("draft", "standard", "high")
"""Presets that every method has."""


def generate(
    clip: str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    quiet: bool = True,
    listen: Callable[[Report], object] | None = None,
    **settings: Any,
) -> Asset:
    """Makes a 4D asset from a clip, in a run folder (docs/run_folder.md).

    clip: a video, GIF or WebP, a folder or glob of pictures, or one picture. out: the run folder;
    `runs/<name of the clip>` where not given. resume: continue a run that was stopped. quiet: nothing is
    printed. listen: is called a few times a second, with `stage`, `done`, `total`, `left` (seconds), `text`
    and `ended`; what it raises stops the run, which can be resumed.
    settings: those of `vid4d.Settings`, e.g. `frames=8, preset="draft", seed=1`.
    Raises InputError for bad input.
    """
    chosen = Settings(clip=str(clip), **settings)
    with Progress(quiet=quiet, listen=listen) as progress:
        return make(chosen, out=out, resume=resume, progress=progress)


@fixed_threads()
def make(settings: Settings, *, out: str | Path | None, resume: bool, progress: Progress) -> Asset:
    """All stages of a run, from the clip (or an image matrix) to the outputs."""
    from vid4d.gaussians.raster import splat_device
    from vid4d.outputs import write_outputs

    run, matrix = _to_matrix(settings, out, resume, progress)
    try:
        gaussians = _method(run.settings).make_asset(run, matrix)
        write_outputs(run, gaussians, matrix)
    except InputError:
        run.discard_if_new(finished=settings.source == "matrix")  # which is read in a moment
        raise
    finally:
        run.close()
    return load(run.root, splat_device(run.device))


@fixed_threads()
def make_matrix(settings: Settings, *, out: str | Path | None, resume: bool, progress: Progress) -> Path:
    """The stages of a run up to its image matrix. Returns the run folder."""
    run, _ = _to_matrix(settings, out, resume, progress)
    run.close()
    return run.root


def _to_matrix(
    settings: Settings, out: str | Path | None, resume: bool, progress: Progress
) -> tuple[Run, ImageMatrix]:
    settings = resolved(settings)
    source = Path(settings.clip)
    if settings.source == "matrix" and not source.is_dir():
        raise InputError(f"{source} is not a folder: give the folder of an image matrix")
    if settings.clip and not source.exists() and not any(c in source.name for c in "*?["):
        raise InputError(f"there is no {source}: give a video, a picture, or a folder of pictures")
    if settings.canonical and not Path(settings.canonical).exists():
        raise InputError(
            f"--canonical: there is no {settings.canonical}: give an asset of ours, a .glb or a .ply"
        )
    for also in map(read_also, settings.also):
        if not Path(also.file).exists() and not any(c in also.file for c in "*?["):
            raise InputError(f"--also: there is no {also.file}: give a picture, or a clip")
    run = Run.create(out, settings, resume=resume, progress=progress)
    try:
        run.use_device(settings.device)
        return run, _method(settings).make_matrix(run)
    except BaseException as error:
        if isinstance(error, Exception):  # not Ctrl-C: its run goes on with --resume
            run.discard_if_new()
        run.close()
        raise


@machine_at_fault()
def resolved(settings: Settings) -> Settings:
    """Settings as a run keeps them: checked, with the method of a text, and a prior instead of 'auto'.

    Raises MachineError for those that no run can have here. The clip is not looked at.
    """
    if settings.text:
        settings = replace(settings, method=next(name for name in METHODS if _module(name).FROM_TEXT))
    if settings.prior == "auto" and settings.method in METHODS:
        settings = replace(settings, prior=default_prior(settings.method))
    _check(settings)
    return settings


def default_prior(method: MethodName) -> str:
    """What 'auto' stands for with a method."""
    return DEFAULT_PRIORS[_module(method).NEEDS]


def _check(settings: Settings) -> None:
    """Checks settings before a run begins. Raises InputError."""
    if settings.method not in METHODS:
        raise InputError(f"there is no method {settings.method!r}: choose one of {', '.join(METHODS)}")
    if settings.preset not in COMMON_PRESETS and settings.preset not in _method(settings).PRESETS:
        presets = ", ".join(_method(settings).PRESETS)
        raise InputError(f"{settings.method} has no preset {settings.preset!r}: choose one of {presets}")
    if not settings.clip and not settings.text.strip():
        raise InputError(
            "no clip was named; give a video, a picture, a folder of pictures, or a description with --text"
        )
    if settings.clip and settings.text:
        raise InputError("a clip and a text are given: give one of them")
    prior, needs = prior_spec(settings.prior), _method(settings).NEEDS
    if not prior.offers(needs):
        fitting = ", ".join(priors_with(needs))
        raise InputError(f"{settings.method} cannot use the prior {settings.prior}: choose one of {fitting}")
    if prior.weights is not None and settings.source == "clip" and not settings.text:
        from vid4d.priors.weights.registry import require

        require(settings.prior)
    if settings.interpolator != "small":
        from vid4d.priors.interpolators import check_interpolator

        check_interpolator(settings.interpolator)
    settings.check_ranges()
    if settings.source == "clip" and not settings.text:
        from vid4d.clip.options import check_options
        from vid4d.methods.stages import clip_options

        check_options(clip_options(settings))
    if settings.devices > 1 and "devices" in prior.takes:
        from vid4d.compute.machine import resolve_device
        from vid4d.priors.multiview_sampling import more_devices

        more_devices(resolve_device(settings.device), settings.devices)
    if settings.tune:
        _check_tune(settings)
    if settings.refine:
        _check_refine(settings)
    taken = prior.takes if needs == "matrix" else frozenset({"memory"}) | prior.takes & {"devices"}
    if settings.text:
        taken -= {"devices"}
    if needs == "matrix" and settings.steps == 1:
        taken |= {"steps"}  # what a network without a sampler does
    _refuse_unused(settings, taken)


def _check_tune(settings: Settings) -> None:
    """Raises InputError for numbers that the preset cannot have, or that nothing of the run would read."""
    config = tuned(_method(settings).PRESETS[settings.preset], settings.tune)
    if not settings.refine and any(change.strip().startswith("refine.") for change in settings.tune):
        raise InputError("--tune refine... has no effect without --refine: give both, or neither")
    scored = getattr(config, "refine", config)
    guided = bool(settings.text) or prior_spec(settings.prior).guided
    if scored.guidance is not None and not guided:
        raise InputError(f"--tune guidance: the prior {settings.prior} knows none: leave it out")


def _check_refine(settings: Settings) -> None:
    """Raises InputError where a run cannot refine its splats under a prior's score."""
    if _method(settings).NEEDS != "matrix":
        raise InputError(
            f"--refine has no effect, for {settings.method} is under the score anyway: leave it out"
        )
    if settings.source == "matrix":
        raise InputError("--refine needs the clip, and an image matrix was given: leave it out")
    if settings.also or settings.canonical:
        known = "--also" if settings.also else "--canonical"
        raise InputError(f"--refine knows the clip alone, not what {known} tells: leave one of them out")
    if not prior_spec(settings.prior).offers("score"):
        both = ", ".join(name for name in priors_with("matrix") if prior_spec(name).offers("score"))
        raise InputError(f"--refine needs a score, which {settings.prior} does not give: use --prior {both}")


OF_DRAWING = ("steps", "sampler", "memory", "devices", "also", "canonical")
OF_CLIPS = (
    "also",
    "canonical",
    "frames",
    "key_frames_per_second",
    "start",
    "end",
    "trim",
    "every",
    "cyclic",
    "matting",
    "matting_kind",
    "masks",
    "follow",
    "click",
    "box",
    "crop",
    "sheet",
    "held",
    "keep",
    "fps",
)


def _refuse_unused(settings: Settings, taken: frozenset[str]) -> None:
    """Raises InputError for a setting that has no effect. taken: those of `OF_DRAWING` that have one."""
    who = f"the prior {settings.prior} with {settings.method}"
    unused = {name: f"{who} does not take it" for name in OF_DRAWING if name not in taken}
    if settings.text:
        unused |= dict.fromkeys(OF_CLIPS, "a text has no clip")
    else:
        unused["text_model"] = "it belongs to --text"
    if not settings.canonical:
        unused["canonical_azimuth"] = "it belongs to --canonical"
    defaults = Settings()
    for name, reason in unused.items():
        if getattr(settings, name) != getattr(defaults, name):
            raise InputError(f"--{name.replace('_', '-')} has no effect, for {reason}: leave it out")


def _method(settings: Settings) -> Method:
    return _module(settings.method)


def _module(method: MethodName) -> Method:
    return cast(Method, import_module(METHODS[method]))
