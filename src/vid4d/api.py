"""From Python: `vid4d.generate(...)` and `vid4d.load(...).render(cameras, time)`; what commands do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vid4d.errors import InputError
from vid4d.progress import Progress
from vid4d.run import Run, Settings, free_default

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from vid4d.cameras import Cameras
    from vid4d.gaussians.model import Gaussians4D
    from vid4d.matrix import ImageMatrix

METHODS = {"efficient4d": "vid4d.methods.efficient4d", "consistent4d": "vid4d.methods.consistent4d"}
"""Name -> module with `make_matrix` and `make_asset`, see `vid4d.stages`."""

COMMON_PRESETS = ("draft", "standard", "high")
"""Presets that every method has."""

PRIORS = {
    "small": ("efficient4d", "consistent4d"),
    "syncdreamer": ("efficient4d",),
    "zero123-xl": ("efficient4d", "consistent4d"),
    "zero123": ("efficient4d", "consistent4d"),
}
"""Names of `Settings.prior` -> methods that can use it. All but the first are of `priors.registry`."""

ASSET = "asset.safetensors"


@dataclass(frozen=True)
class Asset:
    """A 4D asset that can be rendered. path: its asset.safetensors. metadata: what stands in it."""

    gaussians: Gaussians4D
    metadata: dict[str, str]
    path: Path

    @property
    def root(self) -> Path:
        """The folder it lies in: the run folder, where it comes from a run."""
        return self.path.parent

    @property
    def seconds(self) -> float:
        """Duration of the clip."""
        return float(self.metadata.get("seconds", 1.0))

    @property
    def cyclic(self) -> bool:
        """Whether the clip is a loop."""
        return self.gaussians.cyclic

    def render(
        self,
        cameras: Cameras,
        time: float | Sequence[float] | Tensor = 0.0,
        *,
        background: float | None = None,
    ) -> Float[Tensor, "n h w c"]:
        """Pictures in [0, 1] of n cameras.

        time: in [0, 1] over the clip, one for all cameras or one for each.
        background: a grey level, 1 is white; None gives RGBA with straight alpha (c = 4), else c = 3.
        Raises InputError for times outside of [0, 1] or another number of times than of cameras.
        """
        from vid4d.render import render

        return render(self.gaussians, cameras, time, background=background)


def generate(
    clip: str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    quiet: bool = True,
    **settings: Any,
) -> Asset:
    """Makes a 4D asset from a clip, in a run folder (docs/run_folder.md).

    clip: a video, GIF or WebP, a folder or glob of pictures, or one picture. out: the run folder;
    `runs/<name of the clip>` where not given. resume: continue a run that was stopped. quiet: no progress.
    settings: those of `vid4d.Settings`, e.g. `frames=8, preset="draft", seed=1`.
    Raises InputError for bad input.
    """
    known = Settings(clip=str(clip), **settings)
    with Progress(quiet=quiet) as progress:
        return make(known, out=out, resume=resume, progress=progress)


def load(path: str | Path, device: str = "auto") -> Asset:
    """Opens a run folder or an asset.safetensors. Raises InputError where there is no asset."""
    from vid4d.gaussians.model import load_asset
    from vid4d.gaussians.raster import splat_device
    from vid4d.machine import resolve_device

    file = Path(path)
    if not file.exists():
        raise InputError(f"there is no {file}: give a run folder or an {ASSET}")
    if file.is_dir():
        if not (file / ASSET).is_file():
            unfinished = (file / "settings.json").is_file()
            told = (
                "its run is not finished: continue it with --resume"
                if unfinished
                else "it is not a run folder"
            )
            raise InputError(f"{file} holds no {ASSET}: {told}")
        file = file / ASSET
    place = resolve_device(device)
    gaussians, metadata = load_asset(file, splat_device(place) if device == "auto" else place)
    return Asset(gaussians, metadata, file)


def make(settings: Settings, *, out: str | Path | None, resume: bool, progress: Progress) -> Asset:
    """All stages of a run, from the clip (or an image matrix) to the outputs."""
    run, matrix = _to_matrix(settings, out, resume, progress)
    gaussians = _method(run.settings).make_asset(run, matrix)

    from vid4d import stages

    stages.outputs(run, gaussians, matrix)
    return load(run.root, stages.splat_device(run.device))


def make_matrix(settings: Settings, *, out: str | Path | None, resume: bool, progress: Progress) -> Path:
    """The stages of a run up to its image matrix. Returns the run folder."""
    return _to_matrix(settings, out, resume, progress)[0].root


def _to_matrix(
    settings: Settings, out: str | Path | None, resume: bool, progress: Progress
) -> tuple[Run, ImageMatrix]:
    if settings.text:
        settings = replace(settings, method="consistent4d")  # the only one that can
    _check(settings)
    source = Path(settings.clip)
    if settings.source == "matrix" and not source.is_dir():
        raise InputError(f"{source} is not a folder: give the folder of an image matrix")
    if settings.clip and not source.exists() and not any(c in source.name for c in "*?["):
        raise InputError(f"there is no {source}: give a video, a picture, or a folder of pictures")
    run = Run.create(out, settings, resume=resume, progress=progress)
    try:
        run.use_device(settings.device)
        return run, _method(settings).make_matrix(run)
    except InputError:
        run.discard_if_new()
        raise


def _check(settings: Settings) -> None:
    """Refuses at once what a run would find out late."""
    if settings.method not in METHODS:
        raise InputError(f"there is no method {settings.method!r}: choose one of {', '.join(METHODS)}")
    if settings.preset not in COMMON_PRESETS and settings.preset not in _method(settings).PRESETS:
        told = ", ".join(_method(settings).PRESETS)
        raise InputError(f"{settings.method} has no preset {settings.preset!r}: choose one of {told}")
    if not settings.clip and not settings.text.strip():
        raise InputError(
            "no clip was named; give a video, a picture, a folder of pictures, or a description with --text"
        )
    if settings.clip and settings.text:
        raise InputError("a clip and a text are given: give one of them")
    if settings.prior not in PRIORS:
        raise InputError(f"there is no prior {settings.prior!r}: choose one of {', '.join(PRIORS)}")
    if settings.method not in PRIORS[settings.prior]:
        fitting = ", ".join(p for p, methods in PRIORS.items() if settings.method in methods)
        raise InputError(f"{settings.method} cannot use the prior {settings.prior}: choose one of {fitting}")
    if settings.prior != "small" and settings.source == "clip" and not settings.text:
        from vid4d.priors.registry import require

        require(settings.prior)
    if settings.frames is not None and settings.frames < 1:
        raise InputError(f"{settings.frames} key frames show nothing: give 1 or more, or leave --frames out")
    if settings.steps is not None and not 1 <= settings.steps <= 1000:
        raise InputError(f"{settings.steps} sampling steps cannot be made: choose 1 to 1000")
    if settings.memory is not None and not settings.memory > 0:
        raise InputError(f"{settings.memory:g} GB of memory hold nothing: give more, or leave --memory out")
    if settings.method != "efficient4d" and (settings.steps is not None or settings.sampler != "auto"):
        raise InputError(f"{settings.method} draws no image matrix: leave --steps and --sampler out")
    if settings.elevation != "auto" and not -90 <= settings.elevation <= 90:
        raise InputError(f"an elevation of {settings.elevation:g} degrees does not exist: choose -90 to 90")
    if not 0 <= settings.seed < 1 << 32:
        raise InputError(f"the seed {settings.seed} cannot be used: choose 0 to {(1 << 32) - 1}")


def _method(settings: Settings) -> Any:
    return import_module(METHODS[settings.method])


def prepare(
    clip: str | Path,
    *,
    out: str | Path | None = None,
    frames: int = 16,
    size: int = 256,
    **settings: Any,
) -> Path:
    """Writes the frames of a clip, cut out, and a strip to look at; prints warnings. Returns the folder."""
    from vid4d.clip import ClipOptions
    from vid4d.clip_files import prepare as write_clip
    from vid4d.stages import CYCLIC

    options = dict(settings)
    options["cyclic"] = CYCLIC[options.get("cyclic", "auto")]
    root = Path(out) if out is not None else free_default(str(clip), suffix="frames")
    made = write_clip(clip, root, ClipOptions(frames=frames, size=size, **options))
    loop = ", a loop" if made.cyclic else ""
    print(f"{len(made)} frames of {made.seconds:.2f} s{loop}; mask from {made.matting!r}", end="")
    print(f" with confidence {made.matting_confidence:.2f}")
    for warning in made.warnings:
        print(f"warning: {warning}")
    return root


def render_files(
    asset: str | Path,
    *,
    out: Path | None = None,
    azimuth: Sequence[float] = (0.0,),
    elevation: Sequence[float] = (0.0,),
    time: Sequence[float] = (0.0,),
    size: int = 512,
    orbit: bool = False,
    seconds: float | None = None,
    transparent: bool = False,
    device: str = "auto",
) -> list[Path]:
    """Stills at all combinations of the angles (degrees) and times ([0, 1]), or an orbit as a video.

    out: a .png for one still, a folder for several, an .mp4 for an orbit (which it then is); beside the asset
        where not given. Returns the files written. Raises InputError for bad values.
    """
    for name, values in (("azimuth", azimuth), ("elevation", elevation), ("time", time)):
        if not values:
            raise InputError(f"--{name} needs at least one number")
    if turned := [a for a in azimuth if not math.isfinite(a)]:
        raise InputError(f"an azimuth of {turned[0]:g} degrees does not exist: give a number")
    if not 8 <= size <= 8192:
        raise InputError(f"a size of {size} pixels cannot be rendered: choose 8 to 8192")
    if outside := [t for t in time if not 0 <= t <= 1]:
        raise InputError(f"time {outside[0]:g} lies outside of the clip: 0 is its start and 1 its end")
    if steep := [e for e in elevation if not -90 <= e <= 90]:
        raise InputError(f"an elevation of {steep[0]:g} degrees does not exist: choose -90 to 90")
    opened = load(asset, device)
    ending = out.suffix.lower() if out is not None else ""
    if orbit or ending == ".mp4":
        return [_render_orbit(opened, out, ending, azimuth[0], elevation[0], size, seconds)]
    if ending not in ("", ".png"):
        raise InputError(f"{out} has an unknown ending: use .png for a still or .mp4 for an orbit")
    views = list(product(azimuth, elevation, time))
    if ending == ".png" and len(views) > 1:
        raise InputError(f"{len(views)} stills do not fit into {out}: give a folder with --out")
    files = []
    for a, e, t in views:
        name = f"azimuth{a:g}_elevation{e:g}_time{t:g}.png"
        folder = opened.root / "renders" if out is None else out
        file = out if out is not None and ending == ".png" else folder / name
        _write_still(file, opened, a, e, t, size, transparent)
        files.append(file)
    return files


def _render_orbit(
    asset: Asset,
    out: Path | None,
    ending: str,
    azimuth: float,
    elevation: float,
    size: int,
    seconds: float | None,
) -> Path:
    from vid4d.export.video import write_turntable

    if seconds is not None and not 0.1 <= seconds <= 600:
        raise InputError(f"an orbit of {seconds:g} seconds cannot be made: choose 0.1 to 600")
    if out is not None and ending not in ("", ".mp4"):
        raise InputError(f"{out} has an unknown ending for an orbit: use .mp4")
    name = f"orbit_elevation{elevation:g}.mp4"
    if out is None:
        file = asset.root / "renders" / name
    else:
        file = out if ending == ".mp4" else out / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_turntable(
        file,
        asset.gaussians,
        seconds=asset.seconds,
        duration=seconds,
        azimuth=azimuth,
        elevation=elevation,
        size=size,
    )


def _write_still(
    file: Path, asset: Asset, azimuth: float, elevation: float, time: float, size: int, transparent: bool
) -> None:
    from PIL import Image

    from vid4d.cameras import Cameras
    from vid4d.files import written_whole

    camera = Cameras.orbit([azimuth], elevation, size=size)
    picture = asset.render(camera, time, background=None if transparent else 1.0)[0]
    with written_whole(file) as temporary:
        Image.fromarray((picture * 255).round().byte().cpu().numpy()).save(temporary)


def info(device: str = "auto") -> dict[str, str]:
    """What this machine has and what a run would use, as name -> text."""
    from vid4d.gaussians.raster import available_backends
    from vid4d.machine import describe, versions
    from vid4d.matting import installed_model

    told = describe(device)
    for name, what in available_backends().items():
        told[f"raster {name}"] = what
    for file in sorted(Path(__file__).parent.rglob("*.safetensors")):
        told[f"weights {file.stem}"] = f"{file.stat().st_size / (1 << 20):.1f} MiB, shipped"
    model = installed_model()
    told["matting"] = "plain backgrounds" if model is None else f"plain backgrounds, {model}"
    told |= {f"version {name}": version for name, version in versions().items()}
    return told
