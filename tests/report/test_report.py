"""The run report: what it shows, that it needs nothing else, that it looks like something in a browser."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Browser, find_browser
from toys import jumping_ball, toy_matrix

from vid4d import api
from vid4d.errors import InputError
from vid4d.matrix.io import save_matrix
from vid4d.methods import stages
from vid4d.outputs import write_outputs
from vid4d.report import report
from vid4d.report.page import again
from vid4d.runs.progress import Progress
from vid4d.runs.run import Run
from vid4d.settings import Settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished run of a made-up clip that has a hostile name."""
    run = Run.create(
        tmp_path_factory.mktemp("report") / "a run", Settings(clip="<b>clip</b>.mp4", seed=3, prior="frustum")
    )
    run.use_device("cpu")
    matrix, ball = toy_matrix(), jumping_ball(80)
    matrix = matrix.with_confidence(torch.rand(matrix.images.shape[:4]))

    def fit(bar):
        for step in range(20, 220, 20):
            bar.update(step, 200, loss=1 / step, psnr=20 + step / 20)
        return ball

    run.path("frames").mkdir()
    told = {"warnings": ["the mask touches the border of the picture at 0.00 s"], "matting_confidence": 0.9}
    run.path("frames", "clip.json").write_text(json.dumps(told))
    run.stage("fit", fit, save=lambda g: stages.keep_asset(run, g, matrix), load=lambda: ball)
    write_outputs(run, ball, matrix)
    return run.root


class Balance(HTMLParser):
    """Collects elements that are never closed, addresses, and pictures without words for who cannot see."""

    VOID = frozenset({"meta", "link", "img", "br", "circle", "path", "polyline", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.unnamed: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for k, v in attributes if k in ("src", "href") and v]
        names = {"img": "alt", "video": "aria-label", "iframe": "title", "svg": "aria-label"}
        if tag in names and not dict(attributes).get(names[tag]):
            self.unnamed.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_it_holds_everything_and_needs_nothing(folder):
    page = (folder / "report.html").read_text()
    assert len(page) < 3 << 20
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert [a for a in parser.addresses if not a.startswith("data:")] == []
    assert parser.unnamed == []
    assert sum(a.startswith("data:image/webp") for a in parser.addresses) == 5
    assert sum(a.startswith("data:video/mp4") for a in parser.addresses) == 1
    for words in (
        "What to try next",
        "Image matrix",
        "Confidence",
        "How the fit went",
        "Time and memory",
        "touches the border",
        "turntable",
        "torch",
        "--seed 3",
    ):
        assert words in page, words
    assert page.count("<polyline") == 2
    assert "&lt;b&gt;clip&lt;/b&gt;" in page
    assert "<b>clip</b>" not in page


def test_it_is_a_stage_that_is_done_once(folder):
    assert (folder / ".done" / "report").is_file()
    assert "report" in json.loads((folder / "timings.json").read_text())["stages"]


def test_what_a_run_has_not_got_is_left_out(folder, tmp_path):
    """A run from a matrix, without a clip, confidence, log or timings."""
    (tmp_path / "settings.json").write_text((folder / "settings.json").read_text())
    matrix = replace(toy_matrix(), input_images=None, input_camera=None, input_times=None)
    page = report.write_report(tmp_path, jumping_ball(80), matrix).read_text()
    assert "Image matrix" in page
    for words in ("Confidence</h2>", "The clip</h2>", "<polyline", "Time and memory", "turn it yourself"):
        assert words not in page, words


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        report.write_report(tmp_path, jumping_ball(80), toy_matrix())
    assert not (tmp_path / "report.html").exists()


def test_damaged_timings_are_one_sentence(folder, tmp_path):
    (tmp_path / "settings.json").write_text((folder / "settings.json").read_text())
    (tmp_path / "timings.json").write_text("{")
    with pytest.raises(InputError, match=r"timings.json: not JSON"):
        report.write_report(tmp_path, jumping_ball(80), toy_matrix())


def test_agreement_is_one_for_the_matrix_of_the_asset_itself_and_less_for_another():
    ball = jumping_ball(80)
    assert report.agreement(ball, toy_matrix()) > 0.95
    lifted = replace(ball, means=ball.means + torch.tensor([0, 0, 0.2, 0.0]))
    assert 0.1 < report.agreement(lifted, toy_matrix()) < 0.6


def test_confidence_counts_inside_of_the_masks_alone():
    matrix = toy_matrix()
    alpha = matrix.images[..., 3]
    half = torch.where(alpha > 0, 0.5, 1.0)
    assert report.confidence_inside(matrix.with_confidence(half)) == pytest.approx(0.5, abs=1e-4)
    assert report.confidence_inside(matrix) is None


def test_a_fit_that_still_learned_is_told_from_one_that_had_finished():
    falling = [(i, 1 / (i + 1)) for i in range(20)]
    assert report.still_falling(falling) == pytest.approx(1 - (1 / 20) / (1 / 16))
    assert report.still_falling([(i, 0.5) for i in range(20)]) == 0
    assert report.still_falling(falling[:9]) is None


def test_low_confidence_is_red_and_full_confidence_grey():
    grey, red = report.confidence_overlay(
        torch.full((2, 1, 1, 3), 0.5), torch.tensor([1.0, 0.0]).view(2, 1, 1)
    )[:, 0, 0]
    assert grey.max() == grey.min() > 0.5
    assert torch.allclose(red, torch.tensor(report.LOW_CONFIDENCE_COLOR))


def test_the_window_holds_all_that_is_seen_and_is_square():
    alpha = torch.zeros(2, 3, 20, 30)
    alpha[0, 0, 4:8, 10] = 1
    alpha[1, 2, 5, 8:18] = 1
    rows, columns = report.window(alpha)
    assert rows.start <= 4 and rows.stop >= 8  # noqa: PT018
    assert columns.start <= 8 and columns.stop >= 18  # noqa: PT018
    assert rows.stop - rows.start == columns.stop - columns.start < 14
    assert report.window(torch.zeros(1, 5, 6)) == (slice(0, 5), slice(0, 6))


def test_key_moments_are_shown(unchecked):
    matrix = replace(toy_matrix(frames=9), input_times=torch.tensor([0.0, 0.5, 1.0]))
    assert report.frames_shown(matrix, 8) == [0, 4, 8]
    assert report.frames_shown(matrix, 2) == [0, 8]
    assert report.frames_shown(replace(matrix, input_times=None), 3) == [0, 4, 8]
    dense = replace(matrix, input_times=torch.linspace(0, 1, 17))
    assert report.frames_shown(dense, 17, (0.0, 0.25, 1.0)) == [0, 2, 8]


def test_key_frames_are_those_of_the_run_folder(folder, tmp_path):
    """3 frames of which 2 are key frames; where the folder does not say, all are."""
    root = tmp_path / "copy"
    shutil.copytree(folder, root)
    asset, matrix = jumping_ball(20), toy_matrix()
    assert report.facts(root, asset, matrix).key_frames == 3
    (root / "frames" / "clip.json").write_text(
        json.dumps({"times": [0, 0.5, 1], "keys": [0, 2], "seconds": 1, "cyclic": False})
    )
    assert report.facts(root, asset, matrix).key_frames == 2
    page = report.report_html(root, asset, matrix)
    assert "of which 2 are shown" in page
    assert "likeness to the clip" in page


def test_the_command_that_makes_it_again():
    settings = Settings(clip="my clip.mp4", preset="draft", start=0.5)
    words = again(vars(settings), vars(Settings(clip="")))
    assert words == "vid4d generate 'my clip.mp4' --preset draft --start 0.5 --seed 0"
    clicked = replace(settings, click=("10,20", "30,40"), keep=True, start=None, preset="standard")
    words = again(vars(clicked), vars(Settings(clip="")))
    assert words == "vid4d generate 'my clip.mp4' --click 10,20 --click 30,40 --keep --seed 0"
    assert again(vars(replace(settings, source="matrix")), vars(settings)).startswith("vid4d reconstruct")
    assert again(vars(Settings(clip="")), vars(Settings(clip=""))) == "vid4d generate --seed 0"


def test_a_browser_shows_it_without_errors_or_requests(folder):
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with Browser(program, 900, 900) as browser:
        browser.send("Page.navigate", url=(folder / "report.html").as_uri())
        browser.wait_until("document.images.length == 5 && [...document.images].every(i => i.complete)")
        browser.wait_until("document.querySelector('video').readyState >= 2")
        assert browser.evaluate("[...document.images].every(i => i.naturalWidth > 50)")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        top = browser.screenshot()
        browser.evaluate("scrollTo(0, document.body.scrollHeight)")
        bottom = browser.screenshot()
        colorful = (top.max(-1).astype(int) - top.min(-1)) > 60
        assert colorful.sum() > 3000  # the ball, twice
        assert np.abs(top.astype(int) - bottom).mean() > 2
        asked = [line for line in browser.log if line.startswith("request ")]
        assert all(re.match("request (file:|data:)", line) for line in asked)
        assert not [line for line in browser.log if line.startswith("error ")]


def test_sent_alone_it_can_be_turned_and_is_read_on_a_phone(folder, tmp_path):
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    alone = shutil.copy(folder / "report.html", tmp_path)
    with Browser(program, 390, 844) as browser:
        browser.send(
            "Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True
        )
        browser.send("Page.navigate", url=Path(alone).as_uri())
        browser.wait_until("document.images.length == 5 && [...document.images].every(i => i.complete)")
        assert browser.evaluate("document.documentElement.scrollWidth") == 390
        browser.evaluate("document.querySelector('.turn').click()")
        browser.evaluate("document.querySelector('.player').scrollIntoView({block: 'center'})")
        assert browser.evaluate("document.querySelector('.turn').hidden")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            seen = browser.screenshot()[300:500].astype(int)
            if (shown := ((seen.max(-1) - seen.min(-1)) > 60).sum()) > 1000:
                break
        assert shown > 1000  # the ball
        assert not [line for line in browser.log if line.startswith("error ")]


def test_generate_from_a_matrix_has_one_too(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(api.METHODS, "efficient4d", "toys")
    save_matrix(toy_matrix(), tmp_path / "matrix")
    settings = Settings(clip=str(tmp_path / "matrix"), source="matrix", device="cpu")
    made = api.make(settings, out=tmp_path / "out", resume=False, progress=Progress(quiet=True))
    page = (made.root / "report.html").read_text()
    assert "vid4d reconstruct" in page
    assert "The pictures that were given" in page
