"""`vid4d info`: what this machine has and what a run would use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Info:
    """Say what this machine has: device, threads, instruction set, rasterisers."""

    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""

    def run(self) -> None:
        """Prints the facts, a line each."""
        facts = info(self.device)
        width = max(map(len, facts))
        for name, text in facts.items():
            print(f"{name:<{width}}  {text}")


def info(device: str = "auto") -> dict[str, str]:
    """Facts about this machine and what a run would use, as name -> text."""
    from vid4d.clip.matting import installed_model
    from vid4d.compute.machine import describe, versions
    from vid4d.gaussians.raster import available_backends

    facts = describe(device)
    for name, what in available_backends().items():
        facts[f"raster {name}"] = what
    for name, size in shipped_weights().items():
        facts[f"weights {name}"] = f"{size / (1 << 20):.1f} MiB, shipped"
    model = installed_model()
    facts["matting"] = "plain backgrounds" if model is None else f"plain backgrounds, {model}"
    facts |= {f"version {name}": version for name, version in versions().items()}
    return facts


def shipped_weights() -> dict[str, int]:
    """Networks whose weights come with the package, as name -> bytes: of a file, or of a folder of pieces."""
    data = Path(__file__).parents[1] / "priors" / "data"
    sizes: dict[str, int] = {}
    for file in sorted(data.rglob("*.safetensors")):
        name = file.relative_to(data).parts[0].removesuffix(".safetensors")
        sizes[name] = sizes.get(name, 0) + file.stat().st_size
    return sizes
