"""Numbers of a preset that a user changes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from clips import disc
from tiny_frustum import ship, slab
from tiny_runs import CONSISTENT, EFFICIENT

from vid4d import api
from vid4d.errors import InputError
from vid4d.methods import efficient4d
from vid4d.methods.consistent4d import method
from vid4d.methods.consistent4d.batches import Milestone
from vid4d.methods.tuning import tuned


@pytest.mark.parametrize("presets", [efficient4d.PRESETS, method.PRESETS])
def test_nothing_changed_is_the_preset(presets):
    """Every field of every preset goes through JSON and back."""
    for config in presets.values():
        assert tuned(config, []) == config


def test_what_is_named_is_changed_and_nothing_else():
    draft = method.PRESETS["draft"]
    changes = (
        "lambda_icl=5000",
        "batch.azimuth_step=[5, 30]",
        'milestones=[{"step": 0, "size": 64, "batch": 4}, {"step": 300, "size": 96, "batch": 3}]',
        "fit.hull.splats = 700",
        "guidance=5",
    )
    assert tuned(draft, changes) == replace(
        draft,
        lambda_icl=5000.0,
        batch=replace(draft.batch, azimuth_step=(5.0, 30.0)),
        milestones=(Milestone(0, 64, 4), Milestone(300, 96, 3)),
        fit=replace(draft.fit, hull=replace(draft.fit.hull, splats=700)),
        guidance=5.0,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("lambda_icl", "give NAME=VALUE"),
        ("=3", "give NAME=VALUE"),
        ("lambda_lcl=3", "there is no 'lambda_lcl'; choose one of .*lambda_icl"),
        ("batch.front=0.1", "there is no 'front'; choose one of random"),
        ("batch=1", "it has parts; choose one of random"),
        ("lr.start=1", "there is no 'start'; it has no parts"),
        ("lr=fast", "lr: not JSON"),
        ('lr="0.1"', "'lr' must be a number, not text"),
        ("lr=NaN", "NaN is no number"),
        ("steps=1.5", "'steps' must be a whole number"),
        ("steps=0", "1 or more"),
        ("batch.spatial=0.9", "do not sum to 1"),
        ("fit.report_every=0", "counts of pictures and steps are 1 or more"),
        ("milestones=[]", "the first milestone lies at step 0"),
        ("lambda_icl=-1", "weights of losses .* 0 or more"),
        ("texture_steps=-3", "texture steps are 0 or more"),
        ("lr=0", "the learning rate is more"),
        ("batch.azimuth_step=[30, 5]", "the smaller azimuth first"),
        ("batch.time_step=0", "steps of azimuth and time are more than 0"),
        ("batch.elevation=[10, 100]", "elevations are -90 to 90 degrees"),
        ("distill.views=0", "rendered views and elevations are 1 or more"),
        ("distill.elevations=[]", "rendered views and elevations are 1 or more"),
    ],
)
def test_what_cannot_be_is_refused(change, said):
    with pytest.raises(InputError, match=f"--tune .*{said}"):
        tuned(method.PRESETS["draft"], [change])


def test_shares_that_sum_to_one_are_not_negative():
    with pytest.raises(InputError, match=r"probabilities .* are 0 or more"):
        tuned(method.PRESETS["draft"], ["batch.random=0.75", "batch.single=0.25", "batch.spatial=-0.125"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("n_interpolated=-1", "frames between and of the clip 0 or more"),
        ("frames=0", "key frames are 1 or more"),
        ("clip_size=4", "8 pixels wide"),
        ("fit.mask_weight=-1", "rates and weights are 0 or more"),
        ("fit.position_lr=-1", "rates and weights are 0 or more"),
        ("fit.ssim_weight=2", "ssim_weight is a share"),
        ("refine.sds_weight=-1", "weights are 0 or more"),
        ("refine.views.azimuth_step=[0, 5]", "more than 0"),
    ],
)
def test_what_cannot_be_is_refused_of_efficient4d(change, said):
    with pytest.raises(InputError, match=f"--tune .*{said}"):
        tuned(efficient4d.PRESETS["draft"], [change])


def test_a_run_is_made_by_the_changed_preset(tmp_path, monkeypatch):
    """It keeps them in its settings, where a resumed one must have the same; bad ones leave no folder."""
    monkeypatch.setitem(method.PRESETS, "draft", CONSISTENT)
    monkeypatch.setitem(efficient4d.PRESETS, "draft", EFFICIENT)
    ship(monkeypatch, slab(0))
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    clip = disc(tmp_path / "disc", 3)

    def generate(name: str, *tune: str, **more) -> api.Asset:
        return api.generate(
            clip, out=tmp_path / name, preset="draft", device="cpu", elevation=10.0, tune=tune, **more
        )

    asset = generate("a", "steps=2", "distill.views=5", method="consistent4d")
    assert json.loads((asset.root / "config.json").read_text())["steps"] == 2
    assert len(json.loads((asset.root / "matrix" / "cameras.json").read_text())["views"]) == 5
    with pytest.raises(InputError, match="other settings"):
        generate("a", "steps=3", method="consistent4d", resume=True)
    assert len(generate("b", "fit.hull.splats=90").gaussians) > len(generate("c").gaussians)
    with pytest.raises(InputError, match="there is no 'lr'"):
        generate("d", "lr=0.1")
    assert not (tmp_path / "d").exists()
