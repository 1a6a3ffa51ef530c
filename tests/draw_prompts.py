"""Draws what the embedded model makes of prompts that ask for more than a class, from one noise.

    PYTHONPATH=. python tests/draw_prompts.py docs/tiny-prompts.png

The first seeds there are, none picked out; each column is one seed.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from challenge.generators.loading import load_generator
from challenge.images import contact_sheet, to_uint8
from challenge.spec import CIFAR100

PROMPTS = (
    "a photo of apple fruit",
    "a photo of golden delicious apple",
    "a photo of dark red macoun apple",
    "a photo of apple fruit on a plain white background",
    "a photo of aquarium fish",
    "a photo of goldfish",
    "a photo of fox",
    "a photo of fox in snow",
    "a photo of fox in grass",
    "a black and white photo of fox",
    "a photo of castle",
    "a photo of castle under a blue sky",
    "a photo of castle at night",
)
PICTURES = 10


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    options = parser.parse_args()
    generator = load_generator("tiny", device=torch.device("cpu"), dtype=torch.float32)
    generator.encode_prompts(PROMPTS)
    seeds = list(range(PICTURES))
    rows = [
        (prompt, to_uint8(generator.generate([prompt] * PICTURES, seeds, CIFAR100.image_size)))
        for prompt in PROMPTS
    ]
    sheet = contact_sheet(rows).quantize(256, dither=Image.Dither.NONE)
    sheet.save(options.path, optimize=True)


if __name__ == "__main__":
    main()
