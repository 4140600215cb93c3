"""What benchmarks do themselves, apart from what they measure."""

from __future__ import annotations

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
    truth = demo_truth.truth_of([6], cameras)
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
