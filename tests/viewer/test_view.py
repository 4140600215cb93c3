"""The live page in a browser: it draws, it changes with time and angle, and gives nothing else away."""

from __future__ import annotations

import http.client
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, find_browser
from PIL import Image
from toy_runs import toy_run

from vid4d import cli
from vid4d.errors import InputError
from vid4d.viewer import Viewer
from vid4d.viewer.split_view import SplitViewServer, split_view_html
from vid4d.viewer.viewer import is_local

WIDTH, HEIGHT = 900, 560


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    return [toy_run(root / "ball"), toy_run(root / "small <ball>", radius=0.12)]


@pytest.fixture
def browser():
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with Browser(program, WIDTH, HEIGHT) as browser:
        browser.send(
            "Emulation.setDeviceMetricsOverride",
            width=WIDTH,
            height=HEIGHT,
            deviceScaleFactor=1,
            mobile=False,
        )
        yield browser


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.2)


def ball(picture: np.ndarray, room: int = WIDTH - 330) -> tuple[int, float, np.ndarray]:
    """Size in pixels, height of the middle, mean color of what is colorful left of the panel."""
    scene = picture[:, :room].astype(int)
    seen = (scene.max(-1) - scene.min(-1)) > 60
    seen[: HEIGHT // 4, :330] = False  # the browser's notice that it has no GPU
    if not seen.any():
        return 0, 0.0, np.zeros(3)
    return int(seen.sum()), float(np.nonzero(seen)[0].mean()), scene[seen].mean(0)


def still(browser: Browser, seconds: float = 40.0) -> np.ndarray:
    deadline, before = time.monotonic() + seconds, browser.screenshot()
    while time.monotonic() < deadline:
        time.sleep(1.0)
        after = browser.screenshot()
        if np.abs(after.astype(int) - before).mean() < 0.05 and ball(after)[0] > 500:
            return after
        before = after
    return before


def press(browser: Browser, words: str) -> None:
    found = f"[...document.querySelectorAll('button')].find(b => b.textContent.trim() == {json.dumps(words)})"
    browser.wait_until(f"!!{found}")
    browser.evaluate(f"{found}.click()")


def errors(browser: Browser) -> list[str]:
    return [line for line in browser.log if line.startswith("error ") and '"level": "info"' not in line]


def test_it_shows_the_run_from_any_side_at_any_time(folders, browser, tmp_path):
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    with Viewer(folders[:1], port=0, playing=False) as viewer:
        page = viewer.pages[0]
        browser.send("Page.navigate", url=viewer.url)
        until(lambda: ball(browser.screenshot())[0] > 500)
        size, height, (red, green, _) = ball(still(browser))
        assert size > 2000
        assert red > green + 20  # the ball's red side looks at the clip's camera
        before = page.panel._text.content
        viewer.clock.seek(0.5)
        viewer.show(0.5)
        assert ball(still(browser))[1] < height - 25  # it jumps
        assert page.panel._text.content != before
        assert "of 750 splats now" in page.panel._text.content
        browser.drag(250, 380, 150)
        until(lambda: abs(ball(browser.screenshot())[2][0] - red) > 12)  # another side, another color
        browser.drag(250, 380, -150)
        page.change(cameras=True, pictures=True, background="black")
        assert still(browser)[HEIGHT - 20, 20].max() < 40
        assert len(page._frusta) == 4
        page.change(cameras=False, background="white")
        press(browser, "play")
        until(lambda: viewer.clock.playing)
        press(browser, "pause")
        until(lambda: not viewer.clock.playing)
        press(browser, "screenshot")
        until(lambda: list(tmp_path.glob("ball-*.png")))
        with Image.open(io.BytesIO(next(tmp_path.glob("ball-*.png")).read_bytes())) as taken:
            pixels = np.asarray(taken.convert("RGB")).astype(int)
        assert ((pixels.max(-1) - pixels.min(-1)) > 60).sum() > 500
        assert tuple(pixels[0, 0]) == (255, 255, 255)
        press(browser, "export")
        until(lambda: list(tmp_path.glob("ball.html")))
        until(lambda: not page.panel._busy.locked())
    assert errors(browser) == []


def test_on_a_phone_the_panel_leaves_room_for_the_object(folders, browser):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.send("Emulation.setDeviceMetricsOverride", **phone)
    with Viewer(folders[1:], port=0, playing=False) as viewer:
        browser.send("Page.navigate", url=viewer.url)
        play = "[...document.querySelectorAll('button')].find(b => b.textContent.trim() == 'play')"
        browser.wait_until(f"!!{play} && {play}.getBoundingClientRect().bottom < 844")
        assert browser.evaluate("document.title") == "small <ball> - vid4d"
        browser.wait_until("document.querySelector('canvas').getBoundingClientRect().height < 600")
        assert (
            browser.evaluate("document.querySelector('canvas').getBoundingClientRect().height") > 0.55 * 844
        )
        assert browser.evaluate("document.documentElement.scrollWidth") == 390
        until(lambda: ball(browser.screenshot()[:480], room=390)[0] > 500)
    assert errors(browser) == []


def test_runs_side_by_side_share_camera_and_time(folders, browser):
    with Viewer(folders, port=0, playing=False) as viewer:
        browser.send("Page.navigate", url=viewer.url)
        until(lambda: browser.evaluate("1") and all(page.server.get_clients() for page in viewer.pages), 90)
        cameras = [next(iter(page.server.get_clients().values())).camera for page in viewer.pages]
        until(lambda: browser.evaluate("1") and all(abs(c.position[1]) < 0.01 for c in cameras))  # as told
        quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        for leader, follower in (cameras, cameras[::-1]):
            moved = quarter @ leader.position
            assert not np.allclose(follower.position, moved, atol=0.5)
            leader.position, leader.look_at = moved, np.zeros(3)
            until(lambda: np.allclose(follower.position, moved, atol=0.02))  # noqa: B023
            time.sleep(1.0)
            assert np.allclose(leader.position, moved, atol=0.02)
        viewer.clock.seek(1.0)
        until(lambda: all("moment 24 of 24" in page.panel._text.content for page in viewer.pages))
        viewer.pages[0].change(background="grey")
        assert [page.look.background for page in viewer.pages] == ["grey", "grey"]
        assert viewer.pages[0].panel._slider is not None
        assert viewer.pages[1].panel._slider is None
    assert errors(browser) == []


def get(port: int, path: str) -> tuple[int, bytes]:
    """A request whose path nobody tidies up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_nothing_on_the_disk_can_be_read_through_it(folders):
    secret = folders[0].parent / "secret.txt"
    secret.write_text("nobody may read this")
    inside = folders[0] / "asset.safetensors"
    with Viewer(folders, port=0, playing=False) as viewer:
        ports = [viewer.port, *(page.port for page in viewer.pages)]
        for port in ports:
            assert get(port, "/")[0] == 200
            for file in (secret, inside, Path("/etc/hostname")):
                up = str(file).lstrip("/")
                for path in (
                    f"/{up}",
                    f"//{up}",
                    str(file),
                    f"/../../../../../../../../../../{up}",
                    f"/assets/../../../../../../../../../../../{up}",
                    "/" + "%2e%2e/" * 12 + up,
                    "/" + "%2e%2e%2f" * 12 + up,
                    "/" + "..%5c" * 12 + up,
                    "/" + "....//" * 12 + up,
                    f"/?file={file}/../{file.name}",
                    f"file://{file}",
                ):
                    status, body = get(port, path)
                    assert status == 404 or path.startswith("/?"), (port, path)
                    assert not file.exists() or file.read_bytes()[:200] not in body, (port, path)


def test_only_this_machine_may_look_unless_told(folders):
    with Viewer(folders, port=0, playing=False) as viewer:
        places = [viewer._split_view._server.server_address[0]]
        for page in viewer.pages:
            assert page.server.get_host() == "127.0.0.1"
        assert places == ["127.0.0.1"]
        assert viewer.url == f"http://127.0.0.1:{viewer.port}"
    assert is_local("127.0.0.1")
    assert is_local("localhost")
    assert not is_local("0.0.0.0")


def test_a_page_does_not_open_a_tunnel_to_the_world(folders):
    with Viewer(folders[:1], port=0, playing=False) as viewer:
        assert viewer.pages[0].server.request_share_url() is None
        assert viewer.pages[0].server._share_tunnel is None


def test_names_are_escaped_and_ports_are_theirs():
    page = split_view_html(["a & b", "<i>"], [81, 82])
    assert "a &amp; b" in page
    assert "<i>" not in page
    assert "[81, 82]" in page
    assert "repeat(2, 1fr)" in page
    assert "repeat(2, 1fr)" in split_view_html(list("abcd"), [1, 2, 3, 4])


def test_a_taken_port_is_passed_over():
    first = SplitViewServer(["a"], [1], host="127.0.0.1", port=0)
    second = SplitViewServer(["a"], [1], host="127.0.0.1", port=first.port)
    try:
        assert second.port > first.port
    finally:
        first.stop()
        second.stop()


def test_bad_addresses_and_runs_are_refused(folders, tmp_path, capsys):
    with pytest.raises(InputError, match="1 to 6"):
        Viewer([])
    with pytest.raises(InputError, match="no port"):
        Viewer(folders, port=70000)
    with pytest.raises(InputError, match="cannot listen"):
        Viewer(folders, host="192.0.2.1")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["view", str(tmp_path)])
    assert stopped.value.code == 2
    assert "not a run folder" in capsys.readouterr().err


def test_the_command_shows_runs_until_ctrl_c(folders, monkeypatch, capsys):
    def stopped(viewer):
        assert get(viewer.port, "/")[0] == 200
        raise KeyboardInterrupt

    monkeypatch.setattr(Viewer, "wait", stopped)
    cli.main(["view", str(folders[0]), str(folders[1]), "--port", "0"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("look at http://127.0.0.1:")
    assert said[-1] == "closed"


def test_meshes_are_made_while_one_looks(folders):
    pytest.importorskip("skimage")
    with Viewer(folders[:1], port=0, playing=False) as viewer:
        page = viewer.pages[0]
        assert page._splats.visible
        page.change(kind="normals")
        until(lambda: page._shown.get("node") == ("normals", 0), 90)
        assert not page._splats.visible
        assert [key for key, node in page._nodes.items() if node.visible] == [("normals", 0)]
        assert f"of {len(page.content.times)} made" in page.panel._text.content
        page.change(kind="mesh")
        assert page._shown["node"] == ("mesh", 0)
        page.change(kind="splats")
        assert page._splats.visible
        assert not any(node.visible for node in page._nodes.values())


def test_a_moment_has_as_many_splats_as_the_fullest_and_the_rest_are_clear(folders):
    with Viewer(folders[:1], port=0, playing=False) as viewer:
        page = viewer.pages[0]
        kept = [page._moment(i) for i in range(len(page.content.times))]
        assert {len(m["centers"]) for m in kept} == {page.content.most_splats}
        for i in (0, 7):
            assert (kept[i]["opacities"] > 0).sum() == len(page.content.splats(i)) == page.splats_at(i)


def test_time_goes_on_by_itself_while_it_plays(folders):
    with Viewer(folders[:1], port=0) as viewer:
        shown = set()
        until(lambda: shown.add(viewer.pages[0]._shown.get("node")) or len(shown) > 5, 20)


def test_nothing_is_shown_any_more_once_it_is_closed(folders, monkeypatch):
    """A moment that is being shown is finished first."""
    began, ended = [], []

    def slowly(viewer: Viewer, moment: float) -> None:
        began.append(moment)
        time.sleep(0.3)
        ended.append(moment)

    with Viewer(folders[:1], port=0) as viewer:
        monkeypatch.setattr(Viewer, "show", slowly)
        until(lambda: began, 20)
    assert len(ended) == len(began)
    assert not viewer._thread.is_alive()
