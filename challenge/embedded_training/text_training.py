"""The fixed vocabulary, and the text encoders that tell the classes from prompts of any wording."""

import json
import random
from collections.abc import Iterable, Sequence

import torch
from diffusers import StableDiffusionXLPipeline
from jaxtyping import Float
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from challenge.embedded_training.training_log import TrainingLog
from challenge.embedded_training.wording import names_of, random_prompt
from challenge.generators.tiny import BOS, EOS, Vocabulary
from challenge.generators.tiny_networks import POOLED_WIDTH, TEXT_WIDTH, VOCABULARY_SIZE
from challenge.prompts import PromptBook

PROMPTS_PER_BOOK = 64
PEAK_LEARNING_RATE = 3e-3


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


class PromptClassifier(nn.Module):
    """Both text encoders under training, each with a linear layer for the classes of each book."""

    def __init__(self, pipe: StableDiffusionXLPipeline, books: Sequence[PromptBook]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList([pipe.text_encoder, pipe.text_encoder_2])
        self.first_layers, self.second_layers = (
            nn.ModuleList([nn.Linear(width, len(book.classes)) for book in books])
            for width in (TEXT_WIDTH, POOLED_WIDTH)
        )

    def forward(self, token_ids: Tensor, book_index: int) -> list[Float[Tensor, "B classes"]]:
        """Logits for the classes of a book by each encoder; a pooled prompt counts by direction."""
        first, second = self.encoders
        pooled = second(token_ids).text_embeds
        pooled = pooled / pooled.square().mean(-1, keepdim=True).sqrt()
        return [
            self.first_layers[book_index](first(token_ids).pooler_output),
            self.second_layers[book_index](pooled),
        ]


def train_text_encoders(
    pipe: StableDiffusionXLPipeline,
    books: Sequence[PromptBook],
    steps: int,
    *,
    seed: int,
    log: TrainingLog,
) -> None:
    """Train the pipeline's text encoders in place, on the CPU: they are small."""
    rng = random.Random(seed)
    classifier = PromptClassifier(pipe, books).train()
    optimizer = torch.optim.AdamW(classifier.parameters(), PEAK_LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=max(steps, 10)
    )
    names = [names_of(book) for book in books]
    for step in range(steps):
        loss, right = torch.zeros(()), 0.0
        for index, of_book in enumerate(names):
            labels = [rng.randrange(len(of_book)) for _ in range(PROMPTS_PER_BOOK)]
            prompts = [random_prompt(of_book[label], rng) for label in labels]
            tokens = pipe.tokenizer_2(prompts, padding=True, return_tensors="pt").input_ids
            expected = torch.tensor(labels)
            logits = classifier(tokens, index)
            loss = loss + sum(F.cross_entropy(each, expected) for each in logits)
            right += float((logits[-1].argmax(1) == expected).float().mean()) / len(names)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        log.tell(step + 1, steps, loss=float(loss.detach()), accuracy=right)
    classifier.eval()
