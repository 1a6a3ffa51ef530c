"""Pairs of images that look the same: thumbnails that correlate, also when one is mirrored.

Shrinking forgives noise and compression, taking each thumbnail's own mean away and dividing by its
length forgives brightness and contrast; a shift of more than a pixel or two is not forgiven. All
pairs are compared, in strips.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from challenge.images import from_uint8, shrink

THUMBNAIL_PIXELS = 16
# Among 10,000 random real training images 9 pairs of CIFAR-100 and none of Tiny-ImageNet
# correlate this much (2026-11); at 0.95 it is 112 and 6.
ALIKE = 0.97
PLAIN = 0.01  # length of a thumbnail without contrast; its rounding errors are no picture
STRIP = 2048
MOST_PAIRS = 100_000  # kept; of a set that is one image over and over there are billions


@dataclass(frozen=True)
class Duplicates:
    """Pairs of places (first below second), most alike first, and how much each is alike.

    ``images`` is how many images have such a partner; ``cut`` says that there were more pairs.
    """

    pairs: Int64[Tensor, "P 2"]
    alike: Float[Tensor, " P"]
    images: int
    cut: bool


def thumbnails(images: UInt8[Tensor, "N 3 S S"]) -> Float[Tensor, "N 3 T T"]:
    """What is compared: 16 x 16 pixels of mean 0 and length 1; a plain image is all 0."""
    small = shrink(from_uint8(images), THUMBNAIL_PIXELS)
    small = small - small.mean((1, 2, 3), keepdim=True)
    return F.normalize(small.flatten(1), dim=1, eps=PLAIN).view_as(small)


def find_duplicates(small: Float[Tensor, "N 3 T T"], alike: float = ALIKE) -> Duplicates:
    """All pairs of ``small`` thumbnails that correlate by ``alike`` or more."""
    flat, mirrored = small.flatten(1), small.flip(3).flatten(1)
    has_partner = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    pairs, values, kept, cut = [], [], 0, False
    for start in range(0, len(flat), STRIP):
        rest = flat[start:]
        strip, strip_mirrored = rest[:STRIP], mirrored[start : start + STRIP]
        similarity = torch.maximum(strip @ rest.T, strip_mirrored @ rest.T).triu_(diagonal=1)
        rows, columns = (similarity >= alike).nonzero(as_tuple=True)
        has_partner[rows + start] = True
        has_partner[columns + start] = True
        cut |= kept + len(rows) > MOST_PAIRS
        rows, columns = rows[: MOST_PAIRS - kept], columns[: MOST_PAIRS - kept]
        kept += len(rows)
        pairs.append(torch.stack([rows, columns], 1) + start)
        values.append(similarity[rows, columns])
    found, strength = torch.cat(pairs).cpu(), torch.cat(values).cpu()
    order = strength.argsort(descending=True)
    return Duplicates(found[order], strength[order], int(has_partner.sum()), cut)
