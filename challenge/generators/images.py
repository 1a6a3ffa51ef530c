"""``--model images:DIR``: no model, but real training images dealt out at random.

The baseline "random real" that papers print, through the same runner as a model. Each class has its
images shuffled by the run seed and dealt out one a round, so no image comes twice before all have
come once; then they are shuffled anew and the file holds copies, which ``note`` says beforehand.

Which image comes depends on the request's seed alone, as with a model: the deck looks up for which
round the seed was made. So it depends neither on the batch size nor on a resume.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from challenge.class_names import OFFICIAL_CLASSES
from challenge.errors import DataError, PromptError
from challenge.generators.base import GeneratorDescription
from challenge.generators.weights import IMAGES_PREFIX
from challenge.images import from_uint8
from challenge.prompts import PromptBook
from challenge.seeds import derive_seed
from challenge.spec import DATASETS, DatasetName
from challenge.train_images import TrainImages


class ImageDeck:
    """One class's images in the order in which they are dealt; place p is the card of a seed."""

    def __init__(self, cards: int, *place: int | str) -> None:
        self._cards, self._place = cards, place
        self._rounds: dict[int, int] = {}  # seed of the first attempt -> round
        self._order: list[int] = []  # of all passes so far
        self._add_pass()

    def card(self, seed: int) -> int:
        """The image for this seed; a seed of no round gets any.

        Such are the warm-up's, and those by which a black image is asked for again.
        """
        while seed not in self._rounds and self._last_pass_is_used:
            self._add_pass()
        round_index = self._rounds.get(seed)
        if round_index is None:
            return seed % self._cards
        self._last_pass_is_used |= round_index >= len(self._order) - self._cards
        return self._order[round_index]

    def _add_pass(self) -> None:
        """Shuffle once more. Rounds come in order, so a pass is added when the last one is used."""
        start = len(self._order)
        cards = list(range(self._cards))
        random.Random(derive_seed(*self._place, "deck", start)).shuffle(cards)
        self._order += cards
        for round_index in range(start, start + self._cards):
            self._rounds[derive_seed(*self._place, round_index, 0)] = round_index
        self._last_pass_is_used = False


class RealImages:
    """An ``ImageGenerator`` that finds the class of a prompt and deals out one of its images."""

    def __init__(self, data_dir: Path, books: Sequence[PromptBook], run_seed: int) -> None:
        self._images = {
            book.dataset: TrainImages.below(DATASETS[book.dataset], data_dir) for book in books
        }
        self._decks: dict[tuple[DatasetName, str], tuple[int, ImageDeck]] = {}
        for book in books:
            self._add_decks(book, run_seed)
        fewest = min(min(images.counts) for images in self._images.values())
        self._description = GeneratorDescription(
            model=f"{IMAGES_PREFIX}{data_dir}",
            source=str(data_dir),
            revision=None,
            dtype="uint8",
            device="cpu",
            note=(
                "real training images, a baseline and no entry to the challenge: "
                f"{fewest} a class without repeats, copies after that (--ipc stops before)"
            ),
        )

    def _add_decks(self, book: PromptBook, run_seed: int) -> None:
        counts = self._images[book.dataset].counts
        official = [each.wnid or each.name for each in OFFICIAL_CLASSES[book.dataset]]
        for entry in book.classes:
            place = official.index(entry.wnid or entry.name)
            deck = ImageDeck(counts[place], run_seed, book.dataset, entry.index)
            for prompt in book.prompts_for(entry.index):
                other, _ = self._decks.setdefault((book.dataset, prompt), (place, deck))
                if other != place:
                    raise PromptError(
                        f"{book.path}: {prompt!r} is a prompt of two classes, expected one; "
                        "real images can only be dealt to prompts of one class"
                    )

    @property
    def description(self) -> GeneratorDescription:
        """Where the images come from."""
        return self._description

    def image_size(self, target_size: int) -> int:
        """The images have the target's size already."""
        return target_size

    def encode_prompts(self, prompts: Sequence[str]) -> None:
        """Nothing to do: a prompt is looked up."""

    def release_text_encoders(self) -> None:
        """Nothing to give back."""

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], image_size: int
    ) -> Float[Tensor, "B 3 S S"]:
        """One real image for each prompt and seed: float32 in [0, 1], on the CPU.

        Raises:
            DataError: an image is damaged.
            ValueError: a prompt stands in no book, or there are not as many seeds as prompts.
        """
        dataset = next(spec.name for spec in DATASETS.values() if spec.image_size == image_size)
        return from_uint8(
            torch.cat(
                [
                    self._image(dataset, prompt, seed)
                    for prompt, seed in zip(prompts, seeds, strict=True)
                ]
            )
        )

    def _image(self, dataset: DatasetName, prompt: str, seed: int) -> Tensor:
        if (dataset, prompt) not in self._decks:
            raise ValueError(f"{prompt!r} is a prompt of no class of {dataset}")
        place, deck = self._decks[dataset, prompt]
        return self._images[dataset].read(place, [deck.card(seed)])


def load_real_images(model: str, books: Sequence[PromptBook], run_seed: int) -> RealImages:
    """The generator that ``images:DIR`` names.

    Raises:
        DataError: DIR does not hold the training images of a data set of ``books``.
    """
    data_dir = Path(model.removeprefix(IMAGES_PREFIX))
    if not data_dir.is_dir():
        raise DataError(
            f"--model {model}: no folder {data_dir}; give images:DIR with the folder that holds "
            "cifar-100-python/ or tiny-imagenet-200/"
        )
    return RealImages(data_dir, books, run_seed)
