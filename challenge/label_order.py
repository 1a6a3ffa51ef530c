"""Which class is label i of an official Tiny-ImageNet test file? Found by looking at its images.

Nobody documents the order. Where tiny-imagenet-200 lies beside the file, some of the file's images
are looked up among the validation images, whose classes are known.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from challenge.class_names import class_order
from challenge.spec import DatasetName

LOOKED_UP = 20  # images of each label, at most
THUMBNAIL = 8  # pixels a side: decoders and resizing differ by less than two photographs do
AGREEMENT = 0.9  # share of the looked-up images that must say the same of their label


def order_by_matching(
    images: Float[Tensor, "N 3 S S"],
    labels: Int64[Tensor, " N"],
    known_images: Float[Tensor, "M 3 S S"],
    known_places: Int64[Tensor, " M"],
    num_classes: int,
) -> tuple[int, ...] | None:
    """For each label the place of its class among the sorted ones; None where that is not clear.

    ``known_places`` are the sorted places of the known images. It is clear when at least nine of
    ten images agree with the others of their label and no two labels mean one class.
    """
    chosen = torch.cat([(labels == label).nonzero()[:LOOKED_UP, 0] for label in range(num_classes)])
    nearest = torch.cdist(_thumbnails(images[chosen]), _thumbnails(known_images)).argmin(dim=1)
    votes = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    votes.index_put_(
        (labels[chosen], known_places[nearest]),
        torch.ones(len(chosen), dtype=torch.int64),
        accumulate=True,
    )
    most, places = votes.max(dim=1)
    agreeing = int(most.sum()) >= AGREEMENT * len(chosen)
    one_to_one = int(most.min()) > 0 and len(set(places.tolist())) == num_classes
    if not (agreeing and one_to_one):
        return None
    return tuple(places.tolist())


def order_title(dataset: DatasetName, order: tuple[int, ...]) -> str:
    """What the order is called."""
    if order == class_order(dataset, "sorted"):
        return "sorted wnids"
    if order == class_order(dataset, "wnids-txt"):
        return "the raw order of wnids.txt"
    return "an order of its own"


def _thumbnails(images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N F"]:
    return F.adaptive_avg_pool2d(images, THUMBNAIL).flatten(1)
