"""vid4d in Blender: imports runs as animated, textured meshes; makes them from clips in the background.

vid4d itself is a program of its own, with a Python of its own: its path stands in the add-on's preferences.
"""

from __future__ import annotations

from . import operators, panel


def register() -> None:
    """Called when the add-on is enabled."""
    operators.register()
    panel.register()


def unregister() -> None:
    """Called when it is disabled: what works in the background is stopped."""
    panel.unregister()
    operators.unregister()
