"""Rows of pictures as data URIs: a class's made images, and real ones beside them.

A page of a hundred thousand images shows a sample of each class. WebP keeps 200 classes of 64
pixels in a few megabytes; one picture a row keeps the number of elements small.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

QUALITY = 90
GAP_PIXELS = 1


@dataclass(frozen=True)
class Strip:
    """Some images side by side, and how large the row is in pixels."""

    uri: str
    width: int
    height: int
    images: int


def strip(images: UInt8[Tensor, "N 3 S S"]) -> Strip | None:
    """One row; None for no images."""
    if not len(images):
        return None
    size = images.shape[-1]
    row = Image.new("RGBA", (len(images) * (size + GAP_PIXELS) - GAP_PIXELS, size))
    for column, image in enumerate(images):
        tile = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        row.paste(tile, (column * (size + GAP_PIXELS), 0))
    file = io.BytesIO()
    row.save(file, "WEBP", quality=QUALITY, method=4)
    uri = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Strip(uri, row.width, row.height, len(images))


def spread(count: int, wanted: int) -> list[int]:
    """``wanted`` of ``count`` places, evenly spread; all where there are not more."""
    if count <= wanted:
        return list(range(count))
    return [place * count // wanted for place in range(wanted)]


def bytes_of(strips: Sequence[Strip | None]) -> int:
    """What the strips take in the page."""
    return sum(len(each.uri) for each in strips if each is not None)
