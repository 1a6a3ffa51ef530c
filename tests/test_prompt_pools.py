"""How many prompts are encoded: what the plan says, else what two per cent of the limit allow."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import FakeClock
from fake_run import FakeGenerator, Run

from challenge.prompt_pools import encode_pools
from challenge.prompts import PROMPTS_PER_CLASS, find_prompts_dir, load_prompt_book, planned_size
from challenge.settings import GenerateSettings
from challenge.spec import CIFAR100, TINYIMAGENET


class SlowEncoder(FakeGenerator):
    """Takes a fake hundredth of a second a prompt that it does not know yet."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.known: dict[str, None] = {}

    def encode_prompts(self, prompts: Sequence[str]) -> None:
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        self._clock.advance(0.01 * len(new))
        self.known |= dict.fromkeys(new)


@pytest.fixture
def run(tmp_path: Path, clock: FakeClock) -> Run:
    return Run(tmp_path / "run", clock)


def pools(run: Run, encoder: SlowEncoder, **changes: object) -> int:
    """The pool size of a run over both data sets with ``diverse`` prompts."""
    settings = GenerateSettings(**changes)  # type: ignore[arg-type]
    folder = find_prompts_dir(None)
    books = {
        spec: load_prompt_book(spec, folder, preset="diverse") for spec in (CIFAR100, TINYIMAGENET)
    }
    pooled = encode_pools(settings, books, encoder, run.parts())
    (size,) = {book.per_class for book in pooled.values()}
    assert set(encoder.known) == {p for book in pooled.values() for p in book.all_prompts()}
    return size


def test_two_per_cent_of_the_limit_go_into_prompts_beyond_the_first(
    run: Run, clock: FakeClock
) -> None:
    # 300 classes, 0.01 s a prompt: 3 s a prompt a class; 2 % of 600 s are 12 s
    assert pools(run, SlowEncoder(clock), limit_s=600.0) == 1 + 4
    assert clock.now_s == pytest.approx(15.0, rel=0.01)


def test_a_short_run_asks_for_the_first_prompt_of_each_class(run: Run, clock: FakeClock) -> None:
    assert pools(run, SlowEncoder(clock), limit_s=60.0) == 1


def test_a_plan_fixes_the_size(run: Run, clock: FakeClock) -> None:
    assert pools(run, SlowEncoder(clock), limit_s=60.0, ipc=3) == 3
    assert planned_size(GenerateSettings(ipc=3, prompts_per_class=7)) == 7
    assert planned_size(GenerateSettings(ipc=10_000)) == PROMPTS_PER_CLASS
    assert planned_size(GenerateSettings(distinct=(20, 10))) == 20
    assert planned_size(GenerateSettings()) is None


def test_a_resumed_run_takes_the_size_of_the_first_process(run: Run, clock: FakeClock) -> None:
    parts = run.parts()
    parts.state.prompts_per_class = 2
    folder = find_prompts_dir(None)
    book = load_prompt_book(CIFAR100, folder, preset="diverse")
    pooled = encode_pools(GenerateSettings(), {CIFAR100: book}, SlowEncoder(clock), parts)
    assert pooled[CIFAR100].per_class == 2


def test_the_size_survives_in_the_state_of_the_run(run: Run, clock: FakeClock) -> None:
    parts = run.parts()
    parts.state.prompts_per_class = 6
    parts.state.began(1.0, "process")
    assert run.parts().state.prompts_per_class == 6
