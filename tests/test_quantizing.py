from typing import Any

import pytest
from pipelines import one_step_generator, small_pipeline

from challenge import quantizing
from challenge.errors import GenerationError
from challenge.generators import quantized
from challenge.generators.quantized import Damage
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.quantizing import quantize_for
from challenge.spec import CIFAR100

BOOKS = {CIFAR100: load_prompt_book(CIFAR100, find_prompts_dir(None), "sorted", "plain", 1)}


def test_the_damage_is_told_on_prompts_of_many_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, list[Any]] = {}

    def note(generator: object, name: str, prompts: list[str], seeds: list[int], targets: list[int]
    ) -> Damage:  # fmt: skip
        told.update(prompts=prompts, seeds=seeds, targets=targets)
        return Damage(name, 1, len(prompts), 0.1, {32: 30.0})

    monkeypatch.setattr(quantizing, "quantize", note)
    generator = one_step_generator(small_pipeline())
    assert quantize_for(BOOKS, generator, "int8-weights", run_seed=3).images == 8
    assert len(set(told["prompts"])) == len(set(told["seeds"])) == 8
    assert told["targets"] == [32]


def test_what_torchao_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> int:
        raise NotImplementedError("no kernel for this\nand more")

    monkeypatch.setattr(quantized, "quantize_layers", fail)
    generator = one_step_generator(small_pipeline())
    generator.encode_prompts(BOOKS[CIFAR100].all_prompts())
    with pytest.raises(GenerationError, match=r"--quantize fp8 failed: no kernel for this; leave"):
        quantize_for(BOOKS, generator, "fp8", run_seed=0)
