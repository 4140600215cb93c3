"""Documents: links lead somewhere, commands and options that they show exist."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "integrations").glob("*/*.md"))


def anchor(heading: str) -> str:
    """As GitHub makes it: lower case, letters, digits, hyphens."""
    plain = re.sub(r"`|\*", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(h) for h in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, place = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{page.name} links to {target}"
        if place and found.suffix == ".md":
            assert place in anchors(found), f"{page.name} links to {target}"


@cache
def options(command: str) -> frozenset[str]:
    output = subprocess.check_output([sys.executable, "-m", "vid4d.cli", command, "--help"], text=True)
    return frozenset(re.findall(r"--[a-z0-9-]+", output))


NAMES = ("first_steps.md", "your_own_video.md", "viewer.md", "methods.md", "faq.md")
GUIDES = [ROOT / "docs" / name for name in NAMES]


@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.name)
def test_commands_take_the_options_that_are_shown(page):
    text = page.read_text()
    shown = re.findall(r"vid4d (generate|prepare|view|render|export|reconstruct|matrix)\b([^`\n]*)", text)
    assert shown
    for command, rest in shown:
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest.split("#")[0]):
            assert option in options(command), f"{page.name}: vid4d {command} {option}"


@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.name)
def test_options_alone_are_of_some_command(page):
    known = options("generate") | options("render") | options("view") | options("export")
    for option in re.findall(r"`(--[a-z-]+)", page.read_text()):
        assert option in known, f"{page.name}: {option}"


def test_the_page_on_many_clips_shows_options_that_exist():
    page = (ROOT / "docs" / "many_clips.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"(?<!\S)`?(--[a-z-]+)", page))
    assert {"--shard", "--engine", "--workers"} <= shown
    assert shown <= options("batch") | {"--text", "--masks"}


def test_experiments_tell_of_every_training_that_was_not_taken():
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    logs = list((ROOT / "docs" / "training_logs").glob("*_not_taken.jsonl"))
    assert logs
    assert all(f"`{log.name}`" in page for log in logs)
    scripts = re.findall(r"`(?:benchmarks/)?(\w+\.py)", page)
    assert scripts
    gone = {"prior_quality.py"}  # with the prior that it judged; the page says when
    assert all((ROOT / "benchmarks" / script).is_file() for script in scripts if script not in gone)
