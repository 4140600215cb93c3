"""Sharp pictures of other tools: what is written is read back, and what does not fit is refused."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from vid4d.enhance.given import read_sharp, write_renders
from vid4d.errors import InputError


@pytest.fixture
def sides() -> list[torch.Tensor]:
    """Two sides of 2 and 1 frames, which 8 bits hold exactly."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, (n, 3, 16, 16), generator=generator) / 255 for n in (2, 1)]


def test_what_is_written_is_read_back(tmp_path, sides):
    assert write_renders(tmp_path / "out", sides) == 3
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert [n for n in names if n.endswith(".png")] == ["0000.png", "0001.png", "0002.png"]
    for read, side in zip(read_sharp(tmp_path / "out", sides), sides, strict=True):
        torch.testing.assert_close(read, side)


def test_larger_pictures_and_those_with_alpha_are_brought_to_the_renders(tmp_path):
    half = torch.ones(1, 3, 16, 16)
    half[..., :8] = torch.tensor([0.2, 0.4, 0.6])[:, None, None]
    write_renders(tmp_path / "out", [half])
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((51, 102, 153, 255), (0, 0, 16, 32))
    image.save(tmp_path / "out" / "0000.png")
    (read,) = read_sharp(tmp_path / "out", [half])
    far = torch.tensor([*range(6), *range(10, 16)])
    torch.testing.assert_close(read[..., far], half[..., far], atol=0.01, rtol=0)


def spoil(folder, how):
    file = folder / "0002.png"
    if how == "missing":
        file.unlink()
    elif how == "damaged":
        file.write_bytes(file.read_bytes()[:60])
    elif how == "cropped":
        Image.open(file).crop((0, 0, 16, 12)).save(file)
    elif how == "another":
        Image.new("RGB", (16, 16), "black").save(file)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "has no 0002.png"),
        ("damaged", "damaged or cut off"),
        ("cropped", "16 x 12 pixels"),
        ("another", "something else"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, sides, how, words):
    write_renders(tmp_path / "out", sides)
    spoil(tmp_path / "out", how)
    with pytest.raises(InputError, match=words):
        read_sharp(tmp_path / "out", sides)


def test_a_folder_that_is_not_there_is_refused(tmp_path, sides):
    with pytest.raises(InputError, match="there is no folder"):
        read_sharp(tmp_path / "nothing", sides)
