"""Pictures and special files: bounds before anything is decoded, one sentence for every damage."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vid4d.clip.alpha import read_levels
from vid4d.clip.sources import open_source
from vid4d.errors import InputError, printable
from vid4d.files.paths import refuse_special
from vid4d.files.records import read_record
from vid4d.matrix.files import read_grey, read_picture
from vid4d.media.picture_files import open_picture, reading_picture


def png_of(path: Path, width: int, height: int) -> Path:
    """A PNG whose header says so many pixels, and that holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize(
    "read",
    [
        open_source,
        read_picture,
        read_grey,
        open_picture,
        lambda path: read_record(path, dict, ""),
    ],
)
def test_pipes_are_refused_before_they_are_opened(tmp_path, read):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match="a pipe, socket or device"):
        read(tmp_path / "a.png")


def test_files_and_folders_are_not_special(tmp_path):
    refuse_special(tmp_path)
    refuse_special(tmp_path / "nowhere")
    refuse_special(png_of(tmp_path / "a.png", 3, 3))
    with pytest.raises(InputError, match="a pipe, socket or device"):
        refuse_special(os.devnull)


@pytest.mark.parametrize("side", [12_000, 60_000])
@pytest.mark.parametrize("read", [open_source, read_picture, read_grey])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, side, read):
    with pytest.raises(InputError, match=r"too many|too large"):
        read(png_of(tmp_path / "a.png", side, side))


@pytest.mark.parametrize("ending", ["tif", "gif", "png", "webp", "jpg", "bmp"])
def test_every_cut_of_a_picture_is_read_or_one_sentence(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 255, (2, 24, 32, 3), np.uint8)
    frames = [Image.fromarray(n) for n in noise]
    several = {"save_all": True, "append_images": frames[1:]} if ending in ("gif", "webp") else {}
    frames[0].save(tmp_path / f"whole.{ending}", **several)
    whole = (tmp_path / f"whole.{ending}").read_bytes()
    for share in np.linspace(0.02, 0.98, 25):
        cut = tmp_path / f"cut.{ending}"
        cut.write_bytes(whole[: int(len(whole) * share)])
        with suppress(InputError):
            source = open_source(cut)
            list(source.read(range(len(source.times))))
        with suppress(InputError):
            read_picture(cut)


def all_pictures(path):
    source = open_source(path)
    return list(source.read(range(len(source.times))))


@pytest.mark.parametrize("mode", ["RGBA", "P"])
@pytest.mark.parametrize("read", [all_pictures, read_picture, read_levels])
def test_a_png_of_which_any_byte_is_another_is_refused_or_the_same_picture(tmp_path, read, mode):
    noise = np.random.default_rng(0).integers(0, 255, (4, 5, 4), np.uint8)
    Image.fromarray(noise).convert(mode).save(tmp_path / "whole.png")
    whole, expected = (tmp_path / "whole.png").read_bytes(), read(tmp_path / "whole.png")
    changed = tmp_path / "changed.png"
    for i in range(len(whole)):
        data = bytearray(whole)
        data[i] ^= 0x15
        changed.write_bytes(data)
        with suppress(InputError):
            assert np.array_equal(read(changed), expected), i


def test_frames_of_an_animation_have_fewer_pixels_than_a_picture(tmp_path):
    frames = [Image.new("P", (8000, 6000), i) for i in range(2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="8000 x 6000 pixels are too many"):
        open_source(tmp_path / "a.gif")


def test_an_animation_ends_before_a_frame_that_leaves_it(tmp_path):
    """Pillow enlarges the picture for such a frame: of 64 x 64 pixels, to gigabytes."""
    frames = [Image.new("RGB", (64, 64), c) for c in ("red", "green", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    data = bytearray((tmp_path / "a.gif").read_bytes())
    last = data.rindex(b"\x2c" + struct.pack("<4H", 0, 0, 64, 64))
    data[last : last + 9] = b"\x2c" + struct.pack("<4H", 0, 0, 9000, 9000)
    (tmp_path / "a.gif").write_bytes(data)
    source = open_source(tmp_path / "a.gif")
    assert [p.shape for p in source.read(range(len(source.times)))] == [(64, 64, 4)] * 2
    assert "the 2 frames that can be read are used" in source.notes[0]


def test_text_for_a_terminal_holds_no_control_characters():
    assert printable("a\x1b[31m\n\u202eb é ☃.mp4") == r"a\x1b[31m\n\u202eb é ☃.mp4"
    assert printable("caf\udce9") == r"caf\udce9"


def test_pictures_read_by_many_threads_leave_warnings_as_they_were(tmp_path: Path) -> None:
    """Python keeps one list of filters; threads that enter and leave in another order would swap it."""
    for i in range(16):
        Image.fromarray(np.zeros((40 + 40 * (i % 3), 50), np.uint8)).save(tmp_path / f"{i}.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            list(pool.map(lambda i: read_grey(tmp_path / f"{i}.png"), range(16)))
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="still told"), reading_picture(tmp_path / "0.png"):
        warnings.warn("still told", stacklevel=1)
