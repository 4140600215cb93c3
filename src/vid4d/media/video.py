"""Video files through PyAV: frames by index with their times, alpha kept; H.264 written whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vid4d.compute.threads import THREADS
from vid4d.errors import InputError, ran_out
from vid4d.files.paths import refuse_special
from vid4d.files.write import written_whole
from vid4d.media.images import to_uint8
from vid4d.media.picture_files import check_pixels
from vid4d.media.video_frames import FrameReader, FrameWriter, codec_of, deinterlaced

ALPHA_DECODERS = {"vp9": "libvpx-vp9", "vp8": "libvpx"}
"""Decoders that keep the alpha of WebM files; FFmpeg's own vp8 and vp9 drop it without a word."""

ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
"""How archives begin; tar has its mark later."""

NO_VIDEOS = {"tty", "hls", "dash", "concat", "sdp", "rtsp", "rtp", "lavfi", "svg_pipe", "bin", "xbin", "adf"}
NO_VIDEOS |= {"idf", "imf", "webm_dash_manifest", "vapoursynth", "ffmetadata", "srt", "webvtt", "ass"}
"""Formats that FFmpeg takes text for, and those that name other files."""

ATTACHED_PICTURE = 0x400
"""FFmpeg's mark of a stream that is a cover picture."""

INTERLACED = "the video is interlaced: each frame shows one moment now (FFmpeg's bwdif)"

MOST_PACKETS = 2_000_000
"""Frames of a video: a day of 24 a second."""

H264_ENCODERS = ("libx264", "libopenh264", "h264_nvenc", "h264_videotoolbox", "h264_mf", "mpeg4")


def shrink(rgba: UInt8[np.ndarray, "h w 4"], max_side: int | None) -> UInt8[np.ndarray, "h2 w2 4"]:
    """Makes the longer side at most `max_side` pixels (area-like filter, colors weighted by alpha)."""
    h, w = rgba.shape[:2]
    if max_side is None or max(h, w) <= max_side:
        return rgba
    scale = max_side / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    return np.asarray(Image.fromarray(rgba, "RGBA").resize(size, Image.Resampling.HAMMING))


class Video:
    """Frames of a video file, by index in order of presentation.

    times: seconds from the first frame. duration: seconds, the last frame's own included.
    notes: warnings in words (a file that breaks off; what was done to the frames read so far). Raises
    InputError where nothing can be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._faults: tuple[str, ...] = ()
        self._interlaced = False
        self._keyframes: np.ndarray = np.zeros(0, np.int64)
        self._pts: np.ndarray | None = None  # None: frames are found by counting
        with self._open() as container:
            self._index = self._main_stream(container)
            stream = container.streams[self._index]
            check_pixels(self.path, stream.codec_context.width or 1, stream.codec_context.height or 1)
            self._reader = FrameReader(self.path, stream.codec_context, _aspect(stream))
            self.has_alpha = stream.metadata.get("alpha_mode") == "1" or _pixel_format_has_alpha(stream)
            self._base = stream.time_base
            frame_rate = stream.average_rate or stream.guessed_rate or Fraction(24)
            expected = stream.frames
            pts, keys, unknown = self._scan(container, stream)
        broken = expected > len(pts) + 1 or not pts
        if unknown or broken:
            pts = self._decodable()
            if len(pts) == 0:
                raise InputError(
                    f"{self.path}: no frame of this video can be decoded; the file is damaged or cut off, "
                    "copy or export it again"
                )
            if broken and expected and len(pts) < 0.5 * expected:
                raise InputError(
                    f"{self.path}: the file is cut off, only {len(pts)} of its {expected} frames can be "
                    "decoded; copy or export it again"
                )
            if broken and expected > len(pts):
                self._faults = (
                    f"the file is cut off: {len(pts)} of its {expected} frames can be decoded and are used",
                )
            keys = []
        elif len(set(pts)) == len(pts):
            self._pts, self._keyframes = np.array(sorted(pts)), np.array(sorted(keys))
        ordered = np.array(sorted(pts), np.float64)
        if len(set(pts)) == len(pts) and not (unknown and any(p < 0 for p in pts)):
            self.times = (ordered - ordered[0]) * float(self._base or 1 / frame_rate)
        else:
            self.times = np.arange(len(pts)) / float(frame_rate)
        step = float(np.median(np.diff(self.times))) if len(self.times) > 1 else 1 / float(frame_rate)
        self.duration = float(self.times[-1]) + step

    def __len__(self) -> int:
        return len(self.times)

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings in words."""
        said = (*self._faults, self._reader.note(), INTERLACED if self._interlaced else None)
        return tuple(note for note in said if note)

    def read(
        self, indices: Sequence[int], max_side: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
        """RGBA frames for increasing `indices`, one at a time; nothing else is held in memory."""
        if self._pts is None:
            wanted = set(indices)
            decoded: Iterator[Any] = (f for i, f in enumerate(self._decode_all()) if i in wanted)
        else:
            decoded = self._decode_at([int(self._pts[i]) for i in indices])
        count = 0
        for count, frame in enumerate(decoded, start=1):
            yield shrink(self._to_rgba(frame, max_side), max_side)
            if count == len(indices):
                return
        if count < len(indices):
            self._refuse_no_room()
            raise InputError(
                f"{self.path}: frame {indices[count]} cannot be decoded; the file is damaged, export it "
                "again or cut the clip before it with --end"
            )

    def _refuse_no_room(self) -> None:
        """Raises MemoryError where a decoder cannot have its frames: FFmpeg calls that damage of the file."""
        with self._open() as container:
            context = container.streams[self._index].codec_context
            np.empty((2 * THREADS, max(context.height, 1), max(context.width, 1), 2), np.uint8)

    def _to_rgba(self, frame: Any, max_side: int | None) -> UInt8[np.ndarray, "h w 4"]:
        """8-bit sRGB with alpha, upright and with square pixels."""
        check_pixels(self.path, round(frame.width * max(1.0, self._reader.aspect)), frame.height)
        picture = self._reader.picture(frame, max_side)
        turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    def _open(self) -> Any:
        import av

        refuse_special(self.path)
        try:
            # "file:" so that a colon in a name is no protocol; no file of a playlist is opened
            container = av.open(f"file:{self.path}", options={"protocol_whitelist": "file"})
        except (av.error.FFmpegError, OSError, ValueError) as e:
            if _is_archive(self.path):
                raise InputError(f"{self.path}: an archive; unpack it, and give the folder") from e
            raise InputError(
                f"{self.path}: not a video or image that can be read ({getattr(e, 'strerror', None) or e}); "
                "the file may be cut off or of another kind, export it as mp4, webm or PNG frames"
            ) from e
        if set(container.format.name.split(",")) & NO_VIDEOS:
            container.close()
            raise InputError(f"{self.path}: text or a playlist, no video; give a video or pictures")
        if not _moving(container):
            container.close()
            raise InputError(f"{self.path}: holds no video, only sound or data; give a file with a picture")
        return container

    def _main_stream(self, container: Any) -> int:
        """Index of the video: of several the one with most frames, for a cover picture has one."""
        indices = [int(s.index) for s in _moving(container)]
        if len(indices) == 1:
            return indices[0]
        frames = []
        for i in indices:
            with self._open() as other:
                frames.append(len(self._scan(other, other.streams[i])[0]))
        return indices[int(np.argmax(frames))]

    def _scan(self, container: Any, stream: Any) -> tuple[list[int], list[int], bool]:
        """Times of the packets without decoding them: all, those of key frames, and whether some lack one."""
        import av

        pts: list[int] = []
        keys: list[int] = []
        unknown = False
        try:
            for packet in container.demux(stream):
                if packet.size == 0 or packet.is_discard:
                    continue
                unknown |= packet.pts is None
                if len(pts) >= MOST_PACKETS:
                    raise InputError(f"{self.path}: more than {MOST_PACKETS} frames; cut the video first")
                pts.append(len(pts) if packet.pts is None else packet.pts)
                if packet.is_keyframe:
                    keys.append(pts[-1])
        except av.error.FFmpegError as error:
            if ran_out(error):
                raise
            # cut off: what was read so far counts
        return pts, keys, unknown

    def _decodable(self) -> list[int]:
        frames: list[tuple[Any, int]] = [(f.pts, i) for i, f in enumerate(self._decode_all())]
        if any(p is None for p, _ in frames):
            self._base = None
            return [i for _, i in frames]
        return [p for p, _ in frames]

    def _decoder(self, stream: Any) -> Any:
        import av

        name = ALPHA_DECODERS.get(codec_of(stream.codec_context))
        if name is None or stream.metadata.get("alpha_mode") != "1":
            stream.thread_type = "AUTO"
            return None
        try:
            return av.CodecContext.create(name, "r")
        except av.error.FFmpegError as e:
            raise InputError(
                f"{self.path}: its transparency needs the decoder {name}, which this PyAV lacks; "
                "install PyAV from PyPI or give PNG frames"
            ) from e

    def _decode(self, container: Any, stream: Any) -> Iterator[Any]:
        """Frames from where the container stands; ends at the first damage that cannot be skipped."""
        return deinterlaced(self._as_coded(container, stream))

    def _as_coded(self, container: Any, stream: Any) -> Iterator[Any]:
        import av

        decoder = self._decoder(stream)
        try:
            for packet in container.demux(stream):
                if decoder is not None and packet.size == 0:
                    frames = decoder.decode(None)
                else:
                    try:
                        frames = packet.decode() if decoder is None else decoder.decode(packet)
                    except av.error.InvalidDataError:
                        continue
                for frame in frames:
                    self._interlaced |= bool(frame.interlaced_frame)
                    yield frame
        except (av.error.FFmpegError, EOFError) as error:
            if ran_out(error):
                raise

    def _decode_all(self) -> Iterator[Any]:
        with self._open() as container:
            yield from self._decode(container, container.streams[self._index])

    def _decode_at(self, wanted: list[int]) -> Iterator[Any]:
        """Frames at these presentation times, jumping over groups of pictures that hold none of them."""
        keys = self._keyframes
        done = 0
        while done < len(wanted):
            group = int(np.searchsorted(keys, wanted[done], side="right")) - 1
            start = int(keys[max(group, 0)]) if len(keys) else None
            progressed = False
            with self._open() as container:
                stream = container.streams[self._index]
                if start is not None and group > 0:
                    container.seek(start, stream=stream)
                for frame in self._decode(container, stream):
                    if frame.pts is None or frame.pts < wanted[done]:
                        continue
                    if frame.pts > wanted[done]:  # the frame itself was lost
                        return
                    yield frame
                    done, progressed = done + 1, True
                    if done == len(wanted):
                        return
                    following = np.searchsorted(keys, wanted[done], side="right") - 1
                    if following > np.searchsorted(keys, frame.pts, side="right"):
                        break
            if not progressed:
                return


def _is_archive(path: Path) -> bool:
    """Whether a file holds files: zip, tar, gzip, 7z, rar."""
    try:
        with path.open("rb") as file:
            start = file.read(262)
    except OSError:
        return False
    return start.startswith(ARCHIVES) or start[257:262] == b"ustar"


def _moving(container: Any) -> list[Any]:
    """Video streams, without cover pictures that say so."""

    def is_cover(stream: Any) -> bool:
        mark = getattr(stream, "disposition", 0)
        return bool(int(getattr(mark, "value", mark)) & ATTACHED_PICTURE)

    return [s for s in container.streams.video if not is_cover(s)]


def _aspect(stream: Any) -> float:
    """Width of a pixel over its height; 1 where a stream does not say, or says nonsense."""
    ratio = getattr(stream, "sample_aspect_ratio", None) or stream.codec_context.sample_aspect_ratio
    return float(ratio) if ratio and 0.1 <= ratio <= 10 else 1.0


def _pixel_format_has_alpha(stream: Any) -> bool:
    form = stream.codec_context.format
    return form is not None and any(c.is_alpha for c in form.components)


def write_mp4(
    path: str | Path,
    frames: Iterable[Float[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"]],
    fps: float,
    *,
    quality: int = 18,
) -> Path:
    """Writes H.264 in yuv420p and BT.709, which every player and browser opens; the index stands first.

    frames: RGB, float in [0, 1] or 8-bit, all of one size; odd sizes grow by one repeated row or column.
    fps: frames a second. quality: constant rate factor, 18 is visually lossless, larger is smaller.
    The file appears whole or not at all. Raises InputError where the place cannot be written.
    """
    import av

    path = Path(path)
    stream_of_frames = iter(frames)
    first = next(stream_of_frames, None)
    if first is None:
        raise ValueError(f"{path}: a video of no frames cannot be written")
    if not fps > 0:
        raise ValueError(f"{path}: {fps} frames a second is no rate")
    height, width = first.shape[:2]
    name = next((n for n in H264_ENCODERS if _has_encoder(n)), None)
    if name is None:
        raise InputError("this PyAV has no H.264 encoder; take PyAV's own wheel (pip install av)")
    try:
        with (
            written_whole(path) as partial,
            av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container,
        ):
            stream: Any = container.add_stream(name, rate=Fraction(fps).limit_denominator(60000))
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = THREADS  # what it writes depends on it
            if name == "libx264":
                # Else x264 reads memory that nobody wrote where a picture is no whole number of its vectors
                # wide, and the same pictures become other bytes.
                same = "cpu-independent=1"
                stream.options = {"crf": str(quality), "preset": "medium", "x264-params": same}
            else:
                stream.bit_rate = max(2_000_000, int(width * height * fps * 0.2))
            writer = FrameWriter(stream.codec_context)
            for picture in itertools.chain([first], stream_of_frames):
                if picture.shape != (height, width, 3):
                    raise ValueError(
                        f"{path}: a frame of shape {picture.shape} among frames of {(height, width, 3)}"
                    )
                if picture.dtype != np.uint8:
                    picture = to_uint8(np.nan_to_num(picture))
                picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                container.mux(stream.encode(writer.frame(picture)))
            container.mux(stream.encode())
    except OSError as e:
        raise InputError(
            f"{path}: cannot be written ({e.strerror or e}); choose another place or free space"
        ) from e
    return path


def _has_encoder(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except ValueError:
        return False
    return True
