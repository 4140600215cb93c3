"""What visitors take along is what `vid4d export` writes, in one file."""

from __future__ import annotations

import io
import zipfile

import av
import numpy as np
import pytest
from PIL import Image
from toy_runs import toy_run

from vid4d import api
from vid4d.errors import InputError
from vid4d.export.options import ExportOptions
from vid4d.viewer import downloads

SMALL = ExportOptions(size=48, frames=4)


@pytest.fixture(scope="module")
def asset(tmp_path_factory) -> api.Asset:
    return api.load(toy_run(tmp_path_factory.mktemp("take") / "ball"), "cpu")


def frames(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def test_several_files_come_as_a_zip(asset):
    name, data = downloads.exported(asset, "ball", "ply", ExportOptions(frames=3))
    assert name == "ball-ply.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [n for n in archive.namelist() if n.endswith(".ply")]
        assert sorted(names) == [f"ball/frame_000{i}.ply" for i in range(3)]
        assert all(archive.read(n).startswith(b"ply\n") for n in names)


def test_one_file_comes_as_it_is(asset):
    name, data = downloads.exported(asset, "ball", "gif", SMALL)
    assert name == "ball.gif"
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (48, 48)


def test_a_turntable_begins_where_the_visitor_stands(asset):
    """From +y the ball is green, from +x red."""
    colors = []
    for position in (np.array([0.0, 1.5, 0.0]), np.array([1.5, 0.0, 0.0])):
        name, data = downloads.turntable(asset, "ball", position, SMALL)
        assert name == "ball-turntable.mp4"
        first = frames(data)[0].astype(float)
        colors.append(first[first.max(-1) - first.min(-1) > 60].mean(0))
    (red_y, green_y, _), (red_x, green_x, _) = colors
    assert green_y > red_y + 20
    assert red_x > green_x + 20


def test_what_cannot_be_made_is_one_sentence(asset):
    with pytest.raises(InputError, match="is no background"):
        downloads.exported(asset, "ball", "png", ExportOptions(size=48, background="plaid"))


def test_a_screenshot_gets_its_background_or_stays_transparent():
    picture = np.zeros((4, 6, 4), np.uint8)
    picture[:2] = (10, 20, 30, 255)
    for background, below in (((200, 100, 50), (200, 100, 50)), (None, (0, 0, 0, 0))):
        with Image.open(io.BytesIO(downloads.screenshot(picture, background))) as image:
            assert image.size == (6, 4)
            assert image.getpixel((0, 0))[:3] == (10, 20, 30)
            assert image.getpixel((0, 3)) == below
