"""Exports as a command: where files go, what is refused in one sentence, and that nothing is half written."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import fields
from pathlib import Path

import pytest
from command_line import refused
from exported import ball_asset, visible

from vid4d import cli
from vid4d.errors import InputError
from vid4d.export import formats, ply
from vid4d.export.formats import FORMATS, export, options_for
from vid4d.export.options import ExportOptions, frame_times
from vid4d.export.splats import splats_at
from vid4d.files import manifest
from vid4d.files.write import clear_away, write_json
from vid4d.runs.folder import record

SMALL = ("--frames", "3")


@pytest.fixture
def run_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    ball_asset(folder)
    return folder


def everything(folder: Path) -> list[str]:
    """Names of all files and folders, but for the lists of what vid4d wrote."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.name != manifest.MANIFEST)


def test_the_command_tells_of_every_format(capsys):
    with pytest.raises(SystemExit):
        cli.main(["export", "--help"])
    shown = capsys.readouterr().out
    assert "--to FORMAT" in shown
    for name in FORMATS:
        assert f" {name}: " in shown


def test_the_command_writes_beside_the_asset_and_says_where(run_folder, capsys):
    cli.main(["export", "run", "--to", "png", *SMALL])
    assert capsys.readouterr().out.split() == ["run/export/png"]
    assert everything(run_folder / "export") == ["png", *(f"png/frame_000{i}.png" for i in range(3))]
    cli.main(["export", "run/asset.safetensors", "--to", "ply", "--time", "0.5", "--out", "new/a.ply"])
    assert capsys.readouterr().out.split() == ["new/a.ply"]
    assert everything(Path("new")) == ["a.ply"]


def test_a_folder_as_out_takes_a_file(run_folder):
    (run_folder / "mine").mkdir()
    (path,) = export(ball_asset(run_folder), "gif", "run/mine", ExportOptions(size=16, frames=2))
    assert path == Path("run/mine/asset.gif")


def test_files_have_the_usual_rights(run_folder):
    files = export(ball_asset(run_folder), "ply", "run/out", ExportOptions(frames=2))
    (run_folder / "plain").touch()
    (run_folder / "folder").mkdir()
    usual = [stat.S_IMODE((run_folder / name).stat().st_mode) for name in ("plain", "folder")]
    assert [stat.S_IMODE(p.stat().st_mode) for p in (files[0], files[0].parent)] == usual


def test_existing_files_stay_without_force(run_folder, capsys):
    cli.main(["export", "run", "--to", "gif", *SMALL])
    before = Path("run/export/asset.gif").read_bytes()
    again = ("run", "--to", "gif", "--size", "24", "--frames", "3")
    assert "asset.gif exists: replace it with --force" in refused(capsys, "export", *again)
    assert Path("run/export/asset.gif").read_bytes() == before
    cli.main(["export", *again, "--force"])
    assert Path("run/export/asset.gif").read_bytes() != before


def test_force_replaces_a_sequence_and_nothing_else(run_folder, capsys):
    cli.main(["export", "run", "--to", "ply", "--frames", "4", "--out", "mine"])
    Path("mine/notes.txt").write_text("keep me")
    assert "is not empty" in refused(capsys, "export", "run", "--to", "ply", "--frames", "2", "--out", "mine")
    assert len(everything(Path("mine"))) == 6
    cli.main(["export", "run", "--to", "ply", "--frames", "2", "--out", "mine", "--force"])
    assert everything(Path("mine")) == ["frame_0000.ply", "frame_0001.ply", "notes.txt", "times.json"]
    assert Path("mine/notes.txt").read_text() == "keep me"


def test_force_deletes_no_picture_of_the_user(run_folder):
    Path("pics").mkdir()
    mine = ["frame_0007.png", "img_0001.png", "photo_20240101.png"]
    for name in mine:
        Path("pics", name).write_text("mine")
    for frames in (3, 2):
        cli.main(
            [
                "export",
                "run",
                "--to",
                "png",
                "--size",
                "16",
                "--frames",
                str(frames),
                "--out",
                "pics",
                "--force",
            ]
        )
        assert everything(Path("pics")) == sorted([*(f"frame_000{i}.png" for i in range(frames)), *mine])
    assert all(Path("pics", name).read_text() == "mine" for name in mine)


def test_force_neither_replaces_nor_deletes_files_that_were_changed(run_folder, capsys):
    export_pngs = ("export", "run", "--to", "png", "--size", "16", "--out", "pics", "--force", "--frames")
    cli.main([*export_pngs, "3"])
    Path("pics/frame_0002.png").write_text("retouched")
    cli.main([*export_pngs, "2"])
    assert Path("pics/frame_0002.png").read_text() == "retouched"
    Path("pics/frame_0000.png").write_text("mine")
    assert "pics/frame_0000.png is not as vid4d wrote it" in refused(capsys, *export_pngs, "1")
    assert Path("pics/frame_0000.png").read_text() == "mine"
    assert len(everything(Path("pics"))) == 3


def test_folders_of_others_stay_also_empty_ones(run_folder):
    for folder in ("pics/todo/later", "pics/mine"):
        Path(folder).mkdir(parents=True)
    Path("pics/mine/a.txt").write_text("mine")
    for frames in ("3", "2"):
        cli.main(["export", "run", "--to", "ply", "--frames", frames, "--out", "pics", "--force"])
    assert Path("pics/todo/later").is_dir()
    assert Path("pics/mine/a.txt").read_text() == "mine"


@pytest.mark.parametrize("place", ["run", "run/frames", "runs"])
def test_force_takes_no_run_for_an_earlier_export(run_folder, capsys, place):
    record(run_folder)
    Path("run/frames").mkdir()
    Path("runs").mkdir()
    for other in ("run/frames/clip.json", "runs/batch.csv"):
        Path(other).write_text("made in hours")
        manifest.record(Path(other).parent)
    before = everything(Path())
    for more in ((), ("--force",)):
        said = refused(capsys, "export", "run", "--to", "png", "--size", "16", "--out", place, *more)
        assert f"{place} holds what vid4d wrote there before, and not as an export" in said
    assert everything(Path()) == before


def test_renders_are_no_earlier_export_and_exports_no_earlier_renders(run_folder, capsys):
    still = ("render", "run", "--size", "16", "--azimuth", "90", "--out", "views")
    cli.main([*still])
    cli.main([*still])
    export_pngs = ("export", "run", "--to", "png", "--size", "16", "--frames", "2", "--force", "--out")
    assert "not as an export" in refused(capsys, *export_pngs, "views")
    cli.main([*export_pngs, "pics"])
    listed = Path("pics", manifest.MANIFEST).read_bytes()
    cli.main([*still[:-1], "pics"])
    assert Path("pics", manifest.MANIFEST).read_bytes() == listed
    assert "exists: replace it with --force" in refused(capsys, *still[:-1], "pics")


def test_exports_in_a_folder_that_a_run_replaces_are_kept(run_folder):
    pngs = ("export", "run", "--to", "png", "--size", "16", "--frames", "2", "--out", "run/enhanced")
    cli.main([*pngs])
    aside = clear_away(Path("run/enhanced"))
    assert aside == Path("run/enhanced.kept-1")
    assert everything(aside) == ["frame_0000.png", "frame_0001.png"]


def test_links_that_lead_nowhere_are_asked_for_too(run_folder, capsys):
    for name in ("a.gif", "a.png", "a.json"):
        Path(name).symlink_to("nowhere")
    commands = (
        ("export", "run", "--to", "gif", "--out", "a.gif"),
        ("render", "run", "--out", "a.png"),
        ("evaluate", "run", "--truth", "run", "--out", "a.json"),
    )
    for command in commands:
        assert "exists: replace it with --force" in refused(capsys, *command)
        assert Path(command[-1]).is_symlink()


def test_a_list_leads_to_no_file_outside_of_its_folder(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.tex").write_text("precious")
    folder = tmp_path / "pics"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "docs")
    hashes = manifest.hashes_of(tmp_path, ["docs/thesis.tex"])["docs/thesis.tex"]
    names = ["../docs/thesis.tex", "link/thesis.tex", str(tmp_path / "docs/thesis.tex")]
    (folder / manifest.MANIFEST).write_text(manifest.text_of({name: hashes for name in names}))
    assert manifest.remove_written(folder) == ["link"]
    assert (tmp_path / "docs/thesis.tex").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "gif", "--out", "a.mp4"), "does not end in .gif"),
        (("--to", "ply", "--out", "a.ply"), "choose one moment with --time"),
        (("--to", "png", "--out", "a.png", "--time", "0.5"), "png makes many: give a folder"),
        (("--to", "ply", "--out", "taken"), "give a folder with --out"),
        (("--to", "mp4", "--time", "1.5"), "time 1.5 lies outside of the clip"),
        (("--to", "mp4", "--size", "9000"), "a size of 9000 pixels"),
        (("--to", "mp4", "--fps", "0"), "0 frames a second"),
        (("--to", "ply", "--frames", "0"), "0 frames cannot be written"),
        (("--to", "gif", "--background", "pink"), "'pink' is no background"),
        (("--to", "mp4", "--cameras", "none.json"), "none.json: cannot be read"),
        (("--to", "mp4", "--azimuth", "nan"), "an azimuth of nan degrees does not exist"),
        (("--to", "mp4", "--azimuth", "1e30"), "an azimuth of 1e+30 degrees does not exist"),
        (("--to", "mp4", "--elevation", "95"), "95 degrees does not exist"),
        (("--to", "mp4", "--seconds", "1e9"), "a video of 1e+09 seconds"),
    ],
)
def test_what_cannot_be_exported_is_said(run_folder, capsys, arguments, said):
    Path("taken").touch()
    before = everything(Path())
    assert said in refused(capsys, "export", "run", *arguments)
    assert everything(Path()) == before


def test_a_run_that_is_not_finished_and_one_that_is_damaged(run_folder, capsys):
    asset = run_folder / "asset.safetensors"
    data = asset.read_bytes()
    asset.write_bytes(data[: len(data) // 2])
    assert "not a readable safetensors file" in refused(capsys, "export", "run", "--to", "ply")
    asset.unlink()
    write_json(run_folder / "settings.json", {})
    assert "its run is not finished: continue it with --resume" in refused(
        capsys, "export", "run", "--to", "ply"
    )
    assert "there is no nowhere" in refused(capsys, "export", "nowhere", "--to", "ply")
    assert everything(run_folder) == ["settings.json"]


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_a_full_disk_leaves_nothing(run_folder, capsys, monkeypatch, to):
    """The disk fills up right after the first bytes of whatever the format writes."""
    chosen = FORMATS[to]
    module = __import__(chosen.module, fromlist=["writer"])

    def full(asset, out, options):
        (out / "frame_0000.bin" if out.is_dir() else out).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))

    monkeypatch.setattr(module, chosen.function, full)
    out = "new/place/pictures" if to == "png" else f"new/place/a{chosen.ending}"
    at = ("--time", "0") if "time" in chosen.takes else ()
    assert "the disk is full" in refused(capsys, "export", "run", "--to", to, "--out", out, *at)
    assert everything(Path()) == ["run", "run/asset.safetensors"]


def test_a_disk_that_fills_up_in_the_middle_of_a_sequence(run_folder, capsys, monkeypatch):
    written = []
    whole = ply.write_table

    def second_fails(path, names, table, comments=()):
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written.append(path)
        whole(path, names, table, comments)

    Path("mine").mkdir()
    Path("mine/frame_0000.ply").write_text("old")
    monkeypatch.setattr(ply, "write_table", second_fails)
    assert "the disk is full" in refused(capsys, "export", "run", "--to", "ply", "--out", "mine", "--force")
    assert everything(Path("mine")) == ["frame_0000.ply"]
    assert Path("mine/frame_0000.ply").read_text() == "old"


def test_no_permission_is_said(run_folder, capsys, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))

    monkeypatch.setattr(formats, "scratch_folder", denied)
    assert "no permission to read or write" in refused(capsys, "export", "run", "--to", "ply", "--out", "new")
    assert everything(Path()) == ["run", "run/asset.safetensors"]


def test_an_unknown_format_names_the_known(run_folder):
    with pytest.raises(InputError, match=f"no format 'fbx': choose one of {', '.join(FORMATS)}"):
        export(ball_asset(run_folder), "fbx")


def test_help_says_what_each_format_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        cli.main(["export", "--help"])
    shown = capsys.readouterr().out
    for name, chosen in FORMATS.items():
        assert f"{name}: {chosen.help}" in shown


def test_moments_last_as_long_as_the_clip(tmp_path):
    plan = frame_times(ball_asset(tmp_path, seconds=2.0), ExportOptions(), fps=12)
    assert (len(plan.times), plan.times[0], plan.times[-1], plan.fps, plan.seconds) == (24, 0, 1, 12, 2.0)
    loop = frame_times(ball_asset(tmp_path, seconds=2.0, cyclic=True), ExportOptions(frames=4))
    assert loop.times == (0, 0.25, 0.5, 0.75)
    assert loop.seconds == 2.0
    assert frame_times(ball_asset(tmp_path), ExportOptions(time=0.3)).times == (0.3,)
    slow = frame_times(ball_asset(tmp_path), ExportOptions(frames=10, fps=5))
    assert (len(slow.times), slow.seconds) == (10, 2.0)


def test_splats_too_faint_to_see_are_left_out(tmp_path):
    asset = ball_asset(tmp_path)
    assert len(splats_at(asset, 0.5)) == len(visible(asset, 0.5)) == 60 < len(asset.gaussians)
    assert splats_at(asset, 0.5).opacities.min() >= 1 / 255


@pytest.mark.parametrize(
    ("to", "options", "said"),
    [
        ("ply", {"texture": 512}, "--texture has no effect on ply: leave it out; usd, usdz, glb take it"),
        ("glb", {"axes": "z-up"}, "--axes has no effect on glb"),
        ("html", {"sh_degree": 0}, "--sh-degree has no effect on html"),
        ("ply", {"sh_degree": 4}, "harmonics of degree 4 are not written: choose 0 to 3"),
        ("usd", {"size": 128}, "--size has no effect on usd"),
        ("html", {"frames": 8}, "--frames has no effect on html"),
        ("glb", {"background": "white"}, "--background has no effect on glb"),
        ("mp4", {"faces": 100}, "--faces has no effect on mp4"),
        ("obj", {"time": 0.5, "fps": 3.0}, "--fps has no effect beside --time"),
        ("gif", {"cameras": Path("c.json"), "azimuth": 9.0}, "--azimuth has no effect beside --cameras"),
        ("png", {"frames": 4, "fps": 2.0, "seconds": 3.0}, "leave --seconds out"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, to, options, said):
    with pytest.raises(InputError, match=re.escape(said)):
        export(ball_asset(tmp_path), to, options=ExportOptions(**options))
    assert not (tmp_path / "export").exists()


def test_formats_take_options_that_there_are():
    options = {f.name for f in fields(ExportOptions)} - {"force", "report"}
    assert set().union(*(chosen.takes for chosen in FORMATS.values())) == options


def test_wishes_without_effect_are_left_out():
    chosen = options_for("ply", size=99, frames=3, force=True)
    assert (chosen.size, chosen.frames, chosen.force) == (ExportOptions().size, 3, True)
