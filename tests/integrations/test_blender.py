"""integrations/blender: its pure parts; all of it in Blender where a Python that has bpy is known.

That is this one, or the one that the variable VID4D_BPY_PYTHON names (bpy wants a Python of its own version).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
from command_line import run as command
from exported import ball_asset, coarse_meshes

from vid4d.commands.export import Export
from vid4d.commands.generate import Generate
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions

FOLDER = Path(__file__).resolve().parents[2] / "integrations" / "blender" / "vid4d"

STAND_IN = f"""#!{sys.executable} -S
import json, pathlib, shutil, sys
words, here = sys.argv[1:], pathlib.Path(__file__).parent
out = pathlib.Path(words[words.index("--out") + 1])
print(json.dumps({{"said": "a hint"}}), file=sys.stderr)
if "bad.mp4" in words[-1]:
    print("vid4d: bad.mp4 is no video: export it again", file=sys.stderr)
    sys.exit(2)
report = {{"stage": words[0], "done": 1, "total": 2, "left": 3, "text": "", "ended": False}}
print(json.dumps(report), file=sys.stderr)
if words[0] == "generate":
    out.mkdir(parents=True)
    shutil.copy(here / "run" / "asset.safetensors", out)
else:
    out.parent.mkdir(exist_ok=True)
    shutil.copy(here / "moving.usd", out)
"""


def part(name: str) -> types.ModuleType:
    """A module of the add-on that needs no Blender."""
    spec = importlib.util.spec_from_file_location(f"blender_vid4d_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


runs, task = part("runs"), part("task")


def test_the_manifest_is_one_of_an_extension():
    manifest = tomllib.loads((FOLDER / "blender_manifest.toml").read_text(encoding="utf-8"))
    assert manifest["schema_version"] == "1.0.0"
    assert manifest["type"] == "add-on"
    assert re.fullmatch(r"[a-z_]\w*", manifest["id"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"])
    assert tuple(map(int, manifest["blender_version_min"].split("."))) >= (4, 2, 0)
    for text in (manifest["tagline"], *manifest["permissions"].values()):
        assert len(text) <= 64
        assert text[-1].isalnum()


def test_an_asset_tells_how_long_it_lasts(tmp_path):
    ball_asset(tmp_path, seconds=1.5, cyclic=True)
    assert runs.asset_of(tmp_path) == tmp_path / "asset.safetensors"
    assert runs.read_about(tmp_path / "asset.safetensors") == runs.About(1.5, True)
    with pytest.raises(runs.RunError, match=r"holds no asset\.safetensors"):
        runs.asset_of(tmp_path / "nothing")
    (tmp_path / "other.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(runs.RunError, match="is no asset of vid4d"):
        runs.read_about(tmp_path / "other.safetensors")


@pytest.mark.parametrize(("seconds", "last"), [(1.2, 28), (2.0, 47), (1.0, 0), (0.4, 99)])
def test_frames_last_as_long_as_the_clip(seconds, last):
    fps, base = runs.frame_rate(seconds, 0, last)
    assert isinstance(fps, int)
    assert (last + 1) * base / fps == pytest.approx(seconds)


def test_commands_are_such_that_vid4d_takes(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(Export, "run", lambda given: taken.append(given))
    monkeypatch.setattr(Generate, "run", lambda given: taken.append(given))
    out = tmp_path / "a.usd"
    words = runs.export_command("vid4d", tmp_path, out, faces=99, texture=64, device="cpu")
    assert command(*words[1:]) == 0
    assert (taken[0].to, taken[0].out, taken[0].export.faces, taken[0].device) == ("usd", out, 99, "cpu")
    chosen = {"preset": "draft", "method": "consistent4d", "seed": 4, "elevation": -20.0}
    root = runs.run_folder(tmp_path, "my clip.mp4", **chosen)
    assert root.name == "my_clip-draft-consistent4d-s4-e-20"
    words = runs.generate_command("vid4d", "-my clip.mp4", root, **chosen)
    assert command(*words[1:]) == 0
    settings = taken[1].settings()
    assert (settings.clip, settings.seed, settings.elevation) == ("-my clip.mp4", 4, -20.0)
    assert (taken[1].out, taken[1].resume) == (root, True)


def test_a_task_is_heard_and_stopped():
    said = '{"stage": "fit", "done": 1, "total": 4, "left": 65.2, "text": "", "ended": false}'
    code = f"import sys, time; print('''{said}''', file=sys.stderr, flush=True); time.sleep(60)"
    begun = task.Task([sys.executable, "-S", "-c", code], "a run")
    while begun.share is None:
        assert begun.poll() == "running"
    assert (begun.share, begun.words) == (0.25, "fit, 1:05 left")
    begun.stop()
    assert begun.wait(30) == "stopped"
    assert "goes on from there" in begun.words


def test_a_task_that_fails_says_why():
    code = "import sys; print('vid4d: there is no clip', file=sys.stderr); sys.exit(2)"
    begun = task.Task([sys.executable, "-S", "-c", code], "a run")
    assert begun.wait(30) == "failed"
    assert begun.words == "there is no clip"


@pytest.fixture(scope="session")
def python_with_bpy() -> str:
    if importlib.util.find_spec("bpy") is not None:
        return sys.executable
    if "VID4D_BPY_PYTHON" not in os.environ:
        pytest.skip("no bpy: VID4D_BPY_PYTHON names no Python that has it")
    return os.environ["VID4D_BPY_PYTHON"]


def test_in_blender(python_with_bpy, tmp_path, monkeypatch):
    coarse_meshes(monkeypatch)
    (tmp_path / "run").mkdir()
    asset = ball_asset(tmp_path / "run", seconds=1.5, cyclic=True)
    mesh = ExportOptions(frames=6, content="mesh", texture=64, faces=400)
    export(asset, "usd", tmp_path / "moving.usd", mesh)
    export(asset, "usd", tmp_path / "splats.usd", ExportOptions(frames=2, content="splats"))
    stand_in = tmp_path / "vid4d"
    stand_in.write_text(STAND_IN, encoding="utf-8")
    stand_in.chmod(0o755)
    for clip in ("clip.mp4", "bad.mp4"):
        (tmp_path / clip).touch()
    script = Path(__file__).parent / "in_blender.py"
    ended = subprocess.run([python_with_bpy, script, tmp_path], capture_output=True, text=True, timeout=300)
    told = [line for line in ended.stdout.splitlines() if line.startswith("TOLD ")]
    assert told, ended.stdout + ended.stderr
    found = json.loads(told[0].removeprefix("TOLD "))
    assert found["name"] == "ball"
    assert found["frames"] == [0, 5]
    assert found["rate"] == pytest.approx(4.0)
    assert found["images"] == [64]
    first, second, last, again, next_again = found["tops"]
    assert second > first + 0.05  # the ball jumps
    assert (again, next_again) == pytest.approx((first, second), abs=1e-5)  # and again
    assert last != pytest.approx(first, abs=1e-3)
    assert "holds no mesh" in found["no mesh"]
    assert found["left over"] == 0
    assert "holds no asset.safetensors" in found["no run"]
    assert "there is no program" in found["no program"]
    assert found["imported"] == ["run"]
    assert found["exported"] == ["blender_100_64.usd"]
    assert "choose a video" in found["no clip"]
    assert found["refused"] == "bad.mp4 is no video: export it again"
    assert found["busy"]
    assert found["made"] == ["clip-draft-efficient4d-s0"]
    assert found["hints"] == ["a hint"]
    assert found["disabled"]
