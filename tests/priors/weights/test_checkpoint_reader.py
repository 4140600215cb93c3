"""Both formats of PyTorch and safetensors are read tensor by tensor, and written without loading all."""

from __future__ import annotations

import os
import sys
import time
import zipfile

import pytest
import torch
from checkpoint_files import conversion_memory
from safetensors import safe_open
from safetensors.torch import save_file

from vid4d.errors import InputError
from vid4d.priors.rife import IFNet, IFNetConfig
from vid4d.priors.weights.checkpoint_reader import Entry, open_checkpoint, write_safetensors


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    base = torch.randn(6, 5)
    return {
        "plain": base,
        "transposed": base.t(),
        "part": base[2:4, 1:3],
        "parameter": torch.nn.Parameter(torch.randn(3, 2)),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
        "half": torch.randn(7).half(),
        "brain": torch.randn(7).bfloat16(),
        "double": torch.randn(3).double(),
        "long": torch.tensor([-1, 2**40]),
        "byte": torch.tensor([0, 255], dtype=torch.uint8),
        "flags": torch.tensor([True, False, True]),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_tensors_come_back_from_both_formats(tmp_path, zipped, nested):
    state = tensors()
    path = tmp_path / "a.ckpt"
    tree = {"state_dict": state, "epoch": 3, "ema": torch.zeros(9)} if nested else state
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    found = open_checkpoint(path)
    assert found.keys() == state.keys()
    for name, value in state.items():
        got = found[name].read()
        assert got.dtype == value.dtype
        assert torch.equal(got, value), name


def test_safetensors_come_back(tmp_path):
    state = {name: value.detach().contiguous().clone() for name, value in tensors().items()}
    save_file(state, tmp_path / "a.safetensors")
    found = open_checkpoint(tmp_path / "a.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name].read(), value) for name, value in state.items())


def test_what_is_written_is_what_the_library_reads(tmp_path):
    state = {name: value.detach() for name, value in tensors().items()}
    path = tmp_path / "new" / "a.safetensors"
    seen = []
    entries = [Entry(n, v.dtype, tuple(v.shape), v.clone) for n, v in state.items()]
    write_safetensors(path, entries, {"licence": "MIT"}, lambda done, total: seen.append((done, total)))
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"licence": "MIT"}
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(name), value) for name, value in state.items())
    total = sum(v.numel() * v.element_size() for v in state.values())
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    found = open_checkpoint(path)
    assert all(found[name].start % value.element_size() == 0 for name, value in state.items())


def test_unfinished_files_vanish_and_hidden_ones_of_others_stay(tmp_path):
    def broken() -> torch.Tensor:
        raise KeyboardInterrupt

    path, other = tmp_path / "a.safetensors", tmp_path / ".a.mine.safetensors"
    other.write_bytes(b"mine")
    os.utime(other, (time.time() - 3600,) * 2)
    good = Entry("x", torch.float32, (2,), lambda: torch.zeros(2))
    with pytest.raises(KeyboardInterrupt):
        write_safetensors(path, [good, Entry("y", torch.float32, (2,), broken)], {})
    assert {f.name for f in tmp_path.iterdir()} == {other.name}
    write_safetensors(path, [good], {})
    assert {f.name for f in tmp_path.iterdir()} == {other.name, path.name}


@pytest.mark.parametrize("zipped", [True, False])
def test_damage_is_told(tmp_path, zipped):
    path = tmp_path / "a.ckpt"
    torch.save({"w": torch.randn(4000)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for keep in (0, 1, 9, 100, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:keep])
        with pytest.raises(InputError, match=r"a\.ckpt"):
            open_checkpoint(path)


def test_other_files_are_told(tmp_path):
    with pytest.raises(InputError, match="no file"):
        open_checkpoint(tmp_path / "missing.ckpt")
    page = tmp_path / "page.ckpt"
    page.write_text("<html>Sign in to download</html>")
    with pytest.raises(InputError, match="neither a PyTorch checkpoint"):
        open_checkpoint(page)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="not of PyTorch"):
        open_checkpoint(tmp_path / "b.zip")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="no state dict"):
        open_checkpoint(tmp_path / "list.pt")
    save_file({"w": torch.randn(400)}, tmp_path / "c.safetensors")
    whole = (tmp_path / "c.safetensors").read_bytes()
    for keep in (12, 60, len(whole) - 1):
        (tmp_path / "c.safetensors").write_bytes(whole[:keep])
        with pytest.raises(InputError):
            open_checkpoint(tmp_path / "c.safetensors")


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"w": torch.zeros(4), "v": torch.ones(4)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(n for n in records if n.endswith("data.pkl"))
    records[name] = records[name].replace(b"K\x00K\x04\x85", b"K\x02K\x04\x85", 1)  # begins two numbers later
    with zipfile.ZipFile(path, "w") as archive:
        for n, data in records.items():
            archive.writestr(n, data)
    with pytest.raises(InputError, match="middle of a tensor"):
        open_checkpoint(path)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux reports it")
def test_conversion_keeps_one_tensor_in_memory(tmp_path):
    """300 MB of a wide RIFE 4.x, whose largest tensor has 38 MB."""
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in IFNet(IFNetConfig(widths=(1024, 64, 64, 64))).state_dict().items()}
    source, out = tmp_path / "flownet.pkl", tmp_path / "rife.safetensors"
    state = {f"module.{name}": torch.ones(shape) for name, shape in shapes.items()}
    torch.save(state, source)
    largest = max(value.numel() * 4 for value in state.values())
    assert source.stat().st_size > 300e6
    growth = conversion_memory(source, out)
    print(f"grew by {growth / 1e6:.0f} MB, largest tensor {largest / 1e6:.0f} MB")
    assert largest < growth < 1.2 * largest + 64e6
    assert out.stat().st_size > 300e6
