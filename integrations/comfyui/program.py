"""What the nodes ask of ComfyUI: its folders, a progress bar, whether the user wants to stop, and gradients.

Each is optional, so that the nodes can be called, and tested, without the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


def output_folder() -> Path:
    """Where runs and exports go: `vid4d` in ComfyUI's output folder."""
    try:
        import folder_paths
    except ImportError:
        return Path("output") / "vid4d"
    return Path(folder_paths.get_output_directory()) / "vid4d"


def found(path: str) -> str:
    """A path as it is, or that of a file of this name in ComfyUI's input folder."""
    if path and not Path(path).exists():
        try:
            import folder_paths
        except ImportError:
            return path
        there = Path(folder_paths.get_input_directory()) / path
        if there.exists():
            return str(there)
    return path


def stop_if_asked() -> None:
    """Raises what ComfyUI raises where the user has pressed its stop button."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
    except ImportError:
        return
    throw_exception_if_processing_interrupted()


def progress_bar() -> Callable[[float, float | None], None]:
    """A function that shows how much is done, of how much, and stops where that is asked for."""
    bar: Any = None
    try:
        from comfy.utils import ProgressBar

        bar = ProgressBar(100)
    except ImportError:
        pass

    def show(done: float, total: float | None) -> None:
        stop_if_asked()
        if bar is not None and total:
            bar.update_absolute(min(100, round(100 * done / total)), 100)

    return show


@contextmanager
def gradients() -> Iterator[None]:
    """ComfyUI runs nodes in inference mode, in which nothing can be optimised."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
