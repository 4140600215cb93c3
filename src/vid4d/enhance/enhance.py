"""Enhances the videos of a finished run: renders, sharp pictures, training, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vid4d.asset import Asset, load
from vid4d.cameras import Cameras
from vid4d.compute.machine import resolve_device
from vid4d.compute.threads import fixed_threads
from vid4d.enhance.apply import Enhancer
from vid4d.enhance.config import PRESETS, EnhancerConfig
from vid4d.enhance.footage import Footage, moments, own_footage, rendered, side_renders
from vid4d.enhance.given import read_sharp, write_renders
from vid4d.enhance.sharpener import Sharpener, load_sharpener, sharpened
from vid4d.enhance.trainer import Trainer
from vid4d.errors import InputError
from vid4d.files.checkpoints import identity_of
from vid4d.files.write import folder_written_whole, write_json
from vid4d.matrix.io import load_matrix
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.video import write_mp4
from vid4d.metrics import motion, psnr, sharpness
from vid4d.render import frames_of, loops_to_play
from vid4d.report.contact import draw_sheet
from vid4d.report.enhanced import FOLDER, FORMAT, Enhanced, about_enhanced, asset_hash, read_enhanced
from vid4d.report.report import write_report
from vid4d.runs.folder import (
    begin_to_replace,
    keep_changed,
    note_checkpoint,
    record,
    refuse_links,
    remove_scratch,
)
from vid4d.runs.kept_settings import read_settings
from vid4d.runs.lock import RunLock
from vid4d.runs.progress import Progress
from vid4d.settings import check_seed

FPS = 24.0
SIDES = (0, 90, 180, 270)
"""Degrees around the object of the cameras that stand still."""
CHECKPOINT = "enhance"


@dataclass(frozen=True)
class Subject:
    """A finished run: its folder, asset and matrix."""

    root: Path
    asset: Asset
    matrix: ImageMatrix

    @property
    def elevation(self) -> float:
        return self.asset.elevation

    def sides(self, config: EnhancerConfig) -> list[Float[Tensor, "_ 3 h w"]]:
        """Renders of the sides whose sharp pictures have to be made."""
        return side_renders(
            self.asset.gaussians,
            self.elevation,
            views=config.views,
            frames=config.frames,
            size=config.size,
            own=self.matrix.input_images is not None,
        )


def open_run(root: Path, device: str = "auto") -> Subject:
    """A run that is finished. Raises InputError for anything else."""
    if not root.is_dir():
        raise InputError(f"{root} is no run folder: give one that vid4d generate has made")
    refuse_links(root)
    read_settings(root)
    asset = load(root, device)
    if not (root / "matrix").is_dir():
        raise InputError(f"{root} has no image matrix: continue its run with --resume")
    return Subject(root, asset, load_matrix(root / "matrix"))


def write_to_sharpen(root: Path, out: Path, *, preset: str = "draft", device: str = "auto") -> int:
    """Writes the renders that another tool is to sharpen into a new folder; returns how many.

    Raises InputError as `write_renders`, and for a run that is not finished.
    """
    return write_renders(out, open_run(root, device).sides(PRESETS[preset]))


@fixed_threads()
def enhance(
    root: Path,
    *,
    preset: str = "draft",
    sharp_pictures: Path | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Trains an enhancer for the asset of a run and writes enhanced/ into its folder; the report shows it.

    sharp_pictures: of another tool, made from what `write_to_sharpen` wrote; those of the small sharpener
    where not given. resume: go on from a training that was stopped, and leave one that is finished.
    Returns the folder. Raises InputError for bad input, and where another process works in the run folder.
    """
    progress = progress or Progress(quiet=True)
    check_seed(seed)
    subject = open_run(root, device)
    lock = RunLock(root)
    try:
        remove_scratch(root)
        return _enhance(subject, preset, sharp_pictures, seed, resume, resolve_device(device), progress)
    finally:
        lock.release()


def _enhance(
    subject: Subject,
    preset: str,
    sharp_pictures: Path | None,
    seed: int,
    resume: bool,
    device: str,
    progress: Progress,
) -> Path:
    root, config = subject.root, PRESETS[preset]
    with progress.stage("renders"):
        sides = subject.sides(config)
        given = None if sharp_pictures is None else read_sharp(sharp_pictures, sides)
    asked: dict[str, Any] = {
        "format": FORMAT,
        "asset": asset_hash(root),
        "preset": preset,
        "seed": seed,
        "sharpened": "small" if given is None else "given",
        "pictures": "" if given is None else identity_of([], *given),
        "size": config.size,
    }
    before = _before(root, progress)
    if resume and before is not None and asked.items() <= before.items():
        progress.say("enhanced before")
    else:
        sharpener = load_sharpener(device)
        with progress.stage("sharpen"):
            small = [sharpened(sharpener, side) for side in sides]
        pairs = list(zip(small, given or small, strict=True))
        _train(subject, sharpener, pairs, config, asked, resume, device, progress)
    with progress.stage("report"):
        for kept in keep_changed(root, ("report.html",)):
            progress.say(f"what vid4d did not write, or not so, is kept as {kept}")
        begin_to_replace(root, ("report.html",))
        write_report(root, subject.asset.gaussians, subject.matrix)
        record(root)
    if (made := read_enhanced(root)) is not None:
        progress.say(about_enhanced(made))
    return root / FOLDER


def _before(root: Path, progress: Progress) -> Enhanced | None:
    """What is there already; None where it is damaged, for it is made again."""
    try:
        return read_enhanced(root)
    except InputError as damage:
        progress.say(f"enhanced: made again, for what was saved cannot be used ({damage})")
        return None


def _train(
    subject: Subject,
    sharpener: Sharpener,
    pairs: list[tuple[Tensor, Tensor]],
    config: EnhancerConfig,
    asked: dict[str, Any],
    resume: bool,
    device: str,
    progress: Progress,
) -> None:
    """Trains the enhancer and writes enhanced/.

    pairs: what the sharpener makes of a side's renders, and what they should look like.
    """
    root, cyclic, step = subject.root, subject.asset.cyclic, 2**config.generator.halvings
    own = own_footage(subject.asset.gaussians, subject.matrix, config.size)
    others = [Footage(a, b, cyclic).cut(step) for a, b in pairs]
    checkpoint = _checkpoint(root, resume)
    known = [] if own is None else [replace(own, renders=sharpened(sharpener, own.renders)).cut(step)]
    trainer = Trainer(known, others, config, seed=asked["seed"], device=device)
    with progress.stage("enhance") as bar:

        def report(done: int, total: int, difference: float) -> None:
            bar.update(done, total, difference=difference)

        enhancer = Enhancer(sharpener, trainer.run(checkpoint, report))
    with progress.stage("videos"):
        with folder_written_whole(root / FOLDER) as folder:
            numbers = _write(folder, subject, own, enhancer, config)
            write_json(folder / "enhanced.json", asked | numbers)
        checkpoint.unlink(missing_ok=True)


def _checkpoint(root: Path, resume: bool) -> Path:
    (root / "checkpoints").mkdir(exist_ok=True)
    path = note_checkpoint(root, CHECKPOINT)
    if not resume:
        path.unlink(missing_ok=True)
    return path


def _write(
    folder: Path, subject: Subject, own: Footage | None, enhancer: Enhancer, config: EnhancerConfig
) -> dict[str, object]:
    """Writes videos and sheet; returns what enhanced.json says of them."""
    asset, size, cyclic = subject.asset, config.size, subject.asset.cyclic
    count, fps = frames_of(loops_to_play(asset.seconds) * asset.seconds, FPS)
    azimuths = torch.arange(count) * (360.0 / count)
    times = torch.arange(count) / fps / max(asset.seconds, 1e-3) % 1.0
    turned = rendered(asset.gaussians, Cameras.orbit(azimuths, subject.elevation, size=size), times)
    after = enhancer(turned, cyclic=cyclic)
    _video(folder / "turntable.mp4", after, fps)
    _video(folder / "before_after.mp4", torch.cat([turned, after], -1), fps)
    steps = moments(max(2, round(asset.seconds * FPS)), cyclic)
    pairs: list[tuple[Tensor, Tensor]] = []
    for azimuth in SIDES:
        still = rendered(
            asset.gaussians, Cameras.orbit([float(azimuth)], subject.elevation, size=size), steps
        )
        pairs.append((still, enhancer(still, cyclic=cyclic)))
        _video(
            folder / f"view_{azimuth:03d}.mp4",
            pairs[-1][1].repeat(loops_to_play(asset.seconds), 1, 1, 1),
            FPS,
        )
    _sheet(pairs, own, cyclic).save(folder / "before_after.png")
    moved = [sum(float(motion(pair[i].movedim(1, -1))) for pair in pairs) for i in (0, 1)]
    edges = [float(sharpness(p.movedim(1, -1)).mean()) for p in (turned, after)]
    return {
        "likeness_db": None if own is None else _likeness(own, enhancer),
        "sharpness": round(edges[1] / edges[0], 4) if edges[0] else 1.0,
        "motion": round(moved[1] / moved[0], 4) if moved[0] else 1.0,
    }


def _likeness(own: Footage, enhancer: Enhancer) -> list[float]:
    """PSNR in dB against the clip's frames, before and after; the mean over frames."""
    after = enhancer(own.renders, cyclic=own.cyclic)
    return [
        round(float(psnr(p.movedim(1, -1), own.sharp.movedim(1, -1)).mean()), 3) for p in (own.renders, after)
    ]


def _video(file: Path, frames: Float[Tensor, "t 3 h w"], fps: float) -> None:
    write_mp4(file, (_picture(frame) for frame in frames), fps)


def _sheet(pairs: list[tuple[Tensor, Tensor]], own: Footage | None, cyclic: bool) -> Image.Image:
    """Rows: renders, the same enhanced, the clip's frame nearest in time. Columns: sides at two moments."""
    count, loop = len(pairs[0][0]), int(cyclic)
    columns: list[str] = []
    before: list[np.ndarray | None] = []
    after: list[np.ndarray | None] = []
    frames: list[np.ndarray | None] = []
    for moment in (0, count // 2):
        for azimuth, (renders, made) in zip(SIDES, pairs, strict=True):
            columns.append(f"{azimuth}°")
            before.append(_picture(renders[moment]))
            after.append(_picture(made[moment]))
            frames.append(None)
        if own is not None:
            share = moment / max(1, count - 1 + loop)
            nearest = round(share * (len(own.sharp) - 1 + loop)) % len(own.sharp)
            frames[-len(SIDES)] = _picture(own.sharp[nearest])
    rows = [("before", "", before), ("after", "", after)]
    return draw_sheet(rows if own is None else [*rows, ("the clip", "", frames)], columns, 256)


def _picture(frame: Float[Tensor, "3 h w"]) -> np.ndarray:
    return frame.movedim(0, -1).numpy()
