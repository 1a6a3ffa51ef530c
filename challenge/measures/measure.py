"""All measures of one set, per class and over all, each beside the same figure of real images.

Three sets of equal size are drawn: the made images, as many real ones as the reference, and as many
others as the baseline, which is measured as if it had been made. So every figure has its yardstick
of the same sample size beside it. Near-duplicates are looked for among all images of the set.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from challenge.class_names import OFFICIAL_CLASSES
from challenge.errors import SubmissionError
from challenge.measures.diversity import kernel_distance, mean_pairwise_distance, vendi_score
from challenge.measures.duplicates import find_duplicates, thumbnails
from challenge.measures.features import FeatureSpace
from challenge.measures.image_sets import ImageSet
from challenge.measures.neighbours import (
    highest_similarity,
    lowest_best_similarity,
    neighbour_measures,
)
from challenge.measures.pictures import PictureStatistics
from challenge.measures.real_parts import RealParts
from challenge.seeds import derive_seed
from challenge.spec import DatasetSpec

Measures = dict[str, float | None]
Tell = Callable[[int, int], None]  # so many classes are done, of so many

MOST_COMPARED = 50_000  # images of each set, so that features and time stay bounded
MOST_SEARCHED = 200_000  # images among which duplicates are looked for
SHOWN_PAIRS = 50


@dataclass(frozen=True)
class Look:
    """Some images as the measures see them; ``taken_for`` is None in a space without classes."""

    features: Float[Tensor, "N F"]
    taken_for: Int64[Tensor, " N"] | None
    labels: Int64[Tensor, " N"]
    pictures: PictureStatistics
    thumbnails: Float[Tensor, "N 3 T T"]

    @classmethod
    def at(cls, images: UInt8[Tensor, "N 3 S S"], class_index: int, space: FeatureSpace) -> "Look":
        """A look at images of one class."""
        features, taken_for = space.embed(images)
        labels = torch.full((len(images),), class_index)
        pictures = PictureStatistics.of(images)
        return cls(features, taken_for, labels, pictures, thumbnails(images))

    @classmethod
    def concat(cls, looks: "Sequence[Look]") -> "Look":
        """All classes together."""
        taken_for = [look.taken_for for look in looks if look.taken_for is not None]
        return cls(
            torch.cat([look.features for look in looks]),
            torch.cat(taken_for) if taken_for else None,
            torch.cat([look.labels for look in looks]),
            PictureStatistics.concat([look.pictures for look in looks]),
            torch.cat([look.thumbnails for look in looks]),
        )


def measure_set(
    made: ImageSet,
    parts: RealParts,
    space: FeatureSpace,
    device: torch.device,
    tell: Tell,
    *,
    per_class: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The document of one set.

    Raises:
        SubmissionError: a class has no image.
    """
    spec = made.spec
    compared = _images_compared(made, parts, per_class)
    looks = []
    for index in range(spec.num_classes):
        images = made.images.read(index, _draw(made.images.counts[index], compared, index, seed))
        of_class = (images, parts.reference(index, compared), parts.baseline(index, compared))
        looks.append(tuple(Look.at(some, index, space) for some in of_class))
        tell(index + 1, spec.num_classes)
    by_class = [_both(*(_on(look, device) for look in of_class)) for of_class in looks]
    overall = _both(*(_on(Look.concat(group), device) for group in zip(*looks, strict=True)))
    return {
        "path": str(made.path),
        "dataset": spec.name,
        "what": made.what,
        "note": made.note,
        "images": made.count,
        "compared_per_class": compared,
        "compared": compared * spec.num_classes,
        "features": {
            "name": space.name,
            "title": space.title,
            "size": looks[0][0].features.shape[1],
            "accuracy": space.accuracy,
        },
        "overall": overall,
        "classes_mean": {
            group: _mean_of([each[group] for each in by_class]) for group in ("made", "real")
        },
        "classes": [
            {"label": label, "class": name, **measures}
            for label, (name, measures) in enumerate(zip(class_titles(spec), by_class, strict=True))
        ],
        "near_duplicates": search_duplicates(made, device, MOST_SEARCHED),
    }


def _images_compared(made: ImageSet, parts: RealParts, per_class: int | None) -> int:
    """Images of each class in each of the three sets."""
    fewest = min(made.images.counts)
    if fewest == 0:
        empty = made.images.counts.index(0)
        raise SubmissionError(
            f"{made.path}: no image of class {empty} "
            f"({OFFICIAL_CLASSES[made.spec.name][empty].name}), expected one of each at least; "
            "let the run make a complete round"
        )
    most = max(1, MOST_COMPARED // made.spec.num_classes)
    return min(fewest, parts.smallest_quarter, most, per_class or most)


def _draw(count: int, wanted: int, class_index: int, seed: int) -> list[int]:
    """``wanted`` of ``count`` places, at random."""
    rng = np.random.default_rng(derive_seed(seed, "inspect", class_index))
    return sorted(rng.permutation(count)[:wanted].tolist())


def _on(look: Look, device: torch.device) -> Look:
    return Look(
        look.features.to(device),
        look.taken_for,
        look.labels,
        look.pictures,
        look.thumbnails.to(device),
    )


def _both(made: Look, reference: Look, baseline: Look) -> dict[str, Measures]:
    return {"made": _measures(made, reference), "real": _measures(baseline, reference)}


def _measures(some: Look, reference: Look) -> Measures:
    """Every figure of one set of images beside the reference."""
    features, n = some.features, len(some.features)
    near = neighbour_measures(reference.features, features)
    vendi = vendi_score(features)
    kid = kernel_distance(reference.features, features)
    right = None if some.taken_for is None else some.taken_for == some.labels
    return {
        "mean_pairwise_distance": mean_pairwise_distance(features),
        "vendi": vendi,
        "vendi_share": vendi / n,
        **(asdict(near) if near else dict.fromkeys(NEAR)),
        "kid": kid[0] if kid else None,
        "kid_std": kid[1] if kid else None,
        "lowest_best_similarity": lowest_best_similarity(reference.features, features),
        "highest_similarity": highest_similarity(features),
        "near_duplicate_share": find_duplicates(some.thumbnails).images / n,
        "told_right": None if right is None else float(right.double().mean()),
        **some.pictures.summary(),
    }


NEAR = ("precision", "recall", "density", "coverage")


def _mean_of(documents: Sequence[Mapping[str, float | None]]) -> Measures:
    """Means over the classes, of what could be measured."""
    found: Measures = {}
    for name in documents[0]:
        values = [value for each in documents if (value := each[name]) is not None]
        found[name] = statistics.fmean(values) if values else None
    return found


def search_duplicates(made: ImageSet, device: torch.device, most: int) -> dict[str, Any]:
    """Near-duplicates among all images of the set, or ``most`` evenly spaced ones of more."""
    every = -(-made.count // most)
    names = class_titles(made.spec)
    places, small = [], []
    for index, count in enumerate(made.images.counts):
        chosen = list(range(0, count, every))
        places += [(index, place) for place in chosen]
        small.append(thumbnails(made.images.read(index, chosen)))
    found = find_duplicates(torch.cat(small).to(device))
    pairs = found.pairs[:SHOWN_PAIRS].tolist()
    return {
        "searched": len(places),
        "images": found.images,
        "share": found.images / max(1, len(places)),
        "pairs": len(found.pairs),
        "pairs_cut": found.cut,
        "most_alike": [
            {"alike": alike, "images": [_image(places[place], names) for place in pair]}
            for pair, alike in zip(pairs, found.alike.tolist(), strict=False)
        ],
    }


def class_titles(spec: DatasetSpec) -> list[str]:
    """The names of the classes, sorted names first to last."""
    return [official.name for official in OFFICIAL_CLASSES[spec.name][: spec.num_classes]]


def _image(at: tuple[int, int], names: Sequence[str]) -> dict[str, Any]:
    class_index, place = at
    return {"class": names[class_index], "label": class_index, "place": place}
