"""Preferences, the scene's choices, and the panel in the 3D view's sidebar."""

from __future__ import annotations

import textwrap

import bpy

from . import operators

DEVICE = "auto, cpu, cuda or cuda:1"


class VID4D_Preferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    executable: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="vid4d",
        default="vid4d",
        subtype="FILE_PATH",
        description="The program: .venv/bin/vid4d of its folder, or its name where it is on PATH",
    )
    runs: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Runs", default="~/vid4d", subtype="DIR_PATH", description="Where runs are kept"
    )
    device: bpy.props.StringProperty(name="Device", default="auto", description=DEVICE)  # type: ignore[valid-type]

    def draw(self, context: bpy.types.Context) -> None:
        for name in ("executable", "runs", "device"):
            self.layout.prop(self, name)


class VID4D_Choices(bpy.types.PropertyGroup):
    """Of the scene: the clip, and how the asset is made."""

    clip: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Clip", subtype="FILE_PATH", description="A video, a GIF, a picture, or a folder of pictures"
    )
    preset: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Quality", items=[(n, n.capitalize(), "") for n in ("draft", "standard", "high")]
    )
    method: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Method",
        items=[
            ("efficient4d", "Efficient4D", "Pictures of all sides, then splats"),
            ("consistent4d", "Consistent4D", "A volume optimised under the prior, slower"),
        ],
    )
    seed: bpy.props.IntProperty(name="Seed", default=0, min=0)  # type: ignore[valid-type]
    guess_elevation: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Guess how far the camera looks down", default=True
    )
    elevation: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Looks down", default=15.0, min=-90.0, max=90.0, description="Degrees"
    )
    faces: bpy.props.IntProperty(name="Faces", default=20_000, min=4, max=5_000_000)  # type: ignore[valid-type]
    texture: bpy.props.IntProperty(name="Texture", default=1024, min=16, max=8192)  # type: ignore[valid-type]


class VID4D_PT_panel(bpy.types.Panel):
    bl_idname = "VID4D_PT_panel"
    bl_label = "vid4d"
    bl_category = "vid4d"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"

    def draw(self, context: bpy.types.Context) -> None:
        layout, wish, work = self.layout, context.scene.vid4d, operators.WORK
        layout.use_property_split = True
        for name in ("clip", "preset", "method", "seed", "guess_elevation"):
            layout.prop(wish, name)
        row = layout.row()
        row.enabled = not wish.guess_elevation
        row.prop(wish, "elevation")
        layout.prop(wish, "faces")
        layout.prop(wish, "texture")
        layout.operator("vid4d.generate", icon="PLAY")
        layout.operator("vid4d.import_run", icon="IMPORT")
        if work.busy:
            layout.label(text=work.task.title)
            layout.progress(factor=work.task.share or 0.0, text=work.task.words)
            layout.operator("vid4d.stop", icon="CANCEL")
        for text in [work.message, *(work.task.hints if work.task is not None else [])]:
            for line in textwrap.wrap(text, 44):
                layout.label(text=line)


CLASSES = (VID4D_Preferences, VID4D_Choices, VID4D_PT_panel)


def register() -> None:
    for each in CLASSES:
        bpy.utils.register_class(each)
    bpy.types.Scene.vid4d = bpy.props.PointerProperty(type=VID4D_Choices)


def unregister() -> None:
    del bpy.types.Scene.vid4d
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
