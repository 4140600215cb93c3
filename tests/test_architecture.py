"""docs/architecture.md: its tree lists what there is, its layers are those that are checked."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "vid4d"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def only_a_docstring(file: Path) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def test_the_tree_lists_every_file_once_and_nothing_else():
    _, _, tree = PAGE.partition("\n## The tree\n")
    listed = re.findall(r"^\| `([^`]+)` \| \S", tree, re.MULTILINE)
    files = [p for p in SOURCE.rglob("*") if p.suffix in (".py", ".c", ".h", ".html", ".js")]
    there = [p for p in files if p.name != "__init__.py" or not only_a_docstring(p)]
    assert sorted(listed) == sorted(p.relative_to(SOURCE).as_posix() for p in there)


def test_the_layers_are_those_that_lint_checks():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(c for c in contracts["contracts"] if c["id"] == "layers")["layers"]
    assert "\n```\n" + "\n".join(layers) + "\n```\n" in PAGE


def test_files_that_recipes_name_are_there():
    recipes = PAGE.partition("\n## Recipes\n")[2].partition("\n## The tree\n")[0]
    named = re.findall(r"`([\w/]+\.(?:py|md))`", recipes)
    assert len(named) > 10
    for file in named:
        if "NAME" not in file:
            places = (SOURCE / file, ROOT / file, ROOT / "benchmarks" / file)
            assert any(p.is_file() for p in places), file


def moves_files(node: ast.AST) -> bool:
    """True for `path.rename(other)`, `path.replace(other)`, `os.replace(a, b)`, `shutil.move(a, b)`."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)) or node.keywords:
        return False
    name, module = node.func.attr, node.func.value.id if isinstance(node.func.value, ast.Name) else ""
    if module in ("os", "shutil"):
        return name in ("rename", "renames", "replace", "move")
    return name in ("rename", "replace") and len(node.args) == 1


def test_one_module_renames_files_into_their_place():
    nodes = {p: ast.walk(ast.parse(p.read_text(encoding="utf-8"))) for p in SOURCE.rglob("*.py")}
    moving = {p.relative_to(SOURCE).as_posix() for p, tree in nodes.items() if any(map(moves_files, tree))}
    assert moving == {"files/write.py", "gaussians/raster/build.py"}
