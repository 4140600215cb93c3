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
from vid4d.settings import Settings


@pytest.mark.parametrize("presets", [efficient4d.PRESETS, method.PRESETS])
def test_nothing_changed_is_the_preset(presets):
    """Every field of every preset goes through JSON and back."""
    for config in presets.values():
        assert tuned(config, []) == config


def milestones(*steps: int) -> str:
    return f"milestones={json.dumps([{'step': step, 'size': 64, 'batch': 4} for step in steps])}"


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
        ('milestones=[{"step": 10, "size": 64, "batch": 4}]', "the first milestone lies at step 0"),
        (milestones(0, 300, 200), "each later than the one before it"),
        (milestones(0, 200, 200), "each later than the one before it"),
        (milestones(0, -200), "each later than the one before it"),
        ('milestones=[{"step": 0, "size": 4, "batch": 4}]', "a milestone has 8 pixels"),
        ("t_range.low.steps=-1", "a schedule takes 0 steps or more"),
        ("t_range.low.start=-0.1", "noise levels are shares of the schedule: 0 to 1"),
        ("t_range.high.end=1.5", "noise levels are shares of the schedule: 0 to 1"),
        ("t_range.low.end=0.5", "low never above high"),
        ("lambda_orient.end=-1", "weights of losses, .* 0 or more"),
        ("lambda_normal_smooth=-1", "weights of losses, .* 0 or more"),
        ("n_reg_samples=-1", "their samples .* 0 or more"),
        ("grid_resolution=0", "1 or more"),
        ("validate_size=0", "pictures 8 pixels wide"),
        ("distill.elevations=[0, 91]", "elevations are -90 to 90 degrees"),
        ("lambda_icl=-1", "weights of losses, .* 0 or more"),
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
        ("fit.seconds=0", "seconds of a fit are more than 0, or null"),
        ("fit.visibility_updates=[0, 1.5]", "visibility_updates are shares of the fit"),
        ("fit.sh_degree=4", "sh_degree is 0 to 3"),
        ("fit.hull.resolution=3", "4 voxels along an edge or more"),
        ("fit.hull.splats=0", "1 splat and 1 key time or more"),
        ("fit.hull.half_extent=0", "sizes of a hull and its splats are more than 0"),
        ("fit.hull.max_outlier_views=-1", "max_outlier_views .* 0 or more"),
        ("fit.hull.opacity=1", "opacity of a new splat is more than 0 and below 1"),
        ("fit.densify.growth=0.5", "splats grow 1 times or more"),
        ("fit.densify.begin=0.7", "0 to 1, in this order"),
        ("fit.densify.prune_opacity=1", "prune_opacity is 0 or more and below 1"),
        ("fit.densify.shrink=0", "shrink are more than 0"),
        ("refine.sds_weight=-1", "weights are 0 or more"),
        ("refine.views.azimuth_step=[0, 5]", "more than 0"),
    ],
)
def test_what_cannot_be_is_refused_of_efficient4d(change, said):
    with pytest.raises(InputError, match=f"--tune .*{said}"):
        tuned(efficient4d.PRESETS["draft"], [change])


@pytest.mark.parametrize(
    ("settings", "tune", "said"),
    [
        ({}, "refine.steps=3", "no effect without --refine"),
        ({"refine": True}, "refine.guidance=5", "the prior frustum knows none"),
        ({"method": "consistent4d"}, "guidance=5", "the prior frustum knows none"),
    ],
)
def test_what_nothing_would_read_is_refused(settings, tune, said):
    with pytest.raises(InputError, match=f"--tune .*{said}"):
        api.resolved(Settings(clip="any.mp4", tune=(tune,), **settings))


def test_a_text_is_guided_whatever_the_prior_for_clips():
    text = Settings(text="a cat", method="consistent4d", text_model="any", tune=("guidance=5",))
    assert api.resolved(text).tune == ("guidance=5",)


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
