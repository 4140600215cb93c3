"""No pickle runs anything: hostile ones are refused by name, classes are ignored, damage is told apart."""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import checkpoint_files
import pytest
import torch

from vid4d.errors import InputError
from vid4d.priors.weights.checkpoint_reader import open_checkpoint
from vid4d.priors.weights.convert import convert, network_in
from vid4d.priors.weights.safe_pickle import Foreign, unpickled


class Reduced:
    """Pickles as a call of this function with these arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def read(data: bytes):
    return unpickled(io.BytesIO(data), Path("file.ckpt"))[0]


def hostile(marker: Path) -> dict[str, tuple[object, str]]:
    """Objects that would make the marker if they were unpickled, and the name that must be told."""
    command = f"touch {marker}"
    evil = f"open({str(marker)!r}, 'w').close()"
    system = f"{os.system.__module__}.system"
    return {
        "runs a command": (Reduced(os.system, command), system),
        "starts a process": (Reduced(subprocess.Popen, ["touch", str(marker)]), "subprocess.Popen"),
        "opens a file": (Reduced(open, str(marker), "w"), "open"),
        "evaluates": (Reduced(eval, evil), "builtins.eval"),
        "executes": (Reduced(exec, evil), "builtins.exec"),
        "nested in a container": (Reduced(dict, Reduced(list, [Reduced(exec, evil)])), "builtins.exec"),
        "nested in arguments": (Reduced(os.path.join, Reduced(os.system, command), "x"), system),
        "nested in an ordered dict": (OrderedDict(a=[{"b": Reduced(eval, evil)}]), "builtins.eval"),
        "by way of getattr": (Reduced(getattr, Path, "touch"), "builtins.getattr"),
        "a function of torch": (Reduced(torch.hub.load, "a/b", "c"), "torch.hub.load"),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("case", sorted(hostile(Path("marker"))))
def test_a_hostile_checkpoint_is_refused_and_nothing_runs(tmp_path, case, zipped):
    marker = tmp_path / "marker"
    thing, name = hostile(marker)[case]
    path = tmp_path / "zero123-xl.ckpt"
    state = {"model.diffusion_model.out.2.bias": torch.zeros(4), "cc_projection.bias": torch.zeros(4)}
    torch.save({"state_dict": state, "extra": thing}, path, _use_new_zipfile_serialization=zipped)
    for attempt in (network_in, lambda p: convert(p, tmp_path / "out.safetensors"), open_checkpoint):
        with pytest.raises(InputError, match="nothing was run") as error:
            attempt(path)
        assert name in str(error.value)
    assert not marker.exists()
    assert {p.name for p in tmp_path.iterdir()} == {"zero123-xl.ckpt"}
    if case == "executes":  # the control: the file is as dangerous as it is meant to be
        torch.load(path, weights_only=False)
        assert marker.exists()


@pytest.mark.parametrize("case", sorted(hostile(Path("marker"))))
def test_a_bare_pickle_is_refused_and_nothing_runs(tmp_path, case):
    marker, path = tmp_path / "marker", tmp_path / "flownet.pkl"
    thing, name = hostile(marker)[case]
    path.write_bytes(pickle.dumps({"module.block0.conv0.0.0.weight": thing}))
    with pytest.raises(InputError, match="nothing was run") as error:
        network_in(path)
    assert name in str(error.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"cos\ngetcwd\n.", "os.getcwd"),
        (b"\x80\x02cposix\nsystem\nq\x000}.", "posix.system"),
        (b"c__builtin__\neval\n.", "builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"\x80\x04\x8c\x07pathlib\x8c\x09os.system\x93.", "pathlib.os.system"),
        (b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93.", "torch.os.system"),
        (b"(S'touch x'\nios\nsystem\n.", "os.system"),
        (b"(csubprocess\nPopen\nS'x'\no.", "subprocess.Popen"),
        (b"\x80\x02csubprocess\nPopen\n)\x81.", "subprocess.Popen"),
        (b"\x80\x02cwonder\nmake\n(S'x'\ntR.", "wonder.make"),
        (
            b"\x80\x02cnumpy.testing._private.utils\nrunstring\n(S'x'\n}tR.",
            "numpy.testing._private.utils.runstring",
        ),
        (b"\x80\x02cpathlib\nPosixPath\n(S'x'\ntR(S'y'\ntR.", "pathlib.PosixPath"),
        (b"\x80\x02ccollections\nOrderedDict\n}S'popitem'\nK\x01sb.", "collections.OrderedDict"),
        (b"\x80\x02\x82\x01.", "EXT1"),
    ],
)
def test_what_a_hand_written_pickle_names_is_told(data, name):
    with pytest.raises(InputError, match="nothing was run") as error:
        read(data)
    assert name in str(error.value)


def test_naming_a_module_does_not_import_it(tmp_path, monkeypatch):
    marker = tmp_path / "imported"
    (tmp_path / "sneaky_module.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    named = read(b"\x80\x02csneaky_module\nThing\n.")
    assert str(named) == "sneaky_module.Thing"
    made = read(b"\x80\x02csneaky_module\nThing\n)\x81}S'a'\nK\x01sb.")
    assert isinstance(made, Foreign)
    with pytest.raises(InputError, match=r"sneaky_module\.Thing"):
        read(b"\x80\x02csneaky_module\nThing\n)R.")
    assert not marker.exists()
    assert "sneaky_module" not in sys.modules
    pickle.loads(b"\x80\x02csneaky_module\nThing\n.")  # the control
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(protocol):
    shared = [1, 2]
    value = {
        "none": None, "flags": [True, False], "numbers": (0, 1, -1, 255, 256, 70000, -(2**40), 2**70, 0.5),
        "text": "ü" * 300, "bytes": b"\x00\xff" * 200, "empty": ((), [], {}, set()),
        "nested": {"a": [{"b": (1, 2, 3, 4)}]}, "set": {1, 2}, "frozen": frozenset({3}),
        "ordered": OrderedDict(a=1, b=2), "twice": [shared, shared], 7: "number",
    }  # fmt: skip
    found = read(pickle.dumps(value, protocol))
    assert found == value
    assert found["twice"][0] is found["twice"][1]


def test_classes_are_ignored_and_tensors_found(tmp_path):
    state = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2, dtype=torch.float16)}
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.ckpt"
        checkpoint_files.save_as_lightning(path, state, zipped=zipped)
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)
        found = open_checkpoint(path)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name].read(), value) for name, value in state.items())
    assert "omegaconf" not in sys.modules


@pytest.mark.filterwarnings("ignore:invalid escape")
def test_broken_pickles_are_input_errors():
    whole = pickle.dumps({"a": [1, (2, 3)], "b": OrderedDict(x=torch.Size([3]))}, 2)
    for end in range(len(whole)):
        with pytest.raises(InputError):
            read(whole[:end])
    draw = random.Random(0)
    refused = 0
    for _ in range(2000):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            changed[draw.randrange(len(whole))] = draw.randrange(256)
        try:
            read(bytes(changed))
        except InputError:
            refused += 1
    assert refused > 500


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"N0" * 600_000, "longer than that of any checkpoint"),
        (b"(" * 1_200_000, "longer than that of any checkpoint"),
        (b"}K\x01" + b"2\x86" * 60 + b"Ns", "a key of keys"),  # 2^60 of them when it is hashed
    ],
)
def test_pickles_that_unpack_to_more_than_they_are_end_soon(body, words):
    with pytest.raises(InputError, match=words):
        unpickled(io.BytesIO(b"\x80\x02" + body + b"."), Path("bomb.ckpt"))
