"""`vid4d weights`: from a published checkpoint on a server to a network that can be loaded."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from file_server import Files, serving
from published import write_published

from vid4d import cli
from vid4d.files import paths
from vid4d.priors.weights import convert, registry
from vid4d.priors.weights.files import read_metadata


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "weights"
    monkeypatch.setenv("VID4D_WEIGHTS", str(folder))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("published") / "syncdreamer-pretrain.ckpt"
    write_published(path, "syncdreamer")
    return path


@pytest.fixture
def server(checkpoint, monkeypatch):
    with serving(Files({"/syncdreamer-pretrain.ckpt": checkpoint.read_bytes()})) as files:
        url = f"{files.address}/syncdreamer-pretrain.ckpt"
        entry = replace(registry.WEIGHTS["syncdreamer"], url=url)
        monkeypatch.setitem(registry.WEIGHTS, "syncdreamer", entry)
        yield files


def run(*arguments: str, code: int | None = None) -> None:
    """The command in this process; code: the exit code expected, None for success."""
    if code is None:
        cli.main(["weights", *arguments])
        return
    with pytest.raises(SystemExit) as stopped:
        cli.main(["weights", *arguments])
    assert stopped.value.code == code


def test_fetch_converts_records_and_cleans_up(weights, server, checkpoint, capsys):
    run("fetch", "syncdreamer")
    assert "agree to its licence" in capsys.readouterr().out
    path = weights / "syncdreamer.safetensors"
    assert registry.require("syncdreamer") == path
    told = registry.records()["syncdreamer"]
    assert told["source"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert told["converted"] == hashlib.sha256(path.read_bytes()).hexdigest()
    metadata = read_metadata(path)
    assert metadata["source_sha256"] == told["source"]
    assert "MIT" in metadata["licence"]
    assert [p for p in weights.rglob("*") if p.is_file() and "downloads" in p.parts] == []

    original = torch.load(checkpoint, weights_only=True)["state_dict"]
    loaded = convert.load_converted(path, "cpu", torch.float32)
    first = loaded.state_dict()["unet.input_blocks.0.0.weight"]
    assert torch.equal(first, original["model.diffusion_model.input_blocks.0.0.weight"])

    run("fetch", "syncdreamer")
    assert "already" in capsys.readouterr().out
    assert len(server.asked) == 1


def test_the_checksum_of_the_first_download_counts_from_then_on(weights, server, capsys):
    run("fetch", "syncdreamer")
    (weights / "syncdreamer.safetensors").unlink()
    server.files["/syncdreamer-pretrain.ckpt"] += b"more"
    run("fetch", "syncdreamer", code=2)
    assert "not the file that is expected" in capsys.readouterr().err
    assert not (weights / "syncdreamer.safetensors").exists()


def test_an_interrupted_conversion_is_run_again_without_another_download(weights, server, monkeypatch):
    def stopped(source, out, *, report, **more):
        def interrupt(done, size):
            report(done, size)
            raise KeyboardInterrupt

        return whole(source, out, report=interrupt, **more)

    whole = convert.convert
    with monkeypatch.context() as patch:
        patch.setattr(convert, "convert", stopped)
        run("fetch", "syncdreamer", code=130)
    assert list(weights.rglob("*.safetensors*")) == []
    assert (weights / "downloads/syncdreamer/syncdreamer-pretrain.ckpt").is_file()
    run("fetch", "syncdreamer", "--keep")
    assert registry.require("syncdreamer")
    assert len(server.asked) == 1
    assert (weights / "downloads/syncdreamer/syncdreamer-pretrain.ckpt").is_file()


def test_convert_finds_the_name_and_verify_finds_a_change(weights, checkpoint, capsys):
    run("convert", str(checkpoint))
    path = weights / "syncdreamer.safetensors"
    run("verify")
    assert "syncdreamer: as it was converted" in capsys.readouterr().out
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    run("verify", "syncdreamer", code=2)
    assert "is not what was converted" in capsys.readouterr().err
    write_published(weights / "105000.ckpt", "zero123")
    run("convert", str(weights / "105000.ckpt"))
    run("verify", code=2)
    captured = capsys.readouterr()
    assert "zero123: as it was converted" in captured.out
    assert "1 of 2 weights are not as they should be: syncdreamer" in captured.err


def test_a_file_that_out_names_is_replaced_when_asked(weights, checkpoint, tmp_path, capsys):
    mine = tmp_path / "mine.safetensors"
    mine.write_text("mine")
    run("convert", str(checkpoint), "--out", str(mine), code=2)
    assert "exists: replace it with --force" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    run("convert", str(checkpoint), "--out", str(mine), "--force")
    assert mine.stat().st_size > 100


def test_verify_records_what_it_does_not_know(weights, checkpoint, capsys):
    run("convert", str(checkpoint), "--out", str(weights / "syncdreamer.safetensors"))
    assert registry.records() == {}
    run("verify", "syncdreamer")
    assert "recorded now" in capsys.readouterr().out
    run("verify", "syncdreamer")
    assert "as it was converted" in capsys.readouterr().out


def test_convert_asks_for_a_name_where_several_fit(weights, tmp_path, capsys):
    write_published(tmp_path / "mine.ckpt", "zero123")
    run("convert", str(tmp_path / "mine.ckpt"), code=2)
    assert "--name zero123-xl or --name zero123" in capsys.readouterr().err
    run("convert", str(tmp_path / "mine.ckpt"), "--name", "syncdreamer", code=2)
    assert "which is not syncdreamer" in capsys.readouterr().err
    run("convert", str(tmp_path / "mine.ckpt"), "--name", "zero123", "--licence", "mine")
    assert read_metadata(weights / "zero123.safetensors")["licence"] == "mine"
    (tmp_path / "mine.ckpt").rename(tmp_path / "zero123-xl.ckpt")
    run("convert", str(tmp_path / "zero123-xl.ckpt"))
    assert (weights / "zero123-xl.safetensors").is_file()


def test_the_averaged_copy_is_taken_where_the_authors_use_it(weights, tmp_path):
    """Names of the copy lose their dots (2112.10752, code)."""
    write_published(tmp_path / "zero123-xl.ckpt", "zero123")
    stored = torch.load(tmp_path / "zero123-xl.ckpt", weights_only=True)
    state = stored["state_dict"]
    for name in [n for n in state if n.startswith("model.")]:
        state["model_ema." + name.removeprefix("model.").replace(".", "")] = state[name] + 1
    state |= {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(7)}
    torch.save(stored, tmp_path / "zero123-xl.ckpt")
    name = "unet.input_blocks.0.0.bias"
    plain = state["model." + name.replace("unet.", "diffusion_model.")]
    for ema, expected in (("auto", plain + 1), ("no", plain)):
        run("convert", str(tmp_path / "zero123-xl.ckpt"), "--ema", ema)
        made = convert.load_converted(weights / "zero123-xl.safetensors").state_dict()[name]
        assert torch.equal(made, expected), ema


def test_list_says_what_is_here_and_how_to_get_the_rest(weights, checkpoint, capsys):
    run("convert", str(checkpoint))
    run("list")
    output = capsys.readouterr().out
    for name, entry in registry.WEIGHTS.items():
        assert f"\n{name}: {entry.what}" in output
    assert "on this machine" in output
    assert "vid4d weights fetch zero123-xl (a download of 15.5 GB)" in output
    assert "vid4d weights convert flownet.pkl --name rife-4" in output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fetch", "rife-4"], "by hand"),
        (["fetch", "sd3"], "there are no weights 'sd3'"),
        (["verify"], "there are no weights in"),
        (["verify", "zero123"], "not on this machine"),
        (["convert", "missing.ckpt"], "there is no missing.ckpt"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(weights, capsys, arguments, sentence):
    run(*arguments, code=2)
    assert sentence in capsys.readouterr().err


def test_damaged_records_are_said(weights):
    weights.mkdir()
    (weights / "checksums.json").write_text("{")
    with pytest.raises(registry.InputError, match="not JSON"):
        registry.records()
    (weights / "checksums.json").write_text(json.dumps({}))
    assert registry.records() == {}


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_folder_is_the_users(monkeypatch, platform, tmp_path):
    monkeypatch.delenv("VID4D_WEIGHTS", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(paths.sys, "platform", platform)
    assert registry.folder().is_relative_to(Path.home())
    monkeypatch.setenv("VID4D_WEIGHTS", str(tmp_path))
    assert registry.folder() == tmp_path


def test_every_entry_tells_what_a_user_must_know():
    for name, entry in registry.WEIGHTS.items():
        assert registry.network_of(name) in registry.networks(), name
        assert entry.page.startswith("https://"), name
        assert entry.url is None or entry.url.startswith("https://"), name
        assert entry.sha256 is None or len(entry.sha256) == 64, name
        assert name in Path(__file__).parents[2].joinpath("docs/weights.md").read_text(), name


def test_the_registry_is_light():
    """`vid4d --help` must not wait for torch."""
    code = "import sys, vid4d.cli, vid4d.priors.weights.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
