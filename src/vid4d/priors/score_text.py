"""A Stable Diffusion as score: what a text describes, seen from front, side, back and above.

DreamFusion (2209.14988): score distillation with prompts that depend on the view. The networks come from
diffusers, the weights from a folder or the Hugging Face hub; nothing of them ships with vid4d.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.errors import InputError, install_hint
from vid4d.priors.samplers import NoiseSchedule, to_eps
from vid4d.priors.score import LatentScorePrior, resized_render

GUIDANCE = 100.0
"""Scale of classifier-free guidance (2209.14988, section 3.2)."""

VIEWS = ("front view", "side view", "back view", "overhead view")


def view_of(azimuth: Float[Tensor, " b"], elevation: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Index into `VIEWS` of each camera (degrees): overhead above 60, else quarters around the front (0)."""
    turn = (azimuth + 45) % 360 // 90  # 0 front, 1 and 3 side, 2 back
    sides = torch.where(turn == 3, 1, turn).long()
    return torch.where(elevation > 60, VIEWS.index("overhead view"), sides)


def prompts(text: str) -> list[str]:
    """One prompt for each of `VIEWS`."""
    return [f"{text.strip().rstrip('.,')}, {view}" for view in VIEWS]


class TextScorePrior(LatentScorePrior):
    """Latent diffusion with text conditions, as diffusers holds it.

    vae, unet: `AutoencoderKL` and `UNet2DConditionModel`. contexts: text embeddings of `VIEWS`; blind: of the
    empty text. prediction: what the UNet answers. guidance: scale of classifier-free guidance.
    """

    def __init__(
        self,
        vae: Any,
        unet: Any,
        contexts: Float[Tensor, "4 n c"],
        blind: Float[Tensor, "1 n c"],
        schedule: NoiseSchedule,
        *,
        prediction: str = "eps",
        guidance: float = GUIDANCE,
    ) -> None:
        self.vae, self.unet, self.contexts, self.blind = vae, unet, contexts, blind
        self.schedule, self.prediction = schedule.to(contexts.device), prediction
        self.guidance = guidance
        self.size = unet.config.sample_size * 2 ** (len(vae.config.block_out_channels) - 1)

    def encode(self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]) -> Tensor:
        """Latents of renders over white, with a gradient."""
        pictures = resized_render(color, alpha, self.size)[:, :3] * 2 - 1
        latents = self.vae.encode(pictures.to(self.vae.dtype)).latent_dist.mode()
        return (latents * self.vae.config.scaling_factor).float()

    def view(self, cameras: Cameras, frame: Int[Tensor, " b"]) -> Float[Tensor, "b n e"]:
        """The prompts' embeddings; a text has no frames."""
        return self.contexts[view_of(cameras.azimuth, cameras.elevation).to(self.contexts.device)]

    @torch.no_grad()
    def predict(
        self, noisy: Float[Tensor, "l b c h w"], t: Int[Tensor, " b"], view: Float[Tensor, "b n e"]
    ) -> Float[Tensor, "l b c h w"]:
        """Noise prediction of Stable Diffusion, guided by the prompts."""
        levels = len(noisy)
        x, t, prompt = noisy.flatten(0, 1), t.repeat(levels), view.repeat(levels, 1, 1)
        context = torch.cat([prompt, self.blind.expand_as(prompt)])
        predicted = self.unet(
            x.repeat(2, 1, 1, 1).to(self.unet.dtype), t.repeat(2), encoder_hidden_states=context
        ).sample.float()
        conditional, unconditional = to_eps(
            self.schedule,
            x.repeat(2, 1, 1, 1),
            t.repeat(2),
            predicted,
            self.prediction,  # type: ignore[arg-type]
        ).chunk(2)
        return (unconditional + self.guidance * (conditional - unconditional)).unflatten(0, noisy.shape[:2])


def load_text_prior(
    model: str | os.PathLike[str],
    text: str,
    device: torch.device | str = "cpu",
    *,
    dtype: torch.dtype | None = None,
    guidance: float | None = None,
) -> TextScorePrior:
    """A Stable Diffusion 1.x or 2.x, conditioned on the text.

    model: a folder in the layout of diffusers, or its name on the Hugging Face hub, from which it is fetched.
    dtype: half precision on CUDA, float32 elsewhere, where not given.
    Raises InputError where diffusers is missing, the model cannot be had, or it is of another kind.
    """
    try:
        from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise InputError(
            f"objects from a text need diffusers and transformers ({error}): {install_hint('text')}"
        ) from None
    dtype = dtype or (torch.float16 if torch.device(device).type == "cuda" else torch.float32)
    options = {"torch_dtype": dtype, "low_cpu_mem_usage": False}
    try:
        tokenizer = CLIPTokenizer.from_pretrained(model, subfolder="tokenizer")
        encoder = CLIPTextModel.from_pretrained(model, subfolder="text_encoder")
        vae = AutoencoderKL.from_pretrained(model, subfolder="vae", **options)
        unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", **options)
        scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the text model {str(model)!r} cannot be had ({reason}): give a Stable Diffusion 1.x or 2.x "
            "with --text-model, a folder in the layout of diffusers or a name on the Hugging Face hub"
        ) from None
    kinds = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
    if unet.config.in_channels != vae.config.latent_channels or unet.config.addition_embed_type is not None:
        raise InputError(f"{str(model)!r} is no Stable Diffusion 1.x or 2.x: give one with --text-model")
    contexts = _embedded(tokenizer, encoder, [*prompts(text), ""]).to(device, dtype)
    vae = vae.to(device).eval().requires_grad_(False)
    unet = unet.to(device).eval().requires_grad_(False)
    return TextScorePrior(
        vae,
        unet,
        contexts[:-1],
        contexts[-1:],
        NoiseSchedule(scheduler.alphas_cumprod.float()),
        prediction=kinds[scheduler.config.prediction_type],
        guidance=GUIDANCE if guidance is None else guidance,
    )


@torch.no_grad()
def _embedded(tokenizer: Any, encoder: Any, texts: Sequence[str]) -> Float[Tensor, "t n c"]:
    tokens = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    return encoder(tokens.input_ids)[0]
