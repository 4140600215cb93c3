"""Made-up animals, plants and vessels as training meshes, each from its number alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vid4d.training.made_up.animals import (
    biped,
    bird,
    bug,
    dinosaur,
    fish,
    monster,
    quadruped,
    sitter,
    snake,
)
from vid4d.training.made_up.body import Body, Grid
from vid4d.training.made_up.coats import texture
from vid4d.training.made_up.plants import flower, tree, vessel
from vid4d.training.meshes import TrainingMesh

PLANS: dict[Callable[[Body], None], float] = {
    quadruped: 0.16,
    sitter: 0.13,
    biped: 0.16,
    bird: 0.1,
    monster: 0.09,
    fish: 0.07,
    dinosaur: 0.06,
    bug: 0.05,
    snake: 0.03,
    flower: 0.07,
    vessel: 0.05,
    tree: 0.03,
}
"""Each body with how often it is drawn."""


def thing(number: int) -> TrainingMesh:
    """The thing of a number: always the same, two motions of 16 poses, within a ball of radius 1/2."""
    rng = np.random.default_rng([number, 0xA417])
    square = rng.uniform(0.3, 0.8) if rng.random() < 0.2 else 1.0
    grid = Grid(int(rng.integers(6, 11)), int(rng.integers(6, 13)), square)
    body = Body(rng, grid)
    plans, shares = list(PLANS), np.array(list(PLANS.values()))
    plans[rng.choice(len(plans), p=shares / shares.sum())](body)
    poses = np.concatenate([part.posed(body.motions) for part in body.parts], 1)
    every = poses.reshape(-1, 3)
    poses = poses - (every.min(0) + every.max(0)) / 2
    poses = poses * (0.5 / np.linalg.norm(poses, axis=2).max())
    faces, uv_faces = grid.faces()
    count = len(body.parts)
    points, places = poses.shape[1] // count, grid.uv()
    tiles = texture(rng)
    of_tiles = len(tiles) // tiles.shape[1]
    uv = np.concatenate([places * [1, 1 / of_tiles] + [0, part.coat / of_tiles] for part in body.parts])
    smooth = rng.random() < 0.7
    return TrainingMesh(
        name=f"made up {number}",
        poses=poses.astype(np.float32),
        faces=np.concatenate([faces + i * points for i in range(count)]),
        uv=uv.astype(np.float32),
        uv_faces=np.concatenate([uv_faces + i * len(places) for i in range(count)]),
        smooth=np.full(len(faces) * count, smooth),
        texture=tiles,
    )
