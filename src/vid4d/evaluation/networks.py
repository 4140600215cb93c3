"""Measures that need networks which others trained: LPIPS, CLIP similarity, FVD.

None ships and none is fetched: people name the files (docs/evaluation.md says which, and whose). What is
found is told by the tensors themselves, and a file of another network is refused, never used instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from vid4d.errors import InputError
from vid4d.evaluation.i3d import InceptionI3d, i3d_widths
from vid4d.priors.layers.clip_vision import MEAN, STD, CLIPVision, CLIPVisionConfig
from vid4d.priors.weights import registry
from vid4d.priors.weights.checkpoint_reader import StoredTensor, open_checkpoint
from vid4d.priors.weights.convert_diffusers import clip_parts

LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of pictures in [-1, 1] (Zhang et al. 2018, code)."""

VGG_STAGES = (2, 2, 3, 3, 3)
"""Convolutions between the poolings of VGG-16."""

HEAD_WIDTH = 64
"""Channels of an attention head, in all of CLIP's vision transformers."""

BATCH = 8


def weights_file(name: str) -> Path:
    """A file by its path, or by its name in the folder of weights ($VID4D_WEIGHTS).

    Raises InputError where there is none.
    """
    for path in (Path(name), registry.folder() / name):
        if path.is_file():
            return path
    raise InputError(f"there is no file {name}, nor one of that name in {registry.folder()}: give its path")


class Vgg16(nn.Module):
    """The convolutions of VGG-16 under torchvision's names; its pictures after each of five stages."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.taps = []
        before, each = 3, iter(widths)
        for stage, count in enumerate(VGG_STAGES):
            layers += [nn.MaxPool2d(2, 2)] if stage else []
            for _ in range(count):
                width = next(each)
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            self.taps.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """What the last rectifier of each stage gives."""
        found = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                found.append(x)
        return found


class Lpips(nn.Module):
    """Learned perceptual distance (1801.03924, section 3): features of unit length, squared differences
    weighted by the heads, mean over places, sum over stages."""

    def __init__(self, trunk: nn.Module, heads: Sequence[Tensor]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = [h.flatten()[None, :, None, None] for h in heads]

    @torch.no_grad()
    def forward(self, a: Float[Tensor, "b 3 h w"], b: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Distances of pictures in [0, 1]."""
        shift, scale = (torch.tensor(v)[:, None, None] for v in (LPIPS_SHIFT, LPIPS_SCALE))
        ours, true = (self.trunk((x * 2 - 1 - shift) / scale) for x in (a, b))
        total = torch.zeros(len(a))
        for f, g, head in zip(ours, true, self.heads, strict=True):
            apart = (unit(f) - unit(g)).square() * head
            total = total + apart.sum(1).mean((1, 2))
        return total


def unit(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Features of unit length at every place."""
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def load_lpips(trunk: Path, heads: Path) -> Lpips:
    """LPIPS from a VGG-16 in torchvision's names and the heads of the package lpips.

    Raises InputError for files of anything else.
    """
    state, head = tensors(trunk), tensors(heads)
    convolutions = {k: v for k, v in state.items() if re.fullmatch(r"features\.\d+\.(weight|bias)", k)}
    weights = [v for k, v in sorted(convolutions.items(), key=_number) if k.endswith("weight")]
    if len(weights) != sum(VGG_STAGES) or any(w.ndim != 4 for w in weights):
        raise InputError(f"{trunk} is no VGG-16 in torchvision's names: give vgg16-397923af.pth")
    network = Vgg16([w.shape[0] for w in weights])
    _fill(network, convolutions, trunk)
    names = [f"lin{i}.model.1.weight" for i in range(len(VGG_STAGES))]
    if set(names) - head.keys():
        raise InputError(f"{heads} has no heads of LPIPS: give weights/v0.1/vgg.pth of the package lpips")
    ends = [weights[sum(VGG_STAGES[: i + 1]) - 1].shape[0] for i in range(len(VGG_STAGES))]
    if [head[n].numel() for n in names] != ends:
        raise InputError(f"{heads} has the heads of another network than {trunk}: give those of VGG-16")
    return Lpips(network.eval(), [head[n] for n in names])


def load_clip(file: Path) -> CLIPVision:
    """The image tower of CLIP out of a checkpoint in the names of the library transformers.

    Raises InputError for files of anything else.
    """
    state = open_checkpoint(file)
    vision = {k: v for k, v in state.items() if k.startswith(("vision_model.", "visual_projection."))}
    if "visual_projection.weight" not in vision:
        raise InputError(
            f"{file} is no CLIP of the library transformers: give model.safetensors or pytorch_model.bin of "
            "openai/clip-vit-base-patch32"
        )
    parts = clip_parts(vision, file)
    filled = {k: torch.cat([p.read().float() for p in v]) for k, v in parts.items()}
    filled["proj"] = filled["proj"].T
    width, _, patch, _ = filled["conv1.weight"].shape
    places = round((len(filled["positional_embedding"]) - 1) ** 0.5)
    layers = {k.split(".")[2] for k in filled if k.startswith("transformer.resblocks.")}
    heads = max(1, width // HEAD_WIDTH)
    config = CLIPVisionConfig(places * patch, patch, width, len(layers), heads, filled["proj"].shape[1])
    network = CLIPVision(config)
    _fill(network, filled, file)
    return network.eval()


def load_i3d(file: Path) -> InceptionI3d:
    """I3D, trained on Kinetics-400, in the names of pytorch-i3d. Raises InputError for anything else."""
    state = tensors(file)
    widths = i3d_widths({k: tuple(v.shape) for k, v in state.items()})
    if widths is None:
        raise InputError(f"{file} is no I3D in the names of pytorch-i3d: give i3d_pretrained_400.pt")
    network = InceptionI3d(*widths)
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    _fill(network, kept, file)
    return network.eval()


def tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, nothing of which is run. Raises InputError."""
    state: dict[str, Any] = open_checkpoint(file)
    return {k: v.read() for k, v in state.items() if isinstance(v, StoredTensor)}


def _fill(network: nn.Module, state: dict[str, Tensor], file: Path) -> None:
    own = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    if own.keys() != state.keys() or any(own[k].shape != state[k].shape for k in own):
        odd = min((k for k in own.keys() | state.keys() if k not in own or k not in state), default=None)
        odd = odd or next(k for k in own if own[k].shape != state[k].shape)
        raise InputError(f"{file} is another network than it should be (see {odd}): give the published file")
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)


def _number(item: tuple[str, Tensor]) -> int:
    return int(item[0].split(".")[1])


@dataclass(frozen=True)
class Networks:
    """Networks that measure, each with SHA-256 of its files; None where nobody gave it."""

    lpips: Lpips | None = None
    clip: CLIPVision | None = None
    i3d: InceptionI3d | None = None
    hashes: tuple[tuple[str, str], ...] = ()

    @property
    def absent(self) -> dict[str, str]:
        """Measures that are not there, with the reason."""
        missing = {
            "LPIPS": (self.lpips, "--lpips TRUNK HEADS"),
            "CLIP": (self.clip, "--clip FILE"),
            "FVD": (self.i3d, "--i3d FILE"),
        }
        return {k: f"no weights given ({how})" for k, (there, how) in missing.items() if there is None}

    @torch.no_grad()
    def picture_measures(
        self, ours: UInt8[np.ndarray, "t h w 3"], true: UInt8[np.ndarray, "t h w 3"]
    ) -> dict[str, float]:
        """LPIPS and CLIP's cosine of pictures over white, means over moments."""
        scores: dict[str, list[float]] = {}
        for i in range(0, len(ours), BATCH):
            a, b = ours[i : i + BATCH], true[i : i + BATCH]
            if self.lpips is not None:
                pairs = [torch.from_numpy(x).movedim(-1, 1).float() / 255 for x in (a, b)]
                scores.setdefault("lpips", []).extend(self.lpips(*pairs).tolist())
            if self.clip is not None:
                first, second = (self.clip.embed(clip_input(x, self.clip)) for x in (a, b))
                scores.setdefault("clip", []).extend(F.cosine_similarity(first, second).tolist())
        return {k: float(np.mean(v)) for k, v in scores.items()}

    @torch.no_grad()
    def video_features(self, pictures: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, " c"]:
        """What I3D says of a video: its class logits, mean over time."""
        if self.i3d is None:
            raise ValueError("there is no I3D to see a video")
        features = self.i3d(video_input(pictures))[0].double().numpy()
        return np.asarray(features)


def load_networks(lpips: tuple[str, str] | None, clip: str | None, i3d: str | None) -> Networks:
    """The networks whose files are named (`weights_file`). Raises InputError."""
    files: dict[str, Path] = {}
    if lpips is not None:
        files |= {"lpips trunk": weights_file(lpips[0]), "lpips heads": weights_file(lpips[1])}
    if clip is not None:
        files["clip"] = weights_file(clip)
    if i3d is not None:
        files["fvd"] = weights_file(i3d)
    return Networks(
        load_lpips(files["lpips trunk"], files["lpips heads"]) if lpips is not None else None,
        load_clip(files["clip"]) if clip is not None else None,
        load_i3d(files["fvd"]) if i3d is not None else None,
        tuple((name, registry.sha256_of(path)) for name, path in files.items()),
    )


def clip_input(pictures: UInt8[np.ndarray, "t h w 3"], clip: CLIPVision) -> Float[Tensor, "t 3 s s"]:
    """As the image processor of the library transformers does it: Pillow's bicubic to the shorter side, the
    middle, CLIP's mean and deviation."""
    size = clip.config.image_size
    h, w = pictures.shape[1:3]
    scale = size / min(h, w)
    target = (max(size, round(w * scale)), max(size, round(h * scale)))
    small = np.stack(
        [np.asarray(Image.fromarray(p).resize(target, Image.Resampling.BICUBIC)) for p in pictures]
    )
    top, left = (target[1] - size) // 2, (target[0] - size) // 2
    middle = torch.from_numpy(small[:, top : top + size, left : left + size]).movedim(-1, 1).float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return (middle - mean) / std


def video_input(pictures: UInt8[np.ndarray, "t h w 3"], size: int = 224) -> Float[Tensor, "1 3 t s s"]:
    """As the script of Consistent4D does it: each channel by Pillow's bicubic in float, [-1, 1]."""

    def channel(values: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(values.astype(np.float32), mode="F")
        return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))

    small = np.stack([np.stack([channel(p[..., c]) for c in range(3)]) for p in pictures], 1)
    return torch.from_numpy(small)[None] / 127.5 - 1
