"""vid4d evaluate: the same thing in all forms has the same numbers; what cannot be judged is refused."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from command_line import refused, run
from evaluated import SIZE, TIMES, evaluated, pictures, truth_of
from exported import ball_asset
from PIL import Image

from vid4d.cameras import Cameras
from vid4d.evaluation.measure import of_pairs
from vid4d.evaluation.placement import Placement
from vid4d.evaluation.seen import Moments
from vid4d.evaluation.truth import CONSISTENT4D_AZIMUTHS
from vid4d.media.images import over_white_uint8
from vid4d.media.video import write_mp4


@pytest.fixture
def ball(tmp_path):
    folder = tmp_path / "ball"
    folder.mkdir()
    return ball_asset(folder)


def test_an_asset_its_splats_and_its_pictures_score_alike(tmp_path, ball, capsys):
    truth = truth_of(tmp_path / "truth")
    ball.export("ply", tmp_path / "plys", frames=9)
    forms = {
        "asset": tmp_path / "ball",
        "file": tmp_path / "ball" / "asset.safetensors",
        "splats": tmp_path / "plys",
        "pictures": truth,
    }
    means = {n: evaluated(capsys, p, truth, tmp_path / f"{n}.json")["mean"] for n, p in forms.items()}
    for name, mean in means.items():
        assert mean["psnr"] > 55, (name, "all but the rounding to 8 bits")
        assert mean["iou"] > 0.999
    assert means["asset"] == means["file"]
    for measure, value in means["asset"].items():
        assert means["splats"][measure] == pytest.approx(value, abs=0.05 if "psnr" in measure else 2e-4)
    assert means["pictures"]["psnr"] == 100


def test_the_axes_of_a_sequence_are_told_by_its_times(tmp_path, ball, capsys):
    truth = truth_of(tmp_path / "truth")
    found = []
    for axes in ("z-up", "y-up", "y-down"):
        ball.export("ply", tmp_path / axes, frames=9, axes=axes)
        found.append(evaluated(capsys, tmp_path / axes, truth, tmp_path / f"{axes}.json")["mean"]["psnr"])
    assert found == pytest.approx([found[0]] * 3, abs=0.05)
    said = refused(capsys, "evaluate", tmp_path / "y-up", "--truth", truth, "--up", "y-down")
    assert "says that the axes are y-up: leave --up out" in said


def test_views_of_other_tools_as_folders_and_videos(tmp_path, capsys):
    truth = truth_of(tmp_path / "truth")
    seen = pictures(Cameras.orbit([0.0, 90.0, 200.0], 10.0, size=SIZE))
    for v, view in enumerate(seen):
        (tmp_path / "folders" / f"view_{v}").mkdir(parents=True)
        for t, picture in enumerate(view):
            name = tmp_path / "folders" / f"view_{v}" / f"{t}.png"
            Image.fromarray(over_white_uint8(picture)).save(name)
        (tmp_path / "videos").mkdir(exist_ok=True)
        write_mp4(tmp_path / "videos" / f"{v}.mp4", [over_white_uint8(p) for p in view], 8)
    folders = evaluated(capsys, tmp_path / "folders", truth, tmp_path / "a.json")
    assert folders["mean"]["psnr"] == 100, "pictures without alpha are not keyed before PSNR"
    assert folders["mean"]["iou"] > 0.7, "keyed masks are guesses, of a pale ball on white"
    (judged,) = [o["judged"] for o in folders["objects"].values()]
    assert judged["more"]["alpha"] == "keyed from the background"
    assert judged["files"] == len(TIMES) * 3
    videos = evaluated(capsys, tmp_path / "videos", truth, tmp_path / "b.json")
    assert 25 < videos["mean"]["psnr"] < 60
    shutil.rmtree(tmp_path / "folders" / "view_1")
    said = refused(capsys, "evaluate", tmp_path / "folders", "--truth", truth)
    assert "is one of 2 views and the truth has 3" in said


def test_results_are_compared_only_where_they_mean_the_same(tmp_path, ball, capsys):
    truth = truth_of(tmp_path / "truth")
    for name, options in (("a", ()), ("b", ("--turn", 20)), ("c", ("--size", 24)), ("d", ("--first", 2))):
        evaluated(capsys, tmp_path / "ball", truth, tmp_path / f"{name}.json", *options)
    a, b, c, d = (tmp_path / f"{n}.json" for n in "abcd")
    capsys.readouterr()
    assert run("evaluate", "--compare", a, a) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].count("same") == said.splitlines()[0].count("|") - 3
    assert run("evaluate", "--compare", a, b) == 0
    assert "B - A" in capsys.readouterr().out
    assert "different protocols (size" in refused(capsys, "evaluate", "--compare", a, c)
    assert "different protocols (first" in refused(capsys, "evaluate", "--compare", a, d)
    other = truth_of(tmp_path / "t2" / "truth", Cameras.orbit([0.0, 80.0, 200.0], 10.0, size=SIZE))
    evaluated(capsys, tmp_path / "ball", other, tmp_path / "e.json")
    said = refused(capsys, "evaluate", "--compare", a, tmp_path / "e.json")
    assert "hold truth against different truths" in said
    a.write_text("{}")
    assert "lacks 'format'" in refused(capsys, "evaluate", "--compare", a, b)


def test_results_that_cannot_be_are_refused_and_names_move_no_cursor(tmp_path, ball, capsys):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    evaluated(capsys, tmp_path / "ball", truth_of(tmp_path / "truth"), a)
    told = json.loads(a.read_text())
    (one,) = told["objects"].values()
    b.write_text(json.dumps(told | {"mean": told["mean"] | {"ssim": 7.0}}))
    assert "no ssim is 7;" in refused(capsys, "evaluate", "--compare", a, b)
    b.write_text(json.dumps(told | {"protocol": told["protocol"] | {"version": True}}))
    assert "protocol: 'version' must be" in refused(capsys, "evaluate", "--compare", a, b)
    text = a.read_text().replace('"shift": [\n', '"shift": [1e300, 0], "was": [\n')
    b.write_text(text)
    assert "judged: more: 'placement.shift" in refused(capsys, "evaluate", "--compare", a, b)
    b.write_text(json.dumps(told | {"objects": {"\x1b[2J|\n": one}}))
    assert run("evaluate", "--compare", b, b) == 0
    assert "| \\x1b[2J\\|\\n | A |" in capsys.readouterr().out


def test_the_layout_of_the_test_set_with_two_objects(tmp_path, ball, capsys):
    """The third object is not there: it is named."""
    seen = pictures(Cameras.orbit(CONSISTENT4D_AZIMUTHS, 0.0, size=SIZE))
    for name in ("guppie", "skull"):
        shutil.copytree(tmp_path / "ball", tmp_path / "made" / name)
        for v, view in enumerate(seen):
            (tmp_path / "set" / name / f"eval_{v}").mkdir(parents=True)
            for t, picture in enumerate(view):
                file = tmp_path / "set" / name / f"eval_{v}" / f"{t}.png"
                Image.fromarray(over_white_uint8(picture)).save(file)
    options = ("--picture", tmp_path / "sheet.png")
    result = evaluated(capsys, tmp_path / "made", tmp_path / "set", tmp_path / "r.json", *options)
    assert list(result["objects"]) == ["guppie", "skull"]
    azimuths = [v["azimuth"] for v in result["objects"]["skull"]["views"]]
    assert azimuths == [285, 15, 105, 195]
    assert Image.open(tmp_path / "sheet.png").width > 4 * 128
    official = evaluated(
        capsys,
        tmp_path / "set",
        tmp_path / "set",
        tmp_path / "o.json",
        *("--protocol", "consistent4d", "--first", 1),
    )
    assert official["mean"]["psnr"] == 100
    assert official["protocol"]["size"] == official["objects"]["skull"]["truth"]["more"]["size"][0] == 512
    shutil.rmtree(tmp_path / "made" / "skull")
    said = refused(capsys, "evaluate", tmp_path / "made", "--truth", tmp_path / "set")
    assert "nothing called skull" in said


def test_a_range_that_a_pair_spans_by_hand() -> None:
    """Half the range is 6.02 dB less; mirrored borders change nothing where nothing changes."""
    true = torch.full((1, 16, 16, 3), 0.25)
    true[:, :8] = 0.75
    ours = true + 0.1
    found = of_pairs(ours, true)
    assert float(found["psnr"]) == pytest.approx(20 + 20 * math.log10(0.5), abs=1e-4)
    assert float(of_pairs(true, true)["psnr"]) == 100
    assert float(of_pairs(true, true)["ssim"]) == pytest.approx(1)


def test_a_thing_of_other_axes_and_size_is_put_into_place() -> None:
    """A point of a y-up world twice as large, seen from the placed cameras, falls on the same pixel."""
    cameras = Cameras.orbit([0.0, 70.0], 20.0, size=64)
    placement = Placement("y", 90.0, 0.5, (0.1, 0.0, -0.2))
    theirs = torch.tensor([[0.2, 0.6, 0.4]])  # right, up, front
    ours = 0.5 * torch.tensor([[-0.2, 0.4, 0.6]]) + torch.tensor(
        [0.1, 0.0, -0.2]
    )  # front +x and left +y turned by a quarter; up
    placed, _ = placement.cameras(cameras).project(theirs)
    torch.testing.assert_close(placed, cameras.project(ours)[0])


def test_moments_of_loops_leave_their_end_out() -> None:
    assert Moments(4).over(True) == [0, 0.25, 0.5, 0.75]
    assert Moments(3).over(False) == [0, 0.5, 1]
    assert Moments(1).over(False) == [0]
    assert Moments(5).first(2).over(False) == [0, 0.25]
    assert Moments(3, (0.0, 0.2, 1.0)).first(2).over(True) == [0, 0.2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to judge"),
        (("ball",), "nothing to judge"),
        (("nowhere", "--truth", "truth"), "there is no nowhere"),
        (("ball", "--truth", "nowhere"), "there is no folder nowhere"),
        (("ball", "--truth", "ball"), "ball holds no truth"),
        (("ball", "--truth", "run"), "run is a run, which is no truth"),
        (("ball", "--truth", "truth", "--out", "a.txt"), "unknown ending"),
        (("ball", "--truth", "truth", "--textureless"), "name one with --picture"),
        (("truth", "--truth", "truth", "--picture", "a.png", "--textureless"), "pictures alone"),
        (("ball", "--truth", "truth", "--up", "y"), "--up has no effect"),
        (("truth", "--truth", "truth", "--turn", "3"), "cannot be moved"),
        (("truth", "--truth", "truth", "--size", "64"), "cannot be judged at 64"),
        (("ball", "--truth", "truth", "--elevation", "3"), "--elevation has no effect"),
        (("ball", "--truth", "truth", "--first", "9"), "choose 1 to 4"),
        (("ball", "--truth", "truth", "--protocol", "consistent4d", "--size", "9"), "--size has no effect"),
        (("ball", "--truth", "truth", "--scale", "0"), "choose 0.001"),
        (("empty", "--truth", "truth"), "holds nothing that can be judged"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path, ball, capsys, monkeypatch, arguments, said):
    truth_of(tmp_path / "truth")
    (tmp_path / "empty").mkdir()
    truth_of(tmp_path / "run" / "matrix")
    (tmp_path / "run" / "settings.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, "evaluate", *arguments)
