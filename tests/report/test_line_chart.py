"""Charts: round ticks, and points where they belong."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from vid4d.report.line_chart import BOTTOM, LEFT, RIGHT, TOP, format_number, line_chart, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.5, 1]),
        (0, 8, [0, 2, 4, 6, 8]),
        (-1.2, 1.2, [-1, 0, 1]),
        (23, 31, [24, 26, 28, 30]),
        (0, 2000, [0, 500, 1000, 1500, 2000]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def polyline(svg: str) -> list[tuple[float, float]]:
    points = re.search(r'<polyline points="([^"]+)"', svg)
    assert points is not None
    return [tuple(map(float, p.split(","))) for p in points[1].split()]  # type: ignore[misc]


def test_a_line_spans_the_chart_and_points_up_where_values_grow():
    width, height = 300, 200
    drawn = polyline(line_chart([(0, 1.0), (50, 2.0), (100, 5.0)], "x", width=width, height=height))
    assert drawn[0][0] == LEFT
    assert drawn[-1][0] == width - RIGHT
    assert drawn[1][0] == pytest.approx((LEFT + width - RIGHT) / 2)
    assert all(TOP < y < height - BOTTOM for _, y in drawn)
    rises = [before - after for (_, before), (_, after) in pairwise(drawn)]
    assert rises[1] == pytest.approx(3 * rises[0], abs=0.3)  # 2 to 5 against 1 to 2


def test_it_is_well_formed_for_any_title_and_for_a_single_point():
    for points in ([(0, 0.0)], [(0, 3.0), (1, 3.0)], [(20, 1e-5), (40, 2e-5)]):
        root = ElementTree.fromstring(line_chart(points, "a < b & c"))
        assert root.attrib["aria-label"] == "a < b & c"
        assert "nan" not in ElementTree.tostring(root, "unicode")


def test_numbers_are_written_to_be_read_and_stay_in_the_picture():
    numbers = {
        32000.0: "32,000",
        1500: "1,500",
        36.9561: "36.96",
        0.017083: "0.01708",
        -2000: "-2,000",
        1e-5: "1e-05",
    }
    assert {value: format_number(value, 4) for value in numbers} == numbers
    width = 340
    root = ElementTree.fromstring(line_chart([(0, 20_000.0), (1500, 32_000.0)], "splats", width=width))
    texts = {text.text: text for text in root.iter("text")}
    assert texts["32,000"].attrib["text-anchor"] == "end"
    assert float(texts["1,500"].attrib["x"]) + 0.5 * len("1,500") * 6.5 < width  # 11.5 px: 6.5 a digit
