"""Clips made by actors of Ray, which hold the networks; Ray starts those that die again, with their clip."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from vid4d.batch.work import POLL, STOPS_AFTER, Outcome, Tally, make_clip, told
from vid4d.compute import machine
from vid4d.errors import InputError
from vid4d.priors.weights.loaded import networks_kept
from vid4d.runs.progress import Progress
from vid4d.settings import Settings

if TYPE_CHECKING:
    from vid4d.batch.engines import Engine

ANSWERED_WITHIN = 10.0
"""Seconds until a host has to take a connection."""
CONNECTED_WITHIN = 60.0
"""Seconds until a driver has to belong to its cluster; Ray itself ends a process that does not after 80."""


class Worker:
    """One actor: a process that keeps its networks. Arguments as `make_clip` has them."""

    def __init__(self, settings: Settings, out: Path, retry: bool) -> None:
        self.settings = replace(settings, device=machine.resolve_device(settings.device))
        self.out, self.retry = out, retry
        self._networks = ExitStack()
        self._networks.enter_context(networks_kept())

    def make(self, clip: str | None) -> Outcome | None:
        """As `make_clip`; nothing for no clip, to hear that the actor is there."""
        return None if clip is None else make_clip(clip, self.settings, self.out, retry=self.retry)


def work_on_ray(
    engine: Engine,
    clips: Sequence[str],
    settings: Settings,
    out: Path,
    progress: Progress,
    *,
    limit: int | None,
    retry: bool,
) -> Tally:
    """As `vid4d.batch.work.work`, a clip at a time for each actor that is free.

    An actor whose clips fail one after the other is ended, and the others go on.
    Raises InputError where the cluster is not found, or can place no worker.
    """
    ray = connect(engine.address)
    try:
        there = ray.cluster_resources()
        if not engine.address and (
            there.get("CPU", 0) < engine.cpus * engine.workers
            or there.get("GPU", 0) < engine.gpus * engine.workers
        ):
            raise InputError(
                f"this machine has {there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} GPUs, too few "
                f"for {engine.workers} workers of {engine.cpus:g} and {engine.gpus:g}: lower --workers, "
                "--cpus or --gpus"
            )
        remote = ray.remote(num_cpus=engine.cpus, num_gpus=engine.gpus, max_restarts=-1, max_task_retries=-1)(
            Worker
        )
        actors = [remote.remote(settings, out.absolute(), retry) for _ in range(engine.workers)]
        return _handed_out(ray, actors, clips, progress, limit)
    finally:
        ray.shutdown()


def connect(address: str) -> Any:
    """The module ray, connected to the cluster at this address; '' starts one on this machine.

    Raises InputError where there is none, within a minute or so: Ray itself would wait for longer, and then
    end the process without a word.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    import ray

    answered(address)
    if not address or address.startswith("ray://"):  # Ray's client has a limit, and is of the calling thread
        more = {"include_dashboard": False} if not address else {}
        _refused_in_words(address, partial(ray.init, address or "local", log_to_driver=False, **more))
        return ray
    joining = Future[None]()

    def join() -> None:
        try:
            _refused_in_words(
                address, partial(ray.init, address, log_to_driver=False, logging_level=logging.ERROR)
            )
        except BaseException as error:
            joining.set_exception(error)
        else:
            joining.set_result(None)

    Thread(target=join, daemon=True).start()  # which cannot be called off, and ends with the process
    try:
        joining.result(CONNECTED_WITHIN)
    except TimeoutError:
        raise InputError(
            f"Ray cannot be had at {address} (no answer within {CONNECTED_WITHIN:g} seconds): see --address"
        ) from None
    return ray


def answered(address: str) -> None:
    """Raises InputError unless something listens at 'HOST:PORT' or 'ray://HOST:PORT'; 'auto' is Ray's."""
    if address in ("", "auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise InputError(f"--address {address} is no address: give auto, HOST:6379 or ray://HOST:10001")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERED_WITHIN).close()
    except OSError as error:
        said = error.strerror or str(error)
        raise InputError(f"nothing answers at {address} ({said}): see --address") from None


def _refused_in_words(address: str, init: Callable[[], object]) -> None:
    try:
        init()
    except (ConnectionError, ValueError) as error:
        where = address or "this machine"
        raise InputError(
            f"Ray cannot be had at {where} ({str(error).splitlines()[0]}): see --address"
        ) from None


def _handed_out(
    ray: Any, actors: list[Any], clips: Sequence[str], progress: Progress, limit: int | None
) -> Tally:
    tally, waiting, held = Tally(), deque(clips), deque[str]()
    in_a_row = [0] * len(actors)
    alive, idle = set(range(len(actors))), set[int]()
    running: dict[Any, tuple[int, str | None]] = {
        a.make.remote(None): (i, None) for i, a in enumerate(actors)
    }
    with progress.stage("clips") as bar:
        bar.update(0, len(clips))
        while True:
            while idle and waiting and (limit is None or tally.tried + len(running) < limit):
                number, clip = idle.pop(), waiting.popleft()
                running[actors[number].make.remote(clip)] = (number, clip)
            if not running:
                if waiting or not (held and idle):
                    break
                time.sleep(POLL)
                waiting, held = held, deque()
                continue
            (future,), _ = ray.wait(list(running), num_returns=1)
            number, made = running.pop(future)
            try:
                outcome = ray.get(future)
            except ray.exceptions.RayError as error:
                cause = str(getattr(error, "cause", None) or error).strip().splitlines()
                progress.say(f"worker {number + 1} is lost: {cause[-1] if cause else 'no reason told'}")
                alive.discard(number)
                if made is not None:
                    waiting.appendleft(made)
                continue
            if outcome is not None:
                tally.add(outcome)
                failed = outcome.made and outcome.record.status == "failed"
                in_a_row[number] = in_a_row[number] + 1 if failed else 0
                bar.update(tally.finished, len(clips), **tally.troubles)
                if outcome.made or outcome.record.status != "done":
                    progress.say(f"{tally.finished} of {len(clips)}: {made}: {told(outcome.record)}")
            elif made is not None:
                held.append(made)
            if in_a_row[number] >= STOPS_AFTER:
                progress.say(f"worker {number + 1} is ended: {STOPS_AFTER} clips failed there in a row")
                alive.discard(number)
            else:
                idle.add(number)
    tally.left = len(waiting) + len(held)
    tally.ill = not alive
    return tally
