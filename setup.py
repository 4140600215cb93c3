"""The two things that pyproject.toml cannot say: the C rasteriser, and a README for a package page.

The rasteriser is plain C without Python headers (`src/vid4d/gaussians/raster/build.py`), so this only hands
the job to that file. Without a compiler the install goes on, and the torch rasteriser is used.
"""

import importlib.util
import re
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
RASTER = Path("src/vid4d/gaussians/raster")


def load_builder():
    spec = importlib.util.spec_from_file_location("raster_build", ROOT / RASTER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildRaster(build_ext):
    def build_extension(self, ext):
        builder = load_builder()
        target = Path(self.get_ext_fullpath(ext.name))
        try:
            builder.build(target)
            print(f"vid4d: built the C rasteriser: {target}")
        except builder.BuildError as error:
            print(f"vid4d: no C rasteriser, the slower torch one will be used: {error}")

    def get_ext_filename(self, fullname):
        return str(Path(*fullname.split("."))) + load_builder().SUFFIX


class Wheel(bdist_wheel):
    """One wheel a platform, for every Python: the library is called through ctypes."""

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


def with_absolute_links(page, address):
    """Markdown whose relative links and pictures lead to `address`, as a package page needs them."""

    def absolute(match):
        picture, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        return f"{picture}[{text}]({address}/{'raw' if picture else 'blob'}/main/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", absolute, page)


def package_page():
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return with_absolute_links((ROOT / "README.md").read_text(encoding="utf-8"), urls["Repository"])


if __name__ == "__main__":
    setup(
        ext_modules=[Extension("vid4d.gaussians.raster._cpu", [str(RASTER / "cpu.c")], optional=True)],
        cmdclass={"build_ext": BuildRaster, "bdist_wheel": Wheel},
        long_description=package_page(),
        long_description_content_type="text/markdown",
    )
