"""Writes a pipeline as one file in SDXL's original layout (Stability-AI/generative-models).

diffusers reads that layout but cannot write it.
"""

import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

UNET_ENDS = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
UNET_RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
OPEN_CLIP = {
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "final_layer_norm.": "ln_final.",
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "fc1": "c_fc",
    "fc2": "c_proj",
    "self_attn": "attn",
}


def write_single_file(pipe: StableDiffusionXLPipeline, path: Path) -> None:
    save_file({name: t.contiguous() for name, t in original_tensors(pipe).items()}, path)


def original_tensors(pipe: StableDiffusionXLPipeline) -> dict[str, Tensor]:
    """All tensors of the pipeline under their original names."""
    text_1, text_2 = (
        {name.removeprefix("text_model."): t for name, t in encoder.state_dict().items()}
        for encoder in (pipe.text_encoder, pipe.text_encoder_2)
    )
    prefix_1 = "conditioner.embedders.0.transformer.text_model."
    return {
        **{f"model.diffusion_model.{name}": t for name, t in unet_tensors(pipe.unet).items()},
        **{f"first_stage_model.{name}": t for name, t in vae_tensors(pipe.vae).items()},
        **{prefix_1 + name: t for name, t in text_1.items()},
        **{f"conditioner.embedders.1.model.{n}": t for n, t in open_clip_tensors(text_2).items()},
    }


def replace_all(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def unet_tensors(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    step = unet.config.layers_per_block + 1
    state = unet.state_dict()

    def renamed(name: str) -> str:
        for old, new in UNET_ENDS.items():
            if name.startswith(old):
                return new + name.removeprefix(old)
        side, block, kind, layer, rest = re.fullmatch(  # type: ignore[union-attr]
            r"(down|mid|up)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.*)", name
        ).groups()
        if kind == "resnets":
            rest = replace_all(rest, UNET_RESNET)
        if side == "mid":
            return f"middle_block.{2 * int(layer) if kind == 'resnets' else 1}.{rest}"
        first = int(block) * step
        if kind == "downsamplers":
            return f"input_blocks.{first + step}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            after_attention = any(n.startswith(f"up_blocks.{block}.attentions") for n in state)
            return f"output_blocks.{first + step - 1}.{2 if after_attention else 1}.{rest}"
        place = first + int(layer)
        blocks = f"input_blocks.{place + 1}" if side == "down" else f"output_blocks.{place}"
        return f"{blocks}.{0 if kind == 'resnets' else 1}.{rest}"

    return {renamed(name): tensor for name, tensor in state.items()}


def vae_tensors(vae: AutoencoderKL) -> dict[str, Tensor]:
    last = len(vae.config.block_out_channels) - 1

    def renamed(name: str) -> str:
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d)", lambda found: f"up.{last - int(found[1])}", name)
        name = name.replace("resnets.", "block.") if "up." in name else name
        name = name.replace("upsamplers.0", "upsample")
        name = re.sub(
            r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name
        )
        if "mid_block.attentions.0" in name:
            name = replace_all(name, {"mid_block.attentions.0": "mid.attn_1", **VAE_ATTENTION})
        return name

    def reshaped(name: str, tensor: Tensor) -> Tensor:  # attention was a 1x1 convolution
        is_projection = "attentions" in name and tensor.ndim == 2
        return tensor[:, :, None, None] if is_projection else tensor

    return {renamed(name): reshaped(name, tensor) for name, tensor in vae.state_dict().items()}


def open_clip_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = {"text_projection": state["text_projection.weight"].T}
    for name, tensor in state.items():
        if name == "text_projection.weight" or "k_proj" in name or "v_proj" in name:
            continue
        new_name = replace_all(name, OPEN_CLIP)
        if "q_proj" in name:
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            tensors[new_name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
        else:
            tensors[new_name] = tensor
    return tensors
