"""The page that viser serves, mended: our title, what mends it first, packed or not, nothing else changed."""

from __future__ import annotations

import gzip

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Response

from vid4d.viewer.client import SCRIPT, STYLE, mend

PAGE = b"<!doctype html><html><head><title>Viser</title></head></html>"


def answer(kind: str, body: bytes, encoding: str) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Content-Encoding": encoding})
    return Response(200, "OK", headers, body)


@pytest.mark.parametrize("packed", [False, True])
def test_the_script_comes_first_in_a_page(packed):
    response = answer("text/html", gzip.compress(PAGE) if packed else PAGE, "gzip" if packed else "identity")
    mend(response, "<a run>\udcff")
    plain = gzip.decompress(response.body) if packed else response.body
    assert plain == PAGE.replace(b"<head>", b"<head>" + SCRIPT + STYLE).replace(b"Viser", b"&lt;a run&gt;?")
    assert response.headers.get_all("Content-Length") == [str(len(response.body))]


def test_nothing_else_is_changed():
    response = answer("application/javascript", b"'<head>'", "identity")
    mend(response, "<a run>\udcff")
    assert response.body == b"'<head>'"
    mend(None, "a")
