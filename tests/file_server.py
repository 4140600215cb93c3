"""A local HTTP server for downloads: ranges, versions, and all that can go wrong on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """What a server has, and how it behaves.

    files: path -> content; versions are their hashes. breaks: bytes after which connections break, one
    connection each, from the first. ranges: whether it can go on in the middle. refuses: path -> status.
    asked: the Range headers that came, None where there was none. served: bytes sent in all.
    """

    files: dict[str, bytes]
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    refuses: dict[str, int] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    served: int = 0
    address: str = ""


@contextmanager
def serving(files: Files) -> Iterator[Files]:
    """Runs the server; `files.address` is where."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.asked.append(self.headers.get("Range"))
            files.headers.append(dict(self.headers))
            if self.path in files.refuses or self.path not in files.files:
                self.send_error(files.refuses.get(self.path, 404))
                return
            content = files.files[self.path]
            version = f'"{hash(content)}"'
            wanted, first = self.headers.get("Range"), 0
            if wanted and files.ranges and self.headers.get("If-Range") == version:
                first = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if first >= len(content):
                    self.send_error(416)
                    return
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(content) - first))
            self.send_header("ETag", version)
            self.end_headers()
            last = len(content)
            if files.breaks:
                last = min(last, first + files.breaks.pop(0))
            self.wfile.write(content[first:last])
            files.served += last - first

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are expected
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    files.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
