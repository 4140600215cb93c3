"""The model card and the notice say what the shipped files and their training data are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "src" / "vid4d" / "priors" / "data"
CARD = ROOT / "docs" / "model_card.md"


def manifest(shared_dir: Path, tiers: str) -> list[dict]:
    """The models of some tiers: A and B made all shipped weights, C the frustum prior's as well."""
    models = json.loads((shared_dir / "assets" / "manifest.json").read_text())
    return [m for m in models if m["tier"] in tiers]


def test_sizes_are_those_of_the_files():
    text = CARD.read_text()
    total = 0
    for file in DATA.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            count = sum(math.prod(weights.get_slice(k).get_shape()) for k in weights.keys())  # noqa: SIM118
        row = next(line for line in text.splitlines() if line.startswith(f"| `{file.name}`"))
        assert f"| {count:,} | {file.stat().st_size / 1e6:.1f} MB |" in row
        total += file.stat().st_size
    assert 0 < total <= 80e6


@pytest.mark.parametrize("document", [CARD, DATA / "NOTICE.md"], ids=["card", "notice"])
def test_everyone_who_asks_to_be_named_is(document: Path, shared_dir: Path):
    text = document.read_text()
    used = manifest(shared_dir, "AB")
    asking = [m for m in used if m["licence"] != "CC0-1.0"]
    assert len(asking) > 100
    for model in asking:
        if model["group"] == "aws":
            assert "Amazon.com" in text
            continue
        name = model["name"].removeprefix("khr_").removeprefix("ycb_")
        if model["group"] == "ycb":
            name = name.lstrip("0123456789_").removeprefix("Ycb").replace("_", " ").lower()
        assert name in text, name


def test_every_source_is_listed_with_its_numbers(shared_dir: Path):
    text = CARD.read_text()
    used = manifest(shared_dir, "AB")
    for repository in {m["source_repo"] for m in used}:
        models = [m for m in used if m["source_repo"] == repository]
        cells = [
            sum(m["tier"] == "A" and m["animated"] for m in models),
            sum(m["tier"] == "A" and not m["animated"] for m in models),
            sum(m["tier"] == "B" for m in models),
        ]
        row = next(line for line in text.splitlines() if line.startswith(f"| {repository} |"))
        assert [int(c.strip().replace(",", "") or 0) for c in row.split("|")[4:7]] == cells, repository


def test_everyone_whose_models_the_frustum_prior_saw_is_named(shared_dir: Path):
    text = (ROOT / "src" / "vid4d" / "priors" / "data" / "frustum" / "NOTICE.md").read_text()
    asking = [m for m in manifest(shared_dir, "C") if m["licence"] != "CC0-1.0"]
    assert len(asking) > 500
    for model in asking:
        assert f"| {model['attribution']} | [{model['licence']}]" in text, model["name"]
    for line in asking[0]["licence"], "Toyota Research Institute", "REDISTRIBUTION":
        assert line.lower() in text.lower()
