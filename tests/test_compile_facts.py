"""What is kept of compilations."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import FakeClock
from pipelines import PROMPTS, one_step_generator, small_pipeline

from challenge.compile_facts import CompileFacts, CompileFactsFile, compile_unet
from challenge.errors import WeightsError
from challenge.generators.sdxl_turbo import OneStepGenerator

FACTS = CompileFacts(cold_s=60.0, warm_s=5.0, plain_batch_s=1.0, compiled_batch_s=0.8)


@pytest.fixture
def generator() -> OneStepGenerator:
    return one_step_generator(small_pipeline())


@pytest.fixture
def file(tmp_path: Path, generator: OneStepGenerator) -> CompileFactsFile:
    file = CompileFactsFile(tmp_path / "kept", generator, 32)
    file.code_folder.mkdir(parents=True)
    return file


def test_what_was_measured_later_is_added_to_what_is_known(file: CompileFactsFile) -> None:
    assert file.load(64) is None
    file.save(64, CompileFacts(cold_s=60.0, plain_batch_s=1.0))
    file.save(64, CompileFacts(warm_s=5.0, compiled_batch_s=0.8))
    assert file.load(64) == FACTS
    assert FACTS.speed_up == 1.25
    assert FACTS.cost_s == 5.0


def test_without_the_code_it_is_compiled_cold(file: CompileFactsFile) -> None:
    file.save(64, FACTS)
    file.code_folder.rmdir()
    found = file.load(64)
    assert found is not None
    assert found.cost_s == 60.0


def test_a_file_where_the_cache_should_be_holds_no_facts(
    tmp_path: Path, generator: OneStepGenerator
) -> None:
    (tmp_path / "kept").write_text("mine")
    assert CompileFactsFile(tmp_path / "kept", generator, 32).load(64) is None


def test_what_was_never_measured_is_not_known() -> None:
    assert CompileFacts().cost_s is None
    assert CompileFacts(cold_s=9.0).cost_s == 9.0
    assert CompileFacts(cold_s=9.0, plain_batch_s=1.0).speed_up is None


def test_batch_sizes_are_those_of_this_model_dtype_and_resolution(
    file: CompileFactsFile, generator: OneStepGenerator, tmp_path: Path
) -> None:
    for size in (8, 64, 16):
        file.save(size, FACTS)
    CompileFactsFile(tmp_path / "kept", generator, 64).save(128, FACTS)
    generator.description = replace(generator.description, dtype="bfloat16")
    other = CompileFactsFile(tmp_path / "kept", generator, 32)
    other.save(256, FACTS)
    assert sorted(file.batch_sizes()) == [8, 16, 64]
    assert other.batch_sizes() == [256]
    assert other.load(64) is None


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"owner": {}, "facts": {}}', '{"owner": OWNER, "facts": {"cold_s": -1.0}}']
)
def test_a_damaged_file_is_told(text: str, file: CompileFactsFile) -> None:
    file.save(64, FACTS)
    owner = file.path(64).read_text().split('"owner": ')[1].split(',\n  "facts"')[0]
    file.path(64).write_text(text.replace("OWNER", owner))
    with pytest.raises(WeightsError, match="is damaged"):
        file.load(64)
    file.save(64, FACTS)  # and is replaced by the next one
    assert file.load(64) == FACTS


@pytest.mark.parametrize(("what", "count"), [("hit", 3), ("miss", 3), ("bypass", 1)])
def test_a_compilation_is_warm_where_nothing_was_compiled_anew(
    what: str, count: int, generator: OneStepGenerator, file: CompileFactsFile,
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock,
) -> None:  # fmt: skip
    from torch._dynamo.utils import counters

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "the user's")
    folders = []

    def compile_now(prompts: Sequence[str], seeds: Sequence[int], resolution: int) -> None:
        folders.append(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        counters["inductor"][f"fxgraph_cache_{what}"] += count
        clock.advance(7.0)

    monkeypatch.setattr(generator, "compile_unet", compile_now)
    took = compile_unet(generator, PROMPTS[:2], [0, 1], 32, file.code_folder, clock)
    assert took == (CompileFacts(warm_s=7.0) if what == "hit" else CompileFacts(cold_s=7.0))
    assert folders == [str(file.code_folder)]
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "the user's"
