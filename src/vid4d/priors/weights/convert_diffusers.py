"""Zero123 as the library diffusers saves it: a folder per network, and names of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vid4d.errors import InputError
from vid4d.files.records import read_record
from vid4d.priors.weights.checkpoint_reader import StoredTensor, open_checkpoint
from vid4d.priors.weights.convert_layouts import Named, Parts, unexpected

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}
_CLIP = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm": "ln_pre",
    "post_layernorm": "ln_post",
}
_CLIP_LAYER = {
    "self_attn.q_proj": "attn.in_proj_",
    "self_attn.k_proj": "attn.in_proj_",
    "self_attn.v_proj": "attn.in_proj_",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def _unet_name(name: str, blocks: int, transformers: set[str]) -> str | None:
    """blocks: residual blocks per level. transformers: the up blocks that have them."""
    for theirs, ours in _UNET_ENDS.items():
        if name.startswith(theirs + "."):
            return ours + name.removeprefix(theirs)
    if match := re.fullmatch(r"(down|mid|up)_blocks?\.(?:(\d+)\.)?(\w+)\.(\d+)\.(.+)", name):
        where, level, what, index, rest = match.groups()
        if what == "resnets":
            head, _, tail = rest.rpartition(".")
            if head not in _RESNET:
                return None
            rest = f"{_RESNET[head]}.{tail}"
        if where == "mid":
            return f"middle_block.{2 * int(index)}.{rest}" if what == "resnets" else None
        at = int(level) * (blocks + 1) + int(index) + (1 if where == "down" else 0)
        side = "input_blocks" if where == "down" else "output_blocks"
        if what in ("resnets", "attentions"):
            return f"{side}.{at}.{0 if what == 'resnets' else 1}.{rest}"
        if what == "downsamplers":
            return f"input_blocks.{(int(level) + 1) * (blocks + 1)}.0.op{rest.removeprefix('conv')}"
        if what == "upsamplers":
            last = 2 if level in transformers else 1
            return f"output_blocks.{int(level) * (blocks + 1) + blocks}.{last}.{rest}"
    return None


def _vae_name(name: str, levels: int) -> str | None:
    if re.match(r"(post_)?quant_conv\.", name):
        return name
    match = re.fullmatch(r"(encoder|decoder)\.(.+)", name)
    if not match:
        return None
    side, rest = match.groups()
    if re.match(r"conv_(in|out)\.", rest):
        return name
    if rest.startswith("conv_norm_out."):
        return f"{side}.norm_out.{rest.removeprefix('conv_norm_out.')}"
    rest = rest.replace("conv_shortcut", "nin_shortcut")
    if match := re.fullmatch(r"mid_block\.resnets\.(\d)\.(.+)", rest):
        return f"{side}.mid.block_{int(match[1]) + 1}.{match[2]}"
    if match := re.fullmatch(r"mid_block\.attentions\.0\.(.+)\.(weight|bias)", rest):
        layer = _VAE_ATTENTION.get(match[1])
        return layer and f"{side}.mid.attn_1.{layer}.{match[2]}"
    if match := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets\.\d+|(?:down|up)samplers\.0)\.(.+)", rest):
        where, level, what, rest = match.groups()
        at = int(level) if where == "down" else levels - 1 - int(level)
        what = what.replace("resnets", "block").replace("samplers.0", "sample")
        return f"{side}.{where}.{at}.{what}.{rest}"
    return None


def _clip_name(name: str) -> str | None:
    if name == "visual_projection.weight":
        return "proj"
    name = name.removeprefix("vision_model.")
    for theirs, ours in _CLIP.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
        layer = _CLIP_LAYER.get(match[2])
        dot = "" if layer and layer.endswith("_") else "."
        return layer and f"transformer.resblocks.{match[1]}.{layer}{dot}{match[3]}"
    return None


def clip_parts(state: Mapping[str, Any], source: Path) -> Parts:
    """The image tower of a CLIP of the library transformers, in our names; `proj` is to be transposed.

    Raises InputError for tensors without place.
    """
    parts: Parts = {}
    for name in sorted(state, key=_qkv_order):
        if name.endswith("embeddings.position_ids"):
            continue
        ours = _clip_name(name)
        if ours is None or not isinstance(state[name], StoredTensor):
            raise unexpected([name], source)
        parts.setdefault(ours, []).append(state[name])
    return parts


def _projection_name(name: str) -> str | None:
    match = re.fullmatch(r"(?:proj|projection)\.(weight|bias)", name)
    return match and match[1]


def diffusers_folder(folder: Path) -> Named:
    """A Zero123 pipeline as diffusers saves it: a folder with unet, vae, image_encoder and the projection.

    Raises InputError where a part is missing, is configured otherwise, or has tensors without place.
    """
    unet = _component(folder, "unet")
    vae = _component(folder, "vae")
    blocks = len(_numbers(unet, r"down_blocks\.0\.resnets\.(\d+)\."))
    levels = len(_numbers(vae, r"decoder\.up_blocks\.(\d+)\."))
    transformers = _numbers(unet, r"up_blocks\.(\d+)\.attentions\.")
    projection = "clip_camera_projection" if (folder / "clip_camera_projection").is_dir() else "cc_projection"
    _check_settings(folder)

    networks: tuple[tuple[str, dict[str, Any], Callable[[str], str | None]], ...] = (
        ("unet", unet, lambda name: _unet_name(name, blocks, transformers)),
        ("autoencoder", vae, lambda name: _vae_name(name, levels)),
        ("clip", _component(folder, "image_encoder"), _clip_name),
        ("cc_projection", _component(folder, projection), _projection_name),
    )
    parts: Parts = {}
    unknown = []
    counts: Counter[str] = Counter()
    for part, state, rename in networks:
        for name in sorted(state, key=_qkv_order):
            if name.endswith("embeddings.position_ids"):
                counts["CLIP's list of positions, which is computed"] += 1
                continue
            ours = rename(name)
            if ours is None or not isinstance(state[name], StoredTensor):
                unknown.append(f"{part}/{name}")
            else:
                parts.setdefault(f"{part}.{ours}", []).append(state[name])
    if unknown:
        raise unexpected(unknown, folder)
    return Named(parts, dict(counts), swapped=frozenset({"clip.proj"}))


def _qkv_order(name: str) -> tuple[str, int]:
    """Queries before keys before values."""
    for i, kind in enumerate(("q_proj", "k_proj", "v_proj")):
        if f".{kind}." in name:
            return name.replace(kind, "qkv"), i
    return name, 0


def _component(folder: Path, name: str) -> dict[str, Any]:
    """The tensors of one part of a pipeline: safetensors before pickles, whole precision before half."""
    place = folder / name
    files = [f for f in place.glob("*") if f.suffix in (".safetensors", ".bin")] if place.is_dir() else []
    if not files:
        raise InputError(f"{folder} has no weights in {name}/: give a whole Zero123 folder of diffusers")
    best = min((f.suffix == ".bin", len(f.suffixes)) for f in files)
    state: dict[str, Any] = {}
    for file in sorted(files):
        if (file.suffix == ".bin", len(file.suffixes)) == best:
            state |= open_checkpoint(file)
    return state


def _numbers(names: Iterable[str], pattern: str) -> set[str]:
    """The different numbers in the names that match."""
    return {match[1] for match in (re.match(pattern, name) for name in names) if match}


def _check_settings(folder: Path) -> None:
    """The settings that shapes do not tell."""
    for file, name, allowed in (
        ("unet/config.json", "attention_head_dim", (8, [8, 8, 8, 8])),
        ("scheduler/scheduler_config.json", "prediction_type", ("epsilon",)),
        ("scheduler/scheduler_config.json", "beta_schedule", ("scaled_linear",)),
    ):
        path = folder / file
        options = read_record(path, dict[str, Any], "fetch it again") if path.is_file() else {}
        value = options.get(name)
        if value is not None and value not in allowed:
            raise InputError(f"{path} says {name} = {value}, which is no Zero123: give a folder of Zero123")
