"""Files that other tools open: which formats there are, and how an export is put in its place.

A writer is a function `write(asset, out, options) -> list[Path]`. It writes to `out`, a temporary place: an
empty folder where the format is a sequence of numbered files (and no single moment was asked for), else a
path with the format's ending, beside which further files may be put (textures). It returns what it wrote.
Writers know nothing of `--force`, of full disks or of half-written files: `export` does, and moves what was
written to where it belongs.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vid4d.compute.threads import fixed_threads
from vid4d.errors import InputError
from vid4d.export.options import ExportOptions
from vid4d.files import manifest
from vid4d.files.paths import is_taken
from vid4d.files.scratch import scratch_folder
from vid4d.files.write import all_to_disk, move_into_place, write_text

if TYPE_CHECKING:
    from vid4d.asset import Asset


class Format(NamedTuple):
    """module, function: the writer. ending: of its files. sequence: many numbered files in a folder.

    help: what it is, for `vid4d export --help`. takes: the options that have an effect on it, of
    `ExportOptions`; all others are refused. one_moment: with `options.time`, a sequence is a single file.
    stem: of the file's name where no other is asked for.
    """

    module: str
    function: str
    ending: str
    help: str
    takes: frozenset[str]
    sequence: bool = False
    one_moment: bool = True
    stem: str = "asset"


MOMENTS = frozenset({"time", "frames", "fps", "root_motion"})
MESHES = MOMENTS | {"faces", "surface"}
VIEWS = frozenset({"azimuth", "elevation"})
PICTURES = MOMENTS | VIEWS | {"size", "background", "view", "seconds", "cameras", "transforms"}

FORMATS = {
    "ply": Format(
        "vid4d.export.ply",
        "write",
        ".ply",
        "Gaussian splats, a PLY file per moment",
        MOMENTS | {"axes", "sh_degree"},
        sequence=True,
    ),
    "spz": Format(
        "vid4d.export.spz",
        "write",
        ".spz",
        "the same, compressed (Niantic's format)",
        MOMENTS | {"axes", "sh_degree"},
        sequence=True,
    ),
    "sog": Format(
        "vid4d.export.sog",
        "write",
        ".sog",
        "the same as pictures in a ZIP (PlayCanvas)",
        MOMENTS | {"sh_degree"},
        sequence=True,
    ),
    "stg": Format(
        "vid4d.export.spacetime",
        "write_stg",
        ".ply",
        "moving splats in one file for SuperSplat 4D and Unreal (Spacetime Gaussians)",
        frozenset({"axes", "sh_degree"}),
        stem="asset_stg",
    ),
    "stg-lite": Format(
        "vid4d.export.spacetime",
        "write_stg_lite",
        ".ply",
        "the same as the authors' own code writes it, without harmonics",
        frozenset({"axes"}),
        stem="asset_stg_lite",
    ),
    "splatv": Format(
        "vid4d.export.spacetime",
        "write_splatv",
        ".splatv",
        "moving splats in one file for splaTV and gsplat.js",
        frozenset({"axes"}),
    ),
    "ply4d": Format(
        "vid4d.export.ply4d",
        "write",
        ".ply",
        "native 4D Gaussians in one file, for Unreal (OpenSplat4D)",
        frozenset({"axes"}),
        stem="asset_4d",
    ),
    "v4d": Format(
        "vid4d.export.v4d",
        "write",
        ".v4d",
        "the whole asset in one small file that plays while it arrives (docs/v4d.md)",
        frozenset(),
    ),
    "usd": Format(
        "vid4d.export.usd",
        "write",
        ".usd",
        "animated mesh with a texture, and Gaussian splats (OpenUSD)",
        MESHES | {"texture", "content"},
    ),
    "usdz": Format(
        "vid4d.export.usd",
        "write",
        ".usdz",
        "the same, packed into one file",
        MESHES | {"texture", "content"},
    ),
    "glb": Format(
        "vid4d.export.glb",
        "write",
        ".glb",
        "animated mesh with a texture or vertex colors (glTF 2.0)",
        MESHES | {"texture"},
    ),
    "obj": Format(
        "vid4d.export.obj",
        "write",
        ".obj",
        "mesh with vertex colors, a file per moment",
        MESHES,
        sequence=True,
    ),
    "html": Format(
        "vid4d.export.html",
        "write",
        ".html",
        "a page that plays and turns, in any browser",
        VIEWS | {"time", "root_motion"},
    ),
    "mp4": Format(
        "vid4d.export.video",
        "write_mp4",
        ".mp4",
        "video (H.264)",
        PICTURES,
    ),
    "webm": Format(
        "vid4d.export.video",
        "write_webm",
        ".webm",
        "video with transparency (VP9)",
        PICTURES,
    ),
    "mov": Format(
        "vid4d.export.video",
        "write_mov",
        ".mov",
        "video with transparency for editors (ProRes 4444)",
        PICTURES,
    ),
    "webp": Format(
        "vid4d.export.video", "write_webp", ".webp", "animated picture with transparency", PICTURES
    ),
    "gif": Format(
        "vid4d.export.video", "write_gif", ".gif", "animated picture with transparency, one palette", PICTURES
    ),
    "png": Format(
        "vid4d.export.video",
        "write_png",
        ".png",
        "numbered pictures",
        PICTURES,
        sequence=True,
        one_moment=False,
    ),
}
"""Formats by the name that `vid4d export --to` takes."""


def options_for(to: str, **wishes: Any) -> ExportOptions:
    """Options of an export to a format: of the wishes those that have an effect on it."""
    return ExportOptions(**{k: v for k, v in wishes.items() if k in (*FORMATS[to].takes, "force", "report")})


@fixed_threads()
def export(
    asset: Asset, to: str, out: str | Path | None = None, options: ExportOptions | None = None
) -> list[Path]:
    """Writes an asset in a format of `FORMATS`, whole or not at all.

    out: a file, or a folder for numbered files; in `export/` beside the asset where not given.
    Returns the files.
    Raises InputError for an unknown format, an existing place without `force`, and options that are bad or
    have no effect.
    """
    options = options or ExportOptions()
    options.check()
    chosen = FORMATS.get(to)
    if chosen is None:
        raise InputError(f"there is no format {to!r}: choose one of {', '.join(FORMATS)}")
    _refuse_unused(to, chosen, options)
    folder = chosen.sequence and not (chosen.one_moment and options.time is not None)
    place = _place(asset, to, chosen, None if out is None else Path(out), folder)
    _refuse_existing(place, chosen, folder, options.force)
    if options.root_motion:
        from vid4d.export.root_motion import root_motion

        root_motion(asset, [0.0])  # refuses before a long work where there is none
    writer = getattr(import_module(chosen.module), chosen.function)
    new_folders = _make_parents(place.parent)
    try:
        with scratch_folder(place) as scratch:
            target = scratch / place.name
            if folder:
                target.mkdir()
            writer(asset, target, options)
            return (
                _folder_into_place(target, place)
                if folder
                else _file_into_place(scratch, place, options.force)
            )
    except BaseException as error:
        for parent in new_folders:
            if not any(parent.iterdir()):
                parent.rmdir()
        if isinstance(error, OSError) and error.errno:  # people know the place, not the temporary name
            raise OSError(error.errno, os.strerror(error.errno), str(place)) from error
        raise


def _refuse_unused(to: str, chosen: Format, options: ExportOptions) -> None:
    """Raises InputError for an option that has no effect: on this format, or beside another option."""
    given = options.given
    for name in (n for n in given if n not in chosen.takes):
        others = ", ".join(key for key, other in FORMATS.items() if name in other.takes)
        option = name.replace("_", "-")
        raise InputError(f"--{option} has no effect on {to}: leave it out; {others} take it")
    if "time" in given and "size" not in chosen.takes:  # not a video that stands still
        for name in (n for n in ("frames", "fps") if n in given):
            raise InputError(f"--{name} has no effect beside --time, which is one moment: leave one out")
    if options.content == "splats":
        for name in (n for n in ("faces", "surface", "texture") if n in given):
            raise InputError(f"--{name} has no effect beside --content splats: leave one of them out")
    if "cameras" in given:
        for name in (n for n in ("view", "azimuth", "elevation") if n in given):
            raise InputError(f"--{name} has no effect beside --cameras: leave one of them out")
    if {"view", "transforms"} <= given and options.view == "both":
        raise InputError(
            "--transforms has no effect beside --view both, whose pictures have two cameras: leave one out"
        )
    if {"frames", "fps", "seconds"} <= given:
        raise InputError("--frames at --fps say how long it lasts: leave --seconds out, or one of them")


def _place(asset: Asset, to: str, chosen: Format, out: Path | None, folder: bool) -> Path:
    if out is None:
        return asset.root / "export" / (to if folder else f"{chosen.stem}{chosen.ending}")
    if folder:
        if out.suffix.lower() == chosen.ending or out.is_file():
            one = ", or choose one moment with --time" if chosen.one_moment else ""
            raise InputError(f"{out} is one file, but {to} makes many: give a folder with --out{one}")
        return out
    if out.is_dir():
        return out / f"{chosen.stem}{chosen.ending}"
    if out.suffix.lower() != chosen.ending:
        raise InputError(f"{out} does not end in {chosen.ending}: name it so, or choose another --to")
    return out


def _refuse_existing(place: Path, chosen: Format, folder: bool, force: bool) -> None:
    if place.is_dir() != folder and place.exists():
        raise InputError(f"{place} is a {'file' if folder else 'folder'}: name another place with --out")
    if folder and manifest.others(place, manifest.EXPORT):
        raise InputError(
            f"{place} holds what vid4d wrote there before, and not as an export: name another folder "
            "with --out"
        )
    if force or not is_taken(place):
        return
    if not folder or not place.is_dir():
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


def _refuse_foreign(place: Path, names: list[str]) -> None:
    """Raises InputError where a file that is to be replaced is not, byte for byte, one that vid4d wrote."""
    hashes = manifest.read(place, manifest.EXPORT)
    for name in names:
        path = place / name
        if is_taken(path) and not manifest.wrote(place, name, hashes):
            raise InputError(
                f"{path} is not as vid4d wrote it, so it is not replaced: move it away, or name another "
                "folder with --out"
            )


def _folder_into_place(folder: Path, place: Path) -> list[Path]:
    """Moves the files of a folder (on the same disk) to where they belong, and keeps the list of them there.

    Of what is there, files of an earlier export that nobody changed are replaced or removed.
    """
    names = manifest.contents(folder)
    if not place.exists() or (not place.is_symlink() and not any(place.iterdir())):
        manifest.record(folder, manifest.EXPORT)
        if place.exists():
            place.rmdir()
        all_to_disk(folder)
        move_into_place(folder, place)
        return [place / name for name in names]
    _refuse_foreign(place, names)
    before, new = manifest.read(place, manifest.EXPORT), manifest.hashes_of(folder, names)
    both = {name: [*before.get(name, []), *new.get(name, [])] for name in before.keys() | new.keys()}
    write_text(place / manifest.MANIFEST, manifest.text_of(both, manifest.EXPORT))
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        move_into_place(folder / name, place / name)
    manifest.remove_written(place, names, manifest.EXPORT)
    write_text(place / manifest.MANIFEST, manifest.text_of(new, manifest.EXPORT))
    return [place / name for name in names]


def _file_into_place(scratch: Path, place: Path, force: bool) -> list[Path]:
    """Moves a written file, and those beside it (on the same disk), to where they belong."""
    beside = sorted(p for p in scratch.iterdir() if p.name != place.name)
    for file in beside:
        target = place.parent / file.name
        if target.is_dir() or (not force and is_taken(target)):
            raise InputError(f"{target} exists and would be replaced: move it away, or name another --out")
    for file in (*beside, scratch / place.name):
        move_into_place(file, place.parent / file.name)
    return [place, *(place.parent / f.name for f in beside)]
