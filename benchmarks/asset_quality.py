"""How good the assets are that `vid4d generate` makes, on models that the shipped prior never saw.

    python benchmarks/asset_quality.py --set val --models 4 --cache DIR --sheet sheet.jpg
    python benchmarks/asset_quality.py --set realistic --rows frustum truth --cache DIR

Every model's first motion is rendered as a clip from the azimuth and elevation that `vid4d.training.evaluate`
fixes in advance. Each row (asset_rows.py) makes an image matrix of it (the true elevation given), Gaussians
are fitted to that and to the clip, and what they show is compared with the truth at the clip's frames: 16
views at elevation 30 and 16 at elevation 0, by azimuth distance from the input view. `pictures` is no asset:
the input picture as it is, held against the truth of every side.

Measures (vid4d.metrics): IoU of masks at alpha 0.5; F-score of surfaces within 0.03; share of half
transparent pixels beyond the truth's; loose pieces of the silhouette beyond the truth's; PSNR of colors
where both are solid; PSNR and SSIM over white. `--iterations` shortens the fit;
`--cache` keeps matrices and assets. `--weights` are other weights of the frustum prior. `--workers 12
--threads 1` judges twelve pairs of model and row at a time. `--sheet` is a picture to look at, which has to
agree with the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from asset_rows import (
    CAMERAS,
    DEFAULT_ASSETS,
    FRAMES,
    ROWS,
    SIZE,
    VIEWS,
    asset_of,
    matrix_of,
    models,
    refined_of,
    sides_of,
    way_of,
)
from PIL import Image

from vid4d.cameras import Cameras
from vid4d.media.images import over_white
from vid4d.methods.efficient4d import PRESETS
from vid4d.metrics import Sides, compare
from vid4d.metrics.sides import MEASURES
from vid4d.report.contact import draw_sheet
from vid4d.training.evaluate import HELD_OUT, TrueClip, true_clips
from vid4d.training.meshes import MeshBank

PICTURES = "pictures"
BANDS = (0.0, 22.5, 45.0, 90.0, 135.0, 180.0)
"""Azimuth distances (degrees) that tables show; `ring` is the mean over all."""

LABELS = {"truth": "truth, fitted"}
DIGITS = {"color": 2, "psnr": 2, "pieces": 2}
Scores = dict[str, list[float]]
"""Per measure, the mean over the moments of each view: those of the ring, then those of the equator."""


def means(rendered: Sides, truth: Sides) -> Scores:
    return {name: values.nanmean(1).tolist() for name, values in compare(rendered, truth).items()}


def held_up(clip: TrueClip) -> Sides:
    """The input picture for every camera."""
    return Sides(CAMERAS, clip.frames[None].expand(len(CAMERAS), -1, -1, -1, -1))


def by_azimuth(values: list[float]) -> list[float]:
    """A ring's values at the distances of BANDS, left and right averaged, and the mean of the whole ring."""
    table = torch.tensor(values, dtype=torch.float64)
    distance = torch.tensor([min(i, len(values) - i) * 360 / len(values) for i in range(len(values))])
    return [float(table[distance == band].nanmean()) for band in BANDS] + [float(table.nanmean())]


def mean_of(every: Iterable[Scores], measure: str, ring: int) -> list[float]:
    """By azimuth, the mean over models of the views at elevation 30 (ring 0) or 0 (ring 1)."""
    rows = [by_azimuth(s[measure][ring * VIEWS : (ring + 1) * VIEWS]) for s in every]
    return torch.tensor(rows, dtype=torch.float64).nanmean(0).tolist()


def tables(results: dict[str, dict[str, Scores]]) -> str:
    """Row by row all measures over both rings; then IoU and F-score by azimuth."""
    lines = ["| | " + " | ".join(MEASURES.values()) + " |", "|---" * (len(MEASURES) + 1) + "|"]
    for row, every in results.items():
        cells = []
        for measure in MEASURES:
            if any(measure not in s for s in every.values()):
                cells.append("")
                continue
            both = [mean_of(every.values(), measure, ring)[-1] for ring in (0, 1)]
            cells.append(" / ".join(f"{v:.{DIGITS.get(measure, 3)}f}" for v in both))
        lines.append(f"| {LABELS.get(row, row)} | " + " | ".join(cells) + " |")
    head = " | ".join(f"{b:g}°" for b in BANDS)
    lines += ["", f"| | measure | elevation | {head} | ring |", "|---" * (len(BANDS) + 4) + "|"]
    for measure in ("iou", "f_score", "half_transparent", "pieces"):
        for row, every in results.items():
            if any(measure not in s for s in every.values()):
                continue
            for ring, elevation in enumerate((30, 0)):
                cells = [f"{v:.{DIGITS.get(measure, 3)}f}" for v in mean_of(every.values(), measure, ring)]
                lines.append(
                    f"| {LABELS.get(row, row)} | {MEASURES[measure]} | {elevation} | "
                    + " | ".join(cells)
                    + " |"
                )
    return "\n".join(lines)


def shown(sides: Sides) -> np.ndarray:
    """Eight azimuths of the ring, four of the equator, all at the start, over white."""
    chosen = [*range(0, VIEWS, 2), *range(VIEWS, 2 * VIEWS, 4)]
    return over_white(sides.rgba[chosen, 0]).numpy()


@dataclass(frozen=True)
class Judged:
    """A row's asset of one model. seconds: of the fit; 0 where nothing was fitted."""

    model: str
    row: str
    elevation: float
    scores: Scores
    seconds: float
    input: np.ndarray
    seen: np.ndarray
    truth: np.ndarray


def judge(options: argparse.Namespace, job: tuple[int, str]) -> Judged:
    """The asset that a row makes of a model, held against the truth."""
    index, row = job
    torch.set_num_threads(options.threads)
    config = PRESETS[options.preset]
    fit = replace(config.fit, iterations=options.iterations or config.fit.iterations)
    bank = MeshBank(models(options.assets, options.set, options.models))
    extra = Cameras.ring(VIEWS, elevation=0.0, size=SIZE)
    (clip,) = true_clips(bank, frames=FRAMES, size=SIZE, extra=extra, only=index)
    truth = Sides(CAMERAS, clip.matrix, clip.depth)
    times = torch.arange(len(clip.frames)) / len(clip.frames)
    seconds = 0.0
    if row == PICTURES:
        rendered = held_up(clip)
    else:
        way = way_of(row, options.weights)
        key = f"{options.preset}_{len(clip.frames)}_{fit.iterations}"
        kept = options.cache and options.cache / f"{clip.name}_{way.name}_{key}.safetensors"
        matrix = matrix_of(way, clip, config.n_interpolated, options.cache)
        gaussians, seconds = asset_of(matrix, fit, kept)
        if options.refine:
            plain = replace(config.refine, sds_weight=0.0, icl_weight=0.0)
            refine = plain if options.refine == "steps" else config.refine
            gaussians = refined_of(matrix, clip, gaussians, fit, refine)
        rendered = sides_of(gaussians, times)
    return Judged(
        clip.name,
        row,
        clip.elevation,
        means(rendered, truth),
        seconds,
        over_white(clip.frames[0]).numpy(),
        shown(rendered),
        shown(truth),
    )


def every_judged(options: argparse.Namespace, count: int) -> Iterator[Judged]:
    """All rows of all models, told as they come, in the order of the sheet."""
    jobs = [(index, row) for index in range(count) for row in options.rows]

    def told(each: Judged) -> Judged:
        iou = torch.tensor(each.scores["iou"]).mean()
        name = HELD_OUT.get(each.model, each.model)
        print(f"{name}, {each.row}: IoU {iou:.3f}, fit {each.seconds:.0f} s", flush=True)
        return each

    if options.workers == 1:
        yield from (told(judge(options, job)) for job in jobs)
        return
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        yield from map(told, pool.map(partial(judge, options), jobs))


def sheet_lines(judged: list[Judged]) -> list[tuple]:
    """Model by model: its rows, the first beside the input, and the truth below."""
    lines: list[tuple] = []
    for i, each in enumerate(judged):
        first = i == 0 or judged[i - 1].model != each.model
        if each.row != PICTURES:
            title = LABELS.get(each.row, each.row)
            lines.append((title, f"{each.elevation:g}°", [each.input if first else None, *each.seen]))
        if i + 1 == len(judged) or judged[i + 1].model != each.model:
            lines.append((HELD_OUT.get(each.model, each.model), "truth", [None, *each.truth]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=DEFAULT_ASSETS, help="folder of val and train")
    parser.add_argument("--set", choices=["val", "realistic"], default="val")
    parser.add_argument("--models", type=int, default=1000, help="only the first so many")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, PICTURES], default=[*ROWS, PICTURES])
    parser.add_argument("--preset", choices=list(PRESETS), default="standard")
    parser.add_argument("--iterations", type=int, help="of the fit, instead of the preset's")
    parser.add_argument(
        "--refine", choices=["prior", "steps"], help="as `--refine` does; or as many steps of the fit alone"
    )
    parser.add_argument("--threads", type=int, default=2, help="of each worker")
    parser.add_argument("--cache", type=Path, help="folder where matrices and assets stay")
    parser.add_argument("--out", type=Path, help="JSON of all values")
    parser.add_argument("--sheet", type=Path, help="picture: input, rows and truth of every model")
    parser.add_argument("--cell", type=int, default=96, help="pixels of the sheet's pictures")
    parser.add_argument("--weights", type=Path, help="of the frustum prior: a folder of 8-bit pieces")
    parser.add_argument("--workers", type=int, default=1, help="pairs of model and row at a time")
    options = parser.parse_args()
    count = len(models(options.assets, options.set, options.models))
    judged = list(every_judged(options, count))
    results: dict[str, dict[str, Scores]] = {row: {} for row in options.rows}
    for each in judged:
        results[each.row][each.model] = each.scores
    seconds = [each.seconds for each in judged if each.seconds]
    fits = f"fit {sum(seconds) / len(seconds):.0f} s (mean)" if seconds else "nothing fitted"
    iterations = options.iterations or PRESETS[options.preset].fit.iterations
    print(f"\n{options.set}, {count} models, preset {options.preset}, {iterations} steps, {fits}")
    print("all measures: mean of the ring at elevation 30 / of 16 views at elevation 0\n")
    print(tables(results))
    if options.out:
        kept_all = {"set": options.set, "preset": options.preset, "views": VIEWS}
        kept_all |= {"iterations": iterations, "frames": FRAMES, "rows": rounded(results)}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(kept_all) + "\n")
    if options.sheet:
        columns = ["input", *(f"{i * 45}°" for i in range(8)), *(f"{i * 90}°, el 0" for i in range(4))]
        save_sheet(options.sheet, draw_sheet(sheet_lines(judged), columns, options.cell))


def rounded(results: dict[str, dict[str, Scores]]) -> dict[str, dict[str, Scores]]:
    """Four decimals; what is not a number, as None, which JSON knows."""

    def short(values: list[float]) -> list:
        return [round(v, 4) if v == v else None for v in values]

    return {r: {m: {k: short(v) for k, v in s.items()} for m, s in e.items()} for r, e in results.items()}


def save_sheet(path: Path, sheet: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {} if path.suffix == ".png" else {"quality": 80}
    sheet.save(path, **options)


if __name__ == "__main__":
    main()
