import pytest
import torch

from vid4d.gaussians.adam import SplatAdam
from vid4d.gaussians.densify import Densifier, DensifyConfig
from vid4d.gaussians.raster import SplatRender


def parameters(n=6):
    g = torch.Generator().manual_seed(0)
    return {
        "means": torch.rand(n, 4, generator=g),
        "log_scales": torch.tensor([0.02, 0.05, 0.01, 0.1]).log().repeat(n, 1),
        "quats_left": torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        "quats_right": torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        "opacity_logits": torch.zeros(n),
        "sh": torch.rand(n, 1, 1, 3, generator=g),
    }


def make(config, n=6, frame_spacing=1.0):
    optimizer = SplatAdam(parameters(n))
    return optimizer, Densifier(config, n, frame_spacing=frame_spacing, device=torch.device("cpu"))


def fake_render(gradients):
    """Of one view, by which all splats are seen, with these gradients on the screen."""
    gradients = torch.tensor([gradients])
    screen = torch.zeros(*gradients.shape, 2, requires_grad=True)
    (screen[..., 0] * gradients).sum().backward()
    empty = torch.zeros(1, 1, 1)
    return SplatRender(
        empty[..., None].expand(1, 1, 1, 3), empty, empty, screen.detach(), gradients + 1, screen
    )


def test_adam_equals_torch_where_everything_is_visible():
    p = parameters()["means"]
    ours = SplatAdam({"means": p}, betas=(0.9, 0.99), eps=1e-8)
    theirs = p.clone().requires_grad_()
    reference = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.99), eps=1e-8)
    for i in range(5):
        for x in (ours.parameters["means"], theirs):
            ((x * torch.tensor([1.0, 2, 3, 4]) - i).sin().sum()).backward()
        ours.step({"means": 0.01}, torch.ones(6, dtype=torch.bool))
        reference.step()
        reference.zero_grad()
    assert torch.allclose(ours.parameters["means"], theirs, atol=1e-6)


def test_invisible_splats_do_not_move_and_keep_their_momentum():
    optimizer = SplatAdam(parameters())
    before = optimizer.parameters["means"].detach().clone()
    visible = torch.tensor([True, False, True, True, True, True])
    optimizer.parameters["means"].sum().backward()
    optimizer.step({"means": 0.1}, visible)
    moved = (optimizer.parameters["means"] != before).any(-1)
    assert moved.tolist() == visible.tolist()
    assert optimizer.steps.tolist() == [1, 0, 1, 1, 1, 1]
    assert optimizer.parameters["means"].grad is None


def test_the_splat_with_the_largest_gradient_is_split_along_its_longest_axis():
    optimizer, densifier = make(DensifyConfig(growth=7 / 6, n_densify=1))
    old = {k: v.detach().clone() for k, v in optimizer.parameters.items()}
    densifier.collect(fake_render([0.0, 1, 5, 2, 0, 0]))
    densifier.densify(optimizer)
    assert len(optimizer) == 7
    means = optimizer.parameters["means"].detach()
    pair = means[[2, 6]]
    assert torch.allclose(pair.mean(0), old["means"][2], atol=1e-6)
    assert torch.allclose((pair[1] - pair[0]).abs(), torch.tensor([0, 0.07, 0, 0]), atol=1e-6)
    scales = optimizer.parameters["log_scales"].detach().exp()
    assert scales[2].tolist() == pytest.approx([0.02, 0.03, 0.01, 0.1])
    assert torch.equal(scales[2], scales[6])
    assert torch.equal(means[[0, 1, 3, 4, 5]], old["means"][[0, 1, 3, 4, 5]])
    assert optimizer.mean["means"].shape == (7, 4)


def test_a_splat_that_lasts_over_many_frames_is_split_in_time():
    optimizer, densifier = make(DensifyConfig(growth=7 / 6, n_densify=1), frame_spacing=0.02)
    densifier.collect(fake_render([0.0, 0, 5, 0, 0, 0]))
    densifier.densify(optimizer)
    pair = optimizer.parameters["means"].detach()[[2, 6]]
    assert (pair[1] - pair[0]).abs().tolist() == pytest.approx([0, 0, 0, 0.14], abs=1e-6)


def test_transparent_and_huge_splats_go_and_their_room_is_used():
    optimizer, densifier = make(DensifyConfig(growth=1.0, n_densify=1))
    with torch.no_grad():
        optimizer.parameters["opacity_logits"][1] = -9
        optimizer.parameters["log_scales"][3, 0] = 0
    sh = optimizer.parameters["sh"].detach().clone()
    densifier.collect(fake_render([1.0, 9, 2, 9, 0, 0]))
    densifier.densify(optimizer)
    assert torch.equal(optimizer.parameters["sh"].detach(), sh[[0, 2, 4, 5, 0, 2]])


def test_opacities_and_extents_around_the_bounds_by_hand():
    """Of the defaults: an opacity of a fiftieth stays, a lesser one goes; sizes alike."""
    optimizer, densifier = make(DensifyConfig(growth=1.0, n_densify=1))
    opacity = torch.tensor([0.019, 0.021, 0.09, 0.5, 0.5, 0.5])
    with torch.no_grad():
        optimizer.parameters["opacity_logits"].copy_(opacity.logit())
        optimizer.parameters["log_scales"][3:5, 1] = torch.tensor([0.149, 0.151]).log()
        optimizer.parameters["log_scales"][5, 3] = 0.0  # lasts long, which is no size
    densifier.collect(fake_render([0.0] * 6))
    densifier.densify(optimizer)
    kept = optimizer.parameters["opacity_logits"].detach().sigmoid()
    assert kept.tolist() == pytest.approx([0.021, 0.09, 0.5, 0.5])
    assert optimizer.parameters["log_scales"].detach()[2, 1].exp().item() == pytest.approx(0.149)


def test_never_more_than_the_cap_and_never_none():
    optimizer, densifier = make(DensifyConfig(growth=2.0, max_splats=8, n_densify=6))
    counts = []
    for _ in range(3):
        densifier.collect(fake_render([1.0] * len(optimizer)))
        densifier.densify(optimizer)
        counts.append(len(optimizer))
    assert counts == [7, 8, 8]
    with torch.no_grad():
        optimizer.parameters["opacity_logits"][:] = -9
    densifier.densify(optimizer)
    assert len(optimizer) == 8


def test_rounds_are_spread_over_the_plan():
    _, densifier = make(DensifyConfig(n_densify=3, begin=0.2, end=0.6))
    due = []
    for i in range(100):
        if densifier.due(i / 100):
            due.append(i)
            densifier.done += 1
    assert due == [20, 40, 60]
