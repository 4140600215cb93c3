"""The player: one file, opened from the disk, that plays, turns, and draws what the renderer draws."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Browser, find_browser
from exported import ball_asset, tumbling
from toys import jumping_ball

from vid4d.cameras import Cameras
from vid4d.export.formats import export
from vid4d.export.html import FILLED, fitting, player_html, write_player
from vid4d.export.options import ExportOptions
from vid4d.export.root_motion import beside
from vid4d.render import render_asset


def test_the_page_needs_nothing_from_elsewhere():
    page = player_html(jumping_ball(40), seconds=0.5, title="<my> clip</script>")
    assert "<title>&lt;my&gt; clip&lt;/script&gt;</title>" in page
    assert re.findall(r"""(?:src|href)\s*=\s*["']?[\w:/.]+""", page) == []
    assert "http" not in page
    assert "{{" not in page


def test_the_first_view_holds_the_object_from_all_sides_and_fills_the_window():
    ball = jumping_ball(2000)
    first = fitting(ball)
    largest = 0.0
    for moment in (0.0, 0.25, 0.5, 0.75, 1.0):
        cameras = Cameras.orbit([0, 90, 200], 15, distance=first["distance"], size=64)
        lowered = replace(ball, means=ball.means - torch.tensor([0, 0, first["target"][2], 0]))
        alpha = render_asset(lowered, cameras, moment)[..., 3] > 0.3
        seen = alpha.any(0).nonzero()
        largest = max(largest, float((seen + 0.5 - 32).abs().max()) / 32)
    assert FILLED - 0.1 < largest < 1  # splats reach over their centers
    lifted = replace(ball, means=ball.means + torch.tensor([0, 0, 0.1, 0]))
    assert fitting(lifted)["target"][2] == pytest.approx(first["target"][2] + 0.1, abs=1e-5)
    assert fitting(lifted)["distance"] == pytest.approx(first["distance"], abs=1e-5)
    assert fitting(ball, 0.0)["distance"] < first["distance"]  # it need not hold where the ball jumps to


def test_only_what_can_be_seen_is_packed():
    ball = jumping_ball(40, moments=3)
    gone = replace(ball, means=ball.means + torch.tensor([0.0, 0, 0, 1.5]))
    assert '"count": 120,' in player_html(ball, seconds=1.0)
    assert '"count": 0,' in player_html(gone, seconds=1.0)


def test_twenty_thousand_splats_are_a_small_file(tmp_path):
    rng = torch.Generator().manual_seed(0)
    many = tumbling(20_000, degree=3)
    many = replace(many, sh=torch.randn(many.sh.shape, generator=rng))  # nothing to compress
    path = write_player(tmp_path / "player.html", many, seconds=2.0)
    assert path.stat().st_size < 2.4e6


@pytest.fixture(scope="module")
def browser():
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with Browser(program, 640, 340) as opened:
        yield opened


def visit(browser: Browser, page: Path) -> tuple[int, int]:
    """Opens a page and waits for its first picture; width and height of that."""
    browser.log.clear()
    browser.send("Page.navigate", url=page.as_uri())
    browser.wait_until("window.player !== undefined && player.drawn > 0")
    return tuple(browser.evaluate(f"document.querySelector('canvas').{side}") for side in ("width", "height"))


def drawn(browser: Browser, size: tuple[int, int]) -> np.ndarray:
    """What the canvas shows once it has drawn again, on white, in [0, 1]."""
    browser.evaluate("window.before = player.drawn; player.look({})")
    browser.wait_until("player.drawn > window.before")
    time.sleep(0.3)
    return browser.screenshot()[: size[1], : size[0]] / 255


def unharmed(browser: Browser, page: Path) -> None:
    requests = [line for line in browser.log if line.startswith("request ")]
    assert requests
    assert all(r.startswith(("request file:", "request data:", "request blob:")) for r in requests), requests
    assert not [line for line in browser.log if line.startswith("error ")]


@pytest.mark.parametrize("kind", ["ball", "harmonics", "loop"])
def test_a_browser_draws_what_the_renderer_draws(browser, tmp_path, kind):
    """At two times from two sides; sharp splats with harmonics and colors that change, and a plain ball.

    A loop close to its end, where half of the splats are those of its beginning.
    """
    gaussians = jumping_ball(200) if kind == "ball" else tumbling(60, degree=3, fourier=2)
    gaussians = replace(gaussians, cyclic=kind == "loop")
    first, second = (0.97, 0.2) if kind == "loop" else (0.5, 0.2)
    page = write_player(tmp_path / "player.html", gaussians, seconds=3.0)
    width, height = visit(browser, page)
    square = slice(0, height), slice((width - height) // 2, (width + height) // 2)
    seen = []
    for azimuth, elevation, moment in ((0, 15, first), (120, 40, first), (120, 40, second)):
        browser.evaluate(f"player.seek({moment})")
        look = {"azimuth": azimuth, "elevation": elevation, "distance": 1.5, "target": [0, 0, 0]}
        browser.evaluate(f"player.look({json.dumps(look)})")
        picture = drawn(browser, (width, height))[square]
        camera = Cameras.orbit([azimuth], elevation, size=min(width, height))
        camera = replace(camera, width=width, height=height)
        expected = render_asset(gaussians, camera, moment, background=1.0)[0].numpy()[square]
        assert (expected.min(-1) < 0.9).sum() > 1000
        assert -10 * np.log10(((picture - expected) ** 2).mean()) > 38
        assert browser.evaluate("player.shown") == pytest.approx(
            int((gaussians.at(moment).opacities >= 1 / 255).sum()), abs=1
        )
        seen.append(picture)
    assert np.abs(seen[1] - seen[0]).mean() > 0.01
    assert np.abs(seen[2] - seen[1]).mean() > 0.01
    unharmed(browser, page)


def test_a_browser_lets_it_go_along_its_way(browser, tmp_path):
    """At three quarters of the time it is half way from the second of three places to the third."""
    gaussians = jumping_ball(200)
    way = np.array([[0, 0, 0], [0, -0.2, 0.1], [0, 0.3, 0.2]])
    page = write_player(tmp_path / "player.html", gaussians, seconds=3.0, way=way)
    width, height = visit(browser, page)
    square = slice(0, height), slice((width - height) // 2, (width + height) // 2)
    browser.evaluate("player.seek(0.75)")
    look = {"azimuth": 30, "elevation": 15, "distance": 2.0, "target": [0, 0, 0]}
    browser.evaluate(f"player.look({json.dumps(look)})")
    picture = drawn(browser, (width, height))[square]
    camera = replace(Cameras.orbit([30.0], 15.0, distance=2.0, size=height), width=width, height=height)
    camera = beside(camera, np.array([[0, 0.05, 0.15]]))
    expected = render_asset(gaussians, camera, 0.75, background=1.0)[0].numpy()[square]
    assert (expected.min(-1) < 0.9).sum() > 500
    assert -10 * np.log10(((picture - expected) ** 2).mean()) > 38
    unharmed(browser, page)


def test_it_plays_and_can_be_turned_by_hand(browser, tmp_path):
    page = write_player(tmp_path / "player.html", jumping_ball(60), seconds=2.0)
    size = visit(browser, page)
    if not browser.evaluate("player.playing"):
        browser.evaluate("document.querySelector('.play').click()")
    before = browser.evaluate("player.time")
    browser.wait_until(f"Math.abs(player.time - {before}) > 0.1")
    browser.evaluate("document.querySelector('.play').click()")
    assert browser.evaluate("player.playing") is False
    box = "document.querySelector('input').getBoundingClientRect()"
    left, width, top = (browser.evaluate(f"{box}.{k}") for k in ("left", "width", "top"))
    browser.click(left + 0.5 * width, top + 6)
    assert browser.evaluate("player.time") == pytest.approx(0.5, abs=0.03)
    assert browser.evaluate("document.querySelector('output').textContent").endswith("of 2.00 s")
    from_front = drawn(browser, size)
    browser.drag(200, 120, 60)
    turned = drawn(browser, size)
    assert np.abs(turned - from_front).mean() > 0.005
    browser.send("Input.dispatchMouseEvent", type="mouseWheel", x=200, y=120, deltaX=0, deltaY=900)
    further = drawn(browser, size)
    colorful = [(p.max(-1) - p.min(-1) > 0.2).sum() for p in (turned, further)]
    assert colorful[1] < 0.5 * colorful[0]
    unharmed(browser, page)


def test_one_moment_has_no_timeline(browser, tmp_path):
    (page,) = export(ball_asset(tmp_path), "html", options=ExportOptions(time=0.5, azimuth=30))
    visit(browser, page)
    assert browser.evaluate("player.time") == 0.5
    assert browser.evaluate("getComputedStyle(document.querySelector('input')).display") == "none"
    assert browser.evaluate("player.splats") == 60
    unharmed(browser, page)


def press(browser: Browser, key: str, *, shift: bool = False) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.send("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 * shift)


def test_it_invites_to_drag_until_somebody_does(browser, tmp_path):
    visit(browser, write_player(tmp_path / "player.html", jumping_ball(60), seconds=2.0))
    hidden = "document.querySelector('#invitation').hidden"
    assert browser.evaluate(hidden) is False
    press(browser, " ")
    assert browser.evaluate(hidden) is False
    browser.drag(200, 120, 40)
    assert browser.evaluate(hidden) is True


def test_the_keyboard_does_all_that_hands_can(browser, tmp_path):
    page = write_player(tmp_path / "player.html", jumping_ball(60), seconds=2.0, azimuth=20, elevation=10)
    visit(browser, page)
    press(browser, " ")
    assert browser.evaluate("player.playing") is False
    browser.evaluate("player.seek(0.5)")
    press(browser, "ArrowRight")
    assert browser.evaluate("player.time") == pytest.approx(0.52)
    press(browser, "ArrowLeft", shift=True)
    press(browser, "ArrowUp", shift=True)
    assert browser.evaluate("[view.azimuth, view.elevation].join()") == "28,2"
    far = browser.evaluate("view.distance")
    press(browser, "+")
    assert browser.evaluate("view.distance") == pytest.approx(0.9 * far)
    press(browser, "0")
    assert browser.evaluate("[view.azimuth, view.elevation].join()") == "20,10"
    assert browser.evaluate("view.distance") == pytest.approx(far)
    for key, pressed in (("t", "true"), ("t", "false")):
        press(browser, key)
        assert browser.evaluate("document.querySelector('.turn').ariaPressed") == pressed
    browser.evaluate("document.querySelector('input').focus()")
    press(browser, "f")
    browser.wait_until("!!document.fullscreenElement")
    press(browser, "f")
    browser.wait_until("!document.fullscreenElement")
    unharmed(browser, page)


def test_all_buttons_are_there_on_a_phone_and_are_named(browser, tmp_path):
    page = write_player(tmp_path / "player.html", jumping_ball(60), seconds=2.0)
    try:
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        browser.send("Emulation.setDeviceMetricsOverride", **phone)
        visit(browser, page)
        inside = """[...document.querySelectorAll('button, select, input')]
          .map(e => e.getBoundingClientRect())
          .filter(b => b.width >= 30 && b.left >= 0 && b.right <= innerWidth)
          .filter(b => b.bottom <= innerHeight).length"""
        assert browser.evaluate(inside) == 7
        named = """[...document.querySelectorAll('button, select, input, canvas')]
          .every(e => e.ariaLabel || e.textContent.trim())"""
        assert browser.evaluate(named)
        assert browser.evaluate("document.querySelector('canvas').clientHeight") > 0.8 * 844
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")
