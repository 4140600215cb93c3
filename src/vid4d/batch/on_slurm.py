"""Clips made by jobs of SLURM, or of this machine, a shard each; what a killed one left is sent again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vid4d.batch import leases
from vid4d.batch.records import INSIDE
from vid4d.batch.work import POLL, Tally, work
from vid4d.errors import InputError
from vid4d.runs.progress import Progress
from vid4d.settings import Settings

if TYPE_CHECKING:
    from vid4d.batch.engines import Engine

SENT = 4
"""How often a shard is sent, at most."""


class Shard:
    """What a job does; it is pickled. Arguments as `work` has them."""

    def __init__(self, clips: Sequence[str], settings: Settings, out: Path, retry: bool) -> None:
        self.clips, self.settings, self.out, self.retry = list(clips), settings, out, retry

    def __call__(self) -> Tally:
        with Progress(plain=True) as progress:
            return work(self.clips, self.settings, self.out, progress, retry=self.retry)

    def checkpoint(self) -> Any:
        """For submitit, where SLURM takes the machine away or the time is up: the same is queued again.

        What was finished is found by its records, a run that was begun goes on from its checkpoints.
        """
        import submitit

        leases.forget_all()
        return submitit.helpers.DelayedSubmission(Shard(self.clips, self.settings, self.out, self.retry))


def work_in_jobs(
    engine: Engine, clips: Sequence[str], settings: Settings, out: Path, progress: Progress, *, retry: bool
) -> Tally:
    """As `vid4d.batch.work.work`, in `engine.workers` jobs, which are waited for.

    Raises InputError where there is no SLURM, and for parameters that submitit does not know.
    """
    import submitit

    count = min(engine.workers, len(clips))
    try:
        executor = submitit.AutoExecutor(folder=out.absolute() / INSIDE / "jobs" / "%j", cluster=engine.name)
        executor.update_parameters(
            name="vid4d",
            timeout_min=engine.minutes,
            cpus_per_task=int(engine.cpus),
            gpus_per_node=int(engine.gpus),
            **engine.parameters(),
        )
    except (RuntimeError, ValueError, TypeError, NameError) as error:
        raise InputError(
            f"submitit refuses this: {' '.join(str(error).split())}; see --engine and --job"
        ) from None
    shards = {i: Shard(clips[i - 1 :: count], settings, out.absolute(), retry) for i in range(1, count + 1)}
    tally, sent = Tally(), dict.fromkeys(shards, 1)
    with executor.batch():
        running = {i: executor.submit(shard) for i, shard in shards.items()}
    try:
        with progress.stage("jobs") as bar:
            bar.update(0, count)
            while running:
                for i in [i for i, job in running.items() if job.done()]:
                    job = running.pop(i)
                    try:
                        found = job.result()
                    except Exception as error:  # the job's, whatever that is, or that it was killed
                        said = str(error).strip().splitlines()[-1] if str(error).strip() else "no reason told"
                        if sent[i] < SENT:
                            progress.say(f"part {i} of {count}: job {job.job_id} ended ({said}): sent again")
                            sent[i] += 1
                            running[i] = executor.submit(shards[i])
                        else:
                            progress.say(f"part {i} of {count}: given up after {SENT} jobs ({said})")
                            tally.left += len(shards[i].clips)
                            tally.ill = True
                        continue
                    _add(tally, found)
                    progress.say(f"part {i} of {count}: {found.statuses['done']} done, {found.failed} not")
                    bar.update(count - len(running), count, **tally.troubles)
                if running:
                    time.sleep(POLL)
    except BaseException:
        if engine.name == "local":
            for job in running.values():
                job.cancel()
        else:
            progress.say("the jobs go on without this command (squeue shows them); later it makes the table")
        raise
    return tally


def _add(tally: Tally, found: Tally) -> None:
    tally.statuses += found.statuses
    tally.tried += found.tried
    tally.made += found.made
    tally.left += found.left
    tally.ill |= found.ill
