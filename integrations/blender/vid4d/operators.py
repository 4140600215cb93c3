"""What a user can ask for: import a run, make one from a clip, stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy

from . import runs
from .runs import RunError
from .scene import import_stage
from .task import Task

INTERVAL = 0.5
"""Seconds between two looks at what works in the background."""


class Work:
    """What works in the background, one thing at a time, and what follows it. message: what is to be read."""

    def __init__(self) -> None:
        self.task: Task | None = None
        self.message = ""
        self._then: Callable[[], None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something goes on."""
        return self.task is not None and self.task.state == "running"

    def begin(self, command: list[str], title: str, then: Callable[[], None]) -> None:
        """Starts a command. Raises RunError where something goes on already, or it cannot be started."""
        if self.busy:
            raise RunError("vid4d works already: wait, or stop it")
        try:
            self.task = Task(command, title)
        except OSError as error:
            raise RunError(f"{command[0]} cannot be started ({error.strerror or error})") from error
        self.message, self._then = "", then
        if not bpy.app.timers.is_registered(look):
            bpy.app.timers.register(look, first_interval=INTERVAL)

    def look(self) -> float | None:
        """Looks after it. Returns seconds until the next look; None where there is nothing more to do."""
        redraw()
        if self.task is None:
            return None
        state = self.task.poll()
        if state == "running":
            return INTERVAL
        then, self._then = self._then, None
        if state != "done":
            self.message = self.task.words
        elif then is not None:
            try:
                then()
            except RunError as error:
                self.message = str(error)
        redraw()
        return INTERVAL if self.busy else None

    def stop(self) -> None:
        """Asks it to end."""
        if self.task is not None:
            self.task.stop()


WORK = Work()


def look() -> float | None:
    """The timer: a function, for Blender knows timers by identity."""
    return WORK.look()


def redraw() -> None:
    """Draws the panels again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def preferences() -> bpy.types.AddonPreferences:
    """Of this add-on."""
    return bpy.context.preferences.addons[__package__].preferences


def begin_import(path: str, faces: int, texture: int) -> None:
    """Exports a run's mesh in the background, then imports it; a USD file is imported at once."""
    chosen = Path(bpy.path.abspath(path))
    if chosen.suffix.lower() in runs.STAGES:
        import_stage(bpy.context, chosen, chosen.stem, None)
        return
    asset = runs.asset_of(chosen)
    about = runs.read_about(asset)
    name = asset.parent.name
    out = asset.parent / "export" / f"blender_{faces}_{texture}.usd"
    then = lambda: import_stage(bpy.context, out, name, about)  # noqa: E731
    if out.is_file() and out.stat().st_mtime >= asset.stat().st_mtime:
        then()
        return
    options = preferences()
    command = runs.export_command(
        runs.found_executable(options.executable),
        asset,
        out,
        faces=faces,
        texture=texture,
        device=options.device,
    )
    WORK.begin(command, f"mesh of {name}", then)


class VID4D_OT_import_run(bpy.types.Operator):
    """Import a run of vid4d, its asset.safetensors, or a USD file that vid4d exported"""

    bl_idname = "vid4d.import_run"
    bl_label = "Import a vid4d Run"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")  # type: ignore[valid-type]
    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default="asset.safetensors;*.usd;*.usda;*.usdc;*.usdz", options={"HIDDEN"}
    )
    faces: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Faces", default=20_000, min=4, max=5_000_000, description="Triangles of the mesh, at most"
    )
    texture: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Texture", default=1024, min=16, max=8192, description="Width of the texture in pixels"
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            begin_import(self.filepath, self.faces, self.texture)
        except RunError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class VID4D_OT_generate(bpy.types.Operator):
    """Make an asset from the clip in the background, and import it when it is done"""

    bl_idname = "vid4d.generate"
    bl_label = "Make from the Clip"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return not WORK.busy

    def execute(self, context: bpy.types.Context) -> set[str]:
        wish, options = context.scene.vid4d, preferences()
        clip = bpy.path.abspath(wish.clip)
        elevation = None if wish.guess_elevation else wish.elevation
        chosen = (wish.preset, wish.method, wish.seed, elevation)
        try:
            if not wish.clip or not Path(clip).exists():
                raise RunError(f"there is no {clip or 'clip'}: choose a video, or a folder of pictures")
            folder = Path(bpy.path.abspath(options.runs)).expanduser()
            root = runs.run_folder(folder, clip, *chosen)
            command = runs.generate_command(
                runs.found_executable(options.executable),
                clip,
                root,
                preset=wish.preset,
                method=wish.method,
                seed=wish.seed,
                elevation=elevation,
                device=options.device,
            )
            WORK.begin(command, root.name, lambda: begin_import(str(root), wish.faces, wish.texture))
        except RunError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class VID4D_OT_stop(bpy.types.Operator):
    """Stop; what is finished is kept, and the same again goes on from there"""

    bl_idname = "vid4d.stop"
    bl_label = "Stop"

    def execute(self, context: bpy.types.Context) -> set[str]:
        WORK.stop()
        return {"FINISHED"}


def in_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    """The line in File > Import."""
    menu.layout.operator(VID4D_OT_import_run.bl_idname, text="vid4d run (.safetensors, .usd)")


CLASSES = (VID4D_OT_import_run, VID4D_OT_generate, VID4D_OT_stop)


def register() -> None:
    for each in CLASSES:
        bpy.utils.register_class(each)
    bpy.types.TOPBAR_MT_file_import.append(in_menu)


def unregister() -> None:
    WORK.stop()
    if bpy.app.timers.is_registered(look):
        bpy.app.timers.unregister(look)
    bpy.types.TOPBAR_MT_file_import.remove(in_menu)
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
