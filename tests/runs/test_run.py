"""The run folder: what it refuses, what it resumes, what it records."""

from __future__ import annotations

import json
from dataclasses import replace
from unittest.mock import Mock

import pytest

from vid4d.errors import InputError
from vid4d.files.write import folder_written_whole
from vid4d.runs.kept_settings import read_settings
from vid4d.runs.run import Run, read_curves
from vid4d.settings import Settings

SETTINGS = Settings(clip="clips/my clip.mp4", frames=8, seed=3)


def stage(run: Run, name: str, value: str, made: list[str]) -> str:
    """A stage that writes its value to a file and notes in `made` that it was made."""
    file = run.path(f"{name}.txt")

    def make(bar):
        made.append(name)
        return value

    return run.stage(name, make, save=file.write_text, load=file.read_text)


def test_settings_are_read_back_as_they_were(tmp_path):
    settings = replace(SETTINGS, start=0.5, elevation=12.5, cyclic="yes")
    Run.create(tmp_path / "a", settings)
    assert read_settings(tmp_path / "a") == settings


def test_a_stage_is_done_once(tmp_path):
    made: list[str] = []
    assert stage(Run.create(tmp_path, SETTINGS), "one", "first", made) == "first"
    again = Run.create(tmp_path, SETTINGS, resume=True)
    assert stage(again, "one", "second", made) == "first"
    assert made == ["one"]
    assert again.finished == ["one"]


def test_an_interrupted_stage_is_made_again(tmp_path):
    run, made = Run.create(tmp_path, SETTINGS), []
    stage(run, "one", "1", made)

    def killed(bar):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stage("two", killed)
    again = Run.create(tmp_path, SETTINGS, resume=True)
    stage(again, "one", "1", made)
    stage(again, "two", "2", made)
    assert made == ["one", "two"]


def test_making_a_stage_again_unmarks_those_after_it(tmp_path):
    run, made = Run.create(tmp_path, SETTINGS), []
    for name in ("one", "two", "three"):
        stage(run, name, "old", made)
    (tmp_path / ".done" / "two").unlink()
    run.checkpoint("two").touch()
    run.checkpoint("three").touch()
    again = Run.create(tmp_path, SETTINGS, resume=True)
    values = [stage(again, name, "new", made) for name in ("one", "two", "three")]
    assert values == ["old", "new", "new"]
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["two.safetensors"]


def test_an_existing_run_needs_resume(tmp_path):
    Run.create(tmp_path, SETTINGS)
    with pytest.raises(InputError, match="--resume"):
        Run.create(tmp_path, SETTINGS)


def test_a_changed_setting_is_named(tmp_path):
    Run.create(tmp_path, SETTINGS)
    with pytest.raises(InputError, match=r"frames 8 -> 16; seed 3 -> 4"):
        Run.create(tmp_path, replace(SETTINGS, seed=4, frames=16), resume=True)


def test_another_device_may_resume_and_another_spelling_of_the_clip(tmp_path):
    Run.create(tmp_path, SETTINGS)
    other = replace(SETTINGS, device="cuda", clip="clips/../clips/my clip.mp4")
    Run.create(tmp_path, other, resume=True)


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_text("x")
    for resume in (False, True):
        with pytest.raises(InputError, match="not empty"):
            Run.create(tmp_path, SETTINGS, resume=resume)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputError, match="not a folder"):
        Run.create(tmp_path / "out", SETTINGS)


@pytest.mark.parametrize(
    "changed",
    [
        {"frames": 0},
        {"steps": 1001},
        {"memory": -1},
        {"elevation": 91},
        {"fps": 0},
        {"seed": -1},
        {"seed": 1 << 32},
        {"start": -1},
        {"start": 2, "end": 1},
        {"every": 0},
    ],
)
def test_settings_that_no_run_can_have_are_not_read(tmp_path, changed):
    Run.create(tmp_path, SETTINGS).close()
    file = tmp_path / "settings.json"
    stored = json.loads(file.read_text())
    stored["settings"] |= changed
    file.write_text(json.dumps(stored))
    with pytest.raises(
        InputError, match=r"settings\.json has settings that no run can have .*start a new run"
    ):
        read_settings(tmp_path)
    with pytest.raises(InputError):
        replace(SETTINGS, **changed).check_ranges()


def test_damaged_and_foreign_settings_are_one_sentence(tmp_path):
    for text in ("{", "{}", '{"format": 1, "settings": {"nonsense": 1}}', '{"format": 99, "settings": {}}'):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(InputError, match="start a new run"):
            read_settings(tmp_path)
    for raw in (
        b"\xff\xfe\x00garbage",
        b'{"format": 1, "settings": {"clip": 5}}',
        b'{"format": 1, "settings": []}',
    ):
        (tmp_path / "settings.json").write_bytes(raw)
        with pytest.raises(InputError, match="start a new run"):
            read_settings(tmp_path)
    later = '{"format": 1, "vid4d": "9.1", "settings": {"clip": "a.mp4", "glitter": 1}}'
    (tmp_path / "settings.json").write_text(later)
    with pytest.raises(InputError, match=r"another version of vid4d \(9.1\): it has glitter"):
        read_settings(tmp_path)
    with pytest.raises(InputError, match="not a run folder"):
        read_settings(tmp_path / "nowhere")


def test_timings_memory_versions_and_log_are_recorded(tmp_path):
    run, made = Run.create(tmp_path, SETTINGS), []
    run.use_device("cpu")
    stage(run, "one", "1", made)
    stage(run, "two", "2", made)
    timings = json.loads((tmp_path / "timings.json").read_text())
    assert list(timings["stages"]) == ["one", "two"]
    assert timings["seconds"] == pytest.approx(
        sum(s["seconds"] for s in timings["stages"].values()), abs=2e-3
    )
    assert timings["peak_memory_mib"]["host"] > 10
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert machine["device"] == "cpu"
    assert machine["versions"]["torch"].startswith("2.")
    log = (tmp_path / "log.txt").read_text()
    assert "one: started" in log
    assert "two: done in" in log


def test_a_device_that_is_not_there_is_one_sentence(tmp_path):
    for name in ("cuda:77", "warp"):
        with pytest.raises(InputError, match=f"device '{name}' cannot be used here"):
            Run.create(tmp_path / name, SETTINGS).use_device(name)


def test_a_new_folder_is_discarded_only_while_nothing_is_finished(tmp_path):
    bad = Run.create(tmp_path / "bad", SETTINGS)
    bad.discard_if_new()
    assert not (tmp_path / "bad").exists()
    good, made = Run.create(tmp_path / "good", SETTINGS), []
    stage(good, "one", "1", made)
    good.discard_if_new()
    assert (tmp_path / "good" / "one.txt").is_file()
    (tmp_path / "mine").mkdir()
    Run.create(tmp_path / "mine", SETTINGS).discard_if_new()
    assert (tmp_path / "mine").is_dir()  # it was there before


def test_later_stages_see_what_a_resumed_run_would_see(tmp_path):
    """Saving may round: the result of a stage is what was saved, in the first run as in a resumed one."""
    for resume in (False, True):
        run = Run.create(tmp_path / "run", Settings(clip="x"), resume=resume)
        file = run.path("number.txt")
        number = run.stage(
            "number",
            lambda bar: 1 / 3,
            save=lambda x, file=file: file.write_text(f"{x:.2f}"),
            load=lambda file=file: float(file.read_text()),
        )
        assert number == 0.33


def test_curves_go_on_where_a_stopped_stage_goes_on(tmp_path):
    run = Run.create(tmp_path, SETTINGS)
    assert read_curves(tmp_path) == {}

    def stopped(bar):
        for step in (10, 20, 30):
            bar.update(step, 40, loss=step / 10, psnr=float("nan"))
        raise KeyboardInterrupt

    def goes_on(bar):
        for step in (20, 30, 40):
            bar.update(step, 40, loss=step)

    with pytest.raises(KeyboardInterrupt):
        run.stage("fit", stopped, save=lambda x: None, load=lambda: None)
    with open(tmp_path / "curves.jsonl", "ab") as file:
        file.write(b'{"stage": "fit", "st\n{"stage": "f\x81t", "step": 35, "loss": 1}\n')
    run.stage("fit", goes_on, save=lambda x: None, load=lambda: None)
    run.stage("silent", lambda bar: bar.update(1, 2), save=lambda x: None, load=lambda: None)
    assert read_curves(tmp_path) == {"fit": {"loss": [(10, 1), (20, 20), (30, 30), (40, 40)]}}


def test_a_stage_that_only_writes_files_needs_no_save_and_load(tmp_path):
    run, made = Run.create(tmp_path, SETTINGS), []
    run.stage("one", lambda bar: made.append(1))
    run.stage("one", lambda bar: made.append(2))
    assert made == [1]


def test_a_finished_stage_whose_result_is_damaged_is_made_again(tmp_path):
    run, made = Run.create(tmp_path, SETTINGS), []
    for name in ("one", "two", "three"):
        stage(run, name, "old", made)
    (tmp_path / "two.txt").unlink()
    (tmp_path / "timings.json").write_text("")
    again = Run.create(tmp_path, SETTINGS, resume=True)
    assert [stage(again, name, "new", made) for name in ("one", "two", "three")] == ["old", "new", "new"]
    assert "two: made again" in (tmp_path / "log.txt").read_text()
    assert list(json.loads((tmp_path / "timings.json").read_text())["stages"]) == ["two", "three"]


def test_pictures_of_a_finished_stage_that_were_changed_are_made_again_and_kept(tmp_path):
    run, made = Run.create(tmp_path, SETTINGS), []
    folder, file = tmp_path / "frames", tmp_path / "frames" / "0000.png"

    def save(value):
        with folder_written_whole(folder) as part:
            (part / "0000.png").write_text(value)

    def frames(value):
        return run.stage("frames", lambda bar: made.append(1) or value, save=save, load=file.read_text)

    assert [frames("a"), frames("b")] == ["a", "a"]
    file.write_text("c")
    assert [frames("d"), frames("e")] == ["d", "d"]
    assert len(made) == 2
    assert (tmp_path / "frames.kept-1" / "0000.png").read_text() == "c"


def test_an_output_that_was_changed_is_made_again(tmp_path):
    run, made = Run.create(tmp_path, SETTINGS), []

    def sheet(bar):
        made.append(1)
        run.path("contact.png").write_text("sheet")

    run.stage("contact", sheet)
    run.path("contact.png").write_text("shoot")
    run.stage("contact", sheet)
    run.stage("contact", sheet)
    assert len(made) == 2
    assert (tmp_path / "contact.png.kept-1").read_text() == "shoot"
    assert (tmp_path / "contact.png").read_text() == "sheet"


def test_an_output_that_a_killed_run_had_just_written_is_nobody_elses(tmp_path):
    run = Run.create(tmp_path, SETTINGS)
    run.path("contact.png").write_text("sheet")  # and killed before its list is written
    run.stage("contact", lambda bar: run.path("contact.png").write_text("sheet"))
    assert not list(tmp_path.glob("*.kept-*"))


def test_nor_is_one_that_was_made_again(tmp_path, monkeypatch):
    """Killed between the new file and its list, in which the file of before stands."""
    run = Run.create(tmp_path, SETTINGS)
    for name, file in (("fit", run.path("asset.safetensors")), ("contact", run.path("contact.png"))):
        file.write_text("before")
        run.stage(name, lambda bar: None)
        run.path(".done", name).unlink()
        with monkeypatch.context() as patch:
            patch.setattr("vid4d.runs.run.record", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run.stage(name, lambda bar: "after", save=file.write_text, load=file.read_text)
        assert run.stage(name, lambda bar: "after", save=file.write_text, load=file.read_text) == "after"
    assert not list(tmp_path.glob("*.kept-*"))


def test_an_output_that_is_missing_is_made_again(tmp_path):
    run = Run.create(tmp_path, SETTINGS)
    made = []

    def sheet(bar):
        made.append(1)
        run.path("contact.png").write_text("sheet")

    run.stage("contact", sheet)
    run.stage("contact", sheet)
    run.path("contact.png").unlink()
    run.stage("contact", sheet)
    assert len(made) == 2


def test_a_folder_in_which_a_run_was_killed_while_it_began_takes_a_run(tmp_path):
    (tmp_path / ".settings.abcd.json").touch()
    (tmp_path / ".settings.json.vid4d-999999999-0123abcd").mkdir()
    (tmp_path / ".vid4d.lock").touch()
    Run.create(tmp_path, SETTINGS)


def test_a_folder_in_which_a_run_was_killed_while_it_was_discarded_takes_another(tmp_path):
    Run.create(tmp_path, SETTINGS).close()
    (tmp_path / ".vid4d-cleared").touch()
    Run.create(tmp_path, replace(SETTINGS, clip="good.mp4"))
    assert read_settings(tmp_path).clip == "good.mp4"


def test_a_run_with_a_checkpoint_is_not_discarded(tmp_path):
    run = Run.create(tmp_path / "a", SETTINGS)
    run.checkpoint("dynerf").write_text("hours of work")
    run.discard_if_new()
    assert (tmp_path / "a" / "checkpoints" / "dynerf.safetensors").exists()
