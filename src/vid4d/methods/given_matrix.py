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

RIVALS_APART = 0.01
"""Difference of agreements above which the layout that was told is doubted. On a real matrix of one rig of
Zero123++ it agrees by 0.984, the other by 0.949."""


def read_given_matrix(run: Run) -> ImageMatrix:
    """The matrix that the settings name; its layout and how well its silhouettes agree go to layout.json.

    Of layouts that look alike the one is taken whose silhouettes agree best, unless the settings name one.
    Says so, and warns where even these do not agree, or those of another one agree better.
    """
    folder, layout = run.settings.clip, run.settings.layout
    found = {
        name: load_matrix(folder, layout=name)
        for name in rivals(detect_layout(folder) if layout == "auto" else layout)
    }
    scores = {name: silhouette_agreement(matrix) for name, matrix in found.items()}
    best = max(scores, key=lambda name: scores[name])
    taken = best if layout == "auto" else layout
    others = ", ".join(f"{name} {scores[name]:.3f}" for name in scores if name != taken)
    run.progress.say(
        f"read as {taken}: its silhouettes agree by {scores[taken]:.3f}"
        + (f" ({others}; --layout decides otherwise)" if others else "")
    )
    if scores[taken] < AGREED:
        run.progress.say(
            f"the silhouettes agree by {scores[taken]:.2f} only: these cameras, or pictures that do not show "
            "one thing, may make a ruined asset; see --layout, or describe your cameras in a cameras.json"
        )
    elif scores[taken] < scores[best] - RIVALS_APART:
        run.progress.say(f"warning: --layout {taken} may be wrong, for {best} agrees better")
    write_json(run.path("layout.json"), {"layout": taken, "agreement": round(scores[taken], 4)})
    return found[taken]
