"""Several pages side by side: one small document with a frame for each. It serves nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vid4d.viewer.guard import REFUSED, Guard

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title} - vid4d</title>
<link rel="icon" href="data:,"><style>
html, body {{ margin: 0; height: 100%; font: 14px system-ui, sans-serif; color: #22272e; }}
main {{ display: grid; height: 100%; gap: 1px; background: #d4d8de;
  grid-template-columns: repeat({columns}, 1fr); grid-auto-rows: 1fr; }}
section {{ display: flex; flex-direction: column; background: #fff; min-width: 0; min-height: 0; }}
h1 {{ font-size: 14px; font-weight: 600; margin: 0; padding: 6px 12px; border-bottom: 1px solid #e4e7eb; }}
iframe {{ border: 0; flex: 1; width: 100%; }}
@media (max-width: 600px) {{ main {{ grid-template-columns: 1fr; grid-auto-rows: 85vh; height: auto; }} }}
</style></head><body><main>{panes}</main><script>
for (const [i, port] of {ports}.entries())
  document.querySelectorAll("iframe")[i].src = `http://${{location.hostname}}:${{port}}/`;
</script></body></html>
"""


def split_view_html(names: Sequence[str], ports: Sequence[int]) -> str:
    """The document. names: of the runs. ports: where their pages are, on the same host."""
    panes = "".join(
        f'<section><h1>{escape(name)}</h1><iframe title="{escape(name)}"></iframe></section>'
        for name in names
    )
    columns = len(names) if len(names) <= 3 else -(-len(names) // 2)
    return PAGE.format(
        title=escape(" | ".join(names)), panes=panes, columns=columns, ports=json.dumps(list(ports))
    )


class SplitViewServer:
    """Serves `split_view_html` at /, and nothing at any other address, until `stop`.

    port: where it listens; the next free one where that is taken. guard: whom it answers; this machine alone
    where not given.
    """

    def __init__(
        self, names: Sequence[str], ports: Sequence[int], *, host: str, port: int, guard: Guard | None = None
    ) -> None:
        page, watch = split_view_html(names, ports).encode(), guard or Guard()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = (self.headers.get(name) for name in ("Host", "Origin", "Cookie"))
                allowed = watch.allows(self.path, *headers)
                is_root = allowed and self.path.partition("?")[0] == "/"
                body = page if is_root else b"not found" if allowed else REFUSED.encode()
                self.send_response(200 if is_root else 404 if allowed else 403)
                if allowed and watch.cookie is not None:
                    self.send_header("Set-Cookie", watch.cookie)
                    self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("Content-Type", "text/html; charset=utf-8" if is_root else "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _listen(Handler, host, port)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Closes the server."""
        self._server.shutdown()
        self._server.server_close()


def _listen(handler: type[BaseHTTPRequestHandler], host: str, port: int) -> ThreadingHTTPServer:
    for attempt in range(100):
        try:
            return ThreadingHTTPServer((host, port + attempt if port else 0), handler)
        except OSError:
            if port == 0 or attempt == 99:
                raise
    raise AssertionError("unreachable")
