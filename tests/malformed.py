"""Malformed inputs at the command line: kind x tried, held; no traceback, no hang, bounded memory.

    python tests/malformed.py 5000          so many inputs, by turns of all kinds, from seed 0
    python tests/malformed.py 200 --only asset --seed 1 --keep FOLDER
    python tests/malformed.py 1 --only gif --seed 12 --turn 7      what is reported as `gif 7`, once more

Each input goes through a command in a process of its own, which is what a user would do with it. An input is
held where the command ends in 0, or in 2 with one sentence. Believed: it ended in 0, though the input has a
value of another type than its field, or a tensor that is not finite; of a resumed run, though its asset
is another one than before, and it did not say that anything was made again. Needs fork.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from spoiled import changed_bytes, changed_json, changed_tensors

LIMIT_S, LIMIT_MIB = 20, 1536


def frames_at(folder: Path) -> Path:
    """A folder of three small pictures with their description."""
    folder.mkdir()
    for i in range(3):
        picture = np.zeros((16, 16, 4), np.uint8)
        picture[4:12, 4 : 10 + i] = 255
        Image.fromarray(picture).save(folder / f"{i}.png")
    told = {"times": [0, 0.5, 1], "seconds": 1, "cyclic": False, "warnings": [], "keys": [0, 2]}
    (folder / "clip.json").write_text(json.dumps(told))
    return folder


@dataclass(frozen=True)
class Kind:
    """A kind of input: a file in a folder that is copied, how it is changed, and the command that reads it.

    file: which is changed, by its name, or one of those that fit a pattern. how: json, bytes, tensors or glb.
    command: in the folder.
    """

    name: str
    folder: str
    file: str
    how: str
    command: tuple[str, ...]


PREPARE = ("prepare", "clip", "--frames", "2", "--size", "32", "--out", "out")
RECONSTRUCT = ("reconstruct", "matrix", "--preset", "draft", "--device", "cpu", "--out", "out")
RENDER = ("render", "asset.safetensors", "--size", "32", "--out", "a.png", "--device", "cpu")
RESUME = (
    "generate",
    "disc",
    "--preset",
    "draft",
    "--device",
    "cpu",
    "--elevation",
    "10",
    "--out",
    "run",
    "--resume",
)
PLY = ("export", "asset.safetensors", "--to", "ply", "--frames", "2", "--out", "ply", "--device", "cpu")
GIF = ("export", "asset.safetensors", "--to", "gif", "--frames", "2", "--size", "16", "--out", "a.gif")
PATH = (*GIF, "--cameras", "path.json")
CONVERT = ("weights", "convert", "a.ckpt", "--name", "syncdreamer", "--out", "out.safetensors")

TRUTH = ("--truth", "truth", "--size", "16", "--device", "cpu")


def file_of(name: str) -> tuple[str, ...]:
    return ("prepare", name, "--frames", "2", "--size", "32", "--out", "out")


KINDS = [
    Kind("clip.json", "frames", "clip/clip.json", "json", PREPARE),
    *(
        Kind(e, "media", f"a.{e}", "bytes", file_of(f"a.{e}"))
        for e in ["png", "jpg", "webp", "tiff", "gif", "mp4", "mov", "webm"]
    ),
    Kind("cameras.json", "matrix", "matrix/cameras.json", "json", RECONSTRUCT),
    Kind("pictures of a matrix", "matrix", "matrix/*/*.png", "bytes", RECONSTRUCT),
    Kind("transforms_train.json", "transforms", "matrix/transforms_train.json", "json", RECONSTRUCT),
    Kind("asset", "asset", "asset.safetensors", "bytes", RENDER),
    Kind("tensors of an asset", "asset", "asset.safetensors", "tensors", RENDER),
    Kind("tensors of an asset, exported", "asset", "asset.safetensors", "tensors", PLY),
    Kind("camera path", "asset", "path.json", "json", PATH),
    Kind("settings.json of a run", "run", "run/settings.json", "json", RESUME),
    Kind("descriptions of a run", "run", "run/*/c*.json", "json", RESUME),
    Kind("timings.json of a run", "run", "run/timings.json", "json", RESUME),
    Kind("manifest of a run", "run", "run/.vid4d-files.json", "json", RESUME),
    Kind("any file of a run", "run", "run/**/*", "bytes", RESUME),
    Kind("checkpoint of a run", "run", "run/checkpoints/fit.safetensors", "tensors", RESUME),
    Kind("run, shown", "run", "run/**/*", "bytes", ("render", "run", "--size", "32", "--out", "a.png")),
    Kind("published checkpoint", "weights", "a.ckpt", "bytes", CONVERT),
    Kind("judged glb", "judged", "a.glb", "glb", ("evaluate", "a.glb", *TRUTH)),
    Kind("judged ply", "judged", "a.ply", "bytes", ("evaluate", "a.ply", *TRUTH)),
    Kind("judged before", "judged", "a.json", "json", ("evaluate", "--compare", "a.json", "b.json")),
]


def _whole(root: Path) -> None:
    """Writes the folders that inputs are copied from."""
    import torch
    import toys
    from clips import disc

    from vid4d import api
    from vid4d.gaussians.model import save_asset
    from vid4d.matrix.io import save_matrix
    from vid4d.media.video import write_mp4

    for name in {kind.folder for kind in KINDS}:
        (root / name).mkdir()
    frames_at(root / "frames" / "clip")
    media, pictures = root / "media", []
    for i in range(6):
        picture = np.full((64, 64, 3), 255, np.uint8)
        picture[20:44, 12 + 4 * i : 34 + 4 * i] = (200, 60, 20)
        pictures.append(picture)
    first, *rest = map(Image.fromarray, pictures)
    for ending in ("png", "jpg", "tiff"):
        first.save(media / f"a.{ending}")
    for ending in ("gif", "webp"):
        first.save(media / f"a.{ending}", save_all=True, append_images=rest)
    write_mp4(media / "a.mp4", iter(pictures), 12.0)
    shutil.copy(media / "a.mp4", media / "a.mov")
    shutil.copy(media / "a.mp4", media / "a.webm")
    save_matrix(toys.toy_matrix(), root / "matrix" / "matrix")
    poses = root / "transforms" / "matrix"
    poses.mkdir()
    for i in range(4):
        first.convert("RGBA").save(poses / f"{i}.png")
    turns = [((0, -1), (1, 0)), ((1, 0), (0, 1)), ((0, 1), (-1, 0)), ((-1, 0), (0, -1))]
    cameras = [
        {
            "file_path": str(i),
            "time": 0,
            "transform_matrix": [[a, 0, -b, -1.5 * b], [c, 0, -d, -1.5 * d], [0, 1, 0, 0], [0, 0, 0, 1]],
        }
        for i, ((a, b), (c, d)) in enumerate(turns)
    ]
    told = {"camera_angle_x": 0.8, "frames": cameras}
    (poses / "transforms_train.json").write_text(json.dumps(told))
    save_asset(root / "asset" / "asset.safetensors", toys.jumping_ball(20), {"seconds": "2.0", "fps": "2.0"})
    keys = [{"azimuth": 0, "elevation": 10}, {"azimuth": 90, "distance": 2.0, "time": 0.5}]
    path = {"seconds": 2, "interpolation": "linear", "keys": keys}
    (root / "asset" / "path.json").write_text(json.dumps(path))
    state = {"state_dict": {"model.a": torch.zeros(3), "model.b": torch.ones(2, 2)}, "step": 3}
    torch.save(state, root / "weights" / "a.ckpt")
    _whole_judged(root / "judged")
    clip = disc(root / "run" / "disc", 3)
    os.chdir(root / "run")
    api.generate(clip.name, out="run", preset="draft", device="cpu", elevation=10.0)


def _whole_judged(folder: Path) -> None:
    """What `vid4d evaluate` reads: a truth, a mesh that moves, splats, a result twice."""
    import toys
    from mesh_shapes import CORNERS, CUBE_FACES

    from vid4d import cli
    from vid4d.export.glb import glb_bytes
    from vid4d.gaussians.model import save_asset
    from vid4d.matrix.io import save_matrix
    from vid4d.meshing.marching_cubes import vertex_normals
    from vid4d.meshing.mesh_sequence import MeshSequence
    from vid4d.meshing.tsdf import Mesh

    save_matrix(toys.toy_matrix(), folder / "truth")
    meshes = []
    for i in range(3):
        points = CORNERS.astype(np.float64) * 0.3 + (0.1 * i, 0, 0)
        meshes.append(Mesh(points, CUBE_FACES, vertex_normals(points, CUBE_FACES), np.full((8, 3), 0.5)))
    (folder / "a.glb").write_bytes(glb_bytes(MeshSequence((0, 0.5, 1), tuple(meshes)), seconds=1.0))
    save_asset(folder / "ball.safetensors", toys.jumping_ball(20), {"seconds": "2.0", "fps": "2.0"})
    os.chdir(folder)
    cli.main(["export", "ball.safetensors", "--to", "ply", "--time", "0", "--out", "a.ply"])
    cli.main(["evaluate", "a.ply", *TRUTH, "--out", "a.json"])
    shutil.copy("a.json", "b.json")


def changed_glb(data: bytes, chance: random.Random) -> bytes:
    """A GLB whose JSON is changed and whose lengths are right again."""
    size = int.from_bytes(data[12:16], "little")
    told, _ = changed_json(data[20 : 20 + size], chance)
    told += b" " * (-len(told) % 4)
    rest = data[20 + size :]
    lengths = [(20 + len(told) + len(rest)).to_bytes(4, "little"), len(told).to_bytes(4, "little")]
    return data[:8] + lengths[0] + lengths[1] + b"JSON" + told + rest


def _tiny() -> None:
    """The draft preset of efficient4d becomes tiny in this process, with a tiny network."""
    import pytest
    from tiny_frustum import ship, slab
    from tiny_runs import EFFICIENT

    from vid4d.methods import efficient4d

    patch = pytest.MonkeyPatch()
    patch.setitem(efficient4d.PRESETS, "draft", EFFICIENT)
    ship(patch, slab())


def change(kind: Kind, folder: Path, chance: random.Random) -> str:
    """Changes the input in its folder. Returns what cannot be believed; '' where that is not known."""
    files = sorted(p for p in folder.glob(kind.file) if p.is_file() and p.stat().st_size)
    if kind.name == "any file of a run":
        for marker in (folder / "run" / ".done").iterdir():
            if chance.random() < 0.3:
                marker.unlink()
        files = [p for p in files if p.is_file()]
    if kind.name == "checkpoint of a run":
        for name in ("fit", "contact", "turntable", "player", "report"):
            (folder / "run" / ".done" / name).unlink()
    file = chance.choice(files)
    if kind.how == "json" and chance.random() < 0.85:
        data, wrong = changed_json(file.read_bytes(), chance)
        file.write_bytes(data)
        return wrong
    if kind.how == "glb" and chance.random() < 0.6:
        file.write_bytes(changed_glb(file.read_bytes(), chance))
        return ""
    if kind.how == "tensors" and chance.random() < 0.9:
        return changed_tensors(file, chance)
    file.write_bytes(changed_bytes(file.read_bytes(), chance))
    return ""


@dataclass
class Outcome:
    """How a command ended: exit code (-signal), last lines, seconds, MiB at its peak."""

    code: int
    said: str
    seconds: float
    mib: float


def in_a_child(command: Sequence[str], folder: Path) -> Outcome:
    """The command in a process of its own, which ends after LIMIT_S."""
    began, log = time.monotonic(), folder.parent / "said.txt"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(LIMIT_S)
            os.chdir(folder)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0, closefd=False), write_through=True)
            sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0, closefd=False), write_through=True)
            from vid4d import cli

            try:
                cli.main(list(command))
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
        finally:
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    said = log.read_text(errors="replace") if log.exists() else ""
    code = os.waitstatus_to_exitcode(status)
    return Outcome(code, said, time.monotonic() - began, used.ru_maxrss * unit / (1 << 20))


@dataclass
class Row:
    """What came of the inputs of a kind."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    mib: float = 0.0
    examples: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome, wrong: str) -> str:
        """Enters an outcome. Returns the column that it was entered in besides `tried`."""
        self.seconds, self.mib = max(self.seconds, outcome.seconds), max(self.mib, outcome.mib)
        told = [line for line in outcome.said.splitlines() if line.startswith("vid4d: ")]
        if outcome.code == -signal.SIGALRM:
            column = "hang"
        elif (
            "Traceback" in outcome.said
            or outcome.code not in (0, 2)
            or (outcome.code == 2 and len(told) != 1)
        ):
            column = "traceback"
        elif outcome.mib > LIMIT_MIB:
            column = "memory"
        elif outcome.code == 0 and wrong:
            column = "believed"
        else:
            column = "held"
            self.counts["read" if outcome.code == 0 else "refused"] += 1
        self.counts["tried"] += 1
        self.counts[column] += 1
        return column


def another_asset(whole: Path, folder: Path, outcome: Outcome) -> str:
    """'another asset' where a resumed run says nothing of damage, and ends in another asset."""
    asset = Path("run", "asset.safetensors")
    if outcome.code or "made again" in outcome.said:
        return ""
    return "" if (whole / asset).read_bytes() == (folder / asset).read_bytes() else "another asset"


COLUMNS = ("tried", "held", "read", "refused", "traceback", "hang", "memory", "believed")


def campaign(
    count: int,
    seed: int,
    kinds: Sequence[Kind],
    keep: Path | None,
    report: Callable[[str], None],
    first: int = 0,
) -> dict[str, Row]:
    """Tries so many inputs, by turns of all kinds, from that turn. Returns kind -> what came of it."""
    import av  # noqa: F401  heavy modules once, and not in every child
    import scipy.ndimage
    import scipy.spatial  # noqa: F401
    import torch

    from vid4d import cli, outputs  # noqa: F401

    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork; a child makes its own
    rows: dict[str, Row] = {kind.name: Row() for kind in kinds}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        _tiny()
        (root / "whole").mkdir()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _whole(root / "whole")
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        for number in range(first * len(kinds), first * len(kinds) + count):
            kind = kinds[number % len(kinds)]
            chance = random.Random(f"{seed} {kind.name} {number // len(kinds)}")
            folder = root / "tried" / "input"
            shutil.copytree(root / "whole" / kind.folder, folder)
            wrong = change(kind, folder, chance)
            shutil.copytree(folder, root / "before")
            outcome = in_a_child(kind.command, folder)
            if kind.command == RESUME:
                wrong = another_asset(root / "whole" / kind.folder, folder, outcome)
            column = rows[kind.name].count(outcome, wrong)
            if column != "held":
                last = (outcome.said.strip().splitlines() or [""])[-1]
                report(f"{kind.name} {number // len(kinds)}: {column}, exit {outcome.code}; {wrong or last}")
                if keep is not None:
                    kept = keep / f"{number:05d}_{column}"
                    shutil.copytree(root / "before", kept)
                    (kept / "said.txt").write_text(outcome.said)
            shutil.rmtree(root / "before")
            shutil.rmtree(root / "tried")
    return rows


def table(rows: dict[str, Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [f"| kind | {' | '.join(COLUMNS)} | s at most | MiB at most |", "|---" * (len(COLUMNS) + 3) + "|"]
    total = Row()
    for row in rows.values():
        total.counts.update(row.counts)
        total.seconds, total.mib = max(total.seconds, row.seconds), max(total.mib, row.mib)
    for name, row in (*rows.items(), ("all", total)):
        counts = " | ".join(str(row.counts[c]) for c in COLUMNS)
        lines.append(f"| {name} | {counts} | {row.seconds:.1f} | {row.mib:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int, help="inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="kinds whose name begins so")
    parser.add_argument("--turn", type=int, default=0, help="of each kind, the first input to try")
    parser.add_argument("--keep", type=Path, help="a folder for inputs that were not held")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kinds = [kind for kind in KINDS if kind.name.startswith(options.only or "")]
    rows = campaign(
        options.count,
        options.seed,
        kinds,
        options.keep,
        lambda line: print(line, flush=True),
        options.turn,
    )
    print(table(rows))


if __name__ == "__main__":
    main()
