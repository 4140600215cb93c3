"""Bad input from end to end: exit code 2, one sentence, no traceback, nothing left behind.

What the readers themselves refuse is tested beside them (tests/clip, test_matrix_io.py); the commands with
a made-up method in test_cli.py. Here the commands run as shipped, as far as they come.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import toys
from command_line import run
from filelock import FileLock
from PIL import Image
from sentences import on_disk, refused, sentence

from vid4d import api
from vid4d.export.formats import FORMATS
from vid4d.files.manifest import MANIFEST
from vid4d.gaussians.model import save_asset
from vid4d.matrix.io import save_matrix
from vid4d.media.video import write_mp4
from vid4d.runs.lock import LOCK
from vid4d.runs.run import Run
from vid4d.settings import Settings

SIDE = 64


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def box(at: int = 20) -> np.ndarray:
    """A reddish box on nothing, RGBA."""
    picture = np.zeros((SIDE, SIDE, 4), np.uint8)
    picture[20:44, at : at + 24] = (200, 80, 30, 255)
    return picture


@pytest.fixture
def clip() -> str:
    """Three pictures."""
    Path("clip").mkdir()
    for i in range(3):
        Image.fromarray(box(16 + 4 * i)).save(f"clip/{i}.png")
    return "clip"


@pytest.fixture(scope="module")
def whole_matrix(tmp_path_factory) -> Path:
    return save_matrix(toys.toy_matrix(), tmp_path_factory.mktemp("made") / "matrix")


@pytest.fixture
def matrix(whole_matrix) -> Path:
    return Path(shutil.copytree(whole_matrix, "matrix"))


# ---- clips -----------------------------------------------------------------------------------------------


def test_a_process_of_its_own_says_one_sentence():
    Path("text.mp4").write_text("no video")
    for arguments in (["generate", "nowhere.mp4"], ["prepare", "text.mp4"]):
        done = subprocess.run(
            [sys.executable, "-m", "vid4d.cli", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert arguments[1] in sentence(done.stderr)
        assert done.stdout == ""
    assert list(on_disk()) == ["text.mp4"]


@pytest.mark.parametrize("command", ["generate", "matrix", "prepare"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere.mp4", "nowhere.mp4"),
        ("no*.png", "no file matches"),
        ("text.mp4", "not a video"),
        ("nothing.mp4", "file is empty"),
        ("folder.mp4", "no images"),
        ("notes", "no images"),
        ("", "no clip was named"),
    ],
)
def test_what_is_no_clip(command, name, told, capsys):
    Path("text.mp4").write_text("no video")
    Path("nothing.mp4").touch()
    Path("folder.mp4").mkdir()
    Path("notes").mkdir()
    Path("notes/letter.txt").write_text("dear")
    assert told in refused(capsys, command, name, "--out", "out")
    assert told in refused(capsys, command, name)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_mp4(share, capsys):
    frames = []
    for i in range(20):
        frames.append(np.full((SIDE, SIDE, 3), 255, np.uint8))
        frames[-1][20:44, i : i + 24] = (200, 80, 30)
    whole = write_mp4(Path("whole.mp4"), frames, 10).read_bytes()
    Path("cut.mp4").write_bytes(whole[: int(len(whole) * share)])
    for command in ("generate", "prepare"):
        assert "cut.mp4" in refused(capsys, command, "cut.mp4", "--out", "out")


def test_masks_that_are_empty_or_fill_the_frame_say_when(clip, capsys):
    Image.new("RGBA", (SIDE, SIDE)).save("clip/1.png")
    assert "at 0.04 s is empty" in refused(capsys, "generate", clip, "--out", "out")
    Image.new("RGBA", (SIDE, SIDE), (9, 9, 9, 255)).save("clip/1.png")
    assert "at 0.04 s fills" in refused(capsys, "prepare", clip, "--out", "out")


def png16(path: str, values: np.ndarray) -> None:
    """A PNG with 16 bits a channel, which Pillow does not write: grey, RGB, or RGBA."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    Path(path).write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["grey 8", "grey 16", "grey alpha 16", "rgb 16", "rgba 16"])
def test_deep_and_grey_pictures_work(kind):
    """A box of one grey on white, or on nothing: the same mask and the same grey from every kind."""
    Path("deep").mkdir()
    for i in range(2):
        mask = box(18 + 4 * i)[..., 3:] > 0
        grey = np.where(mask, 25_700, 65_535)
        alpha = np.where(mask, 65_535, 0)
        file = f"deep/{i}.png"
        if kind == "grey 8":
            Image.fromarray((grey[..., 0] // 257).astype(np.uint8)).save(file)
        else:
            color = [grey] * (1 if "grey" in kind else 3)
            png16(file, np.concatenate([*color, alpha] if "a" in kind.removeprefix("grey") else color, -1))
    assert run("prepare", "deep", "--out", "out", "--size", "64") == 0
    for i in range(2):
        rgba = np.asarray(Image.open(f"out/frames/{i:04d}.png"))
        inside = rgba[..., 3] > 250
        # the union of the boxes is 28 wide and takes 200/256 of the picture
        assert inside.sum() == pytest.approx((24 / 28 * 64 * 200 / 256) ** 2, rel=0.12)
        assert np.abs(rgba[inside][:, :3].astype(int) - 100).max() <= 3


# ---- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--prior sd3", "no prior 'sd3'"),
        ("--frames -1", "-1 key frames show nothing"),
        ("--frames 0", "0 key frames show nothing"),
        ("--method consistent4d --frames 1000000", "1000000 key frames are more than"),
        ("--prior syncdreamer", "the weights of syncdreamer are not on this machine: get"),
        ("--every 0", "--every 0"),
        ("--start nan", "--start nan"),
        ("--start 99", "no frame between"),
        ("--end 0", "--end 0"),
        ("--end inf", "--end inf"),
        ("--fps 0", "no rate"),
        ("--fps -24", "no rate"),
        ("--fps inf", "no rate"),
        ("--elevation nan", "elevation of nan"),
        ("--elevation 91", "elevation of 91"),
        ("--seed -1", "seed -1"),
        ("--seed 99999999999999999999", "seed 99999999999999999999"),
        ("--device banana", "device 'banana'"),
        ("--device meta", "device 'meta'"),
        ("--matting nowhere.onnx", "nowhere.onnx"),
    ],
)
def test_options_that_cannot_be(options, told, clip, capsys, monkeypatch):
    monkeypatch.setenv("VID4D_WEIGHTS", "no-weights")
    assert told in refused(capsys, "generate", clip, "--out", "out", *options.split())


@pytest.mark.parametrize("options", ["--frames -1", "--size -3", "--every -2", "--fps nan"])
def test_options_of_prepare_that_cannot_be(options, clip, capsys):
    refused(capsys, "prepare", clip, "--out", "out", *options.split())


@pytest.mark.parametrize("options", ["--steps -5", "--batch 0", "--seconds nan", "--lr -1"])
def test_options_of_train_that_cannot_be(options, clip, capsys):
    message = refused(
        capsys, "train", "--stage", "frustum", "--models", clip, "--out", "out", *options.split()
    )
    assert options in message


@pytest.mark.parametrize(
    "options", ["--azimuth nan", "--time nan", "--elevation inf", "--orbit --seconds nan"]
)
def test_options_of_render_that_cannot_be(options, capsys):
    save_asset(Path("asset.safetensors"), toys.jumping_ball(20), {})
    refused(capsys, "render", "asset.safetensors", "--out", "out", *options.split())


def test_models_to_train_on_that_are_none(clip, capsys):
    options = ("--stage", "frustum", "--out", "out")
    assert "no folder of models at nowhere" in refused(capsys, "train", "--models", "nowhere", *options)
    assert "no *.npz shards of models in clip" in refused(capsys, "train", "--models", clip, *options)


def test_weights_that_nobody_publishes(capsys):
    for command in ("fetch", "verify"):
        message = refused(capsys, "weights", command, "nosuch")
        assert message.startswith("there are no weights 'nosuch': choose one of syncdreamer,")


# ---- assets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["render", "export --to ply", "export --to nosuch", "view"])
def test_what_is_no_asset(command, clip, capsys):
    name, *options = command.split()
    assert refused(capsys, name, "nowhere", *options).startswith("there is no nowhere: give a run folder")
    assert "it is not a run folder" in refused(capsys, name, clip, *options)
    assert "not a readable safetensors file" in refused(capsys, name, "clip/0.png", *options)


def test_what_is_no_format(capsys):
    save_asset(Path("asset.safetensors"), toys.jumping_ball(20), {})
    message = refused(capsys, "export", "asset.safetensors", "--to", "nosuch")
    assert message == f"there is no format 'nosuch': choose one of {', '.join(FORMATS)}"


# ---- image matrices --------------------------------------------------------------------------------------

NAN = float("nan")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("times", 1), NAN),
        (("times", 1), "noon"),
        (("times", 2), 7.0),
        (("seconds",), NAN),
        (("seconds",), -1.0),
        (("seconds",), "long"),
        (("views", 2, "focal"), NAN),
        (("views", 2, "world_to_camera", 0, 3), NAN),
        (("input", "times", 0), NAN),
        (("input", "camera", "world_to_camera", 2, 1), NAN),
    ],
)
def test_values_of_a_matrix_that_are_no_numbers(place, value, matrix, capsys):
    metadata = json.loads((matrix / "cameras.json").read_text())
    *outer, last = place
    holder = metadata
    for step in outer:
        holder = holder[step]
    holder[last] = value
    (matrix / "cameras.json").write_text(json.dumps(metadata))
    refused(capsys, "reconstruct", matrix, "--out", "out")


def test_what_is_no_matrix(clip, capsys):
    assert "not a folder" in refused(capsys, "reconstruct", "nowhere")
    assert "not a folder" in refused(capsys, "reconstruct", "clip/0.png", "--out", "out")
    assert "no known image matrix" in refused(capsys, "reconstruct", clip, "--out", "out")


# ---- where it goes ---------------------------------------------------------------------------------------


def test_outputs_that_are_taken(clip, capsys):
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    for command in ("matrix", "prepare"):
        assert "mine" in refused(capsys, command, clip, "--out", "mine")
        assert "letter.txt" in refused(capsys, command, clip, "--out", "mine/letter.txt")
        assert "below" in refused(capsys, command, clip, "--out", "mine/letter.txt/below")


def test_an_empty_folder_is_no_obstacle(clip):
    Path("mine").mkdir()
    assert run("prepare", clip, "--out", "mine", "--size", "32") == 0


def test_outputs_without_permission(clip, capsys, monkeypatch):
    def forbidden(*arguments, **more):
        raise PermissionError(errno.EACCES, "Permission denied", "out")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", forbidden)
        assert "Permission denied" in refused(capsys, "generate", clip, "--out", "out")
        assert "Permission denied" in refused(capsys, "prepare", clip, "--out", "out")
    Path("locked").mkdir()
    monkeypatch.setattr(FileLock, "acquire", forbidden)
    assert "no permission" in refused(capsys, "generate", clip, "--out", "locked")
    assert "no permission" in refused(capsys, "generate", clip, "--out", "new")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"frames": 5}, "frames 5 -> None"),
        ({"preset": "high"}, "preset high -> standard"),
        ({"elevation": 12.0}, "elevation 12.0 -> auto"),
        ({"source": "matrix"}, "source matrix -> clip"),
        ({"clip": "other.mp4"}, "clip "),
    ],
)
def test_resuming_with_other_settings(changed, told, clip, capsys):
    Run.create("out", Settings(**({"clip": clip} | changed)))
    assert told in refused(capsys, "generate", clip, "--out", "out", "--resume")
    assert "--resume" in refused(capsys, "generate", clip, "--out", "out")


def test_resuming_what_is_damaged(clip, capsys):
    Run.create("out", Settings(clip))
    Path("out/settings.json").write_text('{"format": 1, "set')
    assert "start a new run" in refused(capsys, "generate", clip, "--out", "out", "--resume")


# ---- a full disk -----------------------------------------------------------------------------------------


def fill_disk(patch: pytest.MonkeyPatch, word: str, number: int = errno.ENOSPC) -> None:
    """Pictures and texts whose path holds the word find the disk full, or another fault, after some bytes."""
    save, write = Image.Image.save, Path.write_text

    def broken(path) -> None:
        if word in str(path):
            Path(path).write_bytes(b"some bytes")
            raise OSError(number, os.strerror(number), str(path))

    def save_unless(image, path, *arguments, **more):
        broken(path)
        save(image, path, *arguments, **more)

    def write_unless(path, *arguments, **more):
        broken(path)
        return write(path, *arguments, **more)

    patch.setattr(Image.Image, "save", save_unless)
    patch.setattr(Path, "write_text", write_unless)


@pytest.mark.parametrize("word", ["settings", "0001.png", "strip"])
def test_a_disk_that_is_full_at_once_leaves_nothing(word, clip, capsys, monkeypatch):
    fill_disk(monkeypatch, word)
    assert "the disk is full" in refused(capsys, "generate", clip, "--out", "out")
    if word != "settings":
        assert "the disk is full" in refused(capsys, "prepare", clip, "--out", "out")


@pytest.mark.parametrize("word", ["matrix/images/001.png", ".contact", ".report"])
def test_a_disk_that_is_full_later_is_gone_on_from(word, clip, capsys, monkeypatch):
    monkeypatch.setitem(api.METHODS, "efficient4d", "toys")
    with monkeypatch.context() as patch:
        fill_disk(patch, word)
        assert run("generate", clip, "--out", "out") == 2
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("vid4d: ")] == said[-1:]
    assert "the disk is full" in said[-1]
    assert said[-1].endswith("--resume")
    assert "Traceback" not in "".join(said)
    names = {p.name for p in Path("out").rglob("*")}
    assert names.isdisjoint({"contact.png", "report.json"} if word != ".report" else {"report.json"})
    ours = {".done", MANIFEST, LOCK}
    assert not [n for n in names if n.startswith(".") and n not in ours], names
    assert run("generate", clip, "--out", "out", "--resume") == 0
    assert Path("out/report.json").is_file()


def test_a_still_on_a_full_disk(capsys, monkeypatch):
    """Rendering has nothing to resume, so it does not say so."""
    save_asset(Path("asset.safetensors"), toys.jumping_ball(20), {})
    fill_disk(monkeypatch, "still")
    message = refused(capsys, "render", "asset.safetensors", "--out", "still.png", "--size", "32")
    assert message.startswith("the disk is full")
    assert "--resume" not in message


@pytest.mark.parametrize(
    ("number", "way_out"), [(errno.EFBIG, "ulimit -f"), (errno.EROFS, "--out"), (errno.EMFILE, "ulimit -n")]
)
def test_a_fault_of_the_system_comes_with_a_way_out(capsys, monkeypatch, number, way_out):
    save_asset(Path("asset.safetensors"), toys.jumping_ball(20), {})
    fill_disk(monkeypatch, "still", number)
    said = refused(capsys, "render", "asset.safetensors", "--out", "still.png", "--size", "32")
    assert said.startswith(os.strerror(number))
    assert "still.png" in said
    assert way_out in said
    assert not list(Path().glob("*still*"))
