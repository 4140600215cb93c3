"""What `vid4d batch` refuses before it looks at any clip, with one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch_toys import batch, clips, table, use
from command_line import refused

from vid4d import api
from vid4d.batch.engines import Engine
from vid4d.clip import matting_onnx


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    use(monkeypatch, tmp_path)


def test_bad_input_is_one_sentence_and_makes_nothing(tmp_path, capsys):
    assert "there is no clips" in refused(capsys, "batch", "clips", "--out", "runs")
    clips(tmp_path / "clips", "ok")
    assert "--shard 3/2 is no part" in refused(capsys, "batch", "clips", "--out", "runs", "--shard", "3/2")
    assert "--limit 0" in refused(capsys, "batch", "clips", "--out", "runs", "--limit", "0")
    assert "0 key frames" in refused(capsys, "batch", "clips", "--out", "runs", "--frames", "0")
    assert "device" in refused(capsys, "batch", "clips", "--out", "runs", "--device", "nonsense")
    assert not Path("runs").exists()
    Path("file").touch()
    assert "not a folder" in refused(capsys, "batch", "clips", "--out", "file")
    assert "needs --out" in refused(capsys, "batch", "clips")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--crop", "1,2,3"), "--crop 1,2,3: give pixels of the source as X0,Y0,X1,Y1"),
        (("--crop", "50,0,40,90"), "--crop 50,0,40,90: holds less than 16 pixels"),
        (("--sheet", "9"), "--sheet 9: give columns and rows"),
        (("--matting", "birefnet"), "--matting birefnet: neither a method (auto, alpha, plain), nor a file"),
        (("--matting", "clips"), "--matting clips: neither"),
        (("--matting", "plain", "--matting-kind", "isnet"), "--matting-kind has no effect"),
        (("--held", "--keep"), "--held has no effect beside --keep"),
        (("--interpolator", "none.pkl"), "there is no interpolator 'none.pkl'"),
        (("--key-frames-per-second", "inf"), "inf key frames a second cannot be taken: give a finite number"),
        (("--memory", "inf"), "inf GB of memory cannot be: give a finite number"),
        (("--device", "mps:7"), "device 'mps:7' cannot be used here (it is none of this machine's)"),
    ],
)
def test_what_the_settings_are_at_fault_for_is_told_once_before_any_clip(
    tmp_path, capsys, monkeypatch, options, said
):
    monkeypatch.setenv("VID4D_MATTING", str(tmp_path / "models"))
    clips(tmp_path / "clips", "ok a", "ok b")
    for more in ((), ("--dry-run",)):
        assert said in refused(capsys, "batch", "clips", "--out", "runs", *options, *more)
    assert not Path("runs").exists()


def test_a_device_of_other_machines_is_judged_there(monkeypatch):
    assert [Engine(name).here for name in ("none", "local", "ray", "slurm")] == [True, True, True, False]
    assert not Engine("ray", address="auto").here


def installed_model(folder: Path, monkeypatch, data: bytes = b"network") -> Path:
    """A matting model that is found by the name `net`."""
    monkeypatch.setenv("VID4D_MATTING", str(folder))
    monkeypatch.setattr(matting_onnx, "needs_onnxruntime", lambda: False)
    folder.mkdir()
    (folder / "net.onnx").write_bytes(data)
    return folder / "net.onnx"


def test_a_model_that_goes_in_the_middle_stops_the_process_and_is_no_clips_fault(
    tmp_path, capsys, monkeypatch
):
    model = installed_model(tmp_path / "models", monkeypatch)
    clips(tmp_path / "clips", "ok a", "ok b", "ok c")
    make = api.make

    def vanish(settings: Any, **options: Any) -> Any:
        result = make(settings, **options)
        model.unlink(missing_ok=True)
        return result

    with monkeypatch.context() as patched:
        patched.setattr(api, "make", vanish)
        said = refused(capsys, "batch", "clips", "--out", "runs", "--device", "cpu", "--matting", "net")
    assert "--matting net: neither" in said
    assert [r["status"] for r in table()] == ["done"]
    model.write_bytes(b"network")
    assert batch("--matting", "net") == 0
    assert [r["attempts"] for r in table()] == ["1", "1", "1"]
    model.write_bytes(b"another network")
    assert batch("--matting", "net") == 0
    assert len(table()) == 6  # found by its name, it counts by its bytes
