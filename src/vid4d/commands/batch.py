"""`vid4d batch FOLDER --out RUNS`: many clips, by one process or many."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, Suppress, UseAppendAction, arg

from vid4d.batch.engines import Engine, EngineName
from vid4d.commands.generate import PRIOR_HELP
from vid4d.errors import InputError, printable
from vid4d.priors.base import PRIORS
from vid4d.settings import Settings

if TYPE_CHECKING:
    from vid4d.batch.work import Tally
    from vid4d.runs.progress import Progress


@dataclass(frozen=True)
class Batch(Settings):
    """Make 4D assets from many clips. The same command goes on after anything, beside others like it."""

    clips: Positional[Annotated[Path, arg(metavar="FOLDER|LIST")]] = dataclasses.field(kw_only=True)
    """A folder with videos, GIFs and folders of pictures, or a text file with a clip a line."""
    out: Annotated[Path, arg(metavar="RUNS")] = dataclasses.field(kw_only=True)
    """Folder of the runs and of their table, batch.csv. Processes and machines may share it."""
    shard: Annotated[str, arg(metavar="I/N")] = "1/1"
    """Only the I-th of N parts of the clips, which are about even: 1/4, 2/4, 3/4 and 4/4 make all."""
    limit: int | None = None
    """Clips to make at most; those that are refused or fail count, too."""
    retry: bool = False
    """Try those again that were refused, or failed, before."""
    dry_run: bool = False
    """Only say what is done, what is left, and how long it may take."""
    engine: EngineName = "none"
    """What hands clips to workers: none (this process makes them), Ray, SLURM, or jobs of this machine."""
    workers: int = 1
    """Actors of Ray, or jobs."""
    cpus: float = 1.0
    """Cores of each."""
    gpus: float = 0.0
    """GPUs of each; with Ray also a fraction, 0.5 for two on one."""
    minutes: int = 1440
    """That a job may take; it is queued again then."""
    address: str = ""
    """Of a Ray cluster, 'auto' or 'ray://HOST:10001'. Where not given, Ray is started on this machine."""
    job: tuple[str, ...] = ()
    """More about jobs, name=value in submitit's words, e.g. slurm_partition=gpu mem_gb=32."""
    clip: Suppress[str] = ""
    text: Suppress[str] = ""
    text_model: Suppress[str] = ""
    also: Suppress[tuple[str, ...]] = ()
    canonical: Suppress[str] = ""
    canonical_azimuth: Suppress[Literal["auto"] | float] = "auto"
    masks: Suppress[str] = ""
    click: Suppress[tuple[str, ...]] = ()
    box: Suppress[str] = ""
    layout: Suppress[str] = "auto"
    tune: Annotated[tuple[str, ...], UseAppendAction, arg(metavar="NAME=VALUE")] = ()
    """A number of the preset, such as fit.iterations=300 (docs/methods.md#numbers-of-a-preset). May be given
    again."""
    source: Suppress[Literal["clip", "matrix"]] = "clip"
    prior: Annotated[str, arg(metavar="|".join(["auto", *PRIORS]), help=PRIOR_HELP)] = "auto"

    def settings(self) -> Settings:
        """Those of every run, but for its clip. Raises InputError for those that no run can have."""
        from vid4d import api

        own = (
            "clip",
            "also",
            "canonical",
            "canonical_azimuth",
            "masks",
            "click",
            "box",
            "text",
            "text_model",
            "source",
            "layout",
        )
        chosen = {f.name: getattr(self, f.name) for f in dataclasses.fields(Settings) if f.name not in own}
        return dataclasses.replace(api.resolved(Settings(clip="any", **chosen)), clip="")

    def run(self) -> None:
        """Exits with 1 where a clip could not be made."""
        from vid4d.batch.clips import clips_of, part_of
        from vid4d.batch.plan import plan
        from vid4d.batch.records import TABLE, refuse_links, write_table
        from vid4d.compute.machine import check_device
        from vid4d.runs.progress import Progress

        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit} makes nothing: give 1 or more, or leave it out")
        engine = Engine(self.engine, self.workers, self.cpus, self.gpus, self.minutes, self.address, self.job)
        engine.check(self.limit)
        notes: list[str] = []
        found = clips_of(self.clips, self.out, notes.append)
        clips, settings = part_of(found, self.shard, self.clips), self.settings()
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out} exists and is not a folder: choose another --out")
        refuse_links(self.out)
        if engine.here:
            check_device(settings.device)
        if not clips:
            notes.append(f"part {self.shard} holds no clip, of {len(found)} in all")
        if self.dry_run:
            lines = plan(clips, settings, self.out, retry=self.retry).lines() if clips else []
            print("\n".join([*map(printable, notes), *lines]))
            return
        with Progress() as progress:
            for note in notes:
                progress.say(printable(note))
            if not clips:
                return
            try:
                tally = self._worked(engine, clips, settings, progress)
            finally:
                if self.out.is_dir():
                    write_table(self.out)
            counted = "".join(f", {count} {what}" for what, count in sorted(tally.statuses.items()))
            left = f", {tally.left} not looked at" if tally.left else ""
            progress.say(
                f"{tally.made} of {len(clips)} clips made now{counted}{left}: see {self.out / TABLE}"
            )
            if tally.ill:
                progress.say(
                    "stopped: clips failed one after the other, or workers were lost, which may be the "
                    "machine's fault; the same command goes on"
                )
        if tally.failed or tally.ill:
            raise SystemExit(1)

    def _worked(self, engine: Engine, clips: list[str], settings: Settings, progress: Progress) -> Tally:
        if engine.name == "ray":
            from vid4d.batch.on_ray import work_on_ray

            return work_on_ray(
                engine, clips, settings, self.out, progress, limit=self.limit, retry=self.retry
            )
        if engine.name in ("slurm", "local"):
            from vid4d.batch.on_slurm import work_in_jobs

            return work_in_jobs(engine, clips, settings, self.out, progress, retry=self.retry)
        from vid4d.batch.work import work

        return work(clips, settings, self.out, progress, limit=self.limit, retry=self.retry)
