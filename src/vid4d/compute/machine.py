"""Facts about the machine: device, threads, instruction set, memory, versions."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata, util
from pathlib import Path

from vid4d import __version__
from vid4d.compute.threads import THREADS, free_threads
from vid4d.errors import MachineError, printable

PACKAGES = ("torch", "numpy", "av", "pillow", "safetensors", "scipy", "viser")
REASON = 200
"""Characters of what torch says of a device, at most; it can be pages."""


def resolve_device(name: str = "auto") -> str:
    """'cuda' where there is one and 'cpu' elsewhere for 'auto'; any other name is checked by torch.

    Raises MachineError for a device that torch does not know or the machine does not have.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, device=name).item()  # 'meta' can hold nothing
    except Exception as error:  # for what it was not built with, torch raises one of many kinds
        there = devices_here()
        reason, ways = "it is none of this machine's", ["auto", *there]
        if (own := _numbered(name)) in there:  # and something is the matter with it
            reason = printable(str(error).partition("\n")[0].rstrip("."))[:REASON]
            ways = [other for other in there if other != own]
        raise MachineError(
            f"device {name!r} cannot be used here ({reason}): use --device {' or '.join(ways)}"
        ) from None
    return str(torch.device(name))


def check_device(name: str) -> None:
    """Raises MachineError as `resolve_device` does, and takes no memory of a card that is there."""
    if _numbered(name) not in devices_here():
        resolve_device(name)


def _numbered(name: str) -> str:
    return "cuda:0" if name == "cuda" else name


def devices_here() -> list[str]:
    """Names of the devices that vid4d can use on this machine: 'cpu', 'cuda:0', 'cuda:1', 'mps'."""
    import torch

    cards = [f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    return ["cpu", *cards, *(["mps"] if torch.backends.mps.is_available() else [])]


def peak_memory_mib(device: str = "cpu") -> dict[str, float]:
    """The most memory this process has held so far, in MiB: resident, and on the GPU where one is used."""
    peak: dict[str, float] = {}
    if util.find_spec("resource") is not None:  # not on Windows
        import resource

        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        peak["host"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / (1 << 20), 1)
    if device.startswith("cuda"):
        import torch

        peak["gpu"] = round(torch.cuda.max_memory_allocated(device) / (1 << 20), 1)
    return peak


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes."""
    versions_by_name = {"python": platform.python_version(), "vid4d": __version__}
    for name in PACKAGES:
        try:
            versions_by_name[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions_by_name[name] = "not installed"
    return versions_by_name


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe(device: str = "auto") -> dict[str, str]:
    """Device, cores and instruction set that a run would use, as name -> text."""
    import torch

    chosen = resolve_device(device)
    facts = {
        "device": chosen,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": f"{usable_cores()} usable, {free_threads()} threads, {THREADS} for what sums",
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if chosen.startswith("cuda"):
        properties = torch.cuda.get_device_properties(chosen)
        facts["gpu"] = f"{properties.name}, {properties.total_memory / (1 << 30):.0f} GiB"
    return facts
