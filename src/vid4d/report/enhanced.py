"""enhanced/ of a run folder, which `vid4d enhance` writes: what enhanced.json says, and the report's part."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypedDict

from vid4d.asset import ASSET
from vid4d.files.records import Amount, Finite, read_record

FOLDER = "enhanced"
FORMAT = 1


class Enhanced(TypedDict):
    """enhanced.json.

    asset: SHA-256 of the asset.safetensors that was rendered. sharpened: whose sharp pictures were learnt
    from, `small` (the sharpener that ships) or `given`; pictures: SHA-256 of those given, else empty. size:
    pixels. likeness_db: PSNR of the clip's side against the clip's frames, before and after; None without a
    clip. sharpness, motion (vid4d.metrics): after over before, of the turntable and of cameras that stand.
    """

    format: int
    asset: str
    preset: str
    seed: int
    sharpened: str
    pictures: str
    size: int
    likeness_db: tuple[Finite, Finite] | None
    sharpness: Amount
    motion: Amount


def asset_hash(root: Path) -> str:
    """SHA-256 of a run's asset."""
    with (root / ASSET).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_enhanced(root: Path) -> Enhanced | None:
    """What enhanced/ of a run holds; None where there is none, or one of another asset or format.

    Raises InputError where enhanced.json is damaged.
    """
    file = root / FOLDER / "enhanced.json"
    if not file.is_file() or not (root / ASSET).is_file():
        return None
    stored = read_record(file, Enhanced, f"delete {root / FOLDER} to go on without it")
    return stored if stored["format"] == FORMAT and stored["asset"] == asset_hash(root) else None


def about_enhanced(stored: Enhanced) -> str:
    """One or two sentences with the numbers, for people."""
    words = [
        f"Differences of neighbouring pixels are {stored['sharpness']:.2f} times those before",
        f"differences over time {stored['motion']:.2f} times (flicker would make more of them)",
    ]
    text = ", ".join(words) + "."
    if stored["likeness_db"] is not None:
        before, after = stored["likeness_db"]
        text += f" The clip's side is as like the clip's frames as {after:.1f} dB, {before:.1f} dB before."
        if after < before - 0.1:
            text += " So the renders are the truer pictures here."
    return text + " Sharper is not truer: what the asset has wrong stays wrong."
