"""Image matrices that are given: read in the right layout, and held against their own silhouettes."""

from __future__ import annotations

from vid4d.files.write import write_json
from vid4d.gaussians.hull import silhouette_agreement
from vid4d.matrix.io import detect_layout, load_matrix
from vid4d.matrix.layouts import rivals
from vid4d.matrix.matrix import ImageMatrix
from vid4d.runs.run import Run

AGREED = 0.9
"""Agreement of silhouettes below which cameras and pictures are taken not to belong together."""


def read_given_matrix(run: Run) -> ImageMatrix:
    """The matrix that the settings name; its layout and how well its silhouettes agree go to layout.json.

    Of layouts that look alike the one is taken whose silhouettes agree best. Says so, and warns where even
    these do not agree.
    """
    folder, layout = run.settings.clip, run.settings.layout
    names = (layout,) if layout != "auto" else rivals(detect_layout(folder))
    found = {name: load_matrix(folder, layout=name) for name in names}
    scores = {name: silhouette_agreement(matrix) for name, matrix in found.items()}
    best = max(scores, key=lambda name: scores[name])
    others = ", ".join(f"{name} {scores[name]:.3f}" for name in scores if name != best)
    run.progress.say(
        f"read as {best}: its silhouettes agree by {scores[best]:.3f}"
        + (f" ({others}; --layout decides otherwise)" if others else "")
    )
    if scores[best] < AGREED:
        run.progress.say(
            f"the silhouettes agree by {scores[best]:.2f} only: these cameras, or pictures that do not show "
            "one thing, may make a ruined asset; see --layout, or describe your cameras in a cameras.json"
        )
    write_json(run.path("layout.json"), {"layout": best, "agreement": round(scores[best], 4)})
    return found[best]
