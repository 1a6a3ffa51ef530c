"""Topics of a class: training images that have something in common, and prompts that ask for it.

The whole class; what the prompt book says that it is made of ("red delicious apple"), where the
data set tells what each image was found by; and looks. The UNet learns each topic from its own
images, so that a prompt that asks for more than the class gets some of it. Prompts of the book
whose phrase no image is known to show, and that ask for no look, go to the whole class.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from challenge.embedded_training.looks import asked_beside, shown_looks
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
        if not self.parts or float(torch.rand((), generator=rng)) < WHOLE_SHARE:
            return self.whole
        weights = torch.tensor([len(part.images) for part in self.parts], dtype=torch.float32)
        return self.parts[int(torch.multinomial(weights, 1, generator=rng))]

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
        _Wording(made.prompt, phrase, asked_beside(phrase, made.prompt))
        for made in book.compositions(label)
        for phrase in (dict(made.picks)[PHRASE],)
    ]
    images, phrases = real.train[label], phrases_of(book, label)
    shown = [nearest_phrase(term, phrases) for term in real.search_terms[label]]
    by_phrase = {
        phrase: torch.tensor([place for place, found in enumerate(shown) if found == phrase])
        for phrase in phrases
        if shown.count(phrase) >= FEWEST_IMAGES
    }
    looks = list(_look_topics(label, shown_looks(images), wordings))
    without_look = [wording for wording in wordings if not wording.looks.any()]
    others = [each.prompt for each in without_look if each.phrase not in by_phrase]
    prompts = (*_whole_prompts(names, rng), *others[:TOPIC_PROMPTS])
    whole = Topic(label, torch.arange(len(images)), prompts)
    return ClassTopics(whole, (*_phrase_topics(label, by_phrase, without_look), *looks))


def _whole_prompts(names: list[str], rng: random.Random) -> tuple[str, ...]:
    """The plain prompt and random wordings that ask for no look."""
    prompts = [plain_prompt(names[0])]
    while len(prompts) < WHOLE_PROMPTS:
        prompt, name = random_prompt(names, rng)
        if not asked_beside(name, prompt).any():
            prompts.append(prompt)
    return tuple(prompts)


def _phrase_topics(
    label: int, by_phrase: Mapping[str, Int64[Tensor, " _"]], wordings: Sequence[_Wording]
) -> Iterator[Topic]:
    for phrase, images in by_phrase.items():
        prompts = [each.prompt for each in wordings if each.phrase == phrase]
        if prompts:
            yield Topic(label, images, tuple(prompts[:TOPIC_PROMPTS]))


def _look_topics(
    label: int, shown: Bool[Tensor, "N looks"], wordings: Sequence[_Wording]
) -> Iterator[Topic]:
    """Images of any phrase: too few have the look and the phrase both."""
    for index in range(shown.shape[1]):
        images = shown[:, index].nonzero().flatten()
        prompts = [each.prompt for each in wordings if each.looks[index]]
        if len(images) >= FEWEST_IMAGES and prompts:
            yield Topic(label, images, tuple(prompts[:TOPIC_PROMPTS]))


def nearest_phrase(term: str, phrases: Sequence[str]) -> str | None:
    """The phrase that holds the words of a search term; None if none does.

    One that begins with them ("seal marine animal") rather than a special kind ("fur seal"), then
    the shortest.
    """
    words = _words(term)
    holding = [phrase for phrase in phrases if words and f" {words} " in f" {_words(phrase)} "]
    return min(
        holding,
        key=lambda phrase: (not _words(phrase).startswith(words), len(phrase)),
        default=None,
    )


def _words(text: str) -> str:
    return text.casefold().replace("-", " ")
