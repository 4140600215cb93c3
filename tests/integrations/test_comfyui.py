"""integrations/comfyui by ComfyUI's contract for nodes, without the program: loaded and run as there."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run

from vid4d import api, outputs
from vid4d.errors import InputError
from vid4d.media.video import write_mp4

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "integrations" / "comfyui"


def loaded(folder: Path) -> types.ModuleType:
    """As ComfyUI does: by the folder's path, which need not be a name that Python could import."""
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


NODES = loaded(FOLDER).NODE_CLASS_MAPPINGS
WIDGETS = {"STRING": str, "INT": int, "FLOAT": float, "BOOLEAN": bool}


def inputs(node: type) -> dict[str, tuple]:
    kinds = node.INPUT_TYPES()
    assert set(kinds) <= {"required", "optional", "hidden"}
    return {name: kind for part in kinds.values() for name, kind in part.items()}


@pytest.mark.parametrize("name", NODES)
def test_a_node_is_what_comfyui_expects(name):
    node = NODES[name]
    assert isinstance(node.CATEGORY, str)
    assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
    takes = inspect.signature(getattr(node(), node.FUNCTION)).parameters
    assert list(takes) == list(inputs(node))
    required = {n for n, p in takes.items() if p.default is inspect.Parameter.empty}
    assert required == set(node.INPUT_TYPES()["required"])
    for kind, *options in inputs(node).values():
        if isinstance(kind, list):
            assert kind
            assert not options or options[0].get("default", kind[0]) in kind
        elif kind in WIDGETS:
            default = options[0]["default"]
            assert type(default) is WIDGETS[kind]
            assert options[0].get("min", default) <= default <= options[0].get("max", default)
    assert name in loaded(FOLDER).NODE_DISPLAY_NAME_MAPPINGS


def execute(workflow: dict) -> dict[str, tuple]:
    """What ComfyUI does with a workflow in its API format, in inference mode; links are checked by type."""
    results: dict[str, tuple] = {}
    for number in sorted(workflow):
        entry = workflow[number]
        if entry["class_type"] not in NODES:
            continue
        node, given = NODES[entry["class_type"]], {}
        for name, value in entry["inputs"].items():
            kind = inputs(node)[name][0]
            if isinstance(value, list):
                source, place = value
                before = NODES[workflow[source]["class_type"]]
                assert before.RETURN_TYPES[place] == kind
                value = results[source][place]
            else:
                assert value in kind if isinstance(kind, list) else isinstance(value, WIDGETS[kind])
            given[name] = value
        with torch.inference_mode():
            result = getattr(node(), node.FUNCTION)(**given)
        results[number] = result["result"] if isinstance(result, dict) else result
        assert len(results[number]) == len(node.RETURN_TYPES)
    return results


def are_pictures(image: torch.Tensor, mask: torch.Tensor, count: int, size: int) -> None:
    assert image.shape == (count, size, size, 3)
    assert mask.shape == (count, size, size)
    assert image.dtype == mask.dtype == torch.float32
    assert 0 <= float(image.min()) <= float(image.max()) <= 1
    assert 0.02 < float((mask > 0.5).float().mean()) < 0.9


@pytest.fixture
def comfy(tmp_path, monkeypatch) -> list:
    """Stand-ins for the modules of ComfyUI that nodes use; what its progress bar was told."""
    told: list[tuple[int, int]] = []

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int, total: int | None = None) -> None:
            told.append((value, total or self.total))

    def module(name: str, **content: object) -> None:
        made = types.ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)

    (tmp_path / "input").mkdir()
    module(
        "folder_paths",
        get_output_directory=lambda: str(tmp_path / "output"),
        get_input_directory=lambda: str(tmp_path / "input"),
    )
    module("comfy")
    module("comfy.utils", ProgressBar=ProgressBar)
    module("comfy.model_management", throw_exception_if_processing_interrupted=lambda: None)
    monkeypatch.setitem(api.METHODS, "efficient4d", "toys")
    monkeypatch.setattr(outputs, "write_turntable", partial(outputs.write_turntable, size=32))
    return told


def a_clip(path: Path) -> None:
    frames = [np.full((48, 48, 3), 255, np.uint8) for _ in range(8)]
    for i, frame in enumerate(frames):
        frame[14 + i : 30 + i, 16:32] = (200, 30, 30)
    write_mp4(path, frames, 8)


def test_the_workflow_that_comes_along_runs(comfy, tmp_path):
    a_clip(tmp_path / "input" / "hopper.mp4")
    workflow = json.loads((FOLDER / "workflow_api.json").read_text(encoding="utf-8"))
    workflow["4"]["inputs"] |= {"count": 3, "size": 48}
    workflow["6"]["inputs"]["format"] = "v4d"
    results = execute(workflow)
    _, images, masks, hints = results["2"]
    are_pictures(images, masks, 8, 256)
    assert "very low resolution" in hints
    are_pictures(*results["4"], 3, 48)
    asset, root = results["3"]
    assert Path(root).parent == tmp_path / "output" / "vid4d"
    assert comfy
    assert all(0 <= value <= total == 100 for value, total in comfy)
    first = Path(results["6"][0])
    assert first == tmp_path / "output" / "vid4d" / "exports" / "hopper_00001.v4d"
    written = asset.path.stat().st_mtime_ns
    again = execute(workflow)
    assert Path(again["6"][0]).name == "hopper_00002.v4d"
    assert first.is_file()
    assert again["3"][1] == root  # the same run, opened
    assert asset.path.stat().st_mtime_ns == written


def test_other_choices_and_another_clip_are_another_run(comfy, tmp_path):
    nodes = sys.modules[NODES["Vid4dExport"].__module__]
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"one")
    one = nodes.run_folder({"clip": str(clip), "seed": 0})
    assert one == nodes.run_folder({"seed": 0, "clip": str(clip)})
    assert one != nodes.run_folder({"clip": str(clip), "seed": 1})
    clip.write_bytes(b"another")
    assert one != nodes.run_folder({"clip": str(clip), "seed": 0})


def test_pictures_and_masks_of_other_nodes_become_a_clip(comfy, tmp_path):
    images = torch.rand(3, 48, 64, 3)
    masks = torch.zeros(3, 48, 64)
    masks[:, 10:30, 20:40] = 1
    node = NODES["Vid4dClipFromImages"]()
    (clip,) = node.keep(images, 12.0, masks)
    (same,) = node.keep(images, 12.0, 1 - masks, "background")
    assert clip == same
    assert clip["fps"] == 12.0
    _, _, cut, _ = NODES["Vid4dPrepare"]().prepare(clip, 3, "no", "no", False, False)
    assert cut.shape == (3, 256, 256)
    assert float((cut > 0.5).float().mean()) == pytest.approx((200 / 256) ** 2, rel=0.05)
    with pytest.raises(InputError, match="do not belong to pictures"):
        node.keep(images, 12.0, masks[:2])


def test_a_turn_ends_one_step_before_its_beginning(comfy, tmp_path):
    nodes = sys.modules[NODES["Vid4dExport"].__module__]
    assert nodes._between(0, 360, 4, True) == [0, 90, 180, 270]
    assert nodes._between(0, 1, 3, False) == [0, 0.5, 1]
    assert nodes._between(0.5, 0.5, 1, False) == [0.5]


def test_what_is_wrong_is_one_sentence(comfy):
    node = NODES["Vid4dLoadClip"]
    assert "there is no nothing.mp4" in node.VALIDATE_INPUTS("nothing.mp4")
    with pytest.raises(InputError, match="there is no nothing"):
        NODES["Vid4dLoadAsset"]().load("nothing")


def test_a_run_that_the_user_stops_goes_on_later(comfy, tmp_path, monkeypatch):
    a_clip(tmp_path / "input" / "a.mp4")
    (clip,) = NODES["Vid4dLoadClip"]().load("a.mp4")
    given = (clip, "draft", "efficient4d", "auto", 0, False, 0.0)

    class Interrupted(Exception):
        pass

    def stop() -> None:
        if list((tmp_path / "output" / "vid4d").glob("*/.done/frames")):
            raise Interrupted

    management = sys.modules["comfy.model_management"]
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", stop)
    with pytest.raises(Interrupted):
        NODES["Vid4dGenerate"]().generate(*given)
    (root,) = (tmp_path / "output" / "vid4d").iterdir()
    assert (root / ".done" / "frames").is_file()
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", lambda: None)
    asset, folder = NODES["Vid4dGenerate"]().generate(*given)
    assert folder == str(root)
    assert len(asset.gaussians) > 0
    assert run("render", root, "--size", "16") == 0


def test_in_inference_mode_something_can_be_optimised(comfy):
    program = sys.modules[NODES["Vid4dExport"].__module__.replace(".nodes", ".program")]
    with torch.inference_mode(), program.gradients():
        weight = torch.ones(2, requires_grad=True)
        (weight * 3).sum().backward()
    assert weight.grad.tolist() == [3, 3]


def test_it_installs_vid4d_from_its_one_address():
    space = (ROOT / "integrations" / "space" / "requirements.txt").read_text(encoding="utf-8")
    wanted = (FOLDER / "requirements.txt").read_text(encoding="utf-8")
    assert wanted.split("@")[1] == space.split("@")[1]
