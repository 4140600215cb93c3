"""What stands around the code: version, metadata, the package page, the wheel's tag."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vid4d
from vid4d import errors

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def setup():
    pytest.importorskip("setuptools")
    spec = importlib.util.spec_from_file_location("vid4d_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_module_is_the_command_and_knows_the_version():
    said = subprocess.check_output([sys.executable, "-m", "vid4d", "--version"], text=True)
    assert said == f"vid4d {vid4d.__version__}\n"
    assert (Path(vid4d.__file__).parent / "py.typed").is_file()


def test_the_version_and_the_address_stand_in_one_place_each():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]
    assert "version" not in project
    address = project["urls"]["Repository"]
    assert all(url.startswith(address) for url in project["urls"].values())


def test_links_of_the_package_page_are_absolute(setup):
    page = setup.package_page()
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    assert len(targets) > 20
    assert all(re.match(r"https://|#", target) for target in targets)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", page)
    assert pictures
    assert all("/raw/main/docs/images/" in picture for picture in pictures)


def test_a_wheel_serves_every_python_of_its_platform(setup):
    from setuptools import Distribution

    wheel = setup.Wheel(Distribution({"name": "vid4d", "has_ext_modules": lambda: True}))
    wheel.ensure_finalized()
    wheel.root_is_pure = False
    python, abi, platform = wheel.get_tag()
    assert (python, abi) == ("py3", "none")
    assert platform not in ("any", "")


def test_hints_name_the_checkout_or_packages_never_our_name(monkeypatch, tmp_path):
    here = Path(sys.executable).parent
    monkeypatch.setattr(shutil, "which", lambda name: str(here / name))
    assert errors.install_hint("text") == f'pip install -e "{ROOT}[text]"'
    monkeypatch.setattr(shutil, "which", lambda name: "/somewhere/else/pip")
    assert errors.install_hint("text") == f'{sys.executable} -m pip install -e "{ROOT}[text]"'
    listed = ["torch", 'usd-core>=26.3; extra == "export"', 'xatlas>=0.0.11; extra == "export"']
    monkeypatch.setattr(errors, "CHECKOUT", tmp_path)
    monkeypatch.setattr(errors, "requires", lambda name: listed)
    assert errors.install_hint("export").endswith('pip install "usd-core>=26.3" "xatlas>=0.0.11"')


def test_nobody_is_told_to_install_our_name_from_an_index():
    pages = [
        p for d in ("src", "docs", "examples", "benchmarks", "integrations") for p in (ROOT / d).rglob("*")
    ]
    for page in [*pages, *ROOT.glob("*.md")]:
        if page.suffix in (".py", ".md", ".html"):
            assert not re.search(r"pip install [^\n]*vid4d\[", page.read_text(encoding="utf-8")), page
