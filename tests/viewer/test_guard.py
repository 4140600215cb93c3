"""The viewer's guard: pages of other places, names of others for this machine, and no token get nothing."""

from __future__ import annotations

import http.client

import pytest
import viser
from toy_runs import toy_run
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from vid4d.viewer import Viewer
from vid4d.viewer.guard import COOKIE, Guard

LOCAL = Guard()
HERE = "127.0.0.1:8080"


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        (HERE, None, True),
        (HERE, "http://127.0.0.1:8080", True),
        ("localhost:9000", "http://localhost:9000", True),  # through a tunnel
        ("[::1]:8080", "http://[::1]:8080", True),
        (HERE, "http://evil.example.com", False),
        (HERE, "http://127.0.0.1:3000", False),
        (HERE, "http://localhost:8080", False),
        (HERE, "null", False),
        (HERE, "", False),
        ("evil.example.com:8080", "http://evil.example.com:8080", False),
        ("127.0.0.1.evil.example.com", None, False),
        ("evil@127.0.0.1", None, False),
        ("127.0.0.1:x", None, False),
        (None, None, False),
    ],
)
def test_this_machine_alone(host, origin, allowed):
    assert LOCAL.allows("/", host, origin, None) is allowed


def test_beyond_this_machine_a_token_is_needed():
    guard = Guard("secret")
    for path, cookies, allowed in (
        ("/?token=secret", None, True),
        ("/", f"other=1; {COOKIE}=secret", True),
        ("/", None, False),
        ("/?token=secre", f"{COOKIE}=x", False),
        ("/?token=%C3%A9", None, False),
    ):
        assert guard.allows(path, "box:8080", None, cookies) is allowed
    assert not guard.allows("/?token=secret", "box:8080", "http://evil.example.com", None)
    assert Guard.for_host(local=False) != Guard.for_host(local=False)


def socket(viewer: Viewer, origin: str | None, **headers: str):
    return connect(
        f"ws://127.0.0.1:{viewer.pages[0].port}/",
        origin=origin,
        subprotocols=[f"viser-v{viser.__version__}"],
        max_size=None,
        additional_headers=headers,
    )


def status(port: int, path: str, **headers: str) -> tuple[int, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Set-Cookie")
    finally:
        connection.close()


def test_a_page_of_another_place_gets_nothing(tmp_path):
    with Viewer([toy_run(tmp_path / "ball")], port=0, playing=False) as viewer:
        port = viewer.pages[0].port
        with pytest.raises(InvalidStatus, match="403"), socket(viewer, "http://evil.example.com"):
            pass
        with socket(viewer, f"http://127.0.0.1:{port}") as own:
            assert own.recv(timeout=30)
        assert status(port, "/") == (200, None)
        assert status(port, "/", Host="evil.example.com")[0] == 403
        assert status(port, "/%2e%2e/settings.json")[0] == 404


def test_a_viewer_for_others_answers_those_who_have_its_address(tmp_path):
    runs = [toy_run(tmp_path / name) for name in ("a", "b")]
    with Viewer(runs, host="0.0.0.0", port=0, playing=False) as viewer:
        path = viewer.url.partition(f":{viewer.port}")[2]
        assert path.startswith("/?token=")
        for port in (viewer.port, viewer.pages[0].port):
            assert status(port, "/")[0] == 403
            code, cookie = status(port, path)
            assert code == 200
            assert cookie is not None
            assert status(port, "/", Cookie=cookie.partition(";")[0])[0] == 200
        with pytest.raises(InvalidStatus, match="403"), socket(viewer, None):
            pass
        with socket(viewer, None, Cookie=cookie.partition(";")[0]) as own:
            assert own.recv(timeout=30)
