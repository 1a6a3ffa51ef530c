"""Topics of a class: training images that have something in common, and prompts that ask for it.

The whole class; what the prompt book says that it is made of ("red delicious apple"), where the
data set tells what each image was found by; and looks. The UNet learns each topic from its own
images, so that a prompt that asks for more than the class gets it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from challenge.embedded_training.looks import asked_looks, shown_looks
from challenge.embedded_training.training_images import TrainingImages
from challenge.embedded_training.wording import names_of, phrases_of, plain_prompt, random_prompt
from challenge.prompt_grammar import PHRASE
from challenge.prompts import PromptBook

FEWEST_IMAGES = 16
WHOLE_PROMPTS = 16
TOPIC_PROMPTS = 8
WHOLE_SHARE = 0.5
"""Of the draws that take the whole class; the others go by how many images a topic has."""


@dataclass(frozen=True)
class Topic:
    """``images`` are places among the class's training images."""

    label: int
    images: Int64[Tensor, " N"]
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class ClassTopics:
    """The topics of one class."""

    whole: Topic
    parts: tuple[Topic, ...]

    def draw(self, rng: torch.Generator) -> Topic:
        """The whole class or one of its parts."""
        whole, place = torch.rand(2, generator=rng).tolist()
        if whole < WHOLE_SHARE or not self.parts:
            return self.whole
        return self.parts[_at_share([len(part.images) for part in self.parts], place)]

    @property
    def prompts(self) -> list[str]:
        """Of all topics."""
        return [prompt for topic in (self.whole, *self.parts) for prompt in topic.prompts]


@dataclass(frozen=True)
class _Wording:
    """A prompt of the book, with the phrase that it is made of and the looks that it asks for."""

    prompt: str
    phrase: str
    looks: Bool[Tensor, " looks"]


def class_topics(real: TrainingImages, book: PromptBook, seed: int) -> list[ClassTopics]:
    """The topics of every class. ``book`` is one whose preset has phrases and surroundings."""
    rng = random.Random(seed)
    return [_topics(real, book, label, names, rng) for label, names in enumerate(names_of(book))]


def _topics(
    real: TrainingImages, book: PromptBook, label: int, names: list[str], rng: random.Random
) -> ClassTopics:
    wordings = [
        _Wording(made.prompt, phrase, asked_looks(made.prompt.replace(phrase, "")))
        for made in book.compositions(label)
        for phrase in (dict(made.picks)[PHRASE],)
    ]
    images = real.train[label]
    whole = Topic(label, torch.arange(len(images)), _whole_prompts(names, rng))
    terms, phrases = real.search_terms[label], phrases_of(book, label)
    parts = [
        *_phrase_topics(label, [nearest_phrase(term, phrases) for term in terms], wordings),
        *_look_topics(label, images, wordings),
    ]
    return ClassTopics(whole, tuple(parts))


def _whole_prompts(names: list[str], rng: random.Random) -> tuple[str, ...]:
    """The plain prompt and random wordings that ask for no look."""
    prompts = [plain_prompt(names[0])]
    while len(prompts) < WHOLE_PROMPTS:
        prompt, name = random_prompt(names, rng)
        if not asked_looks(prompt.replace(name, "")).any():
            prompts.append(prompt)
    return tuple(prompts)


def _phrase_topics(
    label: int, of_images: Sequence[str | None], wordings: Sequence[_Wording]
) -> Iterator[Topic]:
    for phrase in dict.fromkeys(wording.phrase for wording in wordings):
        images = torch.tensor([i for i, found in enumerate(of_images) if found == phrase])
        prompts = [w.prompt for w in wordings if w.phrase == phrase and not w.looks.any()]
        if len(images) >= FEWEST_IMAGES and prompts:
            yield Topic(label, images, tuple(prompts[:TOPIC_PROMPTS]))


def _look_topics(
    label: int, images: UInt8[Tensor, "N 3 S S"], wordings: Sequence[_Wording]
) -> Iterator[Topic]:
    shown = shown_looks(images)
    for index in range(shown.shape[1]):
        having = shown[:, index].nonzero().flatten()
        prompts = [w.prompt for w in wordings if w.looks[index]]
        if len(having) >= FEWEST_IMAGES and prompts:
            yield Topic(label, having, tuple(prompts[:TOPIC_PROMPTS]))


def nearest_phrase(term: str, phrases: Sequence[str]) -> str | None:
    """The shortest phrase that holds the search term; None if none does."""
    holding = [phrase for phrase in phrases if term and term.casefold() in phrase.casefold()]
    return min(holding, key=len, default=None)


def _at_share(weights: Sequence[int], place: float) -> int:
    """Which of them lies at a place in [0, 1) of their sum."""
    bounds = torch.tensor(weights).cumsum(0)
    return int((place * bounds[-1] >= bounds).sum())
