"""The player: one file, opened from the disk, that plays and draws the splats in the right order."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Browser, find_browser
from toys import jumping_ball

from vid4d.export.html import fixed_colours, moments_to_record, player_html, write_player
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D


@pytest.mark.parametrize(
    ("seconds", "splats", "moments"),
    [(2.0, 5_000, 24), (60.0, 5_000, 48), (0.1, 5_000, 6), (2.0, 100_000, 6), (2.0, 10**7, 2)],
)
def test_moments_are_few_enough_for_a_browser(seconds, splats, moments):
    assert moments_to_record(seconds, splats) == moments


def splats_with(sh: torch.Tensor, means: torch.Tensor) -> Gaussians3D:
    n = len(means)
    return Gaussians3D(means, torch.eye(3).expand(n, 3, 3) * 1e-3, torch.ones(n), sh)


def test_colours_without_harmonics_are_the_colours():
    rgb = torch.tensor([[0.2, 0.5, 0.9], [1.0, 0.0, 0.3]])
    splats = splats_with(harmonics.from_rgb(rgb)[:, None], torch.rand(2, 3))
    assert torch.allclose(fixed_colours(splats), rgb, atol=1e-6)


def test_colours_are_those_seen_from_the_splats_own_side():
    """A splat in front that looks bright from +x and dark from -x is bright; behind, it would be dark."""
    sh = torch.zeros(2, 4, 3)
    sh[:, 3] = 0.6  # times -C1 x of the direction from the camera: from +x that is +C1
    means = torch.tensor([[0.3, 0.0, 0.05], [-0.3, 0.0, 0.05]])
    front, behind = fixed_colours(splats_with(sh, means))
    seen = harmonics.evaluate(sh[:1], means[:1], torch.tensor([1.5, 0.0, 0.0]))[0]
    assert front.min() > 0.65
    assert seen.min() > front.min()  # looked at straight on it is brighter than from the sides
    assert behind.max() < 0.35


def test_the_page_needs_nothing_from_elsewhere(capfd):
    page = player_html(jumping_ball(40), seconds=0.5, title="<my> clip")
    assert "<title>&lt;my&gt; clip</title>" in page
    outside = re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:|#)[\w:/.]+""", page[: page.index("</head>")])
    assert outside == []
    assert "__VISER_EMBED_DATA__" in page
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


@pytest.fixture
def page(tmp_path) -> Path:
    """Three moments of four seconds each: the ball is low, high, low."""
    return write_player(tmp_path / "player.html", jumping_ball(120, moments=3), seconds=12.0, steps=3)


def test_a_browser_plays_it_from_the_disk(page):
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with Browser(program, 700, 560) as browser:
        browser.send("Page.navigate", url=page.as_uri())
        browser.wait_until("document.querySelectorAll('canvas, .mantine-Slider-root').length >= 2")
        box = "document.querySelector('.mantine-Slider-root').getBoundingClientRect()"
        left, width, y = (browser.evaluate(f"{box}.{k}") for k in ("left", "width", "top"))
        height = {}
        for name, share in (("low", 0.1), ("high", 0.5)):
            browser.click(left + share * width, y + 2)
            picture = settled(browser)[: int(y) - 8]
            ball = (picture.max(-1).astype(int) - picture.min(-1)) > 60  # colourful: the ball, no text
            assert ball.sum() > 500
            height[name] = np.nonzero(ball)[0].mean()
            middle = picture[ball & (np.abs(np.arange(picture.shape[1]) - picture.shape[1] / 2) < 12)[None]]
            red, green, _ = middle.mean(0)
            assert red > green + 20, "the back is drawn over the front: the splats were not sorted"
        assert height["high"] < height["low"] - 15
        requests = [line for line in browser.log if line.startswith("request ")]
        assert all(r.startswith(("request file:", "request data:", "request blob:")) for r in requests)
        assert not [line for line in browser.log if line.startswith("error ")]


def settled(browser: Browser, seconds: float = 40.0) -> np.ndarray:
    """A screenshot, once two of them in a row show the same."""
    deadline, before = time.monotonic() + seconds, browser.screenshot()
    while time.monotonic() < deadline:
        time.sleep(1.5)
        after = browser.screenshot()
        if after.shape == before.shape and np.abs(after.astype(int) - before).mean() < 0.05:
            return after
        before = after
    return before
