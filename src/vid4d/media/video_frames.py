"""Decoded frames of a video as pictures: matrix, range, HDR, gamut, shape of pixels, interlaced lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16

from vid4d.errors import InputError
from vid4d.media import color
from vid4d.media.color import Coding

MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
UNREADABLE = {8: "YCgCo", 10: "BT.2020 with constant luminance", 11: "Y'D'zD'x", 14: "ICtCp", 15: "IPT-PQ-C2"}
OF_PRIMARIES = {1: 1, 4: 4, 5: 6, 6: 6, 7: 7, 9: 9}
"""The matrix of a video that tells only its primaries."""
HD_WIDTH, HD_HEIGHT = 1280, 577
"""From here on a video without a matrix is taken for BT.709, else for BT.601, as players do."""
SMALL_CODECS = ("mjpeg", "vp8")
"""Codecs that know no other matrix than BT.601."""
EXACT = "sws_dither=none:flags=bilinear+full_chroma_int"
"""Within 0.5 of 255 of exact, white at 255; without full_chroma_int it is 3.2, and white 253."""


class Tags(NamedTuple):
    """What a frame says of its colors; matrix, transfer and primaries are numbers of H.273."""

    matrix: int
    full_range: bool | None
    transfer: int
    primaries: int


UNTOLD = Tags(2, None, 2, 2)


def tags_of(source: Any, fallback: Tags = UNTOLD) -> Tags:
    """The tags of a frame or a codec's context; where it says nothing, the fallback's."""

    def tag(name: str, other: int) -> int:
        value = getattr(source, name, None)
        return other if value is None or int(value) in (2, 3) else int(value)  # unspecified, reserved

    span = int(getattr(source, "color_range", 0) or 0)
    return Tags(
        tag("colorspace", fallback.matrix),
        fallback.full_range if span not in (1, 2) else span == 2,
        tag("color_trc", fallback.transfer),
        tag("color_primaries", fallback.primaries),
    )


def matrix_of(tags: Tags, codec: str, width: int, height: int) -> str:
    """The name FFmpeg's scaler has for the YUV matrix. Raises InputError for those that it lacks.

    Where a video does not say, the primaries tell, else the codec, else the size.
    """
    if tags.matrix in UNREADABLE:
        raise InputError(f"its colors are {UNREADABLE[tags.matrix]}, which cannot be read")
    if tags.matrix in MATRICES:
        return MATRICES[tags.matrix]
    if codec in SMALL_CODECS:
        return "bt601"
    if tags.primaries in OF_PRIMARIES:
        return MATRICES[OF_PRIMARIES[tags.primaries]]
    if tags.transfer in (color.PQ, color.HLG):
        return "bt2020"
    return "bt709" if width >= HD_WIDTH or height >= HD_HEIGHT else "bt601"


def codec_of(context: Any) -> str:
    """Name of the codec, whoever decodes it."""
    return str(context.name).removeprefix("lib").split("-")[0]


class FrameReader:
    """Turns decoded frames into 8-bit sRGB with straight alpha and square pixels, all by their tags.

    aspect: width of a pixel over its height. brightest: the largest share of a frame that was brighter than
    white. coding: of the last frame. context: the stream's, for what frames do not say. Raises InputError for
    colors that cannot be read.
    """

    def __init__(self, path: Path, context: Any, aspect: float) -> None:
        self.path, self.aspect = path, aspect
        self.coding, self.brightest = Coding(), 0.0
        self._tags, self._codec = tags_of(context), codec_of(context)
        self._key: tuple[Any, ...] | None = None
        self._graph: Any = None
        self._matrix, self._full = "auto", False

    def picture(self, frame: Any, max_side: int | None = None) -> UInt8[np.ndarray, "h w 4"]:
        """One frame, not turned. max_side: a hint; only HDR frames are made smaller here."""
        tags = tags_of(frame, self._tags)
        key = (frame.format.name, frame.width, frame.height, tags, max_side)
        if key != self._key:
            self._prepare(frame, tags, max_side)
            self._key = key
        self._graph.push(frame)
        scaled = self._graph.pull()
        if self.coding.is_srgb:
            return np.ascontiguousarray(scaled.to_ndarray())
        rgb, alpha = self._wide(scaled)
        picture, share = color.to_srgb(rgb, self.coding)
        self.brightest = max(self.brightest, share)
        return np.dstack([picture, alpha])

    def _wide(self, frame: Any) -> tuple[UInt16[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """RGB in 16 bits and alpha of planes in full resolution; FFmpeg's own 16 bits end at 65280."""
        bits = frame.format.components[0].bits
        kind = np.dtype(np.uint8 if bits == 8 else "<u2")
        planes = [
            np.frombuffer(p, kind).reshape(p.height, p.line_size // kind.itemsize)[:, : p.width]
            for p in frame.planes
        ]
        most = (1 << bits) - 1
        if frame.format.is_rgb:  # stored as G, B, R
            rgb = np.stack([planes[2], planes[0], planes[1]], -1).astype(np.float32) / most
        else:
            rgb = color.yuv_to_rgb(np.stack(planes[:3], -1), self._matrix, bits, full_range=self._full)
        alpha = planes[3].astype(np.float32) / most if len(planes) > 3 else np.ones(rgb.shape[:2])
        return (np.clip(rgb, 0, 1) * 65535 + 0.5).astype(np.uint16), np.rint(alpha * 255).astype(np.uint8)

    def _prepare(self, frame: Any, tags: Tags, max_side: int | None) -> None:
        import av.filter

        is_rgb = frame.format.is_rgb or "pal" in frame.format.name
        hdr = tags.transfer in (color.PQ, color.HLG)
        primaries = 9 if hdr and tags.primaries == 2 else tags.primaries
        self.coding = Coding(tags.transfer, primaries)
        try:
            matrix = "auto" if is_rgb else matrix_of(tags, self._codec, frame.width, frame.height)
            if fault := self.coding.fault():
                raise InputError(f"{fault}, which cannot be read")
        except InputError as e:
            raise InputError(f"{self.path}: {e}; convert the video to BT.709 or give PNG frames") from e
        width, height = max(1, round(frame.width * self.aspect)), frame.height
        if not self.coding.is_srgb and max_side is not None and max(width, height) > max_side:
            scale = max_side / max(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        span = "auto" if tags.full_range is None or is_rgb else "full" if tags.full_range else "limited"
        self._matrix, self._full = matrix, bool(tags.full_range)
        output = f"in_color_matrix={matrix}:in_range={span}:out_range=full"
        form = "rgba"
        if not self.coding.is_srgb:
            output = f"in_color_matrix={matrix}:out_color_matrix={matrix}:in_range={span}:out_range={span}"
            form = _planar(frame.format, is_rgb)
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1),
        )
        graph.link_nodes(
            source,
            graph.add("scale", f"w={width}:h={height}:{output}:{EXACT}"),
            graph.add("format", f"pix_fmts={form}"),
            graph.add("buffersink"),
        ).configure()
        self._graph = graph

    def note(self) -> str | None:
        """What the user should know of the colors of the frames that were read; None where all is plain."""
        name = {color.PQ: "PQ", color.HLG: "HLG"}.get(self.coding.transfer)
        if name is None:
            return None
        said = f"an HDR video ({name}): its colors are shown as sRGB"
        if self.brightest > 0.01:
            said += f"; up to {self.brightest:.1%} of a frame is brighter than white and loses its shading"
        return said


class FrameWriter:
    """Pictures as frames for an encoder: YUV by BT.709 in limited range, as HD players expect, and tagged so.

    context: the encoder's, whose size, pixel format and rate are set. has_alpha: pictures are RGBA.
    """

    def __init__(self, context: Any, *, has_alpha: bool = False) -> None:
        import av.filter

        self._form, self._count = "rgba" if has_alpha else "rgb24", 0
        self._step = 1 / Fraction(context.framerate)
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        self._graph = av.filter.Graph()
        self._graph.link_nodes(
            self._graph.add_buffer(
                width=context.width,
                height=context.height,
                format=av.VideoFormat(self._form),
                time_base=Fraction(1),
            ),
            self._graph.add(
                "scale", f"out_color_matrix=bt709:out_range=limited:{EXACT}+full_chroma_inp+accurate_rnd"
            ),
            self._graph.add("format", f"pix_fmts={context.pix_fmt}"),
            self._graph.add("buffersink"),
        ).configure()

    def frame(self, picture: UInt8[np.ndarray, "h w c"]) -> Any:
        """The next picture, as high and wide as the video, at its time."""
        import av

        self._graph.push(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=self._form))
        frame: Any = self._graph.pull()
        frame.pts, frame.time_base = self._count, self._step
        frame.colorspace = frame.color_range = 1
        self._count += 1
        return frame


def _planar(form: Any, is_rgb: bool) -> str:
    """The planar format of full resolution that loses nothing of this one."""
    bits = next(b for b in (8, 10, 12, 16) if b >= min(16, max(c.bits for c in form.components)))
    alpha = any(c.is_alpha for c in form.components)
    name = ("gbrap" if alpha else "gbrp") if is_rgb else ("yuva444p" if alpha else "yuv444p")
    return name if bits == 8 else f"{name}{bits}le"


def deinterlaced(frames: Iterable[Any]) -> Iterator[Any]:
    """Frames with both fields at one moment, from the first interlaced one on (FFmpeg's bwdif).

    Frames that say that they are progressive pass as they are. Times (`pts`) stay.
    """
    import av.filter

    graph: Any = None
    base: Any = None
    for frame in frames:
        if graph is None:
            if not frame.interlaced_frame:
                yield frame
                continue
            base = frame.time_base
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=base or Fraction(1)
            )
            bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
            graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        graph.push(frame)
        yield from _pulled(graph, base)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph, base)


def _pulled(graph: Any, base: Any) -> Iterator[Any]:
    import av

    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if base and frame.pts is not None and frame.time_base != base:
            frame.pts = round(frame.pts * frame.time_base / base)
            frame.time_base = base
        yield frame
