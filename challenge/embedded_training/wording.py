"""Random prompts for the classes: the names that a class goes by, in many wordings.

Words that say nothing of the class (style, view, surroundings) are strewn in, so that the text
encoders learn which words count for what. Class names and the prompt books alone; nothing is taken
from the images.
"""

import random

from challenge.prompt_grammar import PHRASE
from challenge.prompts import NOUN_SLOT, PromptBook

STYLES = (
    "a photo of {noun}",
    "a photo of a {noun}",
    "a photo of an {noun}",
    "{noun}",
    "a {noun}",
    "a picture of the {noun}",
    "a close-up photo of a {noun}",
    "an amateur snapshot of a {noun}",
    "a low quality blurry photo of a {noun}",
    "a photo of a small {noun}",
    "a photo of a large {noun}",
    "a black and white photo of a {noun}",
)
VIEWS = (
    "",
    ", side view",
    ", from the front",
    ", from above",
    ", from behind",
    ", from a distance",
    ", partly hidden",
)
PLACES = (" in", " on", " with", " near", " under", " in the", " on the", " at")
OUTDOORS = ("grass", "snow", "water", "sky", "sand", "rock", "forest", "beach", "desert", "garden")
LAND = ("river", "lake", "sea", "mountain", "field", "street", "city", "outdoors", "background")
INDOORS = ("indoors", "room", "kitchen", "table", "market", "hand")
TIMES = ("sun", "rain", "fog", "night", "morning", "summer", "winter", "autumn")
COLOURS = ("white", "black", "green", "blue", "red", "yellow", "brown", "grey", "bright", "dark")
QUALITIES = ("old", "young", "big", "wild")
SURROUNDINGS = (*OUTDOORS, *LAND, *INDOORS, *TIMES, *COLOURS, *QUALITIES)
VIEW_SHARE, PLACE_SHARE, SECOND_WORD_SHARE = 0.6, 0.5, 0.3


def names_of(book: PromptBook) -> list[list[str]]:
    """What each class goes by: its noun in the book, then its official names."""
    names = []
    for entry in book.classes:
        names.append(list(dict.fromkeys([entry.prompt_noun, *entry.official_names])))
    return names


def phrases_of(book: PromptBook, class_index: int) -> list[str]:
    """What the book says that a class is made of; its noun where it says nothing."""
    choices = book.rules[class_index].slots.get(PHRASE, ())
    return [text for text, _ in choices] or [book.classes[class_index].prompt_noun]


def all_phrases(book: PromptBook) -> list[list[str]]:
    """Those of every class."""
    return [phrases_of(book, index) for index in range(len(book.classes))]


def plain_prompt(name: str) -> str:
    """The simplest of the wordings."""
    return STYLES[0].replace(NOUN_SLOT, name)


def random_prompt(names: list[str], rng: random.Random) -> tuple[str, str]:
    """A prompt for a class that goes by ``names``, and the name in it."""
    name = rng.choice(names)
    prompt = rng.choice(STYLES).replace(NOUN_SLOT, name)
    if rng.random() < VIEW_SHARE:
        prompt += rng.choice(VIEWS)
    if rng.random() < PLACE_SHARE:
        prompt += f"{rng.choice(PLACES)} {rng.choice(SURROUNDINGS)}"
        if rng.random() < SECOND_WORD_SHARE:
            prompt += f" {rng.choice(SURROUNDINGS)}"
    return prompt, name


def all_texts(books: list[PromptBook]) -> list[str]:
    """Every text that the vocabulary is learnt from."""
    named = [each for book in books for each in (*names_of(book), *all_phrases(book))]
    nouns = {name for names in named for name in names}
    texts = {style.replace(NOUN_SLOT, noun) for style in STYLES for noun in nouns}
    texts.update(VIEWS)
    texts.update(f"{place} {word}" for place in PLACES for word in SURROUNDINGS)
    slots = [rules.slots for book in books for rules in book.rules]
    texts.update(text for each in slots for choices in each.values() for text, _ in choices)
    return sorted(texts)
