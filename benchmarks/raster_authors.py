"""Our rasteriser beside that of the authors of 4D-GS, one view, same splats, same card, same run.

    python benchmarks/raster_authors.py CHECKOUT [--runs 20] [--assets RUN ...]

CHECKOUT: of github.com/fudan-zvg/4d-gaussian-splatting, which is compiled here by its own loader; what else
the compiler here needs, NVCC_APPEND_FLAGS can say. Theirs is started as their own trainer does: activations
in torch, then the extension. Ours as `rasterize_4d` from Python, and played as a recording (a CUDA graph with
room for its tile entries), which is how a fit does its steps. Recorded gradients are compared with those that
are not, and the small case with theirs: by our reference, for theirs has another low-pass (0.3 for our 0.1)
and no antialiasing. What is timed is our default, with it.

`alone`: a call and the wait for it (median). `in a row`: a call of many without a wait between. `card`: what
the kernels of a call take by the profiler, the gaps between them left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from raster import GPU_CASES, Case, gpu_times
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians import raster as rasters
from vid4d.gaussians.model import Gaussians4D, load_asset
from vid4d.gaussians.raster import rasterize_4d
from vid4d.gaussians.raster.room import EntryRoom
from vid4d.kernels.cuda_graphs import WARM_UP, aside, record

NEAR, FAR = 0.01, 100.0
AUTHORS_LOW_PASS = 0.3
SMALL = 2e9
"""Splats times pixels that the reference can draw."""


def authors_module(checkout: Path) -> ModuleType:
    """Their wrapper, which compiles the extension as it is imported."""
    path = checkout / "gaussian_renderer" / "diff_gaussian_rasterization.py"
    spec = importlib.util.spec_from_file_location("authors_rasterizer", path)
    if spec is None or spec.loader is None or not path.exists():
        sys.exit(f"{checkout} is no checkout of their repository: {path.name} is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def projection(cameras: Cameras) -> Tensor:
    """Perspective matrix of the field of view, as their cameras have it (depth in [0, 1])."""
    p = torch.zeros(4, 4)
    p[0, 0] = 2 * float(cameras.focal[0]) / cameras.width
    p[1, 1] = 2 * float(cameras.focal[0]) / cameras.height
    p[2, 2], p[2, 3], p[3, 2] = FAR / (FAR - NEAR), -FAR * NEAR / (FAR - NEAR), 1
    return p


class Theirs:
    """One view of a case through the authors' code."""

    def __init__(self, module: ModuleType, case: Case) -> None:
        self.case, self.module = case, module
        cameras, device = case.cameras, case.background.device
        view = cameras.world_to_camera[0].T.contiguous()
        self.settings = module.GaussianRasterizationSettings(
            image_height=cameras.height,
            image_width=cameras.width,
            tanfovx=cameras.width / (2 * float(cameras.focal[0])),
            tanfovy=cameras.height / (2 * float(cameras.focal[0])),
            bg=case.background,
            scale_modifier=1.0,
            viewmatrix=view,
            projmatrix=(view @ projection(cameras).T.to(device)).contiguous(),
            sh_degree=math.isqrt(case.gaussians.sh.shape[1]) - 1,
            sh_degree_t=0,
            campos=cameras.position[0],
            timestamp=float(case.times[0]),
            time_duration=case.gaussians.period,
            rot_4d=True,
            gaussian_dim=4,
            force_sh_3d=False,
            prefiltered=False,
            debug=False,
        )

    def render(self) -> tuple[Tensor, Tensor]:
        """Color, height x width x 3, and alpha."""
        splats = self.case.gaussians
        scales = splats.log_scales.exp()
        found = self.module.GaussianRasterizer(self.settings)(
            means3D=splats.means[:, :3].contiguous(),
            means2D=torch.zeros_like(splats.means[:, :3], requires_grad=True),
            opacities=splats.opacity_logits.sigmoid()[:, None],
            shs=splats.sh[:, :, 0].contiguous(),
            flow_2d=torch.zeros_like(splats.means[:, :2]),
            ts=splats.means[:, 3:].contiguous(),
            scales=scales[:, :3].contiguous(),
            scales_t=scales[:, 3:].contiguous(),
            rotations=torch.nn.functional.normalize(splats.quats_left),
            rotations_r=torch.nn.functional.normalize(splats.quats_right),
        )
        return found[0].permute(1, 2, 0), found[3][0]

    def forward(self) -> None:
        with torch.no_grad():
            self.render()

    def both(self) -> None:
        cleared(self.case)
        torch.autograd.backward(self.render(), (self.case.g_color[0], self.case.g_alpha[0]))


class Recorded(NamedTuple):
    """Work of a case played from a recording, and the splats that it reads, which have to stay.

    complete: whether all its tile entries have room.
    """

    play: Callable[[], None]
    outputs: tuple[Tensor, ...]
    splats: Gaussians4D
    complete: Callable[[], Tensor | None]


def recorded(case: Case, backward: bool) -> Recorded:
    """A case as a CUDA graph, with leaves of its own: what autograd saw of others cannot be recorded."""
    room, stream, splats = EntryRoom(), torch.cuda.Stream(), case.gaussians.trainable()

    def work(times: Tensor) -> tuple[Tensor, ...]:
        with torch.set_grad_enabled(backward):
            render = rasterize_4d(splats, times, case.cameras, background=case.background, room=room)
        if not backward:
            return render.color, render.alpha
        leaves = tuple(splats.tensors().values())
        pictures, gradients = (render.color, render.alpha), (case.g_color, case.g_alpha)
        return render.color.detach(), *torch.autograd.grad(pictures, leaves, gradients)

    with aside(stream):
        for _ in range(WARM_UP):
            work(case.times)
    recording = record(work, [case.times], stream=stream)
    return Recorded(recording.graph.replay, recording.outputs, splats, room.complete)


def card_time(function: Callable[[], object], runs: int = 5) -> float:
    """Milliseconds that the kernels of a call take."""
    from torch.profiler import ProfilerActivity, profile

    function()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(runs):
            function()
        torch.cuda.synchronize()
    return sum(e.self_device_time_total for e in found.key_averages()) / runs / 1e3


def cleared(case: Case) -> None:
    for value in case.gaussians.tensors().values():
        value.grad = None


def beside(case: Case, theirs: Theirs) -> str:
    """Pictures and gradients of our reference, with their low-pass, and theirs."""
    cleared(case)
    theirs.both()
    other = case.gradients()
    color, alpha = (x.detach() for x in theirs.render())
    cleared(case)
    ours, rasters.LOW_PASS = rasters.LOW_PASS, AUTHORS_LOW_PASS
    options = {"background": case.background, "backend": "reference", "antialias": False}
    try:
        mine = rasterize_4d(case.gaussians, case.times, case.cameras, **options)  # type: ignore[arg-type]
        torch.autograd.backward((mine.color, mine.alpha), (case.g_color, case.g_alpha))
    finally:
        rasters.LOW_PASS = ours
    apart = torch.cat(
        [(mine.color[0].detach() - color).abs(), (mine.alpha[0].detach() - alpha).abs()[..., None]], -1
    )
    found = case.gradients()
    errors = {n: float((found[n] - g).norm() / g.norm().clamp(min=1e-12)) for n, g in other.items()}
    mean, worst, far = float(apart.mean()), float(apart.max()), float((apart > 1e-2).float().mean())
    told = ", ".join(f"{name} {error:.0e}" for name, error in errors.items())
    pixels = f"mean {mean:.1e}, worst {worst:.1e}, off by 1e-2 {far:.1e}"
    return f"our reference and theirs: {pixels}; gradients {told}"


def same(case: Case, played: Recorded) -> str:
    """Whether recorded gradients are those that are not recorded."""
    case.both("triton")
    played.play()
    pairs = zip(case.gradients().values(), played.outputs[1:], strict=True)
    equal = all(torch.equal(g, p.cpu()) for g, p in pairs)
    room = "room" if bool(played.complete()) else "NO ROOM"
    return (
        f"recorded gradients are {'the same bytes' if equal else 'NOT the same'}, {room} for all tile entries"
    )


def asset_case(run: Path, size: int) -> Case:
    """An asset's splats in place of the shell."""
    case = Case(1, size, 1, "cuda")
    splats: Gaussians4D = load_asset(run / "asset.safetensors" if run.is_dir() else run, "cuda")[0]
    case.gaussians, case.name = splats.trainable(), f"{len(splats):7} {size:7} {1:6}"
    return case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="runs or asset.safetensors")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this needs an NVIDIA card")
    module = authors_module(args.checkout)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; ms of one view, median of {args.runs}")
    cases = [Case(count, size, 1, "cuda") for count, size, views in GPU_CASES if views == 1]
    for case in cases + [asset_case(run, 512) for run in args.assets]:
        theirs = Theirs(module, case)
        forward, both = recorded(case, False), recorded(case, True)
        print(f"{case.name}: {same(case, both)}", flush=True)
        if len(case.gaussians) * case.cameras.width**2 < SMALL:
            print(f"  {beside(case, theirs)}")
        print(f"{'':28} {'alone':>8} {'in a row':>9} {'card':>7} | {'+ back':>8} {'in a row':>9} {'card':>7}")
        rows: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "authors": (theirs.forward, theirs.both),
            "ours, from Python": (
                lambda case=case: case.forward("triton"),  # type: ignore[misc]
                lambda case=case: case.both("triton"),  # type: ignore[misc]
            ),
            "ours, recorded": (forward.play, both.play),
        }
        for name, (first, second) in rows.items():
            a, b = gpu_times(first, args.runs), gpu_times(second, args.runs)
            print(
                f"{name:28} {a[0]:8.3f} {a[1]:9.3f} {card_time(first):7.3f} | "
                f"{b[0]:8.3f} {b[1]:9.3f} {card_time(second):7.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
