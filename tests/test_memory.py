"""Memory that runs out: one sentence that says so, whoever notices, and no file that is called damaged."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
from PIL import Image

from vid4d.errors import InputError, explained
from vid4d.gaussians.model import save_asset
from vid4d.media.video import write_mp4


def test_memory_that_runs_out_is_one_sentence():
    by_torch = RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
    by_loader = ImportError("stream.abi3.so: failed to map segment from shared object")
    for error in (MemoryError(), by_torch, by_loader, OSError(errno.ENOMEM, "Cannot allocate memory")):
        assert "not enough memory" in str(explained(error))
        blamed = InputError("a.png: the image is damaged")
        assert explained(blamed) == str(blamed)
        blamed.__cause__ = error
        assert "not enough memory" in str(explained(blamed))
    assert explained(InputError("out of memory.mp4: not a video")) == "out of memory.mp4: not a video"
    by_mount = "stream.abi3.so: failed to map segment from shared object: Operation not permitted"
    assert explained(ImportError(by_mount)) is None, "packages on a disk that nothing may run from"


MEMORY = """
import os, resource, sys
import torch, av, scipy.ndimage, scipy.spatial, vid4d.clip.files, vid4d.render, vid4d.asset
from vid4d import cli
torch.set_num_threads(1)
mine = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (mine + (int(sys.argv[1]) << 20),) * 2)
cli.main(sys.argv[2:])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is counted in /proc here")
@pytest.mark.parametrize("kind", ["png", "gif", "mp4", "safetensors"])
def test_memory_that_runs_out_in_a_reader_is_not_the_fault_of_its_file(kind, tmp_path):
    picture = np.full((2400, 3200, 3), 255, np.uint8)
    picture[800:1600, 1000:2000] = 90
    file = tmp_path / f"a.{kind}"
    if kind == "mp4":
        write_mp4(file, iter([picture] * 3), 8.0)
    elif kind == "safetensors":
        save_asset(file, toys.jumping_ball(20), {"seconds": "2.0"})
    else:
        more = [Image.fromarray(np.roll(picture, 9, 0))] if kind == "gif" else []
        Image.fromarray(picture).save(file, **({"save_all": True, "append_images": more} if more else {}))
    command = ["render", str(file), "--size", "4000"] if kind == "safetensors" else ["prepare", str(file)]
    for room in (8, 24):
        out = str(tmp_path / f"{room}{'.png' if kind == 'safetensors' else ''}")
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(room), *command, "--out", out],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert (done.returncode, "not enough memory" in done.stderr) == (2, True), done.stderr
        assert not Path(out).exists()
