"""The UNet's linear layers in eight bits, by torchao, and what that does to the pictures.

Linear layers are 71 % of the arithmetic of SDXL's UNet. ``fp8`` multiplies in eight bits, with a
scale for each row of weights and of inputs: a GPU of compute capability 8.9 or more can do that
twice as fast as in 16. The other two keep weights in eight bits and multiply as before: that saves
memory, not time, and runs anywhere. One step multiplies an error of the UNet by 14.6, so nothing is
used here without telling what it did to the latents and to the thumbnails.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from challenge.errors import DeviceError, GenerationError, UsageError, first_line
from challenge.generators.decoder_fitting import psnr_db
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.images import shrink
from challenge.settings import QuantizeName

FP8_CAPABILITY = (8, 9)
# Within the transformers; what reads the timestep is small and shifts whole pictures.
LINEAR_LAYERS = re.compile(r"\.attentions\.")
MULTIPLE = 16  # both sizes of a layer, for products in fp8


@dataclass(frozen=True)
class Damage:
    """What quantizing did to some images that were made before and after.

    ``latents_error`` is the rms of the latents' difference over the rms of the latents, and
    ``psnr_db`` is of the thumbnails, by their size.
    """

    name: str
    layers: int
    images: int
    latents_error: float
    psnr_db: Mapping[int, float]

    def __str__(self) -> str:
        sizes = ", ".join(f"{psnr:.1f} dB at {size} px" for size, psnr in self.psnr_db.items())
        return (
            f"{self.name}: {self.layers} linear layers; {self.images} images differ from those "
            f"without by {self.latents_error:.2%} in the latents, PSNR {sizes}"
        )


def check_quantize(name: QuantizeName, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        DeviceError: the device cannot multiply in eight bits.
        UsageError: torchao is not installed, or does not multiply this dtype in eight bits.
    """
    if name == "none":
        return
    instead = "take --quantize int8-weights, or leave it away"
    if name == "fp8":
        capability = (0, 0)
        if device.type == "cuda":
            capability = torch.cuda.get_device_capability(device)
        if capability < FP8_CAPABILITY:
            found = f"{device} has {capability[0]}.{capability[1]}" if capability[0] else "a CPU"
            raise DeviceError(
                "--quantize fp8 needs a GPU of compute capability 8.9 (Ada, Hopper) or more; found "
                f"{found}; {instead}"
            )
        if dtype != torch.bfloat16:  # torchao's scale for each row is for nothing else
            found = str(dtype).removeprefix("torch.")
            raise UsageError(f"--quantize fp8 is for bfloat16, not {found}; give --dtype bfloat16")
    try:
        import torchao  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"--quantize {name} needs torchao ({error}); pip install torchao, or leave it away"
        ) from error


def quantize(
    generator: OneStepGenerator,
    name: QuantizeName,
    prompts: Sequence[str],
    seeds: Sequence[int],
    targets: Sequence[int],
) -> Damage:
    """Quantize the generator's UNet in place; these images, made before and after, tell the damage.

    Raises:
        GenerationError: it cannot be done with this model, device and version of torchao.
    """
    pictures = _Pictures(generator, prompts, seeds, targets)
    before = pictures.make()
    try:
        layers = quantize_layers(generator.unet, name)
        after = pictures.make()
    except Exception as error:  # torchao, torch and drivers raise anything
        raise GenerationError(
            f"--quantize {name} failed: {first_line(error)}; leave it away"
        ) from error
    generator.description = replace(generator.description, quantize=name)
    return Damage(
        name=name,
        layers=layers,
        images=len(prompts),
        latents_error=max(
            _relative_error(after[0][side], latents) for side, latents in before[0].items()
        ),
        psnr_db={target: psnr_db(after[1][target], before[1][target]) for target in targets},
    )


@dataclass(frozen=True)
class _Pictures:
    """The images that are made twice."""

    generator: OneStepGenerator
    prompts: Sequence[str]
    seeds: Sequence[int]
    targets: Sequence[int]

    def make(self) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Latents by resolution, thumbnails by size."""
        generator, latents, thumbnails = self.generator, {}, {}
        for target in self.targets:
            side = generator.resolution(target)
            latents[side] = generator.image_latents(self.prompts, self.seeds, side).float()
            images = generator.generate(self.prompts, self.seeds, generator.image_size(target))
            thumbnails[target] = shrink(images, target)
        return latents, thumbnails


def _relative_error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


def quantize_layers(unet: nn.Module, name: QuantizeName) -> int:
    """Quantize the linear layers of the transformers in place; returns how many they are."""
    import torchao.quantization as ao

    configs: dict[str, Callable[[], Any]] = {
        "fp8": lambda: ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow()),
        "fp8-weights": ao.Float8WeightOnlyConfig,
        "int8-weights": ao.Int8WeightOnlyConfig,
    }
    chosen = {path for path, module in unet.named_modules() if _is_chosen(path, module)}
    ao.quantize_(unet, configs[name](), filter_fn=lambda module, path: path in chosen)
    return len(chosen)


def _is_chosen(path: str, module: nn.Module) -> bool:
    if not isinstance(module, nn.Linear) or not LINEAR_LAYERS.search(f".{path}."):
        return False
    return module.in_features % MULTIPLE == 0 and module.out_features % MULTIPLE == 0
