import random
from pathlib import Path

import pytest
import torch
from small_training import small_books, small_checkpoints

from challenge.embedded_training.looks import LOOKS
from challenge.embedded_training.text_training import (
    NO_PHRASE,
    PromptClassifier,
    PromptSource,
    TextTraining,
    learn_vocabulary,
)
from challenge.embedded_training.wording import all_phrases, all_texts
from challenge.generators.tiny import (
    TINY_MODEL_DIR,
    VOCABULARY_FILE,
    Vocabulary,
    build_pipeline,
    load_tiny_pipeline,
)
from challenge.generators.tiny_networks import VOCABULARY_SIZE
from challenge.prompts import PromptBook, find_prompts_dir, load_prompt_book
from challenge.spec import DATASETS

TEXTS = ["a photo of an apple", "a photo of a bear", "a dolphin in the sea", "dolphins"]


def test_the_same_texts_give_the_same_vocabulary_in_any_order_and_each_time() -> None:
    expected = learn_vocabulary(TEXTS)
    for _ in range(5):  # the trainer's hash tables are seeded anew each time
        assert learn_vocabulary([*reversed(TEXTS), TEXTS[0]]) == expected


def test_a_vocabulary_comes_back_from_its_file() -> None:
    vocabulary = learn_vocabulary(TEXTS)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_the_shipped_vocabulary_fills_the_text_encoders() -> None:
    shipped = Vocabulary.from_json((TINY_MODEL_DIR / VOCABULARY_FILE).read_text("utf-8"))
    assert sorted(shipped.token_ids.values()) == list(range(VOCABULARY_SIZE))
    books = [load_prompt_book(spec, find_prompts_dir(None)) for spec in DATASETS.values()]
    assert len(learn_vocabulary(all_texts(books)).token_ids) == VOCABULARY_SIZE


def test_training_makes_the_classes_easier_to_tell(tmp_path: Path) -> None:
    torch.manual_seed(1)
    pipe = build_pipeline(learn_vocabulary(all_texts(small_books())))
    prompts = ["an apple, from above", "the apple, side view", "a baby, from above"]
    pooled = _pooled(pipe, prompts)
    same, other = torch.cosine_similarity(pooled[:1], pooled[1:]).tolist()
    assert same < other  # untrained, more words are the same
    training = TextTraining(pipe, small_books(), 20, seed=0)
    small_checkpoints(tmp_path).run(training, 20, tmp_path / "checkpoint.pt")
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert '"accuracy"' in lines[-1]
    pooled = _pooled(pipe, prompts)
    same, other = torch.cosine_similarity(pooled[:1], pooled[1:]).tolist()
    assert same > other


def test_the_shipped_encoders_tell_a_class_in_any_wording() -> None:
    pipe = load_tiny_pipeline()
    pooled = _pooled(
        pipe, ["orange fruit", "a low quality blurry photo of an orange in fog", "a photo of a sea"]
    )
    same, other = torch.cosine_similarity(pooled[:1], pooled[1:]).tolist()
    assert same > 0.7
    assert other < 0.4


@pytest.mark.parametrize("book", [0, 1])
def test_each_encoder_gives_logits_for_the_classes_of_the_book(book: int) -> None:
    pipe = load_tiny_pipeline()
    told = PromptClassifier(pipe, small_books())(torch.tensor([[512, 40, 513]]), book)
    phrases = sum(map(len, all_phrases(small_books()[book])))
    for each in told:
        assert [tuple(logits.shape) for logits in each] == [(1, 3), (1, phrases), (1, len(LOOKS))]


@pytest.mark.parametrize("book", small_books(), ids=lambda book: book.dataset)
def test_drawn_prompts_come_with_what_they_ask_for(book: PromptBook) -> None:
    prompts, asked = PromptSource(book).draw(200, random.Random(0))
    phrases = [(label, text) for label, texts in enumerate(all_phrases(book)) for text in texts]
    assert set(asked.classes.tolist()) == {0, 1, 2}
    for prompt, label, number in zip(
        prompts, asked.classes.tolist(), asked.phrases.tolist(), strict=True
    ):
        of_class, text = (label, "") if number == NO_PHRASE else phrases[number]
        assert of_class == label
        assert text in prompt
    assert 0 < int((asked.phrases == NO_PHRASE).sum()) < 120
    snowy = torch.tensor([" snow" in prompt for prompt in prompts])
    assert bool(asked.looks[snowy, list(LOOKS).index("light")].all())
    assert 0 < float(asked.looks.mean()) < 0.5


def _pooled(pipe: object, prompts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        encoded = pipe.encode_prompt(prompts, do_classifier_free_guidance=False)  # type: ignore[attr-defined]
    pooled: torch.Tensor = encoded[2]
    return pooled
