"""When a run compiles, on a clock that moves only when told to."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FakeClock
from fake_run import Run
from pipelines import one_step_generator, small_pipeline

from challenge import compile_choice
from challenge.batch_sizer import BatchSizer
from challenge.budget import BatchCost, Choice, Deadline, PackCost
from challenge.compile_choice import CompileChoice, kept_batch_size
from challenge.compile_facts import CompileFacts, CompileFactsFile
from challenge.errors import UsageError
from challenge.events import Notice
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.rounds import BalancedRounds
from challenge.run_parts import RunParts
from challenge.scheduler import Costs, Scheduler
from challenge.settings import GenerateSettings
from challenge.spec import CIFAR100

BOOK = load_prompt_book(CIFAR100, find_prompts_dir(None), preset="plain", per_class=1)
SIZE, SIDE = 2, 32
KNOWN = CompileFacts(cold_s=60.0, warm_s=5.0, plain_batch_s=1.0, compiled_batch_s=0.8)
COMPILE_S = 4.0


@pytest.fixture
def generator() -> OneStepGenerator:
    return one_step_generator(small_pipeline(), BOOK.all_prompts())


@pytest.fixture
def parts(tmp_path: Path, clock: FakeClock) -> RunParts:
    return replace(Run(tmp_path / "run", clock).parts(), prepared_dir=tmp_path / "kept")


@pytest.fixture(autouse=True)
def compiler(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> list[int]:
    """The real compilation with a backend that does nothing, in four fake seconds; its sizes."""
    compiled: list[int] = []

    def compile_unet(
        generator: OneStepGenerator, prompts: Sequence[str], seeds: Sequence[int], resolution: int,
        folder: Path, clock: Any,
    ) -> CompileFacts:  # fmt: skip
        compiled.append(len(prompts))
        generator.compile_unet(prompts, seeds, resolution, backend="eager")
        clock.advance(COMPILE_S)
        return CompileFacts(warm_s=COMPILE_S)

    monkeypatch.setattr(compile_choice, "compile_unet", compile_unet)
    return compiled


def settings(**changes: object) -> GenerateSettings:
    return GenerateSettings(**{"dataset": "cifar100", "model": "small"} | changes)  # type: ignore[arg-type]


def keep(generator: OneStepGenerator, parts: RunParts, facts: CompileFacts) -> CompileFactsFile:
    assert parts.prepared_dir is not None
    file = CompileFactsFile(parts.prepared_dir, generator, SIDE)
    file.save(SIZE, facts)
    file.code_folder.mkdir(exist_ok=True)
    return file


class Batches:
    """A data set's choice, told of batches of which each took so many seconds."""

    def __init__(
        self, generator: OneStepGenerator, parts: RunParts, size: int = SIZE, **changes: object
    ) -> None:
        self.scheduler = Scheduler(
            BalancedRounds("cifar100", 100, 0, None),
            Costs(BatchCost(), PackCost(), BatchSizer(size, 6.0)),
            Deadline(0.0, 600.0),
            target_ipc=None,
            augment="none",
        )
        self.scheduler.generated = 100
        self.scheduler.file_written(100, 0.1)
        self._clock, self.compiled_for_s = parts.clock, 0.0
        self.choice = CompileChoice(
            settings(**changes), CIFAR100, BOOK, generator, self.scheduler, parts
        )

    def __call__(self, *seconds: float, size: int = SIZE) -> list[Choice]:
        for each in seconds:
            self._clock.advance(each)  # type: ignore[attr-defined]  # the fake one
            self.compiled_for_s += self.choice.batch_made(size, each)
        return self.scheduler.choices


PLAIN = (9.0, 1.0, 1.0, 1.0, 1.0, 1.0)  # what a first batch takes does not count


def notices(parts: RunParts) -> str:
    events = parts.emit.__self__  # type: ignore[attr-defined]  # the list that it appends to
    return "; ".join(event.text for event in events if isinstance(event, Notice))


def test_auto_compiles_where_that_pays_by_what_was_measured(
    generator: OneStepGenerator, parts: RunParts, compiler: list[int]
) -> None:
    keep(generator, parts, KNOWN)
    batches = Batches(generator, parts)
    (choice,) = batches(*PLAIN)
    assert compiler == [SIZE]
    assert batches.compiled_for_s == COMPILE_S
    assert choice == Choice("compiled blocks, batch of 2", 1.25, 5.0, 586.0)
    assert choice.taken
    assert parts.timer.totals_s()["compile"] == COMPILE_S
    prepared = parts.notes["prepared"]
    assert isinstance(prepared, list)
    assert [entry["seconds"] for entry in prepared] == [COMPILE_S]
    assert "compiled-" in prepared[0]["path"]


@pytest.mark.parametrize(
    ("facts", "changes", "device", "because"),
    [
        (None, {}, "cuda", "it was never measured here; prepare --compile does"),
        (CompileFacts(cold_s=1.0), {}, "cpu", "it was never measured here; prepare --compile does"),
        (KNOWN, {"ipc": 5}, "cpu", "a plan with --ipc must not depend on the machine's speed"),
        (replace(KNOWN, warm_s=200.0), {}, "cpu", ""),  # does not pay
    ],
)
def test_auto_does_not_compile_otherwise_and_says_why(
    facts: CompileFacts | None, changes: dict[str, Any], device: str, because: str,
    generator: OneStepGenerator, parts: RunParts, compiler: list[int],
) -> None:  # fmt: skip
    if facts:
        keep(generator, parts, facts)
    parts = replace(parts, device=torch.device(device))
    (choice,) = Batches(generator, parts, **changes)(*PLAIN)
    assert (choice.taken, choice.because, compiler) == (False, because, [])


def test_on_a_gpu_known_seconds_suffice_and_a_fifth_is_hoped_for(
    generator: OneStepGenerator, parts: RunParts, compiler: list[int]
) -> None:
    keep(generator, parts, CompileFacts(cold_s=97.0))
    parts = replace(parts, device=torch.device("cuda"))
    (choice,) = Batches(generator, parts)(*PLAIN)
    assert (choice.speed_up, choice.cost_s) == (1.2, 97.0)
    assert choice.taken  # 586 x (1 - 1 / 1.2) = 97.7
    assert compiler == [SIZE]


def test_nothing_is_compiled_before_a_file_stands_or_the_batch_size_is_found(
    generator: OneStepGenerator, parts: RunParts, compiler: list[int]
) -> None:
    batches = Batches(generator, parts, compile="on")
    batches(*PLAIN, size=1)  # the last batches of a run are smaller
    assert compiler == []
    batches.scheduler._generated_in_file = 0
    batches(*PLAIN)
    assert compiler == []
    batches.scheduler.file_written(100, 0.1)
    assert [choice.because for choice in batches(1.0, 1.0)] == ["--compile on"]
    assert compiler == [SIZE]  # and that once


def test_after_a_signal_nothing_is_compiled(
    generator: OneStepGenerator, parts: RunParts, compiler: list[int]
) -> None:
    parts.stop.signal_name = "SIGTERM"
    Batches(generator, parts, compile="on")(*PLAIN)
    assert compiler == []


def test_what_was_won_is_told_and_remembered(generator: OneStepGenerator, parts: RunParts) -> None:
    batches = Batches(generator, parts, compile="on")
    batches(*PLAIN)
    batches(0.0, 0.8, 0.8, 0.8, 0.8, 0.8)  # the first had ended while the blocks were compiled
    in_between = generator.uses_compiled
    batches(0.8, 1.0, 1.0, 1.0, 1.0, 1.0)  # plain ones, to compare with
    assert (in_between, generator.uses_compiled) == (False, True)
    assert "compiled, a batch of 2 takes 0.8 s and not 1 s" in notices(parts)
    assert parts.prepared_dir is not None
    facts = CompileFactsFile(parts.prepared_dir, generator, SIDE).load(SIZE)
    assert facts is not None
    assert facts.speed_up == pytest.approx(1.25)
    note = parts.notes["compiled blocks, cifar100"]
    assert isinstance(note, dict)
    assert (note["speed_up"], note["given_up"]) == (pytest.approx(1.25), False)


@pytest.mark.parametrize(("wish", "goes_on"), [("auto", False), ("on", True)])
def test_auto_gives_up_what_turns_out_slower(
    wish: str, goes_on: bool, generator: OneStepGenerator, parts: RunParts
) -> None:
    keep(generator, parts, KNOWN)
    Batches(generator, parts, compile=wish)(*PLAIN, 0.0, 1.3, 1.3, 1.3, 1.3, 1.3, *PLAIN)
    assert generator.uses_compiled is goes_on
    assert ("going on without" in notices(parts)) is not goes_on


@pytest.mark.parametrize(("wish", "seconds"), [("auto", 117.2), ("on", 585.0)])
def test_auto_waits_as_long_as_it_could_pay_and_on_until_packing_must_begin(
    wish: str,
    seconds: float,
    generator: OneStepGenerator,
    parts: RunParts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience: list[float] = []

    def note(longest_s: float, what: str, stop: object) -> AbstractContextManager[None]:
        patience.append(longest_s)
        return nullcontext()

    monkeypatch.setattr(compile_choice, "interrupting_after", note)
    keep(generator, parts, KNOWN)
    Batches(generator, parts, compile=wish)(*PLAIN)
    assert patience == [pytest.approx(seconds, abs=1.0)]  # of 586 s that are left


def test_a_failure_is_one_warning_and_the_run_goes_on(
    generator: OneStepGenerator, parts: RunParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> CompileFacts:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand much more")

    monkeypatch.setattr(compile_choice, "compile_unet", fail)
    batches = Batches(generator, parts, compile="on")
    (choice,) = batches(*PLAIN, *PLAIN)
    assert not choice.taken
    assert "No working C++ compiler found" in choice.because
    assert notices(parts).count("No working C++ compiler") == 1
    assert "more" not in notices(parts)
    assert not generator.compiled


def test_the_next_data_set_goes_on_with_what_is_compiled(
    generator: OneStepGenerator, parts: RunParts, compiler: list[int]
) -> None:
    Batches(generator, parts, compile="on")(*PLAIN)
    scheduler = Scheduler(
        BalancedRounds("cifar100", 100, 0, None),
        Costs(BatchCost(), PackCost(), BatchSizer(None, 6.0)),
        Deadline(0.0, 600.0),
        target_ipc=None,
        augment="none",
    )
    CompileChoice(settings(), CIFAR100, BOOK, generator, scheduler, parts)
    assert (scheduler.batch_size, scheduler.batch_size_is_settled) == (SIZE, True)
    Batches(generator, parts, compile="on")(*PLAIN)
    assert compiler == [SIZE]


def test_a_damaged_file_is_told_and_not_used(
    generator: OneStepGenerator, parts: RunParts, compiler: list[int]
) -> None:
    keep(generator, parts, KNOWN).path(SIZE).write_text('{"facts": 1}')
    (choice,) = Batches(generator, parts)(*PLAIN)
    assert not choice.taken
    assert "is damaged" in notices(parts)
    assert compiler == []


def test_a_run_begins_with_the_batch_size_that_blocks_are_kept_for(
    generator: OneStepGenerator, parts: RunParts
) -> None:
    def size(longest_s: float = 6.0, **changes: object) -> int | None:
        return kept_batch_size(settings(**changes), CIFAR100, generator, parts, longest_s)

    assert size() is None
    keep(generator, parts, KNOWN)
    assert size() == SIZE
    assert size(longest_s=0.5) is None  # a batch takes a second
    assert size(compile="off") is None
    assert size(ipc=5) is None
    assert size(batch_size=8) is None


def test_real_images_have_nothing_to_compile() -> None:
    with pytest.raises(UsageError, match=r"--compile on: images:there has no UNet"):
        settings(model="images:there", compile="on")


def test_a_plan_with_ipc_is_not_compiled_at_a_moment_that_the_machine_chooses() -> None:
    with pytest.raises(UsageError, match=r"--compile on with --ipc 5: .*leave one of them away"):
        settings(compile="on", ipc=5)


@pytest.mark.parametrize(("batches_made", "is_told"), [(PLAIN[:3], True), (PLAIN, False)])
def test_it_is_told_where_on_never_came_to_anything(
    batches_made: tuple[float, ...], is_told: bool, generator: OneStepGenerator, parts: RunParts,
    compiler: list[int],
) -> None:  # fmt: skip
    batches = Batches(generator, parts, compile="on")
    batches(*batches_made)
    batches.choice.end()
    assert ("nothing was compiled" in notices(parts)) == is_told


@pytest.mark.parametrize("change", [{"decoder": "linear"}, {"dtype": "bfloat16"}])
def test_what_another_decoder_or_dtype_took_is_not_known_of_this_one(
    change: dict[str, Any], generator: OneStepGenerator, parts: RunParts
) -> None:
    file = keep(generator, parts, KNOWN)
    generator.description = replace(generator.description, **change)
    assert parts.prepared_dir is not None
    other = CompileFactsFile(parts.prepared_dir, generator, SIDE)
    assert (file.load(SIZE), other.load(SIZE)) == (KNOWN, None)
