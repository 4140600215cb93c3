"""report.html: what a run made, how it went, and what to try next; one file, no network.

Everything but the image matrix and the asset is read from the run folder (docs/run_folder.md), so that a
report can be written again for any finished run. What a run has not got is left out.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image, features
from torch import Tensor

from vid4d.clip.files import key_times
from vid4d.files.records import Amount, Finite, Kind, Share, read_record
from vid4d.files.write import write_text
from vid4d.gaussians.culling import splats_over_time
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.matrix import ImageMatrix, TrustedView
from vid4d.media.images import over_white, side_by_side, to_uint8
from vid4d.priors.expected import expected_of
from vid4d.render import render_asset
from vid4d.report.advice import Advice, Facts, advice
from vid4d.report.contact import draw_sheet, pick
from vid4d.report.enhanced import FOLDER, about_enhanced, read_enhanced
from vid4d.report.overlay import overlay_html, overlay_sheets
from vid4d.report.page import Picture, ReportPage, page_html
from vid4d.report.sides import known_sides, object_confidence
from vid4d.runs.kept_settings import read_settings
from vid4d.runs.run import Timings, read_curves
from vid4d.settings import Settings

T = TypeVar("T")

SHEET_WIDTH = 1400
"""Pixels; sheets are shown at about half of that."""
MOST_VIDEO_BYTES, MOST_PLAYER_BYTES = 4 << 20, 8 << 20
"""A larger turntable or player is left out: the report is to be sent alone, and to fit into a mail."""
UNSURE_ELEVATION = 3.0
"""Degrees: guesses of a clip's frames that differ by more (standard deviation) are unsure."""
LOW_CONFIDENCE_COLOR = (0.84, 0.13, 0.09)
"""Red, laid over places of low confidence."""


def data_uri(data: bytes, kind: str) -> str:
    """The bytes as an address that holds them. kind: MIME type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture_uri(image: Image.Image, quality: int = 82) -> str:
    """The picture as WebP (JPEG where Pillow has no WebP) inside of an address."""
    kind = "webp" if features.check("webp") else "jpeg"
    file = io.BytesIO()
    image.convert("RGB").save(file, kind, quality=quality)
    return data_uri(file.getvalue(), f"image/{kind}")


def animation_uri(frames: Sequence[Image.Image], seconds: float) -> str:
    """Frames that repeat for ever, `seconds` each time, inside of an address."""
    if len(frames) == 1 or not features.check("webp"):
        return picture_uri(frames[0])
    file = io.BytesIO()
    each = max(20, round(1000 * seconds / len(frames)))
    frames[0].save(file, "webp", save_all=True, append_images=frames[1:], duration=each, loop=0, quality=80)
    return data_uri(file.getvalue(), "image/webp")


def as_image(rgb: Float[np.ndarray, "h w 3"]) -> Image.Image:
    return Image.fromarray(to_uint8(rgb), "RGB")


def confidence_overlay(
    rgb: Float[Tensor, "*n h w 3"], confidence: Float[Tensor, "*n h w"]
) -> Float[Tensor, "*n h w 3"]:
    """Pictures in pale grey, red where the confidence is low: grey at 1, all red at 0."""
    grey = 0.35 + 0.65 * rgb.mean(-1, keepdim=True).expand_as(rgb)
    uncertainty = 1 - confidence[..., None]
    return grey * (1 - uncertainty) + torch.tensor(LOW_CONFIDENCE_COLOR) * uncertainty


def matrix_sheets(
    matrix: ImageMatrix, times: int = 8, keys: Sequence[float] | None = None
) -> tuple[Image.Image, Image.Image | None]:
    """The image matrix and its confidence: columns are views, rows at most `times` moments.

    keys: times of the clip's key frames, where they are not all of the matrix's input frames.
    All pictures are cut to one window, which holds the object in each of them.
    """
    shown = frames_shown(matrix, times, keys)
    cell = int(np.clip(SHEET_WIDTH // matrix.views, 64, 200))
    rows_, columns_ = window(matrix.images[:, shown, :, :, 3])
    rgb = over_white(matrix.images[:, shown, rows_, columns_])
    columns = [f"{round(a, 1) % 360:g}°" for a in matrix.cameras.azimuth.tolist()]

    def sheet(pictures: Float[Tensor, "v t h w 3"]) -> Image.Image:
        by_time = pictures.transpose(0, 1).cpu().numpy()
        rows = [(f"t = {matrix.times[t]:.2f}", "", list(row)) for t, row in zip(shown, by_time, strict=True)]
        return draw_sheet(rows, columns, cell)

    if matrix.confidence is None:
        return sheet(rgb), None
    return sheet(rgb), sheet(confidence_overlay(rgb, matrix.confidence[:, shown, rows_, columns_]))


def frames_shown(matrix: ImageMatrix, most: int, keys: Sequence[float] | None = None) -> list[int]:
    """At most `most` of the matrix's times: those of the clip's key frames, where they are known.

    keys: their times, where they are not all of the matrix's input frames.
    """
    if matrix.input_times is None:
        return pick(matrix.frames, most)
    times = matrix.input_times.cpu() if keys is None else torch.tensor(keys)
    chosen = times[pick(len(times), most)]
    nearest = (matrix.times.cpu()[None] - chosen[:, None]).abs().argmin(1)
    return sorted(set(nearest.tolist()))


def window(alpha: Float[Tensor, "*n h w"], margin: float = 0.06) -> tuple[slice, slice]:
    """Rows and columns of the smallest square, with a margin, that holds what is seen in all pictures."""
    h, w = alpha.shape[-2:]
    visible = (alpha > 0.1).flatten(0, -3).any(0)
    if not bool(visible.any()):
        return slice(0, h), slice(0, w)
    ys, xs = visible.any(1).nonzero()[:, 0], visible.any(0).nonzero()[:, 0]
    top, bottom, left, right = int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1
    side = min(round(max(bottom - top, right - left) * (1 + 2 * margin)), h, w)
    y = min(max((top + bottom - side) // 2, 0), h - side)
    x = min(max((left + right - side) // 2, 0), w - side)
    return slice(y, y + side), slice(x, x + side)


def confidence_inside(matrix: ImageMatrix) -> float | None:
    """`object_confidence` of all views and moments together."""
    mean = object_confidence(matrix)
    return None if mean is None else float(mean)


def agreement(gaussians: Gaussians4D, matrix: ImageMatrix, times: int = 4, size: int = 64) -> float:
    """Overlap (intersection over union) of the asset's silhouettes with the matrix's, over some moments."""
    shown = pick(matrix.frames, times)
    cameras = matrix.cameras.resized(min(size, matrix.cameras.width))
    both = either = 0.0
    for t in shown:
        asset_mask = render_asset(gaussians, cameras, float(matrix.times[t]))[..., 3].cpu() > 0.5
        alpha = matrix.images[:, t, :, :, 3].cpu()[:, None]
        matrix_mask = F.interpolate(alpha, asset_mask.shape[1:], mode="area")[:, 0] > 0.5
        both += float((asset_mask & matrix_mask).sum())
        either += float((asset_mask | matrix_mask).sum())
    return both / either if either else 0.0


def still_falling(losses: Sequence[tuple[float, float]]) -> float | None:
    """Share of the loss that the last fifth of the steps took away; None for less than 10 reports."""
    if len(losses) < 10:
        return None
    before = losses[-max(1, len(losses) // 5) - 1][1]
    return (before - losses[-1][1]) / before if before > 0 else None


def facts(root: Path, gaussians: Gaussians4D, matrix: ImageMatrix) -> Facts:
    """Collects the facts for `vid4d.report.advice` from the run folder, asset and matrix."""
    settings = read_settings(root)
    clip, timings = _stored(root / "frames" / "clip.json", _Clip), _stored(root / "timings.json", Timings)
    losses = next((c["loss"] for c in read_curves(root).values() if "loss" in c), [])
    keys = key_times(root / "frames")
    if keys is None and matrix.input_times is not None:
        keys = tuple(matrix.input_times.tolist())
    return Facts(
        warnings=tuple(clip.get("warnings", ())),
        matting_confidence=clip.get("matting_confidence", 1.0),
        elevation_unsure=elevation_unsure(root, settings),
        preset=settings.preset,
        seconds=matrix.seconds,
        key_frames=None if keys is None else len(keys),
        confidence=confidence_inside(matrix),
        input_psnr=_stored(root / "report.json", _Scores).get("input_psnr_db"),
        agreement=agreement(gaussians, matrix),
        splats=len(gaussians),
        visible=tuple(splats_over_time(gaussians, torch.linspace(0, 1, 9).tolist())),
        still_falling=still_falling(losses),
        minutes=timings.get("seconds", 0.0) / 60,
        gpu=str(_machine(root).get("device", "")).startswith("cuda"),
    )


def elevation_unsure(root: Path, settings: Settings) -> bool:
    """Whether the elevation of a run's camera was guessed from frames that do not agree about it."""
    if settings.source != "clip" or settings.elevation != "auto":
        return False
    spread = _stored(root / "elevation.json", _Elevation).get("spread")
    return spread is None or spread > UNSURE_ELEVATION


def report_html(root: str | Path, gaussians: Gaussians4D, matrix: ImageMatrix) -> str:
    """The report of a run folder as text. Raises InputError where `root` is none."""
    root = Path(root)
    run_facts = facts(root, gaussians, matrix)
    return page_html(_page(root, run_facts, advice(run_facts), gaussians, matrix))


def write_report(root: str | Path, gaussians: Gaussians4D, matrix: ImageMatrix) -> Path:
    """Writes report.html into a run folder, whole or not at all. Raises InputError where it is none."""
    path = Path(root) / "report.html"
    write_text(path, report_html(root, gaussians, matrix))
    return path


def _page(
    root: Path, run_facts: Facts, hints: list[Advice], gaussians: Gaussians4D, matrix: ImageMatrix
) -> ReportPage:
    settings, machine = read_settings(root), _machine(root)
    only_clip = settings.source == "clip" and not matrix.also
    keys = key_times(root / "frames")
    pictures, confidences = matrix_sheets(matrix, keys=keys)
    hero, strip = [], None
    if matrix.input_images is not None:
        shown = matrix.input_images[pick(len(matrix.input_images), 24)]
        frames = [as_image(f) for f in over_white(shown).cpu().numpy()]
        played = [f.resize((384, round(384 * f.height / f.width)), Image.Resampling.LANCZOS) for f in frames]
        hero.append(Picture("the clip, cut out", animation_uri(played, matrix.seconds)))
        strip = Picture("Frames of the clip", picture_uri(_strip(frames)), captioned=False)
    hero += [_other_camera(view, matrix.seconds) for view in matrix.also]
    turntable = root / "turntable.mp4"
    if turntable.is_file() and turntable.stat().st_size <= MOST_VIDEO_BYTES:
        video = data_uri(turntable.read_bytes(), "video/mp4")
        hero.append(Picture("the asset, turned while time plays", video))
    both = overlay_sheets(gaussians, matrix)
    overlay = "" if both is None else overlay_html(picture_uri(both.clip), picture_uri(both.asset), both)
    sheets = _sheet_of(root / "contact.png", "The asset from several sides at several moments")
    enhanced = read_enhanced(root)
    turned = root / FOLDER / "turntable.mp4"
    if enhanced is not None and turned.is_file() and turned.stat().st_size <= MOST_VIDEO_BYTES:
        hero.append(Picture("the same, enhanced", data_uri(turned.read_bytes(), "video/mp4")))
    return ReportPage(
        title=root.resolve().name,
        created=_first_time(root / "log.txt"),
        hero=hero,
        overlay=overlay,
        player=_player(root / "player.html"),
        numbers=_numbers(root, run_facts, matrix, gaussians),
        advice=hints,
        sides=known_sides(matrix, expected_of(settings.prior)) if only_clip else None,
        warnings=list(run_facts.warnings),
        strip=strip,
        matrix=Picture(f"{matrix.views} sides at several moments", picture_uri(pictures), captioned=False),
        matrix_source=_matrix_source(root, settings),
        matrix_about=f"{matrix.views} sides at {matrix.of_moments or matrix.frames} moments, of which "
        f"{_some(matrix, keys)} shown",
        confidence=None
        if confidences is None
        else Picture("The same pictures, red where unsure", picture_uri(confidences), captioned=False),
        contact=sheets,
        enhanced=_sheet_of(root / FOLDER / "before_after.png") if enhanced is not None else None,
        enhanced_about="" if enhanced is None else about_enhanced(enhanced),
        curves=read_curves(root),
        timings=dict(_stored(root / "timings.json", Timings)),
        settings=asdict(settings),
        defaults=vars(type(settings)(clip="")),
        machine={k: v for k, v in machine.items() if k != "versions"},
        versions=machine.get("versions", {}),
        log=(root / "log.txt").read_text(encoding="utf-8", errors="replace")
        if (root / "log.txt").is_file()
        else "",
    )


def _other_camera(view: TrustedView, seconds: float) -> Picture:
    """What a camera of `--also` saw, placed beside the clip."""
    shown = over_white(view.images[pick(len(view.images), 24)]).cpu().numpy()
    frames = [as_image(f).resize((384, 384), Image.Resampling.LANCZOS) for f in shown]
    azimuth, elevation = float(view.camera.azimuth[0]), float(view.camera.elevation[0])
    about = f"another camera, {round(azimuth)}° round and {round(elevation)}° up"
    return Picture(about, animation_uri(frames, seconds))


def _sheet_of(path: Path, about: str = "Before and after") -> Picture | None:
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return Picture(about, picture_uri(image), captioned=False)


def _player(path: Path) -> str | None:
    if not path.is_file() or path.stat().st_size > MOST_PLAYER_BYTES:
        return None
    return path.read_text(encoding="utf-8", errors="replace")


def _matrix_source(root: Path, settings: Settings) -> str:
    """Description of the image matrix's pictures, as the beginning of a sentence."""
    if settings.source == "matrix":
        read = _stored(root / "layout.json", _Layout)
        if "layout" not in read:
            return "The pictures that were given"
        share = f"{100 * read.get('agreement', 0):.0f} %"
        return f"The pictures that were given, read as {read['layout']} (silhouettes agree by {share})"
    if (root / "dynerf.safetensors").is_file():
        return "What the dynamic radiance field shows"
    return "What the prior imagined"


def _some(matrix: ImageMatrix, keys: Sequence[float] | None) -> str:
    shown = len(frames_shown(matrix, 8, keys))
    return "all are" if shown == matrix.frames else f"{shown} are"


def _numbers(
    root: Path, run_facts: Facts, matrix: ImageMatrix, gaussians: Gaussians4D
) -> list[tuple[str, str, str]]:
    """Value, what it is, an explanation to hover over."""
    visible = run_facts.visible
    timings = _stored(root / "timings.json", Timings)
    numbers = [
        (f"{len(gaussians):,}", "splats", f"{min(visible):,} to {max(visible):,} of them at one moment"),
        (f"{matrix.seconds:.3g} s", "loop" if matrix.cyclic else "clip", "duration"),
    ]
    if run_facts.input_psnr is not None:
        about = "PSNR over white, from the clip's camera, mean over the clip's frames"
        at_keys = _stored(root / "report.json", _Scores).get("key_frame_psnr_db")
        if at_keys is not None:
            about += f"; {at_keys:.1f} dB over the key frames alone"
        numbers.append((f"{run_facts.input_psnr:.1f} dB", "likeness to the clip", about))
    if "seconds" in timings:
        numbers.append((_duration(timings["seconds"]), "time", "of all stages"))
    for kind, mib in timings.get("peak_memory_mib", {}).items():
        numbers.append((f"{mib / 1024:.1f} GiB", f"{'GPU ' if kind == 'gpu' else ''}memory", "at its peak"))
    asset = root / "asset.safetensors"
    if asset.is_file():
        numbers.append((f"{asset.stat().st_size / (1 << 20):.1f} MiB", "asset file", "asset.safetensors"))
    return numbers


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _strip(frames: list[Image.Image], columns: int = 8) -> Image.Image:
    """Frames side by side, at most `columns` in a row."""
    columns = min(columns, len(frames))
    cell = min(SHEET_WIDTH // columns, 256)
    small = [np.asarray(frame.resize((cell, cell), Image.Resampling.LANCZOS)) for frame in frames]
    return Image.fromarray(side_by_side(np.stack(small), columns), "RGB")


def _first_time(log: Path) -> str:
    """'2026-01-31 12:00:00', when the log begins."""
    if not log.is_file():
        return ""
    with open(log, encoding="utf-8", errors="replace") as file:
        return file.readline()[:19]


class _Clip(TypedDict, total=False):
    warnings: list[str]
    matting_confidence: Share


class _Elevation(TypedDict, total=False):
    spread: Amount | None


class _Layout(TypedDict, total=False):
    layout: str
    agreement: Share


class _Scores(TypedDict, total=False):
    input_psnr_db: Finite | None
    key_frame_psnr_db: Finite | None


def _machine(root: Path) -> dict[str, Any]:
    stored = _stored(root / "machine.json", dict[str, str | dict[str, str]])
    return {k: v for k, v in stored.items() if isinstance(v, str) != (k == "versions")}


def _stored(path: Path, kind: Kind[T]) -> T:
    """The object in a JSON file; empty where there is none. Raises InputError where it is damaged."""
    return read_record(path, kind, f"delete {path} to go on without it") if path.exists() else kind()
