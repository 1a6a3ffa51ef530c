"""Quantizing: what is refused, how the damage is measured, and the real thing where torchao is."""

import sys

import pytest
import torch
from pipelines import PROMPTS, one_step_generator, small_pipeline
from torch import nn

from challenge.errors import DeviceError, UsageError
from challenge.generators import quantized
from challenge.generators.quantized import check_quantize, quantize, quantize_layers
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.settings import GenerateSettings, QuantizeName

CPU, GPU, BF16 = torch.device("cpu"), torch.device("cuda", 0), torch.bfloat16
SEEDS = list(range(len(PROMPTS)))


@pytest.fixture
def generator() -> OneStepGenerator:
    return one_step_generator(small_pipeline())


def test_fp8_is_refused_where_nothing_multiplies_in_eight_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", sys)  # as if it were installed
    with pytest.raises(DeviceError, match=r"8\.9 .* found a CPU; take --quantize int8-weights"):
        check_quantize("fp8", CPU, BF16)
    capability = (8, 6)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with pytest.raises(DeviceError, match=r"8\.9 .* found cuda:0 has 8\.6"):
        check_quantize("fp8", GPU, BF16)
    check_quantize("int8-weights", GPU, torch.float16)
    capability = (9, 0)
    with pytest.raises(UsageError, match="fp8 is for bfloat16, not float16; give --dtype bfloat16"):
        check_quantize("fp8", GPU, torch.float16)
    check_quantize("fp8", GPU, BF16)
    check_quantize("int8-weights", CPU, torch.float32)


def test_without_torchao_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)  # as if it were not
    with pytest.raises(UsageError, match=r"--quantize int8-weights needs torchao .*pip install"):
        check_quantize("int8-weights", CPU, BF16)
    check_quantize("none", CPU, BF16)


def test_real_images_have_nothing_to_quantize() -> None:
    with pytest.raises(UsageError, match=r"--quantize: images:there has no UNet"):
        GenerateSettings(model="images:there", quantize="int8-weights")


def test_the_damage_is_that_of_the_latents_and_thumbnails_made_before_and_after(
    generator: OneStepGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(unet: nn.Module, name: QuantizeName) -> int:
        with torch.no_grad():
            for parameter in unet.get_submodule("conv_out").parameters():
                parameter.mul_(1.01)
        return 7

    latents = generator.image_latents(PROMPTS, SEEDS, 32)
    noise = generator.draw_noise(SEEDS, 32) * generator._one_step.sigma  # type: ignore[union-attr]
    monkeypatch.setattr(quantized, "quantize_layers", spoil)
    damage = quantize(generator, "int8-weights", PROMPTS, SEEDS, [32])
    # x0 = noise - sigma * eps, so one per cent of eps moves x0 by one per cent of noise - x0
    expected = 0.01 * (noise - latents).square().mean().sqrt() / latents.square().mean().sqrt()
    assert damage.latents_error == pytest.approx(float(expected), rel=1e-3)
    assert (damage.layers, damage.images) == (7, len(PROMPTS))
    assert 10 < damage.psnr_db[32] < 99
    assert generator.description.quantize == "int8-weights"
    assert "7 linear layers; 5 images differ" in str(damage)


def test_what_changes_nothing_does_no_damage(
    generator: OneStepGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized, "quantize_layers", lambda unet, name: 0)
    damage = quantize(generator, "fp8-weights", PROMPTS, SEEDS, [16, 32])
    assert damage.latents_error == 0
    assert damage.psnr_db == {16: pytest.approx(100), 32: pytest.approx(100)}


@pytest.mark.parametrize(("name", "error"), [("int8-weights", 0.01), ("fp8-weights", 0.04)])
def test_torchao_quantizes_the_transformers_linear_layers_and_no_others(
    name: QuantizeName, error: float, generator: OneStepGenerator
) -> None:
    pytest.importorskip("torchao")
    linear = {path for path, module in generator.unet.named_modules() if type(module) is nn.Linear}
    before = {path: weight_of(generator, path).clone() for path in linear}
    damage = quantize(generator, name, PROMPTS, SEEDS, [32])
    kinds = {path: type(weight_of(generator, path)) for path in linear}
    changed = {path for path, kind in kinds.items() if kind is not nn.Parameter}
    assert changed == {path for path in linear if ".attentions." in path and _fits(before[path])}
    assert damage.layers == len(changed) > 20
    assert 0 < damage.latents_error < 14.6 * error
    for path in changed:
        weight = weight_of(generator, path).dequantize()
        assert (weight - before[path]).norm() / before[path].norm() < error


def weight_of(generator: OneStepGenerator, path: str) -> torch.Tensor:
    return generator.unet.get_parameter(f"{path}.weight")


def _fits(weight: torch.Tensor) -> bool:
    return all(size % 16 == 0 for size in weight.shape)


def test_torchao_and_compiled_blocks_go_together(generator: OneStepGenerator) -> None:
    pytest.importorskip("torchao")
    quantize_layers(generator.unet, "int8-weights")
    plain = generator.image_latents(PROMPTS[:2], SEEDS[:2], 32)
    generator.compile_unet(PROMPTS[:2], SEEDS[:2], 32, backend="aot_eager")
    found = generator.image_latents(PROMPTS[:2], SEEDS[:2], 32)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-3)
