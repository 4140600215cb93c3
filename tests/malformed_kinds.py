"""Kinds of inputs of tests/malformed.py: whole folders, how they are changed, the commands that read them."""

from __future__ import annotations

import json
import os
import random
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from spoiled import changed_bytes, changed_glb, changed_json, changed_picture, changed_tensors, changed_v4d


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

    file: which is changed, by its name, or one of those that fit a pattern. how: json, bytes, tensors, glb,
    v4d or picture. command: in the folder; `read_v4d` is Python's reader, which no command
    uses, after an export where the file is an asset.
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

ENHANCE = ("enhance", "run", "--device", "cpu")
SHARPENED = (*ENHANCE, "--sharpened", "sharp")
V4D = ("read_v4d", "asset.v4d")


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
    Kind("enhanced.json", "enhanced", "run/enhanced/enhanced.json", "json", (*ENHANCE, "--resume")),
    Kind("enhanced.json, reported", "enhanced", "run/enhanced/enhanced.json", "json", RESUME),
    Kind("enhanced, any file of its run", "enhanced", "run/**/*", "bytes", ENHANCE),
    Kind("enhance's checkpoint", "stopped", "run/checkpoints/enh*", "tensors", (*ENHANCE, "--resume")),
    Kind("sharpened picture", "sharpened", "sharp/*.png", "picture", SHARPENED),
    Kind("sharpened picture, bytes", "sharpened", "sharp/*.png", "bytes", SHARPENED),
    Kind("v4d", "v4d", "asset.v4d", "v4d", V4D),
    Kind("v4d, bytes", "v4d", "asset.v4d", "bytes", V4D),
    Kind("v4d of an asset", "asset", "asset.safetensors", "tensors", ("read_v4d", "asset.safetensors")),
]


def write_whole(root: Path) -> None:
    """Writes the folders that inputs are copied from."""
    import torch
    import toys
    from clips import disc

    from vid4d import api
    from vid4d.export.moving import moving
    from vid4d.export.v4d import packed
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
    (root / "v4d" / "asset.v4d").write_bytes(packed(moving(toys.jumping_ball(20)), seconds=2.0))
    keys = [{"azimuth": 0, "elevation": 10}, {"azimuth": 90, "distance": 2.0, "time": 0.5}]
    path = {"seconds": 2, "interpolation": "linear", "keys": keys}
    (root / "asset" / "path.json").write_text(json.dumps(path))
    state = {"state_dict": {"model.a": torch.zeros(3), "model.b": torch.ones(2, 2)}, "step": 3}
    torch.save(state, root / "weights" / "a.ckpt")
    _whole_judged(root / "judged")
    clip = disc(root / "run" / "disc", 3)
    os.chdir(root / "run")
    api.generate(clip.name, out="run", preset="draft", device="cpu", elevation=10.0)
    _whole_enhanced(root)


def _whole_enhanced(root: Path) -> None:
    """What `vid4d enhance` reads: a run enhanced, one stopped in training, one with its sharp pictures."""
    import pytest

    from vid4d import cli
    from vid4d.enhance.trainer import Trainer

    for name in ("enhanced", "stopped", "sharpened"):
        shutil.copytree(root / "run", root / name, dirs_exist_ok=True)
    os.chdir(root / "enhanced")
    cli.main([*ENHANCE])
    os.chdir(root / "sharpened")
    cli.main([*ENHANCE, "--to-sharpen", "sharp"])
    os.chdir(root / "stopped")
    advance = Trainer.advance

    def stopping(self: Trainer) -> object:
        if self.step == 5:
            raise KeyboardInterrupt
        return advance(self)

    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr(Trainer, "advance", stopping)
        cli.main([*ENHANCE])


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
    if kind.name == "enhanced.json, reported":
        (folder / "run" / ".done" / "report").unlink()
    file = chance.choice(files)
    if kind.how == "json" and chance.random() < 0.85:
        data, wrong = changed_json(file.read_bytes(), chance)
        file.write_bytes(data)
        return wrong
    if kind.how == "glb" and chance.random() < 0.6:
        file.write_bytes(changed_glb(file.read_bytes(), chance))
        return ""
    if kind.how == "v4d" and chance.random() < 0.9:
        data, wrong = changed_v4d(file.read_bytes(), chance)
        file.write_bytes(data)
        return wrong
    if kind.how == "picture":
        changed_picture(file, chance)
        return ""
    if kind.how == "tensors" and chance.random() < 0.9:
        return changed_tensors(file, chance)
    file.write_bytes(changed_bytes(file.read_bytes(), chance))
    return ""
