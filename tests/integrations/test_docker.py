"""docker/: what can be told of the files without Docker."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
KNOWN = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "ARG", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"}


def instructions(file: Path) -> list[tuple[str, str]]:
    """Each with its arguments, comments and line ends away."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    parted = [line.split(" ", 1) for line in joined.splitlines() if line]
    return [(word, rest) for word, rest in parted]


def ignored(name: str) -> bool:
    """Whether .dockerignore keeps a file at the top of the checkout from Docker; the last rule decides."""
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    result = False
    for rule in (r for r in rules if r and not r.startswith("#")):
        if fnmatch.fnmatch(name, rule.lstrip("!").removeprefix("**/")):
            result = not rule.startswith("!")
    return result


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
class TestDockerfile:
    def test_it_has_known_instructions_in_order(self, file):
        words = [word for word, _ in instructions(file)]
        assert set(words) <= KNOWN
        assert words[0] == "FROM"
        assert words[-2:] == ["ENTRYPOINT", "CMD"]

    def test_what_it_copies_is_there_and_all_that_setup_reads(self, file):
        copied = [rest.split()[:-1] for word, rest in instructions(file) if word == "COPY"]
        names = {name for part in copied for name in part if not part[0].startswith("--from")}
        assert names == {"constraints.txt", "pyproject.toml", "setup.py", "README.md", "LICENSE", "src"}
        for name in names:
            assert (ROOT / name).exists()
            assert not ignored(name)
        assert all(ignored(name) for name in (".git", ".venv", "runs", "docs", "_cpu.so"))

    def test_all_versions_are_pinned(self, file):
        steps = [rest for word, rest in instructions(file) if word == "RUN" and "pip install" in rest]
        assert len(steps) == 2
        for step in steps:
            assert step.count("pip install --constraint constraints.txt") == step.count("pip install")
        bases = [rest.split()[0] for word, rest in instructions(file) if word == "FROM"]
        assert all(re.fullmatch(r"python:3\.11-[\w-]+", base) for base in bases)

    def test_its_user_has_no_rights_and_may_write_where_runs_go(self, file):
        steps = instructions(file)
        users = [rest for word, rest in steps if word == "USER"]
        assert users == ["vid4d"]
        made = " ".join(rest for word, rest in steps if word == "RUN")
        assert "useradd --uid 1000" in made
        assert re.search(r"install --directory --owner vid4d .*--mode 1777 /data /cache", made)
        assert ("VOLUME", '["/data", "/cache"]') in steps
        assert ("WORKDIR", "/data") in steps

    def test_it_is_the_program_with_extras_that_exist(self, file):
        steps = dict(instructions(file))
        assert steps["ENTRYPOINT"] == '["vid4d"]'
        assert "vid4d" in PROJECT["scripts"]
        extras = [rest for word, rest in instructions(file) if rest.startswith("EXTRAS=")]
        assert extras == ['EXTRAS="export"']
        assert "export" in PROJECT["optional-dependencies"]


def test_the_page_names_the_files_and_extras_that_are_there():
    page = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
    named = set(re.findall(r"docker/\w+\.Dockerfile", page))
    assert named == {f.relative_to(ROOT).as_posix() for f in FILES}
    extras = re.search(r"EXTRAS=([\w,]+)", page)
    assert extras is not None
    assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
