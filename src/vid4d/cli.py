"""The command line: `vid4d COMMAND`. Each command is a frozen dataclass with a `run` method.

Nothing heavy is imported at module level, so that `vid4d --help` answers at once.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, Suppress, arg

from vid4d import __version__
from vid4d.commands.export import Export
from vid4d.commands.view import View
from vid4d.commands.weights import Weights
from vid4d.errors import InputError
from vid4d.run import Settings

Clip = Positional[Annotated[str, arg(metavar="CLIP")]]
Folder = Positional[Annotated[str, arg(metavar="FOLDER")]]

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "800")
"""Before torch is imported. OpenMP workers that spin while they wait make everything many times slower where
other programs want the cores; not to spin at all makes a fit slower where none does."""

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

DESCRIPTION = """Turns an ordinary video of one moving object into a 4D asset: a thing you can look at
from every side at every moment.

Every command takes --help, and --traceback to show where an error came from."""


@dataclass(frozen=True)
class _FromClip(Settings):
    clip: Clip = ""
    """The clip: a video, GIF or WebP, a folder or quoted glob of pictures, or one picture."""
    source: Suppress[Literal["clip", "matrix"]] = "clip"
    out: Path | None = None
    """The run folder. Where not given: runs/ and the clip's name, numbered when that is taken."""
    resume: Annotated[bool, arg(aliases=["-r"])] = False
    """Continue a run that was stopped. The settings must be the same."""

    def settings(self) -> Settings:
        return Settings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Settings)})


@dataclass(frozen=True)
class Generate(_FromClip):
    """Make a 4D asset from a clip."""

    def run(self) -> None:
        from vid4d import api

        with _progress() as progress:
            asset = api.make(self.settings(), out=self.out, resume=self.resume, progress=progress)
            progress.say(f"finished: open {asset.root / 'report.html'} in a browser")


@dataclass(frozen=True)
class Matrix(_FromClip):
    """Make only the image matrix from a clip: all sides at all key frames."""

    def run(self) -> None:
        from vid4d import api

        with _progress() as progress:
            root = api.make_matrix(self.settings(), out=self.out, resume=self.resume, progress=progress)
            progress.say(f"finished: look into {root / 'matrix'}")
            progress.say(f"go on with: vid4d generate {shlex.quote(self.clip)} --out {root} --resume")


@dataclass(frozen=True)
class Reconstruct:
    """Make a 4D asset from the folder of an image matrix: ours or another tool's."""

    folder: Folder
    """The matrix: ours, Efficient4D's strips, SV4D's videos, Zero123++ grids, pictures and cameras.json."""
    out: Path | None = None
    """The run folder. Where not given: runs/ and the folder's name, numbered when that is taken."""
    method: Literal["efficient4d"] = "efficient4d"
    """How the asset is made."""
    preset: Literal["draft", "standard", "high"] = "standard"
    """How much time to spend."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""
    seed: int = 0
    """The same seed gives the same bytes on the CPU."""
    resume: Annotated[bool, arg(aliases=["-r"])] = False
    """Continue a run that was stopped. The settings must be the same."""

    def run(self) -> None:
        from vid4d import api

        settings = Settings(
            clip=self.folder,
            method=self.method,
            preset=self.preset,
            device=self.device,
            seed=self.seed,
            source="matrix",
        )
        with _progress() as progress:
            asset = api.make(settings, out=self.out, resume=self.resume, progress=progress)
            progress.say(f"finished: open {asset.root / 'report.html'} in a browser")


@dataclass(frozen=True)
class Prepare:
    """Cut the object out of a clip and look at it: writes the frames, a strip, and warnings."""

    clip: Clip
    """The clip: a video, GIF or WebP, a folder or quoted glob of pictures, or one picture."""
    out: Path | None = None
    """Where frames and strip go. Where not given: runs/ and the clip's name, numbered when that is taken."""
    frames: int = 16
    """Key frames, first and last of the clip included; 0 for all frames."""
    size: int = 256
    """Width and height of the frames in pixels."""
    start: float | None = None
    """Seconds where the part to use begins."""
    end: float | None = None
    """Seconds where it ends."""
    every: int = 1
    """Take every n-th frame of that part before the key frames are chosen."""
    cyclic: Literal["auto", "yes", "no"] = "auto"
    """Whether the clip is a loop. 'auto' compares its ends."""
    matting: str = "auto"
    """How the background is removed: 'auto' (alpha, else a plain background), or an ONNX file."""
    fps: float = 24.0
    """Frames a second of a folder of pictures, which says nothing of time itself."""

    def run(self) -> None:
        from vid4d import api

        root = api.prepare(**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        print(f"look at {root / 'strip.png'}")


@dataclass(frozen=True)
class Render:
    """Render stills or an orbit of an asset."""

    asset: Positional[Annotated[str, arg(metavar="RUN")]]
    """A run folder or an asset.safetensors."""
    out: Path | None = None
    """A .png for one still, a folder for several, an .mp4 for an orbit. Where not given: beside the asset."""
    azimuth: tuple[float, ...] = (0.0,)
    """Degrees around the object; 0 is where the clip was filmed from. Several give several stills."""
    elevation: tuple[float, ...] = (0.0,)
    """Degrees above the object's equator. Several give several stills."""
    time: tuple[float, ...] = (0.0,)
    """Moments between 0 (the clip's start) and 1 (its end). Several give several stills."""
    size: int = 512
    """Width and height in pixels."""
    orbit: bool = False
    """One turn around the object while time plays, as a video, at the first elevation given."""
    seconds: float | None = None
    """Duration of the orbit. Where not given: whole repetitions of the clip, 4 seconds at least."""
    transparent: bool = False
    """Stills with an alpha channel instead of on white."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""

    def run(self) -> None:
        from vid4d import api

        for path in api.render_files(**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}):
            print(path)


@dataclass(frozen=True)
class Train:
    """Train the networks of the small prior on your own models."""

    def run(self) -> None:
        """`main` hands everything after `train` to vid4d.training.cli."""
        raise AssertionError("train is dispatched before")


@dataclass(frozen=True)
class Info:
    """Say what this machine has: device, threads, instruction set, rasterisers, priors."""

    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""

    def run(self) -> None:
        from vid4d import api

        told = api.info(self.device)
        width = max(map(len, told))
        for name, text in told.items():
            print(f"{name:<{width}}  {text}")


_STYLE = (tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff, tyro.conf.SuppressFixed)
Command = Generate | Prepare | Matrix | Reconstruct | Render | View | Export | Weights | Train | Info


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 when done, 2 for bad input (one sentence), 130 when stopped by Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    show_traceback = "--traceback" in arguments
    arguments = [a for a in arguments if a != "--traceback"]
    if not arguments:
        arguments = ["--help"]
    try:
        if arguments[0] == "--version":
            print(f"vid4d {__version__}")
        elif arguments[0] == "train":
            from vid4d.training import cli as training

            training.main(tyro.cli(training.TrainOptions, prog="vid4d train", args=arguments[1:]))
        else:
            command = tyro.cli(Command, prog="vid4d", description=DESCRIPTION, args=arguments, config=_STYLE)  # type: ignore[call-overload]
            command.run()
    except KeyboardInterrupt:
        if show_traceback:
            traceback.print_exc()
        _say(f"stopped{_how_to_resume(arguments)}")
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(141) from None
    except Exception as error:
        sentence = _explained(error, arguments)
        if sentence is None or show_traceback:
            traceback.print_exc()
        if sentence is None:
            raise SystemExit(1) from None
        _say(sentence)
        raise SystemExit(2) from None


def _progress():  # type: ignore[no-untyped-def]
    from vid4d.progress import Progress

    return Progress()


def _say(text: str) -> None:
    print(f"vid4d: {text}", file=sys.stderr, flush=True)


def _explained(error: BaseException, arguments: Sequence[str]) -> str | None:
    """One sentence for errors that are not the program's fault; None for the others."""
    if isinstance(error, InputError):
        return str(error)
    told = str(error)
    full = "no space left on device" in told.lower() or "os error 28" in told
    if full or (isinstance(error, OSError) and error.errno in FULL):
        again = "run the same command" + (" with --resume" if _resumes(arguments) else " again")
        return f"the disk is full{_where(error)}: make room and {again}"
    if isinstance(error, PermissionError):
        return f"no permission to read or write{_where(error)}: choose another place with --out"
    if isinstance(error, OSError):
        return f"{error.strerror or told or type(error).__name__}{_where(error)}"
    return None


def _where(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return f" ({name})" if name else ""


def _resumes(arguments: Sequence[str]) -> bool:
    return bool(arguments) and arguments[0] in ("generate", "matrix", "reconstruct")


def _how_to_resume(arguments: Sequence[str]) -> str:
    if not _resumes(arguments):
        return ""
    again = [a for a in arguments if a not in ("--resume", "-r")]
    return f"; continue with: {shlex.join(['vid4d', *again, '--resume'])}"


if __name__ == "__main__":
    main()
