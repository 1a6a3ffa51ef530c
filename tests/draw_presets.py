"""Draws docs/presets.png: what the presets do, on the same pictures of the embedded model.

python tests/draw_presets.py docs/presets.png
"""

import sys
from pathlib import Path

import torch

from challenge.augment import PRESETS, augment_images
from challenge.colour import ColourMatch, measure_look
from challenge.framing import FRAMINGS, cut_out, draw_windows
from challenge.generators.loading import load_generator
from challenge.images import contact_sheet, to_uint8
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.seeds import derive_seed
from challenge.spec import CIFAR100, LOOKS

CLASSES = (0, 17, 20, 22, 53, 61, 82, 87)  # well drawn ones: apple, castle, chair, clock, ...


def main(path: Path) -> None:
    """Make a picture of each class, and of it what each preset makes."""
    book = load_prompt_book(CIFAR100, find_prompts_dir(None))
    prompts = [book.prompts_for(index)[0] for index in CLASSES]
    generator = load_generator("tiny", device=torch.device("cpu"), dtype=torch.float32)
    generator.encode_prompts(prompts)
    seeds = [derive_seed(1, "picture", index) for index in CLASSES]
    images = generator.generate(prompts, seeds, 32).clone()
    rows = [("as the model drew it", images)]
    rows += [
        (f"--framing {name}", cut_out(images, draw_windows(seeds, 32, framing), 32, "bilinear"))
        for name, framing in FRAMINGS.items()
        if name != "whole"
    ]
    rows += [
        (f"--augment {name}", augment_images(images, seeds, name))
        for name in PRESETS
        if name != "none"
    ]
    match = ColourMatch(measure_look(images), LOOKS["cifar100"])
    rows.append(("--match-colour", match.apply(images, seeds)))
    contact_sheet([(name, to_uint8(some)) for name, some in rows]).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
