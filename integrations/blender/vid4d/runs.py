"""What lies in a run folder, and the command lines of vid4d. Pure Python: without Blender, without vid4d."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

ASSET = "asset.safetensors"
STAGES = (".usd", ".usda", ".usdc", ".usdz")
MOST_HEADER = 1 << 24


class RunError(Exception):
    """What is wrong, in one sentence."""


@dataclass(frozen=True)
class About:
    """What an asset says of itself. seconds: how long it lasts; cyclic: whether it is a loop."""

    seconds: float
    cyclic: bool


def asset_of(path: str | Path) -> Path:
    """The asset file of a run folder, or the file itself. Raises RunError where there is none."""
    place = Path(path)
    file = place / ASSET if place.is_dir() else place
    if not file.is_file():
        raise RunError(f"{place} holds no {ASSET}: choose a finished run of vid4d")
    return file


def read_about(file: Path) -> About:
    """Reads the header of an asset file. Raises RunError for anything else."""
    try:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= MOST_HEADER:
                raise ValueError("no header")
            told = json.loads(stream.read(length))["__metadata__"]
        return About(float(told["seconds"]), told["cyclic"] == "true")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is no asset of vid4d ({error}): choose an {ASSET}") from error


def frame_rate(seconds: float, first: int, last: int) -> tuple[int, float]:
    """Blender's `fps` and `fps_base` at which frames from the first to the last are shown for so long."""
    rate = (last - first + 1) / max(seconds, 1e-3)
    whole = max(1, round(rate))
    return whole, whole / rate


def export_command(
    executable: str, asset: Path, out: Path, *, faces: int, texture: int, device: str = "auto"
) -> list[str]:
    """Writes the mesh of an asset as OpenUSD, its texture beside it."""
    return [
        *(executable, "export", str(asset), "--to", "usd", "--content", "mesh", "--out", str(out)),
        *("--faces", str(faces), "--texture", str(texture), "--force", "--device", device),
    ]


def generate_command(
    executable: str,
    clip: str,
    out: Path,
    *,
    preset: str,
    method: str,
    seed: int,
    elevation: float | None,
    device: str = "auto",
) -> list[str]:
    """Makes an asset from a clip; goes on where such a run was stopped."""
    told = [] if elevation is None else ["--elevation", f"{elevation:g}"]
    return [
        *(executable, "generate", "--preset", preset, "--method", method, "--seed", str(seed), *told),
        *("--device", device, "--out", str(out), "--resume", "--", clip),
    ]


def run_folder(runs: Path, clip: str, preset: str, method: str, seed: int, elevation: float | None) -> Path:
    """A folder for these choices: the same ones go on in it, others get another."""
    stem = re.sub(r"[^\w.-]+", "_", Path(clip).stem).strip("._") or "clip"
    tilt = "" if elevation is None else f"-e{elevation:g}"
    return runs / f"{stem}-{preset}-{method}-s{seed}{tilt}"


def found_executable(path: str) -> str:
    """The program, by its path or by its name on PATH. Raises RunError where there is none."""
    place = shutil.which(os.path.expanduser(path.strip() or "vid4d"))
    if place is None:
        raise RunError(f"there is no program {path!r}: name vid4d's in the add-on's preferences")
    return place
