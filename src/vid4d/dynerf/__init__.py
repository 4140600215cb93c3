"""Cascade DyNeRF: a field over space and time, occupancy, pictures (Consistent4D, 2311.02848)."""

from vid4d.dynerf.field import PRESETS, CascadeField, FieldConfig, LevelConfig
from vid4d.dynerf.occupancy import OccupancyGrid
from vid4d.dynerf.official_checkpoint import from_geometry_state
from vid4d.dynerf.render import Rendering, Samples, paint_normals, render_field, shade

__all__ = [
    "PRESETS",
    "CascadeField",
    "FieldConfig",
    "LevelConfig",
    "OccupancyGrid",
    "Rendering",
    "Samples",
    "from_geometry_state",
    "paint_normals",
    "render_field",
    "shade",
]
