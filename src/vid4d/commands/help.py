"""`--help` in plain words: without defaults that say nothing, and with names for values instead of types."""

from __future__ import annotations

import types
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

NOTHING = (None, "", ())
"""Defaults that are not shown: what happens then stands in the option's text."""
VALUES = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}
"""Names of values, by their type."""


def plain_help() -> ConstructorRegistry:
    """Rules for `tyro.cli` that leave out "(default: None)" and the like, and name values by `value_name`."""
    registry, inside = ConstructorRegistry(), False

    @registry.struct_rule
    def plain(info: StructTypeInfo) -> StructConstructorSpec | None:
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
        return replace(spec, fields=tuple(_plain(field) for field in spec.fields))

    return registry


def _plain(field: StructFieldSpec) -> StructFieldSpec:
    options: dict[str, Any] = {}
    if isinstance(field.default, bool) or field.default in NOTHING:
        options["help_behavior_hint"] = ""
    named = any(getattr(mark, "metavar", None) for mark in getattr(field.type, "__metadata__", ()))
    if not named and (name := value_name(field.type)):
        options["metavar"] = name
    if not options:
        return field
    plain: Any = Annotated[field.type, arg(**options)]
    return replace(field, type=plain)


def value_name(kind: Any) -> str | None:
    """Name of a value in `--help`: 'NUMBER', 'auto|NUMBER', 'a|b|c', 'N [N ...]'; None where tyro decides."""
    if get_origin(kind) is Annotated:
        return value_name(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, types.UnionType):
        names = [value_name(part) for part in get_args(kind) if part is not type(None)]
        return "|".join(name for name in names if name) if all(names) else None
    if get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
        one = value_name(get_args(kind)[0])
        return one and f"{one} [{one} ...]"
    return VALUES.get(kind)
