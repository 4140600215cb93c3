"""Builds the C rasteriser with the system's compiler: a shared library, one variant per instruction set.

Standard library only: `setup.py` loads this file by its path before the package exists. An installed package
holds the library beside this file; where it is missing or older than the source, and there is a compiler, it
is built at first use into the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "cpu.c"
PARTS = (
    *("cpu.c", "cpu.h", "cpu_adam.h", "cpu_blend.h", "cpu_project.h", "cpu_shape.h", "cpu_ssim.h"),
    "cpu_views.h",
)
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
INSTALLED = HERE / f"_cpu{SUFFIX}"

# No -ffast-math: sums keep their order, and the trick in exp_minus must not be simplified away.
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-w")
VARIANTS = {
    "base": (),
    "avx2": ("-mavx2", "-mfma"),
    "avx512": (
        *("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"),
        "-mprefer-vector-width=512",
    ),
}


PLATFORM = sys.platform
# Windows aligns its stack to 16 bytes only, and GCC (MinGW) moves wider vectors there as if it were more
# (GCC's bug 54412): its assembler can write moves that do not mind. Windows finds nothing but the library
# itself when it is loaded, hence the runtime is linked into it.
COMPILE = {"win32": ("-Wa,-muse-unaligned-vector-move",)}  # elsewhere -fPIC
# Some compilers accept -fopenmp without having its library: that must fail here, not when it is loaded.
LINK = {"win32": ("-static",), "linux": ("-Wl,--no-undefined",)}


class BuildError(RuntimeError):
    """Failure to build: there is no compiler, or it failed; the message says which."""


def source_hash() -> str:
    """Identifies the source and the way it is compiled; the library carries it."""
    digest = hashlib.sha256(repr((FLAGS, VARIANTS)).encode())
    for name in PARTS:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:16]


def variants() -> list[str]:
    """Variants that make sense on this kind of machine, from plain to fast."""
    return list(VARIANTS) if platform.machine().lower() in ("x86_64", "amd64") else ["base"]


def compiler() -> str | None:
    """$CC, else the first of cc, gcc, clang that exists.

    The code needs vector extensions: GCC or Clang, on Windows GCC (MinGW). Apple's Clang has no OpenMP, so
    that its library draws with one thread.
    """
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name.split()[0]):
            return name
    return None


def cached_library() -> Path:
    """Path of a library built at first use."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "vid4d" / f"raster-{source_hash()}-{platform.machine()}{SUFFIX}"


def build(target: Path) -> None:
    """Writes the library, whole or not at all. With OpenMP where the compiler has it. Raises BuildError."""
    name = compiler()
    if name is None:
        raise BuildError("no C compiler found (set CC, or install gcc or clang)")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".raster-") as folder:
            try:
                library = _compile(name.split(), Path(folder), ["-fopenmp"])
            except BuildError:
                library = _compile(name.split(), Path(folder), [])
            os.replace(library, target)
    except OSError as error:
        raise BuildError(f"cannot write {target}: {error.strerror}") from error


def _compile(command: list[str], folder: Path, openmp: list[str]) -> Path:
    jobs, objects = [], []
    for variant in variants():
        out = folder / f"{variant}.o"
        defines = [f"-DVARIANT={variant}", f'-DSOURCE="{source_hash()}"']
        defines += ["-DVARIANT_BASE"] if variant == "base" else []
        defines += ["-DWITH_X86_VARIANTS"] if len(variants()) > 1 else []
        flags = [*FLAGS, *COMPILE.get(PLATFORM, ("-fPIC",)), *VARIANTS[variant], *openmp, *defines]
        jobs.append([*command, *flags, "-c", str(SOURCE), "-o", str(out)])
        objects.append(str(out))
    running = [subprocess.Popen(job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for job in jobs]
    outputs = [process.communicate()[0] for process in running]
    for process, output in zip(running, outputs, strict=True):
        _check(process.returncode, output)
    library = folder / f"library{SUFFIX}"
    link = [*command, "-shared", *LINK.get(PLATFORM, ()), *openmp, *objects, "-o", str(library), "-lm"]
    done = subprocess.run(link, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    _check(done.returncode, done.stdout)
    return library


def _check(code: int, output: bytes) -> None:
    if code:
        lines = output.decode(errors="replace").strip().splitlines()
        raise BuildError(f"the C compiler failed: {lines[0] if lines else f'exit code {code}'}")
