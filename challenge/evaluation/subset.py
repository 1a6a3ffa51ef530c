"""Some of the classes alone: an evaluation in a fraction of the time, to rank ideas, not to report.

The classes are evenly spaced in the sorted order, so every submission is tested on the same ones
whatever its label order. Labels become 0 .. n - 1 in that order, and the network has n outputs.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from challenge.class_names import class_order
from challenge.errors import UsageError
from challenge.evaluation.entries import Entry
from challenge.evaluation.training import TrainingSet
from challenge.spec import DATASETS


def with_subset(entry: Entry, classes: int) -> Entry:
    """The entry with its training sets and its test set cut down to so many classes.

    Raises:
        UsageError: the data set has not so many classes.
    """
    all_classes = DATASETS[entry.spec.name].num_classes
    if classes > all_classes:
        raise UsageError(
            f"--subset-classes {classes}: {entry.spec.title} has {all_classes} classes"
        )
    subset = evenly_spaced(all_classes, classes)
    places = torch.tensor(class_order(entry.spec.name, entry.order_taken))
    images, labels = only_classes(entry.test.images, entry.test.labels, subset)
    return replace(
        entry,
        spec=replace(entry.spec, num_classes=classes),
        trains=tuple(
            TrainingSet(*only_classes(train.images, places.to(train.labels)[train.labels], subset))
            for train in entry.trains
        ),
        test=replace(entry.test, images=images, labels=labels),
        subset=subset,
    )


def evenly_spaced(available: int, wanted: int) -> tuple[int, ...]:
    """``wanted`` of the numbers 0 .. available - 1, from 0 on, as far apart as they can be."""
    return tuple(index * available // wanted for index in range(wanted))


def only_classes(
    images: Float[Tensor, "N 3 S S"], labels: Int64[Tensor, " N"], subset: tuple[int, ...]
) -> tuple[Float[Tensor, "n 3 S S"], Int64[Tensor, " n"]]:
    """The images of these classes, and for each the place of its class in ``subset``."""
    chosen = torch.tensor(subset, device=labels.device)
    (kept,) = torch.isin(labels, chosen).nonzero(as_tuple=True)
    return images[kept.to(images.device)], torch.searchsorted(chosen, labels[kept])
