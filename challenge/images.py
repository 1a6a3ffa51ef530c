"""Pixels on their way from the decoder to the journal and back, and the sheet to look at them.

Float images lie in [0, 1], channels first (R, G, B); uint8 images lie in 0..255. The journal keeps
uint8: a quarter of the bytes, and an error of half a level (0.2 % of the range) at most.
"""

import textwrap
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

THUMBNAIL_PIXELS = 128  # a 32 or 64 pixel image is shown this large on the sheet
GAP_PIXELS = 2
LABEL_PIXELS = 190
LABEL_MARGIN_PIXELS = 12
FONT_PIXELS = 20
LABEL_CHARACTERS = 16  # a line of the label
LABEL_LINES = 4
BACKGROUND = (20, 20, 22)
FOREGROUND = (235, 235, 235)


def shrink(images: Float[Tensor, "B 3 H W"], size: int) -> Float[Tensor, "B 3 size size"]:
    """Resize with an antialiased triangle filter; images of this size are returned as they are.

    No weight of the filter is negative, so nothing leaves the range of the input, as it would with
    a bicubic one.
    """
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(
        images, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )


def to_uint8(images: Float[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
    """[0, 1] to 0..255, rounded to nearest and clamped; NaN must have been refused before."""
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)


def from_uint8(images: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """0..255 to float32 in [0, 1]; ``to_uint8`` gives exactly the same levels back."""
    return images.to(torch.float32).div_(255)


def contact_sheet(rows: Sequence[tuple[str, UInt8[Tensor, "_ 3 _ _"]]]) -> Image.Image:
    """Draw one row a class: its name, then its images side by side, enlarged but not smoothed.

    Rows may differ in the number and in the size of their images. No row at all is a ValueError.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    strips = [_enlarged_strip(images) for _, images in rows]
    width = LABEL_PIXELS + max(strip.width for strip in strips)
    height = GAP_PIXELS + sum(strip.height + GAP_PIXELS for strip in strips)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_PIXELS)
    top = GAP_PIXELS
    for (name, _), strip in zip(rows, strips, strict=True):
        middle = top + strip.height / 2
        label = _wrapped(name)
        draw.text((LABEL_MARGIN_PIXELS, middle), label, fill=FOREGROUND, font=font, anchor="lm")
        sheet.paste(strip, (LABEL_PIXELS, top))
        top += strip.height + GAP_PIXELS
    return sheet


def _enlarged_strip(images: UInt8[Tensor, "N 3 S S"]) -> Image.Image:
    """Images side by side, a gap after each, every pixel a square."""
    side = images.shape[-1] * max(1, THUMBNAIL_PIXELS // images.shape[-1])
    strip = Image.new("RGB", (len(images) * (side + GAP_PIXELS), side), BACKGROUND)
    for column, image in enumerate(images):
        tile = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
        enlarged = tile.resize((side, side), Image.Resampling.NEAREST)
        strip.paste(enlarged, (column * (side + GAP_PIXELS), 0))
    return strip


def _wrapped(name: str) -> str:
    """The name on lines short enough for the label; a very long one ends in an ellipsis."""
    lines = textwrap.wrap(name, LABEL_CHARACTERS, max_lines=LABEL_LINES, placeholder=" …")
    return "\n".join(lines)
