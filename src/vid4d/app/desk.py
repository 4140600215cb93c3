"""What the page does, without the page: a clip and choices in; preparation, run, results, downloads out."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vid4d.api import load, resolved
from vid4d.app import clips
from vid4d.app.job import Job, Jobs
from vid4d.app.preparation import Preparation, prepare
from vid4d.errors import InputError
from vid4d.export.formats import FORMATS, options_for
from vid4d.settings import MethodName, Settings, as_options
from vid4d.viewer.downloads import exported

DOWNLOADS = {
    "v4d": "the whole asset, small (.v4d)",
    "glb": "animated mesh with a texture (.glb)",
    "usdz": "animated mesh and splats (.usdz)",
    "ply": "Gaussian splats of all moments (.ply)",
}
"""Formats that come first."""


@dataclass(frozen=True)
class Choices:
    """What a visitor can choose; None and "" mean: found out, or the preset's."""

    preset: Literal["draft", "standard", "high"] = "draft"
    method: MethodName = "efficient4d"
    start: float | None = None
    end: float | None = None
    elevation: float | None = None
    cyclic: Literal["auto", "yes", "no"] = "auto"
    follow: Literal["auto", "yes", "no"] = "auto"
    frames: int | None = None
    seed: int = 0
    trim: bool = False
    held: bool = False
    keep: bool = False
    click: tuple[str, ...] = ()

    def settings(self, clip: Path) -> Settings:
        """Of a run."""
        chosen = asdict(self) | {
            "elevation": "auto" if self.elevation is None else self.elevation,
            "trim": "auto" if self.trim else "no",
        }
        return Settings(clip=str(clip), **chosen)


class Result(NamedTuple):
    """What a finished run shows: the player as HTML, and the files that are there."""

    player: str
    turntable: Path | None
    contact: Path | None
    report: Path | None


class Desk:
    """One app. runs: where the runs are. public: for visitors who do not know each other: each sees only what
    is their own, which is removed when they are gone. device: of all runs.

    A visitor's room is the folder of their runs: `runs` itself, or, in public, one that nobody can guess.
    """

    def __init__(self, runs: Path, *, public: bool = False, device: str = "auto") -> None:
        self.runs = runs.absolute()
        self.public = public
        self.device = device
        self.jobs = Jobs()

    def enter(self) -> Path:
        """The room of a new visitor."""
        return self.runs / secrets.token_urlsafe(16) if self.public else self.runs

    def admitted(self, room: str | Path) -> Path:
        """The room of a visitor. Raises InputError for any other folder: a page that was never opened."""
        place = Path(room)
        if place != self.runs if not self.public else place.parent != self.runs:
            raise InputError("this page has lost its place: open it again")
        return place

    def find(self, room: Path, name: str) -> Path:
        """An earlier run of a room, by its name. Raises InputError where there is none."""
        if name not in clips.runs_in(self.admitted(room)):
            raise InputError(f"there is no run {name!r} here: choose one of the list")
        return room / name

    def leave(self, room: Path) -> None:
        """Stops and removes what a visitor in public had; elsewhere nothing."""
        if not self.public or room.parent != self.runs:
            return
        for job in self.jobs.inside(room):
            job.stop()
            job.wait(30)
        shutil.rmtree(room, ignore_errors=True)

    def prepare(self, room: Path, files: Sequence[str | Path], choices: Choices) -> Preparation:
        """What would be cut out. Raises InputError."""
        return prepare(choices.settings(clips.keep(files, self.admitted(room))))

    def make(self, room: Path, files: Sequence[str | Path], choices: Choices) -> Job:
        """Begins a run. Raises InputError for what no run can have."""
        clip = clips.keep(files, self.admitted(room))
        settings = choices.settings(clip)
        resolved(settings)
        return self.jobs.start(clips.free_run(clip, room), self._options(settings))

    def resume(self, root: Path) -> Job:
        """Goes on with a run that was stopped, also in an earlier app. Raises InputError where that fails."""
        return self.jobs.start(root, self._options(clips.settings_to_resume(root)), resume=True)

    def _options(self, settings: Settings) -> list[str]:
        given = asdict(settings) | {"device": self.device}
        return [*as_options(given, asdict(Settings())), "--", settings.clip]

    def result(self, root: Path) -> Result:
        """What a run shows. Raises InputError where it has no asset."""
        asset = load(root, "cpu")
        player = root / "player.html"
        page = player.read_text(encoding="utf-8") if player.is_file() else asset._player()
        frame = f'sandbox="allow-scripts" allowfullscreen title="{escape(root.name)}, to be turned"'
        html = f'<iframe class="v4d-player" srcdoc="{escape(page)}" {frame}></iframe>'
        files = (root / name for name in ("turntable.mp4", "contact.png", "report.html"))
        return Result(html, *(f if f.is_file() else None for f in files))

    def download(self, root: Path, to: str, wishes: dict[str, Any] | None = None) -> Path:
        """A file to take along, in a temporary folder; several files come as a ZIP. wishes: of options, those
        that have an effect on the format are heeded. Raises InputError."""
        if to not in FORMATS:
            raise InputError(f"there is no format {to!r}: choose one of {', '.join(FORMATS)}")
        name, data = exported(load(root, self.device), root.name, to, options_for(to, **(wishes or {})))
        file = Path(tempfile.mkdtemp(prefix="vid4d-download-")) / name
        file.write_bytes(data)
        return file


def formats() -> list[tuple[str, str]]:
    """Words and name of every format, those that most people want first."""
    others = {name: f"{form.help} ({form.ending})" for name, form in FORMATS.items() if name not in DOWNLOADS}
    return [(words, name) for name, words in (DOWNLOADS | others).items()]
