"""The page that viser serves, with one fault of it mended."""

from __future__ import annotations

import gzip
from functools import lru_cache
from typing import Any

SCRIPT = b"""<script>{
  // viser's quad for splats has two numbers a corner, of which three.js finds no bounding sphere and says so.
  // A sphere that holds everything is what it needs: splats are not left out by where their quad is.
  const said = console.error;
  console.error = (...words) => {
    const shape = words[1];
    if (String(words[0]).includes("Computed radius is NaN") && shape?.attributes?.sortedIndex)
      shape.boundingSphere.radius = Infinity;
    else said(...words);
  };
}</script>"""


def mend(response: Any) -> None:
    """Puts `SCRIPT` first into a response (of websockets) that is a page; leaves all others as they are."""
    if response is None or not response.headers.get("Content-Type", "").startswith("text/html"):
        return
    response.body = _with_script(response.body, response.headers.get("Content-Encoding") == "gzip")
    del response.headers["Content-Length"]
    response.headers["Content-Length"] = str(len(response.body))


@lru_cache(maxsize=8)
def _with_script(page: bytes, packed: bool) -> bytes:
    plain = gzip.decompress(page) if packed else page
    plain = plain.replace(b"<head>", b"<head>" + SCRIPT, 1)
    return gzip.compress(plain) if packed else plain
