"""All pages of a viewer, the time and the cameras they share, and the thread that lets time go on."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vid4d.errors import InputError
from vid4d.viewer.camera_sync import CameraSync, Pose
from vid4d.viewer.clock import Clock
from vid4d.viewer.content import Content
from vid4d.viewer.guard import Guard
from vid4d.viewer.look import Look
from vid4d.viewer.page import RunPage
from vid4d.viewer.split_view import SplitViewServer

TICKS = 30.0
"""A second: how often time goes on."""
MOST_RUNS = 6


class Viewer:
    """Runs in a browser, side by side; a context manager.

    host: who may connect: 127.0.0.1 is this machine alone. port: of the page; 0 takes any free one. Pages of
    several runs lie on ports of their own after it.
    Raises InputError where a run cannot be opened or the address cannot be used.
    """

    def __init__(
        self,
        runs: Sequence[str | Path],
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        device: str = "auto",
        playing: bool = True,
    ) -> None:
        if not 1 <= len(runs) <= MOST_RUNS:
            raise InputError(f"{len(runs)} runs cannot be shown: give 1 to {MOST_RUNS}")
        check_address(host, port)
        contents = [Content.open(run, device) for run in runs]
        self.host = host
        self.guard = Guard.for_host(is_local(host))
        self.clock = Clock(max(c.asset.seconds for c in contents), playing=playing)
        self.camera_sync = CameraSync()
        self.pages: list[RunPage] = []
        self._split_view: SplitViewServer | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        several = len(contents) > 1
        try:
            for i, content in enumerate(contents):
                place = port if not (several and port) else port + 1 + i
                page = RunPage(
                    content,
                    self.clock,
                    host=host,
                    port=place,
                    guard=self.guard,
                    leads=i == 0,
                    several=several,
                )
                page.on_camera, page.on_look = self._camera_moved, self._look_changed
                self.pages.append(page)
            if several:
                names, ports = [p.content.name for p in self.pages], [p.port for p in self.pages]
                self._split_view = SplitViewServer(names, ports, host=host, port=port, guard=self.guard)
        except BaseException:
            self.stop()
            raise
        self.show(self.clock.time)
        self._thread.start()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Port of the only page, or of the split view of several."""
        return self._split_view.port if self._split_view is not None else self.pages[0].port

    @property
    def url(self) -> str:
        """Address to open in a browser."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}{self.guard.query}"

    def show(self, time: float) -> None:
        """Shows a time in [0, 1] on all pages."""
        for page in self.pages:
            page.show(time)

    def stop(self) -> None:
        """Closes all pages."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=60)  # a process that ends while torch works for a thread is aborted
        if self._split_view is not None:
            self._split_view.stop()
        for page in self.pages:
            page.stop()

    def wait(self) -> None:
        """Blocks until `stop` is called, or Ctrl-C."""
        while not self._stopped.wait(0.5):
            pass

    def _go_on(self) -> None:
        before = time.monotonic()
        while not self._stopped.wait(1 / TICKS):
            now = time.monotonic()
            at = self.clock.advance(min(now - before, 0.5))
            before = now
            self.show(at)

    def _look_changed(self, look: Look) -> None:
        for page in self.pages:
            page.apply(look)

    def _camera_moved(self, page: RunPage, client: int, pose: Pose) -> None:
        if self.camera_sync.moved((page.port, client), pose):
            for other in self.pages:
                if other is not page:
                    other.follow(pose)


def check_address(host: str, port: int, who: str = "the viewer") -> None:
    """Raises InputError where `who` cannot listen: there is no such port, or the host is not this machine."""
    if not 0 <= port <= 65535 - MOST_RUNS:
        raise InputError(f"there is no port {port}: choose 0 (any free one) to {65535 - MOST_RUNS}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"{who} cannot listen at {host!r} ({error.strerror or error}): use --host 127.0.0.1"
        ) from None


def is_local(host: str) -> bool:
    """True where only this machine can reach a host's address."""
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        return False


def view(
    runs: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    device: str = "auto",
    say: Callable[[str], object] = print,
) -> None:
    """Shows runs until Ctrl-C. Arguments as in `Viewer`; say: gets the address and warnings."""
    with Viewer(runs, host=host, port=port, device=device) as viewer:
        say(f"look at {viewer.url} (Ctrl-C ends it)")
        if not is_local(host):
            say(f"warning: everyone who has this address, with its token, and can reach {host} can look, too")
        try:
            viewer.wait()
        except KeyboardInterrupt:
            say("closed")
