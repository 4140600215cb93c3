"""The command line and the Python entry, with a method made up for the tests (tests/toys.py)."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
from command_line import refused, run
from PIL import Image

import vid4d
from vid4d import api
from vid4d.commands.prepare import DENSE, KEYS, prepare
from vid4d.errors import InputError
from vid4d.media.video import write_mp4
from vid4d.methods.efficient4d import PRESETS

TESTS = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def toy_method(monkeypatch, tmp_path):
    monkeypatch.setitem(api.METHODS, "efficient4d", "toys")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clip(tmp_path) -> Path:
    """Four RGBA pictures of a square that moves."""
    folder = tmp_path / "square"
    folder.mkdir()
    for i in range(4):
        picture = np.zeros((48, 48, 4), np.uint8)
        picture[16:32, 10 + 4 * i : 26 + 4 * i] = (200, 80, 30, 255)
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(("asked", "used"), [(None, "passive"), ("active", "active")])
def test_openmp_workers_sleep_while_they_wait_unless_told_otherwise(asked, used):
    code = "import os, sys, vid4d.cli; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    surroundings = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    surroundings |= {"OMP_WAIT_POLICY": asked} if asked else {}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=surroundings).split() == [
        used,
        "False",
    ]


def test_generate_makes_all_that_is_promised(clip, tmp_path, capsys):
    assert run("generate", clip, "--out", "out", "--seed", "7") == 0
    out = tmp_path / "out"
    promised = "settings.json log.txt timings.json machine.json report.json strip.png asset.safetensors "
    promised += "turntable.mp4 contact.png player.html report.html curves.jsonl frames/0000.png "
    promised += "frames/clip.json matrix/cameras.json"
    for name in promised.split():
        assert (out / name).stat().st_size > 0, name
    assert json.loads((out / "settings.json").read_text())["settings"]["seed"] == 7
    assert json.loads((out / "report.json").read_text())["input_psnr_db"] > 30
    said = capsys.readouterr().err
    assert re.search(r"fit: done in 0:0\d, input PSNR 30.00 dB", said)
    assert "report.html" in said.splitlines()[-1]
    assert not [p.name for p in out.rglob("*") if "partial" in p.name or p.suffix == ".tmp"]


def test_matrix_stops_there_and_the_command_that_it_names_goes_on(clip, tmp_path, capsys):
    assert run("matrix", clip, "--out", "my run", "--seed", "5") == 0
    assert not (tmp_path / "my run" / "asset.safetensors").exists()
    (further,) = re.findall(r"go on with: vid4d (generate .*)", capsys.readouterr().err)
    assert run(*shlex.split(further)) == 0
    assert "matrix: done before" in capsys.readouterr().err
    assert (tmp_path / "my run" / "player.html").exists()


def test_reconstruct_starts_from_a_matrix(clip, tmp_path):
    assert run("matrix", clip, "--out", "first") == 0
    assert run("reconstruct", "first/matrix", "--out", "second") == 0
    assert (tmp_path / "second" / "turntable.mp4").exists()
    assert not (tmp_path / "second" / "frames").exists()


def test_ctrl_c_says_how_to_go_on_and_it_does(clip, tmp_path, capsys, monkeypatch):
    def stopped(run, matrix):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(toys, "make_asset", stopped)
        assert run("generate", clip, "--out", "out") == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"vid4d: stopped; continue with: vid4d generate {clip} --out out --resume"
    assert run("generate", *said.split("vid4d generate ")[1].split()) == 0
    assert (tmp_path / "out" / "player.html").exists()


def test_a_killed_run_resumes(clip, tmp_path):
    """SIGKILL in the middle of the fit; what was finished is not made again."""
    process = fitting(clip)
    process.kill()
    process.wait()
    made = (tmp_path / "out" / "matrix" / "cameras.json").stat().st_mtime_ns
    assert run("generate", clip, "--out", "out", "--resume") == 0
    assert (tmp_path / "out" / "matrix" / "cameras.json").stat().st_mtime_ns == made
    assert (tmp_path / "out" / "asset.safetensors").exists()


def test_a_matrix_that_cannot_be_fitted_leaves_no_folder_that_refuses_a_mended_one(
    clip, tmp_path, capsys, monkeypatch
):
    assert run("matrix", clip, "--out", "run") == 0

    def refuses(run, matrix):
        raise InputError("nothing to see")

    with monkeypatch.context() as changed:
        changed.setattr(toys, "make_asset", refuses)
        assert "nothing to see" in refused(capsys, "reconstruct", "run/matrix", "--out", "new")
        assert not Path("new").exists()
        assert "nothing to see" in refused(capsys, "generate", clip, "--out", "run", "--resume")
        assert Path("run/matrix/cameras.json").exists()
    assert run("reconstruct", "run/matrix", "--out", "new") == 0


def test_a_second_process_is_told_who_works_in_the_folder(clip, tmp_path, capsys):
    process = fitting(clip)
    before = sorted(tmp_path.rglob("*"))
    said = refused(capsys, "generate", clip, "--out", "out", "--resume")
    assert f"out is in use by process {process.pid} on " in said
    assert sorted(tmp_path.rglob("*")) == before
    process.kill()
    process.wait()
    assert run("generate", clip, "--out", "out", "--resume") == 0
    assert run("generate", clip, "--out", "out", "--resume") == 0


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_terminated_run_says_how_to_go_on(clip, tmp_path, name, code):
    """They go the way of Ctrl-C: `written_whole` leaves nothing half written."""
    if not hasattr(signal, name):
        pytest.skip("the system has no such signal")
    process = fitting(
        clip, "with written_whole('out/half.txt') as t: print('writing', flush=True); time.sleep(60)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said.strip().splitlines()[-1].startswith("vid4d: stopped; continue with: vid4d generate ")
    assert not [p for p in (tmp_path / "out").iterdir() if "half" in p.name]


def fitting(clip: Path, then: str = "time.sleep(60)") -> subprocess.Popen[str]:
    """A process that runs `vid4d generate CLIP --out out` and is in the middle of its fit."""
    code = (
        "import signal, sys, time, toys\nfrom vid4d import api, cli\n"
        "from vid4d.files.write import written_whole\n"
        "for name in {'SIGTERM', 'SIGHUP'} & {*dir(signal)}:  # ignored under nohup\n"
        "    signal.signal(getattr(signal, name), signal.SIG_DFL)\n"
        f"def make_asset(run, matrix):\n    print('fitting', flush=True)\n    {then}\n"
        "toys.make_asset = make_asset\napi.METHODS['efficient4d'] = 'toys'\n"
        f"cli.main(['generate', {str(clip)!r}, '--out', 'out'])"
    )
    places = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "fitting\n"
    return process


def test_bad_input_is_one_sentence(clip, tmp_path, capsys, unchecked):
    assert "there is no nowhere.mp4" in refused(capsys, "generate", "nowhere.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    refused(capsys, "generate", "text.mp4")
    (tmp_path / "empty").mkdir()
    refused(capsys, "generate", "empty")
    assert "no method" in refused_value(lambda: api.generate(clip, method="guess"))
    assert "cannot be used here" in refused(capsys, "generate", clip, "--device", "cuda:99")
    assert "--start" in refused(capsys, "generate", clip, "--start", "-3")
    assert "holds no asset" in refused(capsys, "render", clip)
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def square(width: int = 48, side: int = 16, at: int = 10) -> Image.Image:
    picture = np.zeros((48, width, 4), np.uint8)
    picture[16 : 16 + side, at : at + side] = (200, 80, 30, 255)
    return Image.fromarray(picture)


def different_sizes(folder: Path) -> None:
    square(48).save(folder / "0.png")
    square(64).save(folder / "1.png")


def empty_mask(folder: Path) -> None:
    square().save(folder / "0.png")
    Image.new("RGBA", (48, 48)).save(folder / "1.png")


def full_frame(folder: Path) -> None:
    for i in range(2):
        Image.new("RGBA", (48, 48), (9, 9, 200, 255)).save(folder / f"{i}.png")


def broken_picture(folder: Path) -> None:
    square().save(folder / "0.png")
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes()[:60])


@pytest.mark.parametrize(
    "fill", [different_sizes, empty_mask, full_frame, broken_picture, lambda folder: None]
)
def test_bad_folders_are_one_sentence_and_leave_nothing(fill, tmp_path, capsys):
    (tmp_path / "frames").mkdir()
    fill(tmp_path / "frames")
    refused(capsys, "generate", "frames", "--out", "out")
    assert not (tmp_path / "out").exists()
    refused(capsys, "prepare", "frames", "--out", "out")
    assert not (tmp_path / "out").exists()


def test_a_truncated_video_is_one_sentence(tmp_path, capsys):
    frames = [np.full((48, 48, 3), 255, np.uint8) for _ in range(30)]
    for i, frame in enumerate(frames):
        frame[10:30, i : i + 15] = (200, 30, 30)
    write_mp4(tmp_path / "whole.mp4", frames, 15)
    assert run("prepare", "whole.mp4", "--out", "good") == 0
    (tmp_path / "half.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:700])
    refused(capsys, "generate", "half.mp4", "--out", "out")
    assert not (tmp_path / "out").exists()


def test_a_matrix_with_nan_is_one_sentence(clip, tmp_path, capsys):
    assert run("matrix", clip, "--out", "out") == 0
    file = tmp_path / "out" / "matrix" / "cameras.json"
    metadata = json.loads(file.read_text())
    metadata["times"][1] = float("nan")
    file.write_text(json.dumps(metadata))
    refused(capsys, "reconstruct", "out/matrix", "--out", "again")
    assert not (tmp_path / "again").exists()


def test_two_frames_and_two_thousand_are_enough(tmp_path):
    (tmp_path / "two").mkdir()
    for i in range(2):
        square(at=10 + i).save(tmp_path / "two" / f"{i}.png")
    assert run("prepare", "two", "--out", "a") == 0
    assert len(list((tmp_path / "a" / "frames").glob("*.png"))) == 2
    frame = np.full((32, 32, 3), 255, np.uint8)
    frame[8:20, 8:20] = 30
    write_mp4(tmp_path / "long.mp4", (frame for _ in range(2000)), 25)
    assert run("prepare", "long.mp4", "--out", "b", "--frames", "5", "--cyclic", "no", "--size", "32") == 0
    assert len(list((tmp_path / "b" / "frames").glob("*.png"))) == 64


def refused_value(function) -> str:
    with pytest.raises(InputError) as caught:
        function()
    return str(caught.value)


def test_an_output_that_exists_or_cannot_be_written(clip, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert "not empty" in refused(capsys, "generate", clip, "--out", "mine")
    assert "not a folder" in refused(capsys, "generate", clip, "--out", "mine/letter.txt")
    refused(capsys, "generate", clip, "--out", "mine/letter.txt/below")
    if sys.platform == "linux":
        refused(capsys, "generate", clip, "--out", "/proc/nothing-can-be-made-here")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_run_needs_resume_and_the_same_settings(clip, capsys):
    assert run("matrix", clip, "--out", "out") == 0
    assert "--resume" in refused(capsys, "generate", clip, "--out", "out")
    assert "seed 0 -> 5" in refused(capsys, "generate", clip, "--out", "out", "--resume", "--seed", "5")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "out/x"),
        Exception("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_sentence(clip, capsys, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(toys, "make_asset", full)
    assert "the disk is full" in refused(capsys, "generate", clip, "--out", "out")


def test_a_bug_shows_its_traceback(clip, capsys, monkeypatch):
    monkeypatch.setattr(toys, "make_asset", lambda run, matrix: 1 / 0)
    assert run("generate", clip, "--out", "out") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_traceback_on_request(capsys):
    assert run("generate", "nowhere.mp4", "--traceback") == 2
    assert "Traceback" in capsys.readouterr().err


def test_prepare_writes_frames_and_a_strip(clip, tmp_path, capsys):
    assert run("prepare", clip, "--frames", "3", "--size", "64") == 0
    out = tmp_path / "runs" / "square-frames"
    assert len(list((out / "frames").glob("*.png"))) == 4
    assert Image.open(out / "strip.png").size == (3 * 64, 64)
    assert "4 frames (3 key frames)" in capsys.readouterr().out


def test_prepare_reads_the_frames_that_generate_uses(clip, tmp_path):

    standard = PRESETS["standard"]
    assert (standard.frames, standard.reference_frames) == (KEYS, DENSE)
    assert inspect.signature(prepare).parameters["size"].default == standard.clip_size


def test_info_names_the_machine(capsys):
    assert run("info") == 0
    output = capsys.readouterr().out
    for word in ("device", "cpu", "cores", "instructions", "raster reference", "version torch"):
        assert re.search(f"^{word} ", output, re.M), word
    told = re.findall(r"^weights (\S+) +([\d.]+) MiB, shipped$", output, re.M)
    pieces = (Path(vid4d.__file__).parent / "priors" / "data" / "frustum").glob("*.safetensors")
    assert [name for name, _ in told] == ["frustum", "interpolation"]
    assert float(told[0][1]) == pytest.approx(sum(p.stat().st_size for p in pieces) / 2**20, abs=0.1)


@pytest.fixture
def finished(clip) -> str:
    assert run("generate", clip, "--out", "out") == 0
    return "out"


def test_render_stills_and_an_orbit(finished, tmp_path, capsys):
    capsys.readouterr()
    assert run("render", finished, "--azimuth", "0", "180", "--time", "0", "0.5", "1", "--size", "48") == 0
    stills = capsys.readouterr().out.split()
    assert len(stills) == 6
    assert {Image.open(s).size for s in stills} == {(48, 48)}
    assert run("render", finished, "--out", "one.png", "--transparent", "--size", "32") == 0
    assert Image.open("one.png").mode == "RGBA"
    assert run("render", finished, "--out", "turn.mp4", "--seconds", "0.5", "--size", "32") == 0
    assert Path("turn.mp4").stat().st_size > 500


def test_render_asks_before_it_replaces_what_it_did_not_write(finished, capsys):
    Path("photo.png").write_text("mine")
    still = ("render", finished, "--size", "16", "--out")
    assert "photo.png exists: replace it with --force" in refused(capsys, *still, "photo.png")
    assert Path("photo.png").read_text() == "mine"
    assert run(*still, "photo.png", "--force") == 0
    assert Image.open("photo.png").size == (16, 16)
    assert run("render", finished, "--size", "16") == run("render", finished, "--size", "24") == 0
    (made,) = Path(finished, "renders").glob("*.png")
    made.write_text("mine")
    assert "exists: replace it with --force" in refused(capsys, "render", finished, "--size", "16")


def test_render_refuses_what_it_cannot_do(finished, capsys):
    assert "2 stills" in refused(capsys, "render", finished, "--out", "a.png", "--time", "0", "1")
    assert "outside of the clip" in refused(capsys, "render", finished, "--time", "1.5")
    assert "elevation of 100" in refused(capsys, "render", finished, "--elevation", "100")
    assert "size of 1 pixels" in refused(capsys, "render", finished, "--size", "1")
    assert "ending" in refused(capsys, "render", finished, "--out", "a.gif")


def test_from_python(clip, tmp_path):
    asset = vid4d.generate(clip, out="out", frames=3)
    assert asset.root == Path("out")
    cameras = vid4d.Cameras.orbit([0, 90], 20, size=24)
    pictures = vid4d.load("out").render(cameras, time=0.5)
    assert pictures.shape == (2, 24, 24, 4)
    assert pictures[0, 12, 12, 3] > 0.9
    assert pictures[..., 0, 0, 3].max() == 0
    again = vid4d.load("out/asset.safetensors").render(cameras, time=[0.5, 0.5], background=1.0)
    expected = pictures[..., :3] * pictures[..., 3:] + 1 - pictures[..., 3:]
    assert (again - expected).abs().max() < 1e-3
    with pytest.raises(InputError, match="3 times for 2 cameras"):
        asset.render(cameras, time=[0, 0.5, 1])
    with pytest.raises(InputError, match="outside of 0 to 1"):
        asset.render(cameras, time=2.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seconds", "2"), "--seconds has no effect on stills"),
        (("--orbit", "--time", "0.5"), "--time has no effect on an orbit"),
        (("--orbit", "--transparent"), "--transparent has no effect on an orbit"),
        (("--out", "a.mp4", "--azimuth", "0", "90"), "an orbit begins at one azimuth, and 2 are given"),
    ],
)
def test_render_refuses_options_without_effect(finished, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, "render", finished, *options)
    assert not list(tmp_path.glob("a.mp4"))
