from pathlib import Path

import pytest
import torch
from conftest import FakeClock
from small_training import small_books

from challenge.embedded_training.text_training import (
    PromptClassifier,
    learn_vocabulary,
    train_text_encoders,
)
from challenge.embedded_training.training_log import TrainingLog
from challenge.embedded_training.wording import all_texts
from challenge.generators.tiny import (
    TINY_MODEL_DIR,
    VOCABULARY_FILE,
    Vocabulary,
    build_pipeline,
    load_tiny_pipeline,
)
from challenge.generators.tiny_networks import VOCABULARY_SIZE
from challenge.prompts import find_prompts_dir, load_prompt_book
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
    torch.manual_seed(0)
    pipe = build_pipeline(learn_vocabulary(all_texts(small_books())))
    log = TrainingLog(tmp_path / "log.jsonl", FakeClock())
    train_text_encoders(pipe, small_books(), 12, seed=0, log=log)
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert '"accuracy"' in line
    pooled = _pooled(pipe, ["an apple on snow", "the apple, side view", "a baby on snow"])
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
    logits = PromptClassifier(pipe, small_books())(torch.tensor([[512, 40, 513]]), book)
    assert [tuple(each.shape) for each in logits] == [(1, 3), (1, 3)]


def _pooled(pipe: object, prompts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        encoded = pipe.encode_prompt(prompts, do_classifier_free_guidance=False)  # type: ignore[attr-defined]
    pooled: torch.Tensor = encoded[2]
    return pooled
