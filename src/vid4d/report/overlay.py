"""The clip over the asset as the clip's camera sees it: a curtain, a blend, or their difference.

Both are sheets of the same moments, inside of the page; a few lines of script draw one cell of each. Without
scripts the part stays away: the clip and the asset stand side by side above it.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over_white, side_by_side, to_uint8
from vid4d.render import render_asset
from vid4d.report.contact import pick

MOST_FRAMES, LARGEST, COLUMNS = 24, 360, 6


class Sheets(NamedTuple):
    """clip, asset: cells of width x height pixels, `columns` in a row. times: of the cells, in seconds;
    seconds: of the clip."""

    clip: Image.Image
    asset: Image.Image
    columns: int
    width: int
    height: int
    times: tuple[float, ...]
    seconds: float


def overlay_sheets(gaussians: Gaussians4D, matrix: ImageMatrix) -> Sheets | None:
    """At most `MOST_FRAMES` frames of the clip, and the asset at their times from its camera, over white.

    None where the matrix knows no clip.
    """
    if matrix.input_images is None or matrix.input_camera is None or matrix.input_times is None:
        return None
    chosen = pick(len(matrix.input_images), MOST_FRAMES)
    camera = matrix.input_camera
    camera = camera.resized(min(camera.width, LARGEST))
    size = (camera.width, camera.height)
    frames = over_white(matrix.input_images[chosen]).cpu().numpy()
    clip = [Image.fromarray(to_uint8(f)).resize(size, Image.Resampling.LANCZOS) for f in frames]
    times = matrix.input_times[chosen].cpu().clamp(0, 1)
    asset = [render_asset(gaussians, camera, float(t), background=1.0)[0].cpu().numpy() for t in times]
    columns = min(COLUMNS, len(chosen))

    def sheet(cells: list[Any]) -> Image.Image:
        return Image.fromarray(side_by_side(np.stack([np.asarray(c) for c in cells]), columns), "RGB")

    return Sheets(
        sheet(clip),
        sheet([to_uint8(picture) for picture in asset]),
        columns,
        *size,
        tuple((times * matrix.seconds).tolist()),
        matrix.seconds,
    )


STYLE = """
.over { display: grid; gap: 10px; justify-items: center; }
.over canvas { width: min(100%, 480px); cursor: ew-resize; touch-action: pan-y; border-radius: 6px; }
.over div { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; width: min(100%, 480px); }
.over label { display: flex; gap: 8px; align-items: center; flex: 1 1 170px; color: var(--pale); }
.over input { flex: 1; min-width: 80px; accent-color: var(--brand); }
.over button, .over select { font: inherit; padding: 3px 12px; border-radius: 6px; border: 1px solid #c9ced6;
  background: #fff; color: inherit; }
"""

SCRIPT = """<script>{
  const box = document.querySelector(".over"), at = JSON.parse(box.dataset.about);
  const [canvas, play, how, share, when] = ["canvas", "button", "select", ".share", ".when"].map(
    (name) => box.querySelector(name));
  const pen = canvas.getContext("2d"), sheets = ["clip", "asset"].map((name) => {
    const sheet = new Image();
    sheet.onload = () => draw();
    sheet.src = box.dataset[name];
    return sheet;
  });
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let playing = !calm && at.times.length > 1, began = performance.now();
  const cell = (sheet, index, from, width) => {
    const x = (index % at.columns) * at.width, y = Math.floor(index / at.columns) * at.height;
    pen.drawImage(sheet, x + from, y, width, at.height, from, 0, width, at.height);
  };
  const draw = () => {
    const index = +when.value, part = share.value / 100, edge = Math.round(part * at.width);
    pen.globalAlpha = 1; pen.globalCompositeOperation = "source-over";
    cell(sheets[1], index, 0, at.width);
    if (how.value == "curtain") {
      if (edge > 0) cell(sheets[0], index, 0, edge);
      pen.fillStyle = "#c2571a"; pen.fillRect(Math.min(Math.max(edge - 1, 0), at.width - 2), 0, 2, at.height);
    } else {
      if (how.value == "blend") pen.globalAlpha = part;
      else pen.globalCompositeOperation = "difference";
      cell(sheets[0], index, 0, at.width);
    }
    share.disabled = how.value == "difference";
    box.dataset.drawn = index;
  };
  const go = (now) => {
    if (playing) {
      const second = ((now - began) / 1000) % at.seconds;
      const last = at.times.filter((time) => time <= second + 1e-6).length - 1;
      when.value = Math.max(last, 0);
      draw();
      requestAnimationFrame(go);
    }
  };
  const set = (on) => {
    if (on && !playing) {
      began = performance.now() - 1000 * at.times[+when.value];
      requestAnimationFrame(go);
    }
    playing = on;
    play.textContent = on ? "Pause" : "Play";
  };
  const drag = (event) => {
    if (event.buttons & 1) {
      const frame = canvas.getBoundingClientRect();
      share.value = 100 * (event.clientX - frame.left) / frame.width;
      draw();
    }
  };
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); drag(event); };
  canvas.onpointermove = drag;
  play.onclick = () => set(!playing);
  share.oninput = how.onchange = draw;
  when.oninput = () => { set(false); draw(); };
  play.hidden = at.times.length < 2; when.parentNode.hidden = at.times.length < 2;
  play.textContent = playing ? "Pause" : "Play";
  box.parentNode.hidden = false;
  requestAnimationFrame(go);
}</script>"""


def overlay_html(clip: str, asset: str, sheets: Sheets) -> str:
    """The part of the page. clip, asset: addresses of the sheets."""
    about: dict[str, Any] = {"columns": sheets.columns, "width": sheets.width, "height": sheets.height}
    about |= {"times": [round(t, 4) for t in sheets.times], "seconds": round(max(sheets.seconds, 0.05), 4)}
    words = "the clip over the asset, as the clip's camera sees both"
    return (
        "<section hidden><h2>One over the other</h2><p class='about'>Left of the line the clip, right of it "
        "the asset from the clip's camera. Drag across the picture; “difference” is black where both are the "
        "same.</p>"
        f'<div class="over" data-clip="{clip}" data-asset="{asset}" data-about="{escape(json.dumps(about))}">'
        f'<canvas width="{sheets.width}" height="{sheets.height}" role="img" aria-label="{words}"></canvas>'
        '<div><button type="button"></button><select aria-label="how they are laid over each other">'
        "<option>curtain</option><option>blend</option><option>difference</option></select></div>"
        '<div><label>clip<input class="share" type="range" min="0" max="100" step="0.5" value="50" '
        'aria-label="how much of the clip is shown"></label>'
        f'<label>moment<input class="when" type="range" min="0" max="{len(sheets.times) - 1}" value="0">'
        f"</label></div></div></section>{SCRIPT}"
    )
