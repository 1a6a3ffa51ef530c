"""The page's table of colour and light: made, real, and what is public of the data set."""

import torch

from challenge.colour import measure_look
from challenge.images import from_uint8
from challenge.measures.image_sets import ImageSet, ImageSource
from challenge.measures.pictures import PictureStatistics
from challenge.report.strips import spread
from challenge.spec import LOOKS, ColourLook, DatasetSpec

IMAGES_PER_CLASS = 20
CHANNELS = ("red", "green", "blue")


def colour_rows(
    spec: DatasetSpec, made: ImageSet | None, real: ImageSource | None
) -> list[tuple[str, str, str, str]]:
    """Rows: measure, made, real (of ``--data``), and the public constant of real images."""
    if made is None:
        return []
    ours, theirs = _figures(made.images), _figures(real)
    constants = _look(LOOKS[spec.name]) | _channels("mean", spec.mean)
    constants |= _channels("deviation", spec.std)
    return [
        (title, _shown(ours, title), _shown(theirs, title), _shown(constants, title))
        for title in ours
    ]


def _shown(figures: dict[str, float], title: str) -> str:
    return f"{figures[title]:.3f}" if title in figures else ""


def _figures(images: ImageSource | None) -> dict[str, float]:
    """Of a few images of each class."""
    if images is None:
        return {}
    pixels = torch.cat(
        [
            images.read(index, spread(count, IMAGES_PER_CLASS))
            for index, count in enumerate(images.counts)
        ]
    )
    floats = from_uint8(pixels)
    summary = PictureStatistics.of(pixels).summary().items()
    figures = {name.replace("_", " "): value for name, value in summary}
    figures |= _look(measure_look(floats))
    figures |= _channels("mean", floats.mean((0, 2, 3)).tolist())
    return figures | _channels("deviation", floats.std((0, 2, 3)).tolist())


def _look(look: ColourLook) -> dict[str, float]:
    """What ``--match-colour`` brings together."""
    of_set = {"saturation, balance apart": look.saturation, "its spread": look.spread}
    return of_set | _channels("balance", look.balance)


def _channels(kind: str, values: list[float] | tuple[float, ...]) -> dict[str, float]:
    return {f"{kind} of {name}": value for name, value in zip(CHANNELS, values, strict=True)}
