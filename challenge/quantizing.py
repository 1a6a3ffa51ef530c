"""Quantizes the UNet before the first image, on prompts of the run; what fails is one line."""

from collections.abc import Mapping

from challenge.decoder_choice import spread_prompts
from challenge.generators.quantized import Damage, quantize
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.prompts import PromptBook
from challenge.seeds import derive_seed
from challenge.settings import QuantizeName
from challenge.spec import DatasetSpec

IMAGES = 8  # made with and without, to tell the damage


def quantize_for(
    books: Mapping[DatasetSpec, PromptBook],
    generator: OneStepGenerator,
    name: QuantizeName,
    run_seed: int,
) -> Damage:
    """Quantize the generator's UNet and tell what that does to images of these data sets.

    Raises:
        GenerationError: it cannot be done with this model, device and version of torchao.
    """
    prompts = spread_prompts(list(books.values()), IMAGES)
    seeds = [derive_seed(run_seed, "quantize", number) for number in range(IMAGES)]
    targets = [spec.image_size for spec in books]
    return quantize(generator, name, prompts, seeds, targets)
