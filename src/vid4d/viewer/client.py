"""The page that viser serves, with our title, and with two faults of it mended."""

from __future__ import annotations

import gzip
from functools import lru_cache
from html import escape
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
PHONE = 'div.mantine-Paper-root[style*="max-height: 60%"]'
STYLE = f"""<style>
  /* On a phone viser's panel lies over the object: here it lies below, and is as wide as the page. */
  div:has(> {PHONE}) {{ flex-direction: column; }}
  div:has(> {PHONE}) > div:first-child {{ height: auto !important; min-height: 0; flex: 1 1 0; }}
  {PHONE} {{ position: static !important; width: 100% !important; max-height: 42% !important; flex: none; }}
  {PHONE} div[style*="width: 20em"] {{ width: 100% !important; }}
  {PHONE} figure {{ max-width: 110px !important; }}
</style>""".encode()


def mend(response: Any, title: str) -> None:
    """Titles a response (of websockets) that is a page, and puts `SCRIPT` and `STYLE` first into it.

    Leaves all others as they are.
    """
    if response is None or not response.headers.get("Content-Type", "").startswith("text/html"):
        return
    response.body = _mended(response.body, response.headers.get("Content-Encoding") == "gzip", title)
    del response.headers["Content-Length"]
    response.headers["Content-Length"] = str(len(response.body))


@lru_cache(maxsize=8)
def _mended(page: bytes, packed: bool, title: str) -> bytes:
    plain = gzip.decompress(page) if packed else page
    plain = plain.replace(b"<head>", b"<head>" + SCRIPT + STYLE, 1)
    ours = f"<title>{escape(title)}</title>".encode("utf-8", "replace")  # names of folders may be no UTF-8
    plain = plain.replace(b"<title>Viser</title>", ours, 1)
    return gzip.compress(plain) if packed else plain
