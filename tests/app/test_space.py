"""integrations/space: what a Hugging Face Space reads."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "integrations" / "space"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_readme_begins_with_the_header_of_a_space():
    page = (SPACE / "README.md").read_text(encoding="utf-8")
    header = re.match(r"---\n(.*?)\n---\n", page, re.DOTALL)
    assert header is not None
    entries = dict(line.split(": ", 1) for line in header[1].splitlines())
    assert entries["sdk"] == "gradio"
    assert (SPACE / entries["app_file"]).is_file()
    assert len(entries["short_description"]) <= 60  # which the hub demands
    least = re.search(r">=(\d+)", PROJECT["optional-dependencies"]["app"][0])
    assert least is not None
    assert int(entries["sdk_version"].split(".")[0]) >= int(least[1])


def test_it_installs_vid4d_from_its_one_address():
    wanted = (SPACE / "requirements.txt").read_text(encoding="utf-8").split()
    extras = re.fullmatch(r"vid4d\[([\w,]+)\]", wanted[0])
    assert extras is not None
    assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
    assert wanted[1:] == ["@", f"git+{PROJECT['urls']['Repository']}"]


def test_it_is_the_app_in_public():
    tree = ast.parse((SPACE / "app.py").read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "App"]
    assert [ast.literal_eval(k.value) for k in calls[0].keywords if k.arg == "public"] == [True]
