"""The app's server: where it listens, who may come in, and what happens when it ends."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from vid4d.app.desk import Desk
from vid4d.app.page import build, gradio, look
from vid4d.errors import CHECKOUT, InputError
from vid4d.viewer.guard import Guard
from vid4d.viewer.viewer import check_address, is_local

EXAMPLE = CHECKOUT / "examples" / "hopper.mp4"
USER = "vid4d"
MOST_UPLOADED = "500mb"
"""Of one file, in public."""


REFUSED = (
    b"This app can be opened only on its own machine, at the address that `vid4d app` has printed. For "
    b"others: --host 0.0.0.0, with a password; behind a proxy: --public.\n"
)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Guarded:
    """An ASGI application behind a guard: what it does not allow is answered with 403, or closed.

    Gradio itself answers whoever names any Host, so that any web page could come in by DNS rebinding.
    """

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], guard: Guard) -> None:
        self.app = app
        self.guard = guard

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one connection."""
        if scope["type"] == "lifespan" or self._allows(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            plain = [(b"content-type", b"text/plain"), (b"content-length", str(len(REFUSED)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": plain})
            await send({"type": "http.response.body", "body": REFUSED})

    def _allows(self, scope: Message) -> bool:
        got: dict[bytes, list[str]] = {b"host": [], b"origin": []}
        for name, value in scope["headers"]:
            if name in got:
                got[name].append(value.decode("latin-1"))
        if any(len(values) > 1 for values in got.values()):
            return False
        host, origin = (values[0] if values else None for values in got.values())
        return self.guard.allows(scope["path"], host, origin, None)


class App:
    """A running app; a context manager. Runs that go on when it ends are stopped, and can be resumed.

    runs: the folder of the runs. host, port: where it listens. public: for visitors who do not know each
    other (`Desk`). Elsewhere than on this machine alone, those who come must know `password`, unless public;
    on this machine, pages of other places are refused (`Guarded`).
    Raises InputError where it cannot listen there, or Gradio is missing.
    """

    def __init__(
        self,
        runs: str | Path,
        *,
        host: str = "127.0.0.1",
        port: int = 7860,
        public: bool = False,
        device: str = "auto",
        example: Path | None = EXAMPLE,
    ) -> None:
        gr = gradio()
        check_address(host, port, "the app")
        self.desk = Desk(Path(runs), public=public, device=device)
        self.password = None if public or is_local(host) else secrets.token_urlsafe(16)
        there = example if example is not None and example.is_file() else None
        self.page = build(self.desk, there)
        self._stopped = threading.Event()
        guarded = not public and self.password is None
        allowed = [str(self.desk.runs), *([] if there is None else [str(there)])]
        try:
            _, self.url, _ = self.page.queue(default_concurrency_limit=4).launch(
                server_name=host,
                server_port=port or _free_port(host),
                auth=None if self.password is None else (USER, self.password),
                allowed_paths=allowed,
                max_file_size=MOST_UPLOADED if public else None,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                footer_links=[],
                app_kwargs={"middleware": _guard()} if guarded else None,
                **look(gr),
            )
        except OSError as error:
            raise InputError(f"cannot listen at {host}:{port} ({error}): choose another --port") from None

    def __enter__(self) -> App:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def wait(self) -> None:
        """Until it is stopped, by Ctrl-C or otherwise."""
        while not self._stopped.wait(0.5):
            pass

    def close(self) -> None:
        """Stops the runs, then the server."""
        self._stopped.set()
        self.desk.jobs.close()
        self.page.close(verbose=False)


def _guard() -> list[Any]:
    from starlette.middleware import Middleware

    return [Middleware(Guarded, guard=Guard())]


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
