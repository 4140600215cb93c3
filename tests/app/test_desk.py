"""What the app does with a clip: kept, prepared, made with the right options, shown, taken along."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vid4d import api, outputs
from vid4d.app import clips
from vid4d.app.desk import Choices, Desk, formats
from vid4d.app.job import Job
from vid4d.errors import InputError
from vid4d.export.formats import FORMATS
from vid4d.media.video import write_mp4
from vid4d.runs.progress import Progress
from vid4d.settings import Settings


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A red square of 16 pixels that goes to the right, and a smaller green one that rests."""
    frames = [np.full((48, 64, 3), 255, np.uint8) for _ in range(8)]
    for i, frame in enumerate(frames):
        frame[14:30, 4 + i : 20 + i] = (200, 30, 30)
        frame[16:26, 48:58] = (30, 200, 30)
    path = tmp_path_factory.mktemp("clip") / "my clip.mp4"
    write_mp4(path, frames, 8)
    return path


@pytest.fixture
def begun(monkeypatch):
    """Runs that are begun do nothing."""
    monkeypatch.setattr(Job, "start", lambda job: job)


def test_a_clip_is_kept_once_and_another_of_its_name_beside_it(tmp_path, clip):
    kept = clips.keep([clip], tmp_path)
    assert kept == tmp_path / "clips" / "my_clip.mp4"
    assert kept.read_bytes() == clip.read_bytes()
    assert clips.keep([clip], tmp_path) == kept
    other = tmp_path / "my clip.mp4"
    other.write_bytes(b"another")
    assert clips.keep([other], tmp_path).name == "my_clip-2.mp4"


def test_several_pictures_become_a_folder(tmp_path):
    files = [tmp_path / f"a{i}.png" for i in range(3)]
    for i, file in enumerate(files):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(file)
    folder = clips.keep(files, tmp_path)
    assert sorted(p.name for p in folder.glob("*.png")) == ["a0.png", "a1.png", "a2.png"]
    assert clips.keep(files, tmp_path) == folder
    with pytest.raises(InputError, match="same name"):
        clips.keep([files[0], files[0]], tmp_path)
    with pytest.raises(InputError, match="no clip was given"):
        clips.keep([], tmp_path)


def test_preparation_marks_the_object_where_it_is_in_the_source(tmp_path, clip):
    desk = Desk(tmp_path)
    found = desk.prepare(desk.enter(), [clip], Choices(click=("12,20",)))
    colors = np.asarray(found.first).astype(int)
    assert found.shrunk == 1
    assert colors.shape == (48, 64, 3)
    assert colors[22, 12, 0] > 180  # the object, as it is
    assert colors[22, 53, 1] < 110  # the other thing and the background, dark
    assert colors[4, 4].max() < 130
    assert colors[22, 20:24].min(-1).max() > 230  # the outline
    assert "1.00 s" in found.facts or "0.88 s" in found.facts
    with pytest.raises(InputError, match="nothing lies there"):
        desk.prepare(desk.enter(), [clip], Choices(click=("40,40",)))


def test_choices_reach_the_command_line(tmp_path, clip, begun):
    desk = Desk(tmp_path, device="cpu")
    chosen = Choices(start=0.25, elevation=-10.0, trim=True, keep=True, seed=3)
    job = desk.make(desk.enter(), [clip], chosen)
    assert job.root == tmp_path / "my_clip"
    words = " ".join(job.options)
    assert words == (
        "--preset draft --device cpu --seed 3 --start 0.25 --trim auto --elevation -10.0 --keep -- "
        f"{tmp_path / 'clips' / 'my_clip.mp4'}"
    )
    (tmp_path / "my_clip").mkdir()
    assert desk.make(desk.enter(), [clip], Choices()).root.name == "my_clip-2"
    with pytest.raises(InputError, match="lies before the start"):
        desk.make(desk.enter(), [clip], Choices(start=2.0, end=1.0))


def test_what_cannot_be_resumed_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        Desk(tmp_path).resume(tmp_path)


@pytest.fixture
def run(tmp_path, clip, monkeypatch) -> Path:
    monkeypatch.setitem(api.METHODS, "efficient4d", "toys")
    monkeypatch.setattr(outputs, "write_turntable", partial(outputs.write_turntable, size=32))
    kept = clips.keep([clip], tmp_path)
    settings = Settings(clip=str(kept), preset="draft", click=("12,20",))
    api.make(settings, out=tmp_path / "a", resume=False, progress=Progress(quiet=True))
    return tmp_path / "a"


def test_a_finished_run_is_listed_shown_and_taken_along(tmp_path, run, begun):
    desk = Desk(tmp_path)
    assert clips.runs_in(tmp_path) == {"a": True}
    shown = desk.result(run)
    assert shown.turntable == run / "turntable.mp4"
    assert shown.report == run / "report.html"
    assert 'sandbox="allow-scripts"' in shown.player
    assert "srcdoc=" in shown.player
    assert desk.find(tmp_path, "a") == run
    with pytest.raises(InputError, match="there is no run"):
        desk.find(tmp_path, "../" + tmp_path.name + "/a")
    file = desk.download(run, "v4d")
    assert file.name == "a.v4d"
    assert file.stat().st_size > 100
    with zipfile.ZipFile(desk.download(run, "ply", {"fps": 2.0, "size": 64})) as archive:
        assert archive.namelist() == ["a/frame_0000.ply", "a/frame_0001.ply", "a/times.json"]
    with pytest.raises(InputError, match="no format 'exe'"):
        desk.download(run, "exe")
    job = desk.resume(run)
    assert job.command[3:] == [
        *(
            "generate",
            "--out",
            str(run),
            "--resume",
            "--preset",
            "draft",
            "--prior",
            "frustum",
            "--click",
            "12,20",
            "--",
        ),
        str(tmp_path / "clips" / "my_clip.mp4"),
    ]
    (tmp_path / "clips" / "my_clip.mp4").unlink()
    with pytest.raises(InputError, match="is gone: put it back"):
        desk.resume(run)


def test_visitors_in_public_have_rooms_that_go_with_them(tmp_path, clip, begun):
    desk = Desk(tmp_path, public=True)
    one, other = desk.enter(), desk.enter()
    assert one != other
    job = desk.make(one, [clip], Choices())
    assert job.root.parent == one
    assert desk.jobs.inside(other) == []
    job.state = "done"
    desk.leave(one)
    assert not one.exists()
    desk.leave(tmp_path)  # no room of anybody
    for place in (Path(), tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(InputError, match="open it again"):
            desk.make(place, [clip], Choices())
    assert tmp_path.exists()
    at_home = Desk(tmp_path)
    assert at_home.enter() == tmp_path
    at_home.leave(tmp_path)
    assert tmp_path.exists()


def test_every_format_can_be_chosen():
    assert [name for _, name in formats()][:4] == ["v4d", "glb", "usdz", "ply"]
    assert sorted(name for _, name in formats()) == sorted(FORMATS)
