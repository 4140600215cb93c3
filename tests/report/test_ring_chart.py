"""The ring: where its sectors lie, and which color they have."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from vid4d.report.ring_chart import CENTER, RINGS, ring_chart, shade

AZIMUTHS = [0.0, 90.0, 180.0, 270.0]


def test_shades_go_from_one_color_to_the_other() -> None:
    assert shade(0) == shade(-1) == "#e6e9ed"
    assert shade(1) == shade(2) == "#2f6f4f"
    assert shade(0.5) == "#8aac9e"  # (230 + 47) / 2 = 138.5, (233 + 111) / 2 = 172, (237 + 79) / 2 = 158


def test_a_sector_for_every_direction_of_every_ring_in_its_color() -> None:
    outer, inner = [0.5, 0.6, 0.7, 1.0], [0.9, 0.8, 0.7, 0.6]
    svg = ring_chart(AZIMUTHS, [("<overlap>", outer), ("confidence", inner)], "title", low=0.5)
    paths = ET.fromstring(svg).findall("path")
    assert [p.get("fill") for p in paths] == [shade((v - 0.5) / 0.5) for v in outer + inner]
    assert paths[1].find("title").text == "90°: <overlap> 0.60"


@pytest.mark.parametrize(("azimuth", "way"), [(0, (0, 1)), (90, (1, 0)), (180, (0, -1)), (270, (-1, 0))])
def test_the_clips_side_is_below_and_azimuths_go_round_by_the_right(
    azimuth: int, way: tuple[int, int]
) -> None:
    svg = ring_chart(AZIMUTHS, [("overlap", [0.5] * 4)], "title")
    path = ET.fromstring(svg).findall("path")[AZIMUTHS.index(azimuth)]
    numbers = re.findall(r"[ML ](-?[\d.]+) (-?[\d.]+)(?=[ALZ])", path.get("d"))
    corners = [(float(x) - CENTER, float(y) - CENTER) for x, y in numbers]
    middle = [sum(values) / len(corners) for values in zip(*corners, strict=True)]
    length = (middle[0] ** 2 + middle[1] ** 2) ** 0.5
    assert [round(v / length, 2) + 0 for v in middle] == list(way)
    inner, outer = RINGS[0]
    assert all(inner - 0.1 <= (x * x + y * y) ** 0.5 <= outer + 0.1 for x, y in corners)
