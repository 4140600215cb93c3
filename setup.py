"""Builds the optional C rasteriser on install; everything else is in pyproject.toml.

The library is plain C without Python headers (`src/vid4d/gaussians/raster/build.py`), so this only hands the
job to that file. Without a compiler the install goes on, and the torch rasteriser is used.
"""

import importlib.util
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

RASTER = Path("src/vid4d/gaussians/raster")


def load_builder():
    spec = importlib.util.spec_from_file_location("raster_build", Path(__file__).parent / RASTER / "build.py")
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


setup(
    ext_modules=[Extension("vid4d.gaussians.raster._cpu", [str(RASTER / "cpu.c")], optional=True)],
    cmdclass={"build_ext": BuildRaster},
)
