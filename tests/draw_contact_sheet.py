"""Draws some pictures of every class of one data set by the embedded model, with the class's name.

    PYTHONPATH=. python tests/draw_contact_sheet.py cifar100 docs/tiny-cifar100.png
    PYTHONPATH=. python tests/draw_contact_sheet.py tinyimagenet docs/tiny-tinyimagenet.jpg

The first seeds there are, none picked out.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from challenge.generators.loading import load_generator
from challenge.images import to_uint8
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.seeds import derive_seed
from challenge.spec import DATASETS

LAYOUTS = {"cifar100": (4, 4), "tinyimagenet": (6, 2)}  # columns; pictures of a class
NAME_WIDTH, GAP = 104, 2


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("dataset", choices=LAYOUTS)
    parser.add_argument("path", type=Path)
    options = parser.parse_args()
    spec, (columns, count) = DATASETS[options.dataset], LAYOUTS[options.dataset]
    book = load_prompt_book(spec, find_prompts_dir(None))
    generator = load_generator("tiny", device=torch.device("cpu"), dtype=torch.float32)
    generator.encode_prompts([book.prompts_for(entry.index)[0] for entry in book.classes])
    size = spec.image_size
    rows, step = -(-spec.num_classes // columns), size + GAP
    width = NAME_WIDTH + count * step
    sheet = Image.new("RGB", (columns * width, rows * step), (20, 20, 22))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for entry in book.classes:
        column, row = divmod(entry.index, rows)
        left, top = column * width, row * step
        draw.text(
            (left + 6, top + size / 2), entry.prompt_noun[:17], (235, 235, 235), font, anchor="lm"
        )
        seeds = [derive_seed("samples", entry.index, number) for number in range(count)]
        prompts = [book.prompts_for(entry.index)[0]] * count
        for number, pixels in enumerate(to_uint8(generator.generate(prompts, seeds, size))):
            picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
            sheet.paste(picture, (left + NAME_WIDTH + number * step, top))
    if options.path.suffix == ".png":
        sheet = sheet.quantize(256, dither=Image.Dither.NONE)
    sheet.save(options.path, optimize=True, quality=85)


if __name__ == "__main__":
    main()
