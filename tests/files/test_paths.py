"""Paths: in the order of people."""

from __future__ import annotations

from pathlib import Path

from vid4d.files.paths import natural_order


def test_natural_order(tmp_path: Path) -> None:
    names = ["a10.png", "a9.png", "a1.png", "A2.png"]
    assert [p.name for p in natural_order([tmp_path / n for n in names])] == [
        "a1.png",
        "A2.png",
        "a9.png",
        "a10.png",
    ]
