"""A sheet with some pictures of every class, to be looked at."""

from pathlib import Path

from diffusers import StableDiffusionXLPipeline

from challenge.embedded_training.wording import plain_prompt
from challenge.generators.base import GeneratorDescription
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.images import contact_sheet, to_uint8
from challenge.prompts import PromptBook
from challenge.seeds import derive_seed
from challenge.spec import DATASETS

PICTURES_PER_CLASS = 8


def write_samples(pipe: StableDiffusionXLPipeline, book: PromptBook, path: Path) -> None:
    """Paint each class from its plain prompt, by the very code that ``generate`` uses."""
    description = GeneratorDescription("tiny", "just trained", None, "float32", "cpu")
    generator = OneStepGenerator(pipe, description)
    plain = [plain_prompt(entry.prompt_noun) for entry in book.classes]
    generator.encode_prompts(plain)
    image_size = generator.image_size(DATASETS[book.dataset].image_size)
    rows = []
    for entry, prompt in zip(book.classes, plain, strict=True):
        prompts = [prompt] * PICTURES_PER_CLASS
        seeds = [derive_seed("samples", entry.index, each) for each in range(PICTURES_PER_CLASS)]
        rows.append((entry.prompt_noun, to_uint8(generator.generate(prompts, seeds, image_size))))
    contact_sheet(rows).save(path)
