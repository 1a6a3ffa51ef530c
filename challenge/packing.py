"""From the images of a data set to its submission file: choose, augment, normalise, write, fsync.

Streams a few classes at a time, so memory does not grow with the file. The same code writes the
valid files on the way and the last one, so what the former cost tells what the latter will.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from challenge.augment import augment_images
from challenge.budget import PhaseTimer
from challenge.colour import ColourMatch, measure_look
from challenge.errors import PackingDeviceError, TooLateError, TooSlowError, first_line
from challenge.file_plan import FilePlan
from challenge.images import from_uint8
from challenge.seeds import derive_seed
from challenge.settings import AugmentPreset
from challenge.spec import LOOKS, DatasetSpec
from challenge.submission import SubmissionFile, SubmissionWriter, normalize

RENAME_S = 0.1  # kept for the rename and the folder's fsync: 3 ms here, more on a busy disk
TELLING_SHARE = 0.1  # of a file, after which its speed says when it will be finished
LOOKED_AT = 2000  # pictures by which the colours of a set are judged
CHUNK_IMAGES = 1024  # about 50 MB of Tiny-ImageNet as float32


class ImageSource(Protocol):
    """Where the distinct pictures of each class are read from, each in one or more views."""

    def read_views(self, class_index: int, most: int | None = None) -> UInt8[Tensor, "N V 3 S S"]:
        """The pictures of one class in the order in which they were made; ``most`` at most."""
        ...


class Packer:
    """Writes submission files of one data set; times the phases augment, write, fsync."""

    def __init__(
        self,
        spec: DatasetSpec,
        preset: AugmentPreset,
        run_seed: int,
        device: torch.device,
        timer: PhaseTimer,
        *,
        match_colour: bool = False,
    ) -> None:
        self._spec, self._preset, self._run_seed = spec, preset, run_seed
        self.device, self._timer, self._match_colour = device, timer, match_colour
        self.colour: ColourMatch | None = None  # how the last file's colours were changed

    def write(
        self, source: ImageSource, plan: FilePlan, path: Path, deadline_s: float
    ) -> SubmissionFile:
        """Put ``plan.ipc`` images of each class into ``path``, replacing it when all is on disk.

        Raises ``TooLateError`` when the deadline passes before that, or ``TooSlowError`` as soon as
        it shows that it will; ``SubmissionError`` when the disk refuses. What stood at ``path``
        before is then untouched.
        """
        images, done, started_s = plan.ipc * self._spec.num_classes, 0, self._timer.now_s()
        with self._timer.phase("write"), SubmissionWriter(path, self._spec, images) as writer:
            self._require_in_time(path, deadline_s)
            if self._match_colour:
                self.colour = self._colour_match(source)
            for chunk in self._chunks(source, plan):
                writer.write(chunk)
                done += len(chunk)
                self._require_in_time(path, deadline_s)
                if done >= images * TELLING_SHARE:
                    rate = done / max(self._timer.now_s() - started_s, 1e-9)
                    self._require_fast_enough(path, deadline_s, images - done, rate)
            with self._timer.phase("fsync"):
                writer.sync()
                self._require_in_time(path, deadline_s - RENAME_S)
                return writer.finish()

    def _require_in_time(self, path: Path, deadline_s: float) -> None:
        if self._timer.now_s() > deadline_s:
            raise TooLateError(f"{path} was not packed before the deadline")

    def _require_fast_enough(
        self, path: Path, deadline_s: float, images_left: int, images_per_s: float
    ) -> None:
        end_s = self._timer.now_s() + images_left / images_per_s + RENAME_S
        if end_s > deadline_s:
            raise TooSlowError(
                f"{path} would be finished {end_s - deadline_s:.1f} s late at the "
                f"{images_per_s:.0f} images/s of its packing",
                images_per_s,
            )

    def _chunks(self, source: ImageSource, plan: FilePlan) -> Iterator[Float[Tensor, "B 3 S S"]]:
        """Normalised images in file order: whole classes, about CHUNK_IMAGES images at a time."""
        step = max(1, CHUNK_IMAGES // plan.ipc)
        for start in range(0, self._spec.num_classes, step):
            classes = range(start, min(start + step, self._spec.num_classes))
            with self._timer.phase("augment"), _explaining_device_errors():
                chunk = normalize(self._augmented(source, plan, classes), self._spec).cpu()
            yield chunk

    def _colour_match(self, source: ImageSource) -> ColourMatch:
        """From the look of the set, seen on its first pictures of each class, to the real one's."""
        most = -(-LOOKED_AT // self._spec.num_classes)
        with self._timer.phase("augment"), _explaining_device_errors():
            classes = range(self._spec.num_classes)
            some = torch.cat([source.read_views(place, most)[:, 0] for place in classes])
            return ColourMatch(
                measure_look(from_uint8(some.to(self.device))), LOOKS[self._spec.name]
            )

    def _augmented(
        self, source: ImageSource, plan: FilePlan, classes: range
    ) -> Float[Tensor, "B 3 S S"]:
        """Images of some classes in [0, 1], in file order, with their variants in place.

        The first variants of a picture are its other views, the rest is post-augmented.
        """
        images, seeds, colours = [], [], []
        for class_index in classes:
            pictures = source.read_views(class_index)
            views = pictures.shape[1]
            slots = plan.slots(len(pictures))
            places = [base * views + (v if v < views else 0) for base, v in slots]
            images.append(pictures.flatten(0, 1)[torch.tensor(places)])
            seeds += [
                None if variant < views else self._seed("variant", class_index, base, variant)
                for base, variant in slots
            ]
            colours += [(class_index, base) for base, _ in slots]
        batch = from_uint8(torch.cat(images).to(self.device))
        if self.colour is not None:
            batch = self.colour.apply(batch, [self._seed("colour", *place) for place in colours])
        varied = [place for place, seed in enumerate(seeds) if seed is not None]
        if varied:
            where = torch.tensor(varied, device=self.device)
            batch[where] = augment_images(
                batch[where], [seed for seed in seeds if seed is not None], self._preset
            )
        return batch

    def _seed(self, what: str, *place: int) -> int:
        return derive_seed(self._run_seed, self._spec.name, what, *place)


@contextmanager
def _explaining_device_errors() -> Iterator[None]:
    """A device that fails or is out of memory is an error of one line."""
    try:
        yield
    except RuntimeError as error:
        raise PackingDeviceError(f"augmentation failed: {first_line(error)}") from error
