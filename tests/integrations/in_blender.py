"""What the add-on does in Blender; `test_blender` runs it in a Python that has bpy: in_blender.py FOLDER.

FOLDER holds `moving.usd` (a loop), `splats.usd`, `run/` with its asset.safetensors, and `vid4d`, a stand-in
for the program. Prints what was found as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integrations" / "blender"))
FOLDER = Path(sys.argv[1])


def points(thing: bpy.types.Object, frame: int) -> np.ndarray:
    bpy.context.scene.frame_set(frame)
    mesh = thing.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    flat = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3)


def look_until_done() -> None:
    """Blender's timers do not run here."""
    assert bpy.app.timers.is_registered(operators.look)
    operators.WORK.task.wait(60)
    operators.WORK.look()


def refusal(call) -> str:
    try:
        call()
    except RuntimeError as error:
        return str(error).strip()
    return ""


bpy.ops.wm.read_factory_settings(use_empty=True)
assert bpy.ops.preferences.addon_enable(module="vid4d") == {"FINISHED"}
from vid4d.scene import import_stage  # noqa: E402

from vid4d import operators  # noqa: E402
from vid4d.runs import About  # noqa: E402

scene = bpy.context.scene
told: dict[str, object] = {"version": bpy.app.version_string}

(mesh,) = import_stage(bpy.context, FOLDER / "moving.usd", "ball", About(1.5, True))
first, last = scene.frame_start, scene.frame_end
told |= {
    "name": mesh.name,
    "frames": [first, last],
    "rate": scene.render.fps / scene.render.fps_base,
    "tops": [float(points(mesh, f)[:, 2].max()) for f in (first, first + 1, last, last + 1, last + 2)],
    "images": [
        node.image.size[0]
        for material in mesh.data.materials
        for node in material.node_tree.nodes
        if node.type == "TEX_IMAGE"
    ],
}
before = len(bpy.data.objects)
told["no mesh"] = refusal(lambda: bpy.ops.vid4d.import_run(filepath=str(FOLDER / "splats.usd")))
told["left over"] = len(bpy.data.objects) - before
told["no run"] = refusal(lambda: bpy.ops.vid4d.import_run(filepath=str(FOLDER)))

options = operators.preferences()
options.executable = str(FOLDER / "no program")
told["no program"] = refusal(lambda: bpy.ops.vid4d.import_run(filepath=str(FOLDER / "run")))
options.executable, options.runs = str(FOLDER / "vid4d"), str(FOLDER / "made")

bpy.ops.vid4d.import_run(filepath=str(FOLDER / "run"), faces=100, texture=64)
look_until_done()
told["imported"] = sorted(o.name for o in bpy.data.objects if o.name.startswith("run"))
told["exported"] = sorted(p.name for p in (FOLDER / "run" / "export").iterdir())
bpy.ops.vid4d.import_run(filepath=str(FOLDER / "run"), faces=100, texture=64)  # at once: it lies there

told["no clip"] = refusal(lambda: bpy.ops.vid4d.generate())
scene.vid4d.clip = str(FOLDER / "bad.mp4")
bpy.ops.vid4d.generate()
look_until_done()
told["refused"] = operators.WORK.message
scene.vid4d.clip = str(FOLDER / "clip.mp4")
bpy.ops.vid4d.generate()
told["busy"] = operators.WORK.busy
operators.WORK.task.wait(60)
operators.WORK.look()  # the run is made: its mesh is exported next
look_until_done()
told["made"] = [o.name for o in bpy.data.objects if o.name.startswith("clip-")]
told["hints"] = operators.WORK.task.hints

assert bpy.ops.preferences.addon_disable(module="vid4d") == {"FINISHED"}
told["disabled"] = not hasattr(bpy.types.Scene, "vid4d")
print("TOLD " + json.dumps(told))
