"""What the values of a submission say: were they normalised, are they finite, are there copies?"""

import hashlib

import torch
from jaxtyping import Bool, Float64, Int64, Shaped
from torch import Tensor

from challenge.spec import DatasetSpec

RAW_RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}
END_TOLERANCE = 0.05  # of a range's width
LARGEST_NORMALISED = 8.0  # three times what a white pixel becomes (2.64, Tiny-ImageNet's blue)
ROUNDING = 0.01  # of values that went through half precision


class PixelScan:
    """Gathers statistics chunk by chunk, then tells problems and warnings, one sentence each.

    Indices are places in the file, which without ``labels`` say the class. Memory grows by about
    100 bytes an image.
    """

    def __init__(
        self, spec: DatasetSpec, num_images: int, labels: Int64[Tensor, " N"] | None = None
    ) -> None:
        self._spec = spec
        self._labels = labels
        self._num_images = num_images
        mean, std = (
            torch.tensor(numbers, dtype=torch.float64) for numbers in (spec.mean, spec.std)
        )
        self._black, self._white = -mean / std, (1 - mean) / std
        self._low = torch.full((3,), torch.inf, dtype=torch.float64)
        self._high = -self._low
        self._sum = torch.zeros(3, dtype=torch.float64)
        self._sum_of_squares = torch.zeros(3, dtype=torch.float64)
        self._num_scanned = 0
        self._non_finite: list[int] = []
        self._constant: list[int] = []
        self._out_of_range: list[int] = []
        self._first_with: dict[bytes, int] = {}
        self._copies: list[tuple[int, int]] = []

    def add(self, images: Shaped[Tensor, "B 3 S S"]) -> None:
        """Scan the next images of the file."""
        values = images.flatten(2)
        if not values.is_floating_point():
            values = values.to(torch.float64)
        low, high = values.amin(2).double(), values.amax(2).double()  # NaN wins
        self._low = self._low.minimum(low.amin(0))
        self._high = self._high.maximum(high.amax(0))
        self._sum += values.sum(2, dtype=torch.float64).sum(0)
        norms = torch.linalg.vector_norm(values, dim=2, dtype=torch.float64)
        self._sum_of_squares += norms.square().sum(0)
        self._non_finite += self._places(~(low.isfinite() & high.isfinite()).all(1))
        self._constant += self._places((low == high).all(1))
        outside = (low < self._black - ROUNDING) | (high > self._white + ROUNDING)
        self._out_of_range += self._places(outside.any(1))
        self._find_copies(images)
        self._num_scanned += len(images)

    def _places(self, mask: Bool[Tensor, " B"]) -> list[int]:
        return [self._num_scanned + int(place) for place in mask.nonzero()]

    def _find_copies(self, images: Shaped[Tensor, "B 3 S S"]) -> None:
        rows = images.contiguous().flatten(1).view(torch.uint8).numpy()
        for place, row in enumerate(rows, start=self._num_scanned):
            first = self._first_with.setdefault(
                hashlib.blake2b(row.data, digest_size=16).digest(), place
            )
            if first != place:
                self._copies.append((first, place))

    @property
    def mean(self) -> tuple[float, ...] | None:
        """Mean of each channel; None when a value is not finite."""
        return None if self._non_finite else tuple(self._channel_means().tolist())

    @property
    def std(self) -> tuple[float, ...] | None:
        """Standard deviation of each channel; None when a value is not finite."""
        if self._non_finite:
            return None
        mean_square = self._sum_of_squares / self._values_per_channel()
        variance = mean_square - self._channel_means().square()
        return tuple(variance.clamp(min=0).sqrt().tolist())

    def _channel_means(self) -> Float64[Tensor, "3"]:
        return self._sum / self._values_per_channel()

    def _values_per_channel(self) -> int:
        return self._num_scanned * self._spec.image_size**2

    def problems(self) -> list[str]:
        """What makes the data unusable."""
        if self._non_finite:
            return [
                f"NaN or infinite values in {self._count(self._non_finite)}, expected finite ones; "
                "make these images again"
            ]
        if found := raw_range(self._low, self._high):
            return [
                f"the values fill the range {found} (found {self._extremes()}): they were never "
                f"normalised; {self._how_to_normalise()}"
            ]
        return []

    def warnings(self) -> list[str]:
        """What the author should look at."""
        warnings = []
        if not self.problems():
            warnings += self._range_warnings()
        if self._constant:
            warnings.append(
                f"one colour only in {self._count(self._constant)}; look at what the model makes "
                "of these classes"
            )
        if self._copies:
            warnings.append(self._copies_warning())
        return warnings

    def _range_warnings(self) -> list[str]:
        if bool((self._low >= 0).all() and (self._high <= 1).all()):
            return [
                f"all values lie in 0..1 (found {self._extremes()}): every image is pale, or they "
                f"were never normalised; if so, {self._how_to_normalise()}"
            ]
        if self._out_of_range:
            expected = _extremes(self._black, self._white)
            return [
                f"values that no pixel can have in {self._count(self._out_of_range)} (found "
                f"{self._extremes()}, expected {expected} for {self._spec.title}); "
                f"{self._how_to_normalise()}"
            ]
        return []

    def _copies_warning(self) -> str:
        first, copy = self._copies[0]
        across = sum(self._class_of(a) != self._class_of(b) for a, b in self._copies)
        return (
            f"{len(self._copies)} of {self._num_images} images are exact copies of an earlier one, "
            f"{across} of them of one in another class (first: image {copy}, class "
            f"{self._class_of(copy)}, of image {first}, class {self._class_of(first)}); "
            "look at seeds and prompts"
        )

    def _class_of(self, place: int) -> int:
        if self._labels is not None:
            return int(self._labels[place])
        return place * self._spec.num_classes // self._num_images

    def _count(self, places: list[int]) -> str:
        first = f"first: image {places[0]}, class {self._class_of(places[0])}"
        return f"{len(places)} of {self._num_images} images ({first})"

    def _extremes(self) -> str:
        return _extremes(self._low, self._high)

    def _how_to_normalise(self) -> str:
        mean, std = self._spec.mean, self._spec.std
        return f"save (pixels in 0..1 - mean) / std with mean {mean} and std {std}"


def _extremes(low: Float64[Tensor, "3"], high: Float64[Tensor, "3"]) -> str:
    return f"{float(low.min()):.3f} to {float(high.max()):.3f}"


def raw_range(low: Float64[Tensor, "3"], high: Float64[Tensor, "3"]) -> str | None:
    """The range of pixels that were never normalised, told from each channel's extremes.

    Each channel must come close to both ends. No grey picture of low contrast does that once it is
    normalised, because mean and std differ from channel to channel. A value far beyond normalised
    white, with none below zero, is a raw 0..255 even when nothing is white.
    """
    for name, (start, end) in RAW_RANGES.items():
        tolerance = END_TOLERANCE * (end - start)
        near_start = (low - start).abs() <= tolerance
        near_end = (high - end).abs() <= tolerance
        if bool(near_start.all() and near_end.all()):
            return name
    if bool((low >= 0).all()) and float(high.max()) > LARGEST_NORMALISED:
        return "0..255"
    return None
