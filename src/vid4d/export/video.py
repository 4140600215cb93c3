"""Pictures in a row: turntable.mp4 of a run; exports to mp4, webm and ProRes with alpha, GIF, WebP, PNG."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vid4d.cameras import DEFAULT_ELEVATION, Cameras
from vid4d.compute.threads import THREADS
from vid4d.errors import InputError
from vid4d.export.camera_path import Shots, plan
from vid4d.export.options import ExportOptions, background_color, frame_name
from vid4d.export.transforms import beside_pictures, beside_video
from vid4d.gaussians.model import Gaussians4D
from vid4d.media import video
from vid4d.media.images import as_floats, over, premultiplied, straight, to_uint8
from vid4d.media.video_frames import FrameWriter
from vid4d.render import BATCH, frames_of, loops_to_play, render_asset, turntable_frames

if TYPE_CHECKING:
    from vid4d.asset import Asset

PALETTE = 255
"""Colors of a GIF; one more means transparent."""
PALETTE_FRAMES, PALETTE_SIDE = 24, 128
"""The palette is chosen from so many frames, made so small."""
OPAQUE = 128
"""A pixel of a GIF is there or not; from this alpha on it is."""


def write_turntable(
    path: str | Path,
    gaussians: Gaussians4D,
    *,
    seconds: float,
    duration: float | None = None,
    fps: float = 24.0,
    azimuth: float = 0.0,
    elevation: float = DEFAULT_ELEVATION,
    size: int = 384,
    report: Callable[[int, int], object] | None = None,
) -> Path:
    """Writes the turntable as H.264, which lasts exactly as long as it should.

    report: frames done, of how many; the rest as in `turntable_frames`.

    Raises InputError where the file cannot be written.
    """
    duration = duration if duration is not None else loops_to_play(seconds) * seconds
    total, frame_rate = frames_of(duration, fps)
    frames = turntable_frames(
        gaussians,
        seconds=seconds,
        duration=duration,
        fps=fps,
        azimuth=azimuth,
        elevation=elevation,
        size=size,
    )

    def with_progress():  # type: ignore[no-untyped-def]
        for i, frame in enumerate(frames):
            if report is not None:
                report(i, total)
            yield frame

    return video.write_mp4(path, with_progress(), frame_rate)


def pictures(
    asset: Asset, shots: Shots, options: ExportOptions, background: tuple[float, float, float] | None
) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    """The frames: RGB on a background, or RGBA with straight alpha where it is None."""
    done = 0
    for i in range(0, len(shots), BATCH):
        sides = []
        for cameras in shots.views:
            batch = Cameras.cat([cameras[i : i + BATCH]])
            sides.append(render_asset(asset.gaussians, batch, shots.times[i : i + BATCH]).cpu().numpy())
        for frame in np.concatenate(sides, axis=2):
            if background is not None:
                frame = over(frame, np.array(background, np.float32))
            yield to_uint8(frame)
            done += 1
            options.report_progress(done, len(shots))


def write_mp4(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """H.264 on white, or the background asked for."""
    background = background_color(options.background, default="white")
    if background is None:
        raise InputError("mp4 has no transparency: export to webm, png or gif, or choose a --background")
    shots = plan(asset, options)
    try:
        video.write_mp4(out, pictures(asset, shots, options, background), shots.fps)
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise
    return _with_cameras(out, shots, options)


def write_png(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """Numbered PNG, transparent where nothing else is asked for; straight alpha."""
    background = background_color(options.background, default="transparent")
    shots = plan(asset, options)
    files = []
    for i, picture in enumerate(pictures(asset, shots, options, background)):
        files.append(out / frame_name(i, ".png"))
        Image.fromarray(picture).save(files[-1], compress_level=4)
    return [*files, beside_pictures(out, shots, files)] if options.transforms else files


def _with_cameras(out: Path, shots: Shots, options: ExportOptions) -> list[Path]:
    """The video; beside it, where that is asked for, its cameras."""
    return [out, beside_video(out, shots)] if options.transforms else [out]


def write_webm(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """VP9 in BT.709, with straight alpha (yuva420p) where no background is asked for."""
    how = {"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"}
    return _write_stream(asset, out, options, "libvpx-vp9", ("yuv420p", "yuva420p"), how)


def write_mov(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """ProRes 4444 in BT.709, 10 bits, with straight alpha of 16 bits where no background is asked for."""
    how = {"profile": "4444", "vendor": "apl0", "alpha_bits": "16"}
    return _write_stream(asset, out, options, "prores_ks", ("yuv444p10le", "yuva444p10le"), how)


def _write_stream(
    asset: Asset,
    out: Path,
    options: ExportOptions,
    encoder: str,
    pixels: tuple[str, str],
    how: dict[str, str],
) -> list[Path]:
    """A video in the container that `out` ends in. pixels: formats without and with alpha.

    Raises InputError where this PyAV has no such encoder.
    """
    import av

    background = background_color(options.background, default="transparent")
    shots = plan(asset, options)
    try:
        with av.open(
            str(out),
            "w",
            format=out.suffix.lower()[1:],
            options={"fflags": "+bitexact"},  # else a WebM has a random number
        ) as container:
            frame_rate = Fraction(shots.fps).limit_denominator(60000)
            stream: Any = container.add_stream(encoder, rate=frame_rate)
            stream.pix_fmt = pixels[background is None]
            stream.codec_context.thread_count = THREADS  # what it writes depends on it
            stream.options = how
            for i, picture in enumerate(pictures(asset, shots, options, background)):
                h, w, channels = picture.shape
                if i == 0:
                    stream.width, stream.height = w + w % 2, h + h % 2
                    writer = FrameWriter(stream.codec_context, has_alpha=channels == 4)
                if channels == 4:
                    picture = _spread(picture)
                picture = np.pad(picture, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
                container.mux(stream.encode(writer.frame(picture)))
            container.mux(stream.encode())
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError | InputError):
            raise
        raise InputError(f"this PyAV cannot write {encoder} ({error}): install PyAV's own wheel") from error
    return _with_cameras(out, shots, options)


def write_webp(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """An animated WebP, repeated for ever; with alpha in 8 bits where no background is asked for.

    Its clock counts milliseconds; the sum is right.
    """
    background = background_color(options.background, default="transparent")
    shots = plan(asset, options)
    frames = [Image.fromarray(frame) for frame in pictures(asset, shots, options, background)]
    ends = [round(1000 * (i + 1) / shots.fps) for i in range(len(frames))]
    frames[0].save(
        out,
        save_all=True,
        append_images=frames[1:],
        duration=[b - a for a, b in pairwise([0, *ends])],
        loop=0,
        quality=90,
        method=4,
    )
    return _with_cameras(out, shots, options)


def _spread(rgba: UInt8[np.ndarray, "h w 4"], reach: int = 4) -> UInt8[np.ndarray, "h w 4"]:
    """Colors grown into what is transparent, so that coarse color resolution darkens no outline."""
    from scipy.ndimage import uniform_filter

    values = as_floats(rgba)
    near = uniform_filter(premultiplied(values), (2 * reach + 1, 2 * reach + 1, 1), mode="constant")
    color = to_uint8(over(values, straight(near)[..., :3]))
    return np.concatenate([color, rgba[..., 3:]], -1)


def write_gif(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """A GIF with one palette for all frames, repeated for ever; transparent where no background is asked for.

    Its clock counts hundredths of a second: frames last 8 or 9 of them at 12 frames a second, and the sum is
    right. Pixels with less than half of the opacity are transparent.
    """
    background = background_color(options.background, default="transparent")
    shots = plan(asset, options, fps=12.0)
    frames = list(pictures(asset, shots, options, background))
    palette = _palette(frames)
    indexed = [_indexed(frame, palette) for frame in frames]
    ends = [round(100 * (i + 1) / shots.fps) * 10 for i in range(len(frames))]
    transparency: dict[str, Any] = {} if background is not None else {"transparency": PALETTE, "disposal": 2}
    indexed[0].save(
        out,
        save_all=True,
        append_images=indexed[1:],
        duration=[max(b - a, 20) for a, b in pairwise([0, *ends])],
        loop=0,
        palette=bytes(palette.getpalette() or []),
        optimize=False,
        **transparency,
    )
    return _with_cameras(out, shots, options)


def _palette(frames: list[UInt8[np.ndarray, "h w c"]]) -> Image.Image:
    """A picture whose palette suits all frames: what can be seen of them, side by side."""
    chosen = [frames[i] for i in sorted({round(j) for j in np.linspace(0, len(frames) - 1, PALETTE_FRAMES)})]
    step = max(1, round(max(chosen[0].shape[:2]) / PALETTE_SIDE))
    pixels = np.concatenate([frame[::step, ::step].reshape(-1, frame.shape[-1]) for frame in chosen])
    if pixels.shape[1] == 4:
        pixels = pixels[pixels[:, 3] >= OPAQUE][:, :3]
    if len(pixels) == 0:
        pixels = np.zeros((1, 3), np.uint8)
    entries = (
        Image.fromarray(pixels[None]).quantize(PALETTE, method=Image.Quantize.MEDIANCUT).getpalette() or []
    )
    colors = dict.fromkeys(tuple(entries[i : i + 3]) for i in range(0, min(len(entries), 3 * PALETTE), 3))
    unused = ((0, i // 256, i % 256) for i in range(2 * 256))
    while len(colors) <= PALETTE:  # all different: Pillow finds entries by their color
        colors.setdefault(next(unused))
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for color in colors for value in color])
    return palette


def _indexed(frame: UInt8[np.ndarray, "h w c"], palette: Image.Image) -> Image.Image:
    """Nearest colors of the palette; its last entry is kept for what is transparent."""
    rgb = Image.fromarray(np.ascontiguousarray(frame[..., :3]))
    choice = palette.copy()
    entries = palette.getpalette() or []
    choice.putpalette(entries[: 3 * PALETTE])
    picture = rgb.quantize(palette=choice, dither=Image.Dither.NONE)
    if frame.shape[-1] == 4:
        picture.paste(PALETTE, mask=Image.fromarray((frame[..., 3] < OPAQUE).astype(np.uint8) * 255))
    picture.putpalette(entries)
    return picture
