"""`--help` without defaults that say nothing: what happens then stands in the option's text."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

NOTHING = (None, "", ())
"""Defaults that are not shown."""


def quiet_defaults() -> ConstructorRegistry:
    """Rules for `tyro.cli` that leave out "(default: None)" and the like."""
    registry, inside = ConstructorRegistry(), False

    @registry.struct_rule
    def quiet(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal inside
        if inside:
            return None  # the other rules' turn
        inside = True
        try:
            spec: Any = ConstructorRegistry.get_struct_spec(info)
        finally:
            inside = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        return replace(spec, fields=tuple(_quiet(field) for field in spec.fields))

    return registry


def _quiet(field: StructFieldSpec) -> StructFieldSpec:
    if field.default not in NOTHING:
        return field
    quiet: Any = Annotated[field.type, arg(help_behavior_hint="")]
    return replace(field, type=quiet)
