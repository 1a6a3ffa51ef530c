"""What the UNet learns from: a lesson for each data set, which of them is when, and drawing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from challenge.embedded_training.feature_network import FeatureNetwork
from challenge.embedded_training.prompt_pool import PromptPool
from challenge.embedded_training.real_features import RealFeatures
from challenge.embedded_training.topics import ClassTopics, Topic
from challenge.generators.tiny_networks import LATENT_CHANNELS


@dataclass(frozen=True)
class Lesson:
    """What the UNet learns one data set from."""

    name: str
    latent_side: int
    judge: FeatureNetwork
    real: RealFeatures
    topics: Sequence[ClassTopics]
    prompts: PromptPool

    @property
    def num_classes(self) -> int:
        """Classes of the data set."""
        return len(self.topics)

    def draw_topics(self, count: int, rng: torch.Generator) -> list[Topic]:
        """A topic each of ``count`` different classes, or of all where there are fewer."""
        drawn = torch.randperm(self.num_classes, generator=rng)[:count].tolist()
        return [self.topics[label].draw(rng) for label in drawn]

    def draw_inputs(
        self, topics: Sequence[Topic], count: int, rng: torch.Generator
    ) -> tuple[list[str], Float[Tensor, "B latent h w"]]:
        """Prompts and noise for ``count`` images of each topic, topic after topic."""
        shape = (count * len(topics), LATENT_CHANNELS, self.latent_side, self.latent_side)
        noise = torch.randn(shape, generator=rng)
        prompts = []
        for topic in topics:
            places = torch.randint(len(topic.prompts), (count,), generator=rng)
            prompts += [topic.prompts[place] for place in places.tolist()]
        return prompts, noise.to(self.prompts.hidden.device)


class LessonPlan:
    """Which data set a step learns from; a lesson is prepared when its first step comes."""

    def __init__(self, prepare: Sequence[Callable[[], Lesson]], first_alone: int) -> None:
        self._prepare, self._first_alone = prepare, first_alone
        self._prepared: dict[int, Lesson] = {}

    def at(self, step: int) -> Lesson:
        """The first data set alone for ``first_alone`` steps, then each in its turn."""
        return self._lesson(self._index(step))

    def all(self) -> list[Lesson]:
        """The lessons of all data sets."""
        return [self._lesson(index) for index in range(len(self._prepare))]

    def taught_before(self, step: int) -> int:
        """How many of the steps before this one were of its lesson."""
        index, turns = self._index(step), len(self._prepare)
        if step < self._first_alone:
            return step
        first_turn = self._first_alone + (index - self._first_alone) % turns
        return (step - first_turn) // turns + (self._first_alone if index == 0 else 0)

    @property
    def begun(self) -> list[Lesson]:
        """The lessons of the steps so far."""
        return [lesson for _, lesson in sorted(self._prepared.items())]

    def _index(self, step: int) -> int:
        return 0 if step < self._first_alone else step % len(self._prepare)

    def _lesson(self, index: int) -> Lesson:
        if index not in self._prepared:
            self._prepared[index] = self._prepare[index]()
        return self._prepared[index]
