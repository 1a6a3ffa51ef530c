"""How many images of one data set fit into a time, at costs that were measured.

The reserve for the last file and the images in it are worked out by the very code that the
scheduler uses, so a forecast cannot follow other rules than the run. What a run wins back when its
last file takes less than the reserve is left out: a forecast is rather too low.
"""

from bisect import bisect_right
from dataclasses import dataclass
from math import ceil, prod

from challenge.budget import PackCost
from challenge.file_plan import FLOAT32_BYTES, FileCeiling, plan_file
from challenge.settings import GenerateSettings
from challenge.spec import DatasetName, DatasetSpec

MOST_ROUNDS = 10**7  # a week at 1,600 images/s and 100 classes


@dataclass(frozen=True)
class DatasetCosts:
    """What one data set's images and files cost.

    ``generate_s`` is how many seconds ``images_per_s`` was measured over; ``batch_size`` is the one
    it was settled on, None before there was one. ``files`` holds the images and seconds of a small
    and of a large file; ``file_s_per_image`` splits what all files of a run took by phase, for each
    image of the last one.
    """

    images_per_s: float
    generate_s: float
    batch_size: int | None
    files: tuple[tuple[int, float], ...]
    file_s_per_image: dict[str, float]


@dataclass(frozen=True)
class MeasuredCosts:
    """What a run cost: seconds of the shared phases, and the costs of each data set by name."""

    shared_s: dict[str, float]
    datasets: dict[str, DatasetCosts]


@dataclass(frozen=True)
class DatasetPlan:
    """One data set: ``images`` distinct ones, ``ipc`` a class in the file.

    ``reserve_s`` is kept for the last file; what of it is not needed stays unused.
    """

    dataset: DatasetName
    phases_s: dict[str, float]
    reserve_s: float
    images: int
    images_per_s: float
    ipc: int
    file_bytes: int
    journal_bytes: int

    @property
    def seconds(self) -> float:
        """All phases together."""
        return sum(self.phases_s.values())


class Forecast:
    """How many images of one data set fit into a time, at its costs."""

    def __init__(
        self,
        settings: GenerateSettings,
        spec: DatasetSpec,
        costs: DatasetCosts,
        ceiling: FileCeiling,
    ) -> None:
        self._spec, self._costs, self._ceiling = spec, costs, ceiling
        self._target_ipc = None if settings.ipc == "auto" else settings.ipc
        self._distinct_ipc = settings.distinct_ipc(spec.name)
        self._augment = settings.augment
        self._pack = PackCost()
        for images, seconds in costs.files:
            self._pack.observe(images, seconds)

    def plan(self, available_s: float) -> DatasetPlan:
        """The plan for so many seconds; of no image when not even one of each class fits."""
        images = self._images(available_s)
        rounds = ceil(images / self._spec.num_classes)
        if self._augment == "none":
            rounds = images // self._spec.num_classes
        file_images = self._file_images(rounds) if images else 0
        pixels = prod(self._spec.image_shape)
        phases_s = {"generate": images / self._costs.images_per_s}
        phases_s |= {
            phase: seconds * file_images for phase, seconds in self._costs.file_s_per_image.items()
        }
        return DatasetPlan(
            dataset=self._spec.name,
            phases_s=phases_s,
            reserve_s=self._pack.pessimistic_s(file_images) if images else 0.0,
            images=images,
            images_per_s=self._costs.images_per_s,
            ipc=file_images // self._spec.num_classes,
            file_bytes=file_images * pixels * FLOAT32_BYTES,
            journal_bytes=images * pixels,
        )

    def needed_s(self, rounds: int) -> float:
        """Seconds for so many complete rounds, the files on the way and the last one's reserve."""
        return rounds * self._round_s + self._files_s(rounds)

    @property
    def _most_rounds(self) -> int:
        """Rounds after which the run ends, however much time is left: no file could hold more."""
        wanted = MOST_ROUNDS if self._distinct_ipc is None else self._distinct_ipc
        return min(wanted, self._ceiling.ipc)

    @property
    def _round_s(self) -> float:
        return self._spec.num_classes / self._costs.images_per_s

    def _files_s(self, rounds: int) -> float:
        images = self._file_images(rounds)
        all_files_s = images * sum(self._costs.file_s_per_image.values())
        on_the_way_s = max(0.0, all_files_s - self._pack.expected_s(images))
        return on_the_way_s + self._pack.pessimistic_s(images)

    def _file_images(self, rounds: int) -> int:
        plan = plan_file(
            [rounds], self._target_ipc, augment=self._augment, most_ipc=self._ceiling.ipc
        )
        return plan.ipc * self._spec.num_classes

    def _images(self, available_s: float) -> int:
        """Distinct images: all complete rounds that fit, and what fits of the next."""
        rounds = self._rounds(available_s)
        classes = self._spec.num_classes
        if rounds in (0, self._most_rounds):
            return rounds * classes
        left_s = available_s - rounds * self._round_s - self._files_s(rounds + 1)
        return rounds * classes + int(max(0.0, left_s) * self._costs.images_per_s)

    def _rounds(self, available_s: float) -> int:
        """Complete rounds until the first that does not fit, as the scheduler stops.

        Up to 128 one by one, since with fewer variants a file of more distinct images may be the
        smaller one (``variants_for``); from there on more rounds always need more time.
        """
        most = self._most_rounds
        for rounds in range(1, min(most, 128) + 1):
            if self.needed_s(rounds) > available_s:
                return rounds - 1
        return bisect_right(range(most + 1), available_s, lo=min(most, 128), key=self.needed_s) - 1
