"""Description of a network for the converter. Each network's own file has its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from vid4d.priors.weights.checkpoint_reader import Entry
from vid4d.priors.weights.convert_layouts import Named

Layout = tuple[Any, list[Entry], dict[str, int]]
"""A configuration, the entries of the converted file, and what was left out: how many for which reason."""


@dataclass(frozen=True)
class Network:
    """A network whose published checkpoints can be converted.

    kind: its name in the metadata of converted files. title: its name for people. build: makes it from a
    configuration of the dataclass `config`. marks: beginnings of names, of which a checkpoint of it has all;
    of several networks that fit, the one with the most marks is meant.
    configs: the sizes to choose from; or find_config: finds the configuration by the tensors.
    prefixes: the authors' and ours; behind them the names are the same. left_out: patterns of names that have
    no place here, and the reason. folder: reads a folder in the layout of diffusers, where there is one.
    read: reads a checkpoint in a way of its own, instead of all that.
    """

    kind: str
    title: str
    build: Callable[[Any], nn.Module]
    config: type
    marks: tuple[str, ...]
    configs: tuple[Any, ...] = ()
    find_config: Callable[[Named, Path], Any] | None = None
    prefixes: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    folder: Callable[[Path], Named] | None = None
    read: Callable[[Mapping[str, Any], Path], Layout] | None = None
