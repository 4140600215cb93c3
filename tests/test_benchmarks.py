"""What benchmarks do themselves, apart from what they measure."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch


def test_azimuths_left_and_right_are_averaged() -> None:
    from asset_quality import BANDS, by_azimuth

    ring = [float(i) for i in range(16)]  # view i at 22.5 i degrees; 15 is 22.5 degrees to the other side
    found = by_azimuth(ring)
    assert found == [0, (1 + 15) / 2, (2 + 14) / 2, (4 + 12) / 2, (6 + 10) / 2, 8, pytest.approx(7.5)]
    assert len(found) == len(BANDS) + 1
    assert by_azimuth([float("nan"), *ring[1:]])[1:-1] == found[1:-1]


def test_framed_masks_forget_place_and_size() -> None:
    from demo_truth import framed

    from vid4d.metrics import mask_iou

    small, large = torch.zeros(64, 64), torch.zeros(96, 96)
    small[4:24, 10:20] = 1
    large[30:70, 50:70] = 1
    assert mask_iou(framed(small), framed(large)) > 0.95
    assert framed(torch.zeros(8, 8)).sum() == 0


def test_the_demos_truth_stands_as_its_clip_shows_it() -> None:
    import demo_truth
    import make_hopper

    from vid4d.cameras import Cameras
    from vid4d.metrics import mask_iou

    cameras = Cameras.orbit([0.0, 90.0], make_hopper.ELEVATION, size=demo_truth.SIZE)
    truth = make_hopper.truth_of([6], cameras)
    clip = make_hopper.pictures(size=demo_truth.SIZE)[6]
    mask = ((clip - torch.tensor(make_hopper.BACKGROUND)).abs().amax(-1) > 0.04).float()
    front, side = (demo_truth.framed(x) for x in truth.rgba[:, 0, ..., 3])
    assert mask_iou(front, demo_truth.framed(mask)) > 0.97
    assert mask_iou(side, demo_truth.framed(mask)) < 0.9
    assert truth.depth is not None
    assert bool((truth.depth.isfinite() == (truth.rgba[..., 3] > 0)).all())


def test_numbers_that_are_none_are_told_so() -> None:
    from asset_quality import rounded, tables

    scores = {"iou": [0.51239, *[0.5] * 31], "color": [float("nan")] * 32}
    assert rounded({"prior": {"model": scores}})["prior"]["model"]["iou"][0] == 0.5124
    assert rounded({"prior": {"model": scores}})["prior"]["model"]["color"][3] is None
    told = tables({"prior": {"model": {m: [0.5] * 32 for m in ("iou", "psnr")}}}).splitlines()
    assert told[2].startswith("| prior | 0.500 / 0.500 |  |  |")


def test_variants_of_the_ablation_differ_in_what_their_names_say() -> None:
    from consistent4d_ablation import variants

    found = variants(100)
    assert {name: (len(c.levels.levels), c.lambda_icl > 0) for name, c in found.items()} == {
        "2 levels, ICL": (2, True),
        "2 levels, no ICL": (2, False),
        "1 level, ICL": (1, True),
        "1 level, no ICL": (1, False),
    }
    for config in found.values():  # a fifth of the draft preset's 500 steps
        assert (config.steps, config.lambda_orient.steps, config.t_range.low.steps) == (100, 50, 75)


def test_the_speed_of_consistent4d_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import consistent4d_speed

    monkeypatch.setattr(sys, "argv", ["consistent4d_speed.py", "--tiny"])
    consistent4d_speed.main()
    rows = [line.split(" | ")[2] for line in capsys.readouterr().out.splitlines()[3:]]
    assert rows == ["reference", "prior", "with ICL", "reference", "prior"]


def test_drift_of_meshes_that_follow_slide_and_stand_still() -> None:
    """A ring that turns: its own mesh has no drift; one that keeps its shape but stands still drifts all the
    way, though no surface is away from the other; one that is made anew at every moment has none to tell."""
    from comparisons import Places
    from mesh_motion import POINTS, scores_of
    from solids import mesh_of, torus

    from vid4d.meshing.mesh_sequence import MeshSequence

    ring = mesh_of(lambda p: torus(p, 0.3, 0.08), faces=2000, resolution=48)
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]], np.float32)
    true = np.stack([ring.vertices, ring.vertices @ turn.T])
    places = Places.on(ring.vertices, ring.faces, 2 * POINTS)
    visible = [np.ones(2 * POINTS, bool)] * 2
    moved = ring.moved(true[1])
    told = {}
    for name, meshes, starts in (
        ("follows", (ring, moved), (0,)),
        ("stands", (ring, ring), (0,)),
        ("anew", (ring, replace(moved, faces=moved.faces[::-1])), (0, 1)),
    ):
        sequence = MeshSequence((0.0, 0.5), meshes, starts, starts)
        told[name] = scores_of(sequence, true, ring.faces, visible, places)
    assert all(scores[0] < 0.006 for scores in told.values())
    assert told["follows"][1] < 0.003
    assert told["stands"][1] == pytest.approx(told["stands"][3], abs=0.003)
    assert told["stands"][3] == pytest.approx(0.3 * 0.4**0.5, rel=0.05)  # a chord of the ring's middle
    assert [told[name][4] for name in told] == [1, 1, 2]
    assert np.isnan(told["anew"][1])


def test_forms_of_one_asset_are_shown_a_line_each() -> None:
    from evaluation import forms

    from vid4d.evaluation.result import FORMAT, VERSION, Result

    def result(**mean: float | None) -> Result:
        return Result(FORMAT, VERSION, "0", {}, {}, mean)

    told = forms({"run": result(iou=0.70081, psnr=16.9966), "mesh": result(iou=0.5, cd_3d=None)}).splitlines()
    assert told[0] == "| | IoU | PSNR (dB) | CD-3D |"
    assert told[2:] == ["| run | 0.7008 | 16.997 |  |", "| mesh | 0.5000 |  |  |"]


def test_rasterisers_are_compared_before_they_are_timed(monkeypatch) -> None:
    pytest.importorskip("triton", reason="Triton is not installed (there is none for this system)")
    import raster
    from raster_scenes import needs_interpreter

    if needs_interpreter.args[0]:
        pytest.skip(needs_interpreter.kwargs["reason"])
    case = raster.Case(40, 12, 2, "cpu")
    assert "off by 1e-3 0.0e+00" in raster.compare(case, case, "reference")
    assert raster.same_bytes(case)
    other = raster.Case(40, 12, 2, "cpu")
    other.g_color += 1
    assert float(raster.compare(case, other, "reference").split()[-1]) > 0.01
