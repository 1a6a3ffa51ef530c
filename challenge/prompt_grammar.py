"""A small grammar: a template with slots, weighted choices for each slot, a pool of prompts.

    {style} {phrase}{view}{surroundings}
    a close-up photo of  red fox , from the side  in deep snow

A pool is a sequence without repeats: the first ten prompts of a pool of a hundred are the pool of
ten. It begins with the likeliest choice of each slot. The phrases, which say what the picture shows
of, come in their shares to within one prompt at every length; the other slots are drawn at random,
each on its own, from a seed that depends on the class alone and not on the run.
"""

import random
import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice

from challenge.seeds import derive_seed

PHRASE = "phrase"
SLOT = re.compile(r"{(\w+)}")
MISSES = 100  # repeats one after the other, after which a phrase has no more new prompts

Choices = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Composition:
    """A prompt, and the choice that was made for each slot."""

    prompt: str
    picks: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Grammar:
    """The rules of one class. A prompt that holds all texts of one of ``exclude`` is not made."""

    template: str
    slots: Mapping[str, Choices]
    exclude: tuple[tuple[str, ...], ...]
    seed: int

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The slots in the order of the template."""
        return tuple(SLOT.findall(self.template))

    def compose(self, count: int) -> list[Composition]:
        """The first ``count`` compositions, or all there are."""
        return self.pool().first(count)

    def pool(self) -> "Pool":
        """All compositions, made as they are asked for."""
        return Pool(self._compositions())

    def _compositions(self) -> Iterator[Composition]:
        rng = random.Random(self.seed)
        wheels = [_Wheel(self.slots[name]) for name in self.names]
        turns = _Turns(self.slots[PHRASE] if PHRASE in self.names else (("", 1.0),))
        phrase_place = self.names.index(PHRASE) if PHRASE in self.names else None
        likeliest = tuple(wheel.likeliest for wheel in wheels)
        prompts: set[str] = set()
        tried = {likeliest}  # before a prompt is put together: most repeats end here
        if (made := self._fill(likeliest)) is not None:
            turns.count(likeliest[phrase_place] if phrase_place is not None else "")
            prompts.add(made.prompt)
            yield made
        while (phrase := turns.next()) is not None:
            for _ in range(MISSES):
                picks = [wheel.turn(rng) for wheel in wheels]
                if phrase_place is not None:
                    picks[phrase_place] = phrase
                if (key := tuple(picks)) in tried:
                    continue
                tried.add(key)
                made = self._fill(key)
                if made is not None and made.prompt not in prompts:
                    prompts.add(made.prompt)
                    yield made
                    break
            else:
                turns.drop(phrase)

    def _fill(self, picks: tuple[str, ...]) -> Composition | None:
        """The prompt of these choices, one a slot; None where it is excluded."""
        choices = iter(picks)
        prompt = " ".join(SLOT.sub(lambda _: next(choices), self.template).split())
        folded = prompt.casefold()
        if any(all(part in folded for part in parts) for parts in self.exclude):
            return None
        return Composition(prompt, tuple(zip(self.names, picks, strict=True)))


class Pool:
    """Compositions, each made when it is first asked for."""

    def __init__(self, source: Iterator[Composition]) -> None:
        self._source = source
        self._made: list[Composition] = []

    def first(self, count: int) -> list[Composition]:
        """The first ``count``, or all there are."""
        self._made += islice(self._source, max(0, count - len(self._made)))
        return self._made[:count]


class _Wheel:
    """Random choices with their weights."""

    def __init__(self, choices: Choices) -> None:
        self._texts = [text for text, _ in choices]
        self._bounds = list(accumulate(weight for _, weight in choices))
        self._last = len(choices) - 1
        self.likeliest = max(choices, key=lambda choice: choice[1])[0]

    def turn(self, rng: random.Random) -> str:
        """One text; never one of weight 0."""
        place = bisect(self._bounds, rng.random() * self._bounds[-1])
        return self._texts[place if place < self._last else self._last]


class _Turns:
    """Phrases in turn: next is the one that is furthest behind its share."""

    def __init__(self, choices: Choices) -> None:
        self._weights = {text: weight for text, weight in choices if weight > 0}
        self._given: Counter[str] = Counter()

    def next(self) -> str | None:
        """The phrase whose turn it is; None when all were dropped."""
        if not self._weights:
            return None
        weights, given = self._weights, self._given
        made = 1 + sum(given[each] for each in weights)
        per_weight = made / sum(weights.values())
        text = max(weights, key=lambda each: weights[each] * per_weight - given[each])
        given[text] += 1
        return text

    def count(self, text: str) -> None:
        """A prompt with this phrase was made out of turn."""
        self._given[text] += 1

    def drop(self, text: str) -> None:
        """There are no more prompts with this phrase."""
        del self._weights[text]


def class_seed(dataset: str, identity: str) -> int:
    """The seed of a class's pool: it changes neither with the run nor with its neighbours."""
    return derive_seed("prompt pool", dataset, identity)


def with_shares(choices: Choices, shares: Mapping[str, float]) -> Choices:
    """The choices with some texts at given shares of the whole, and the others in what is left."""
    others = [(text, weight) for text, weight in choices if text not in shares]
    rest = 1 - sum(shares.values())
    total = sum(weight for _, weight in others) or 1.0
    scaled = [(text, weight / total * rest) for text, weight in others]
    return (*scaled, *shares.items())


def counted_shares(
    compositions: Sequence[Composition],
) -> dict[str, list[tuple[str, float]]]:
    """For each slot its texts and the share of the prompts that have them, the largest first."""
    counts: dict[str, Counter[str]] = {}
    for made in compositions:
        for slot, text in made.picks:
            counts.setdefault(slot, Counter())[text] += 1
    return {
        slot: [(text, count / len(compositions)) for text, count in found.most_common()]
        for slot, found in counts.items()
    }
