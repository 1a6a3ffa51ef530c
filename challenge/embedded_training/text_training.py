"""The fixed vocabulary, and the text encoders: they tell what prompts of any wording ask for."""

import json
import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionXLPipeline
from jaxtyping import Float
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from challenge.embedded_training.looks import LOOKS, asked_beside
from challenge.embedded_training.resumable import Resumable
from challenge.embedded_training.wording import all_phrases, names_of, random_prompt
from challenge.generators.tiny import BOS, EOS, Vocabulary
from challenge.generators.tiny_networks import POOLED_WIDTH, TEXT_WIDTH, VOCABULARY_SIZE
from challenge.prompt_grammar import PHRASE
from challenge.prompts import PromptBook

PROMPTS_PER_BOOK = 64
PEAK_LEARNING_RATE = 3e-3
BOOK_SHARE = 0.5  # of the prompts that are the book's own
NO_PHRASE = -100  # what cross-entropy leaves out


def learn_vocabulary(texts: Iterable[str]) -> Vocabulary:
    """CLIP's kind of byte-pair vocabulary; the same texts in any order give the same one.

    As CLIP's it holds every byte, so it reads any other text too, in more tokens. The trainer is
    given all single symbols as special tokens: left to itself it numbers them in the order of a
    hash table, and so breaks ties between merges in another way in each process.
    """
    alphabet = sorted(ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[*alphabet, *(f"{symbol}</w>" for symbol in alphabet), BOS, EOS],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend = CLIPTokenizer().backend_tokenizer  # splits words and lowers capitals as CLIP does
    backend.train_from_iterator(sorted(set(texts)), trainer)
    model = json.loads(backend.to_str())["model"]
    return Vocabulary(model["vocab"], [(left, right) for left, right in model["merges"]])


class Told(NamedTuple):
    """Logits of what a prompt asks for."""

    classes: Float[Tensor, "B classes"]
    phrases: Float[Tensor, "B phrases"]
    looks: Float[Tensor, "B looks"]


class PromptClassifier(nn.Module):
    """Both text encoders under training, each with a linear layer for what each book asks for."""

    def __init__(self, pipe: StableDiffusionXLPipeline, books: Sequence[PromptBook]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList([pipe.text_encoder, pipe.text_encoder_2])
        self._sizes = [
            [len(book.classes), sum(map(len, all_phrases(book))), len(LOOKS)] for book in books
        ]
        self.first_layers, self.second_layers = (
            nn.ModuleList([nn.Linear(width, sum(sizes)) for sizes in self._sizes])
            for width in (TEXT_WIDTH, POOLED_WIDTH)
        )

    def forward(self, token_ids: Tensor, book_index: int) -> list[Told]:
        """What each encoder reads in the prompts; a pooled prompt counts by direction."""
        first, second = self.encoders
        pooled = second(token_ids).text_embeds
        pooled = pooled / pooled.square().mean(-1, keepdim=True).sqrt()
        logits = (
            self.first_layers[book_index](first(token_ids).pooler_output),
            self.second_layers[book_index](pooled),
        )
        return [Told(*each.split(self._sizes[book_index], dim=1)) for each in logits]


class PromptSource:
    """Draws prompts of one book, with what they ask for."""

    def __init__(self, book: PromptBook) -> None:
        self._book, self._names, self._phrases = book, names_of(book), all_phrases(book)
        listed = [(label, text) for label, texts in enumerate(self._phrases) for text in texts]
        self._phrase_ids = {each: number for number, each in enumerate(listed)}

    def draw(self, count: int, rng: random.Random) -> tuple[list[str], Told]:
        """Prompts: of random wordings and of the book's own, half and half."""
        drawn = [self._one(rng.randrange(len(self._names)), rng) for _ in range(count)]
        prompts, labels, phrases, looks = zip(*drawn, strict=True)
        return list(prompts), Told(torch.tensor(labels), torch.tensor(phrases), torch.stack(looks))

    def _one(self, label: int, rng: random.Random) -> tuple[str, int, int, Tensor]:
        if rng.random() < BOOK_SHARE:
            made = rng.choice(self._book.compositions(label))
            prompt, name = made.prompt, dict(made.picks)[PHRASE]
        else:
            prompt, name = random_prompt(self._names[label] + self._phrases[label], rng)
        looks = asked_beside(name, prompt).float()
        return prompt, label, self._phrase_ids.get((label, name), NO_PHRASE), looks


class TextTraining(Resumable):
    """Trains the pipeline's text encoders in place, on the CPU: they are small."""

    def __init__(
        self, pipe: StableDiffusionXLPipeline, books: Sequence[PromptBook], steps: int, *, seed: int
    ) -> None:
        self._rng = random.Random(seed)
        self._tokenizer = pipe.tokenizer_2
        self._classifier = PromptClassifier(pipe, books).train()
        self._optimizer = torch.optim.AdamW(
            self._classifier.parameters(), PEAK_LEARNING_RATE, weight_decay=0.01
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, PEAK_LEARNING_RATE, total_steps=max(steps, 10)
        )
        self._sources = [PromptSource(book) for book in books]
        self.steps_done = 0

    def step(self) -> dict[str, float]:
        """Some prompts of each book."""
        loss, right = torch.zeros(()), 0.0
        for index, source in enumerate(self._sources):
            prompts, asked = source.draw(PROMPTS_PER_BOOK, self._rng)
            tokens = self._tokenizer(prompts, padding=True, return_tensors="pt").input_ids
            told = self._classifier(tokens, index)
            loss = loss + sum(_loss(each, asked) for each in told)
            right += float((told[-1].classes.argmax(1) == asked.classes).float().mean())
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        self.steps_done += 1
        return {"loss": float(loss.detach()), "accuracy": right / len(self._sources)}

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "classifier": self._classifier.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "rng": self._rng.getstate(),
            "steps_done": self.steps_done,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._classifier.load_state_dict(state["classifier"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._rng.setstate(state["rng"])
        self.steps_done = state["steps_done"]


def _loss(told: Told, asked: Told) -> Float[Tensor, ""]:
    """Cross-entropies, per prompt; where no phrase of the book is asked for, none counts."""
    classes = F.cross_entropy(told.classes, asked.classes, reduction="sum")
    phrases = F.cross_entropy(told.phrases, asked.phrases, reduction="sum")
    looks = F.binary_cross_entropy_with_logits(told.looks, asked.looks, reduction="sum")
    return (classes + phrases + looks) / len(asked.classes)
