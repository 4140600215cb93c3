"""The nodes: load clip -> prepare -> generate -> render views -> export, thin over vid4d's Python interface.

IMAGE is (b, h, w, 3) and MASK (b, h, w), float32 in [0, 1], as everywhere in ComfyUI. A VID4D_CLIP is a dict
of settings of `vid4d.Settings`, the clip's file among them; a VID4D_ASSET is a `vid4d.Asset`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import vid4d
from vid4d.export.formats import FORMATS
from vid4d.priors.base import PRIORS

from .program import found, gradients, output_folder, progress_bar, stop_if_asked

CATEGORY = "vid4d"
BATCH = 8
"""Pictures that are rendered at once."""


class LoadClip:
    """A video, GIF, picture, or a folder of pictures."""

    DESCRIPTION = "A clip of one moving object: a path, or the name of a file in ComfyUI's input folder."
    CATEGORY, FUNCTION = CATEGORY, "load"
    RETURN_TYPES, RETURN_NAMES = ("VID4D_CLIP",), ("clip",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        seconds = {"default": 0.0, "min": 0.0, "max": 1e5, "step": 0.01}
        return {
            "required": {"path": ("STRING", {"default": ""})},
            "optional": {
                "start": ("FLOAT", seconds | {"tooltip": "seconds where the part to use begins"}),
                "end": ("FLOAT", seconds | {"tooltip": "seconds where it ends; 0: the clip's end"}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, path: str) -> bool | str:
        return Path(found(path)).exists() or f"there is no {path}: give a video, or a folder of pictures"

    @classmethod
    def IS_CHANGED(cls, path: str, **_: Any) -> str:
        return _stamp(found(path))

    def load(self, path: str, start: float = 0.0, end: float = 0.0) -> tuple[dict[str, Any]]:
        clip: dict[str, Any] = {"clip": found(path)}
        if start:
            clip["start"] = start
        if end:
            clip["end"] = end
        return (clip,)


class ClipFromImages:
    """Frames that other nodes made, with or without masks."""

    DESCRIPTION = "A clip from pictures of other nodes, in the order of time; masks, where there are some."
    CATEGORY, FUNCTION = CATEGORY, "keep"
    RETURN_TYPES, RETURN_NAMES = ("VID4D_CLIP",), ("clip",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE",),
                "fps": ("FLOAT", {"default": 24.0, "min": 0.1, "max": 1000.0, "step": 0.01}),
            },
            "optional": {
                "masks": ("MASK",),
                "masks_show": (["object", "background"], {"tooltip": "Load Image's show the background"}),
            },
        }

    def keep(
        self,
        images: torch.Tensor,
        fps: float,
        masks: torch.Tensor | None = None,
        masks_show: str = "object",
    ) -> tuple[dict[str, Any]]:
        frames = _bytes(images)
        if masks is not None:
            if masks.shape not in (images.shape[:3], (1, *images.shape[1:3])):
                raise vid4d.InputError(
                    f"masks of {tuple(masks.shape)} do not belong to pictures of {tuple(images.shape[:3])}: "
                    "give one mask a picture, or one for all, of the same size"
                )
            alpha = _bytes(masks if masks_show == "object" else 1 - masks)[..., None]
            frames = np.concatenate([frames, np.broadcast_to(alpha, (*frames.shape[:3], 1))], -1)
        name = hashlib.sha256(frames.tobytes() + str(frames.shape).encode()).hexdigest()[:12]
        folder = output_folder() / "clips" / name
        folder.mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(frames):
            file = folder / f"{i:05d}.png"
            if not file.is_file():
                part = file.with_suffix(".part")
                Image.fromarray(frame).save(part, "png")
                part.replace(file)
        return ({"clip": str(folder), "fps": fps},)


class Prepare:
    """What would be cut out, and choices about it."""

    DESCRIPTION = (
        "Cuts the object out: look at the frames and read the hints before anything is made of them."
    )
    CATEGORY, FUNCTION = CATEGORY, "prepare"
    RETURN_TYPES = ("VID4D_CLIP", "IMAGE", "MASK", "STRING")
    RETURN_NAMES = ("clip", "images", "masks", "hints")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "clip": ("VID4D_CLIP",),
                "frames": ("INT", {"default": 8, "min": 1, "max": 64, "tooltip": "key frames"}),
                "cyclic": (["auto", "yes", "no"], {"tooltip": "whether the clip is a loop"}),
                "follow": (["auto", "yes", "no"], {"tooltip": "whether the window follows the object"}),
                "trim": ("BOOLEAN", {"default": False, "tooltip": "the longest part that shows one thing"}),
                "keep": ("BOOLEAN", {"default": False, "tooltip": "captions, specks, shadows, too"}),
            },
            "optional": {
                "click": ("STRING", {"default": "", "tooltip": "X,Y on the object, pixels, first frame"}),
                "matting": ("STRING", {"default": "", "tooltip": "an ONNX file that finds the object"}),
                "held": ("BOOLEAN", {"default": False, "tooltip": "cut off a hand that holds the object"}),
            },
        }

    def prepare(
        self,
        clip: dict[str, Any],
        frames: int,
        cyclic: str,
        follow: str,
        trim: bool,
        keep: bool,
        click: str = "",
        matting: str = "",
        held: bool = False,
    ) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor, str]:
        from vid4d.methods.stages import read_as_set

        chosen = clip | {"frames": frames, "cyclic": cyclic, "follow": follow}
        chosen |= {"trim": "auto" if trim else "no", "keep": keep, "held": held}
        if click.strip():
            chosen["click"] = tuple(click.split())
        if matting.strip():
            chosen["matting"] = matting.strip()
        settings = vid4d.Settings(**chosen)
        settings.check_ranges()
        prepared = read_as_set(settings, frames=frames, size=256)
        pictures = torch.from_numpy(prepared.frames)
        return chosen, *over(pictures, 1.0), "\n".join(prepared.warnings) or "Nothing looks off."


class Generate:
    """The run itself."""

    DESCRIPTION = (
        "Makes the asset, in minutes. The same clip and choices are the same run: it goes on where it was "
        "stopped, and is opened where it is finished."
    )
    CATEGORY, FUNCTION = CATEGORY, "generate"
    RETURN_TYPES, RETURN_NAMES = ("VID4D_ASSET", "STRING"), ("asset", "run")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "clip": ("VID4D_CLIP",),
                "preset": (["draft", "standard", "high"], {"default": "draft"}),
                "method": (["efficient4d", "consistent4d"],),
                "prior": (["auto", *PRIORS],),
                "seed": ("INT", {"default": 0, "min": 0, "max": (1 << 32) - 1}),
                "guess_elevation": ("BOOLEAN", {"default": True}),
                "elevation": ("FLOAT", {"default": 0.0, "min": -90.0, "max": 90.0, "step": 0.5}),
            },
            "optional": {"device": ("STRING", {"default": "auto", "tooltip": "auto, cpu, cuda or cuda:1"})},
        }

    def generate(
        self,
        clip: dict[str, Any],
        preset: str,
        method: str,
        prior: str,
        seed: int,
        guess_elevation: bool,
        elevation: float,
        device: str = "auto",
    ) -> tuple[vid4d.Asset, str]:
        chosen = clip | {"preset": preset, "method": method, "prior": prior, "seed": seed}
        chosen["elevation"] = "auto" if guess_elevation else elevation
        root, show = run_folder(chosen), progress_bar()
        with gradients():
            asset = vid4d.generate(
                chosen.pop("clip"),
                out=root,
                resume=True,
                device=device,
                listen=lambda report: show(report.done, report.total),
                **chosen,
            )
        return asset, str(asset.root)


class LoadAsset:
    """A run that is finished, of this program or any other way."""

    DESCRIPTION = "Opens a run folder of vid4d, or an asset.safetensors."
    CATEGORY, FUNCTION = CATEGORY, "load"
    RETURN_TYPES, RETURN_NAMES = ("VID4D_ASSET",), ("asset",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"path": ("STRING", {"default": ""})}}

    @classmethod
    def IS_CHANGED(cls, path: str) -> str:
        return _stamp(path)

    def load(self, path: str) -> tuple[vid4d.Asset]:
        return (vid4d.load(path),)


class RenderViews:
    """Pictures from any sides at any moments."""

    DESCRIPTION = (
        "Pictures while a camera goes around and time plays: from one azimuth to another, from one moment (0 "
        "is the clip's start, 1 its end) to another. The same twice: it stands still."
    )
    CATEGORY, FUNCTION = CATEGORY, "render"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("images", "masks")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        degrees = {"min": -3600.0, "max": 3600.0, "step": 1.0}
        moment = {"min": 0.0, "max": 1.0, "step": 0.01}
        return {
            "required": {
                "asset": ("VID4D_ASSET",),
                "count": ("INT", {"default": 24, "min": 1, "max": 4096}),
                "size": ("INT", {"default": 512, "min": 16, "max": 4096, "step": 8}),
                "azimuth_from": ("FLOAT", degrees | {"default": 0.0}),
                "azimuth_to": ("FLOAT", degrees | {"default": 360.0}),
                "time_from": ("FLOAT", moment | {"default": 0.0}),
                "time_to": ("FLOAT", moment | {"default": 1.0}),
                "clips_elevation": ("BOOLEAN", {"default": True, "tooltip": "as the clip was filmed"}),
                "elevation": ("FLOAT", {"default": 15.0, "min": -90.0, "max": 90.0, "step": 1.0}),
                "background": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05}),
            }
        }

    def render(
        self,
        asset: vid4d.Asset,
        count: int,
        size: int,
        azimuth_from: float,
        azimuth_to: float,
        time_from: float,
        time_to: float,
        clips_elevation: bool,
        elevation: float,
        background: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        turns = (azimuth_to - azimuth_from) % 360 == 0  # the last picture is not the first again
        azimuths = _between(azimuth_from, azimuth_to, count, turns)
        loops = asset.cyclic and (time_from, time_to) == (0.0, 1.0)
        times = _between(time_from, time_to, count, loops)
        height = asset.elevation if clips_elevation else elevation
        show, parts = progress_bar(), []
        for i in range(0, count, BATCH):
            cameras = vid4d.Cameras.orbit(azimuths[i : i + BATCH], height, size=size)
            parts.append(asset.render(cameras, times[i : i + BATCH]).cpu())
            show(i, count)
        return over(torch.cat(parts), background)


class Export:
    """Files for other programs."""

    DESCRIPTION = (
        "Writes the asset for other programs, into vid4d/exports of the output folder (docs/formats.md)."
    )
    CATEGORY, FUNCTION = CATEGORY, "export"
    RETURN_TYPES, RETURN_NAMES = ("STRING",), ("files",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "asset": ("VID4D_ASSET",),
                "format": (list(FORMATS), {"default": "glb"}),
                "name": ("STRING", {"default": "asset"}),
            }
        }

    def export(self, asset: vid4d.Asset, format: str, name: str) -> dict[str, Any]:
        show = progress_bar()
        ending = "" if FORMATS[format].sequence else FORMATS[format].ending
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip("._") or "asset"
        folder, number = output_folder() / "exports", 1
        while (place := folder / f"{plain}_{number:05d}{ending}").exists():
            number += 1
        with gradients():
            files = asset.export(format, place, report=show)
        said = "\n".join(str(f) for f in files)
        return {"ui": {"text": [said]}, "result": (said,)}


def run_folder(settings: dict[str, Any]) -> Path:
    """One for the same settings and clip, however often it is asked for."""
    name = json.dumps(settings, sort_keys=True) + _stamp(settings["clip"]) + vid4d.__version__
    stem = Path(settings["clip"]).stem or "clip"
    return output_folder() / f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def over(pictures: torch.Tensor, background: float) -> tuple[torch.Tensor, torch.Tensor]:
    """IMAGE over a grey level, and MASK, of straight-alpha pictures (b, h, w, 4)."""
    stop_if_asked()
    alpha = pictures[..., 3:]
    image = pictures[..., :3] * alpha + background * (1 - alpha)
    return image.clamp(0, 1).float().contiguous(), alpha[..., 0].clamp(0, 1).float().contiguous()


def _between(first: float, last: float, count: int, open_end: bool) -> list[float]:
    """Even steps from the first to the last, or to the step before it."""
    steps = count if open_end else max(count - 1, 1)
    return [first + (last - first) * i / steps for i in range(count)]


def _bytes(values: torch.Tensor) -> np.ndarray:
    return np.rint(values.detach().cpu().numpy().clip(0, 1) * 255).astype(np.uint8)


def _stamp(path: str) -> str:
    """Changes where a file does, or, of a folder, one of its files."""
    place = Path(path)
    files = sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]
    return repr([(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()])


NODE_CLASS_MAPPINGS = {
    "Vid4dLoadClip": LoadClip,
    "Vid4dClipFromImages": ClipFromImages,
    "Vid4dPrepare": Prepare,
    "Vid4dGenerate": Generate,
    "Vid4dLoadAsset": LoadAsset,
    "Vid4dRenderViews": RenderViews,
    "Vid4dExport": Export,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "Vid4dLoadClip": "vid4d: load clip",
    "Vid4dClipFromImages": "vid4d: clip from images",
    "Vid4dPrepare": "vid4d: prepare",
    "Vid4dGenerate": "vid4d: generate",
    "Vid4dLoadAsset": "vid4d: load asset",
    "Vid4dRenderViews": "vid4d: render views",
    "Vid4dExport": "vid4d: export",
}
