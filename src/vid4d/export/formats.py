"""Files that other tools open: which formats there are, and how an export is put in its place.

A writer is a function `write(asset, out, options) -> list[Path]`. It writes to `out`, a temporary place: an
empty folder where the format is a sequence of numbered files (and no single moment was asked for), else a
path with the format's ending, beside which further files may be put (textures). It returns what it wrote.
Writers know nothing of `--force`, of full disks or of half-written files: `export` does, and moves what was
written to where it belongs.
"""

from __future__ import annotations

import os
import re
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vid4d.errors import InputError
from vid4d.export.options import ExportOptions

if TYPE_CHECKING:
    from vid4d.asset import Asset


class Format(NamedTuple):
    """module, function: the writer. ending: of its files. sequence: many numbered files in a folder.

    one_moment: with `options.time`, a sequence is a single file.
    """

    module: str
    function: str
    ending: str
    help: str
    sequence: bool = False
    one_moment: bool = True


FORMATS = {
    "ply": Format("vid4d.export.ply", "write", ".ply", "3D Gaussian PLY per moment", sequence=True),
    "usd": Format("vid4d.export.usd", "write", ".usd", "OpenUSD Gaussian splats with time samples"),
    "usdz": Format("vid4d.export.usd", "write", ".usdz", "the same, packed into one file"),
    "glb": Format(
        "vid4d.export.glb", "write", ".glb", "animated mesh with vertex colors or a texture (glTF 2.0)"
    ),
    "obj": Format("vid4d.export.obj", "write", ".obj", "mesh with vertex colors per moment", sequence=True),
    "html": Format("vid4d.export.html", "write", ".html", "a page that plays and turns, in any browser"),
    "mp4": Format("vid4d.export.video", "write_mp4", ".mp4", "video (H.264)"),
    "webm": Format("vid4d.export.video", "write_webm", ".webm", "video with transparency (VP9)"),
    "gif": Format("vid4d.export.video", "write_gif", ".gif", "animated GIF with one palette"),
    "png": Format(
        "vid4d.export.video", "write_png", ".png", "numbered pictures", sequence=True, one_moment=False
    ),
}
"""Formats by the name that `vid4d export --to` takes."""


def export(
    asset: Asset, to: str, out: str | Path | None = None, options: ExportOptions | None = None
) -> list[Path]:
    """Writes an asset in a format of `FORMATS`, whole or not at all.

    out: a file, or a folder for numbered files; in `export/` beside the asset where not given.
    Returns the files.
    Raises InputError for an unknown format, an existing place without `force`, and bad options.
    """
    options = options or ExportOptions()
    options.check()
    chosen = FORMATS.get(to)
    if chosen is None:
        raise InputError(f"there is no format {to!r}: choose one of {', '.join(FORMATS)}")
    folder = chosen.sequence and not (chosen.one_moment and options.time is not None)
    place = _place(asset, to, chosen, None if out is None else Path(out), folder)
    _refuse_existing(place, chosen, folder, options.force)
    writer = getattr(import_module(chosen.module), chosen.function)
    new_folders = _make_parents(place.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
            target = Path(scratch) / place.name
            if folder:
                target.mkdir()
            writer(asset, target, options)
            return _into_place(Path(scratch), target if folder else None, place, chosen, options.force)
    except BaseException as error:
        for parent in new_folders:
            if not any(parent.iterdir()):
                parent.rmdir()
        if isinstance(error, OSError) and error.errno:  # people know the place, not the temporary name
            raise OSError(error.errno, os.strerror(error.errno), str(place)) from error
        raise


def _place(asset: Asset, to: str, chosen: Format, out: Path | None, folder: bool) -> Path:
    if out is None:
        return asset.root / "export" / (to if folder else f"asset{chosen.ending}")
    if folder:
        if out.suffix.lower() == chosen.ending or out.is_file():
            one = ", or choose one moment with --time" if chosen.one_moment else ""
            raise InputError(f"{out} is one file, but {to} makes many: give a folder with --out{one}")
        return out
    if out.is_dir():
        return out / f"asset{chosen.ending}"
    if out.suffix.lower() != chosen.ending:
        raise InputError(f"{out} does not end in {chosen.ending}: name it so, or choose another --to")
    return out


def _refuse_existing(place: Path, chosen: Format, folder: bool, force: bool) -> None:
    if place.is_dir() != folder and place.exists():
        raise InputError(f"{place} is a {'file' if folder else 'folder'}: name another place with --out")
    if force or not place.exists():
        return
    if not folder:
        raise InputError(f"{place} exists: replace it with --force, or name another place with --out")
    if any(place.iterdir()):
        raise InputError(f"{place} is not empty: replace its files with --force, or name another with --out")


def _make_parents(folder: Path) -> list[Path]:
    """Makes a folder; returns those that did not exist, deepest first."""
    missing = []
    for parent in (folder, *folder.parents):
        if parent.exists():
            break
        missing.append(parent)
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _into_place(scratch: Path, folder: Path | None, place: Path, chosen: Format, force: bool) -> list[Path]:
    """Moves written files from `scratch` (on the same disk) to where they belong."""
    if folder is not None:
        _readable(folder)
        files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        if place.exists() and any(place.iterdir()):
            for stale in place.iterdir():
                if re.fullmatch(rf"[a-z]+_\d{{4,}}{re.escape(chosen.ending)}", stale.name):
                    stale.unlink()
            for file in files:
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).replace(place / file)
        else:
            if place.exists():
                place.rmdir()
            folder.rename(place)
        return [place / file for file in files]
    written = sorted(scratch.iterdir())
    for file in written:
        if file.name != place.name and (place.parent / file.name).exists() and not force:
            raise InputError(f"{place.parent / file.name} exists: replace it with --force")
    for file in written:
        target = place.parent / file.name
        file.replace(target)
    return [place, *(place.parent / f.name for f in written if f.name != place.name)]


def _readable(folder: Path) -> None:
    """Rights as new files have them: temporary folders are private."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)
