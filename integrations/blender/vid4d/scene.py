"""Puts an exported stage into the scene: mesh, frame range, frame rate, loop."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import bpy

from .runs import About, RunError, frame_rate


def import_stage(context: bpy.types.Context, file: Path, name: str, about: About | None) -> list:
    """Imports a USD file and sets the scene's frames by it. Returns the new objects, meshes.

    about: of the asset, where it is known: the frame rate is its own then, and a loop goes on after its end.
    Raises RunError where the file holds no mesh.
    """
    scene = context.scene
    before, caches = set(bpy.data.objects), set(bpy.data.cache_files)
    windows = context.window_manager.windows
    with context.temp_override(window=windows[0]) if windows and context.window is None else nullcontext():
        bpy.ops.wm.usd_import(filepath=str(file), set_frame_range=True, import_usd_preview=True)
    new = [o for o in bpy.data.objects if o not in before]
    meshes = [o for o in new if o.type == "MESH"]
    if not meshes:
        for thing in new:
            bpy.data.objects.remove(thing)
        raise RunError(f"{file} holds no mesh: export it with --to usd --content mesh")
    for thing in new:
        thing.name = name
    moving = [c for c in bpy.data.cache_files if c not in caches]
    if about is not None and moving:
        scene.render.fps, scene.render.fps_base = frame_rate(
            about.seconds, scene.frame_start, scene.frame_end
        )
        if about.cyclic:
            for cache in moving:
                repeat(cache, scene.frame_start, scene.frame_end)
    scene.frame_set(scene.frame_start)
    return meshes


def repeat(cache: bpy.types.CacheFile, first: int, last: int) -> None:
    """Lets a loop begin again after its last frame."""
    cache.override_frame = True
    curve = cache.driver_add("frame")
    curve.driver.type = "SCRIPTED"
    curve.driver.expression = f"{first} + (frame - {first}) % {last - first + 1}"
