"""The clip over the asset: both sheets show the same moments, and a browser draws them."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
import torch
from browser import Browser, find_browser
from toys import jumping_ball, toy_matrix

from vid4d.media.images import over_white, to_uint8
from vid4d.render import render_asset
from vid4d.report.overlay import overlay_html, overlay_sheets
from vid4d.report.report import picture_uri


def test_cells_are_the_clips_frames_and_the_asset_at_their_times():
    matrix, ball = toy_matrix(frames=8), jumping_ball(80)
    sheets = overlay_sheets(ball, matrix)
    assert sheets is not None
    assert (sheets.columns, sheets.width, sheets.height) == (6, 32, 32)
    assert sheets.times == pytest.approx(matrix.input_times.tolist())
    clip, asset = np.asarray(sheets.clip), np.asarray(sheets.asset)
    assert clip.shape == asset.shape == (2 * 32, 6 * 32, 3)
    expected = to_uint8(over_white(matrix.input_images[7]).numpy())
    np.testing.assert_array_equal(clip[32:, 32:64], expected)  # the eighth: second row, second column
    rendered = render_asset(ball, matrix.input_camera, 1.0, background=1.0)[0].numpy()
    np.testing.assert_array_equal(asset[32:, 32:64], to_uint8(rendered))


def test_long_and_large_clips_are_thinned_out_and_made_smaller():
    matrix = toy_matrix(frames=3, size=32)
    many = matrix.input_images[:1].repeat(60, 1, 1, 1)
    long = replace(matrix, input_images=many, input_times=torch.linspace(0, 1, 60), seconds=2.0)
    sheets = overlay_sheets(jumping_ball(20), long)
    assert len(sheets.times) == 24
    assert (sheets.times[0], sheets.times[-1]) == (0, 2)
    large = replace(matrix, input_camera=matrix.input_camera.resized(1000))
    assert overlay_sheets(jumping_ball(20), large).width == 360


def test_without_a_clip_there_is_nothing_to_lay_over():
    matrix = replace(toy_matrix(), input_images=None, input_camera=None, input_times=None)
    assert overlay_sheets(jumping_ball(20), matrix) is None


def test_the_page_says_which_cell_is_when():
    sheets = overlay_sheets(jumping_ball(20), toy_matrix())
    page = overlay_html("data:a", "data:b", sheets)
    about = json.loads(unescape(re.search(r'data-about="([^"]*)"', page)[1]))
    assert about == {"columns": 3, "width": 32, "height": 32, "times": [0, 0.5, 1], "seconds": 1.0}
    assert page.startswith("<section hidden>")  # until the script runs


def test_a_browser_draws_curtain_blend_and_difference(tmp_path):
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    sheets = overlay_sheets(jumping_ball(80), toy_matrix())
    page = tmp_path / "page.html"
    page.write_text(overlay_html(picture_uri(sheets.clip, 100), picture_uri(sheets.asset, 100), sheets))
    show = "box.querySelector('{}').value = {}; box.querySelector('{}').{}()"
    read = "[...pen.getImageData(0, 0, 32, 32).data].join(' ')"
    with Browser(program, 500, 500) as browser:
        browser.send("Page.navigate", url=page.as_uri())
        browser.wait_until("document.querySelector('.over').dataset.drawn !== undefined")
        browser.evaluate("var box = document.querySelector('.over')")
        browser.evaluate("var pen = box.querySelector('canvas').getContext('2d')")
        browser.evaluate("playing && box.querySelector('button').click()")
        time.sleep(0.2)

        def drawn(*steps: str) -> np.ndarray:
            for step in steps:
                browser.evaluate(step)
            values = browser.evaluate(read).split(" ")
            return np.array(values, int).reshape(32, 32, 4)[..., :3]

        last = show.format(".when", 2, ".when", "oninput")
        all_clip = show.format(".share", 100, ".share", "oninput")
        clip = np.asarray(sheets.clip)[:, 64:].astype(int)
        shown = drawn(last, all_clip)
        assert np.abs(shown[:, :29] - clip[:, :29]).mean() < 4  # lossy, and the curtain's edge on the right
        half = drawn(show.format(".share", 50, ".share", "oninput"))
        assert tuple(half[0, 15]) == tuple(half[31, 16]) != (255, 255, 255)  # the edge
        difference = drawn(show.format("select", "'difference'", "select", "onchange"))
        assert difference.max() < 40  # the clip is the asset, but for compression
        faults = [line for line in browser.log if line.startswith("error ")]
        assert [line for line in faults if "readback" not in line] == []  # this test's own reading
