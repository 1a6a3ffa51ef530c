"""Which decoder a run ends up with: on the small random pipeline, whose VAE no head resembles."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_run import FakeGenerator, Run, TickingClock
from pipelines import one_step_generator, small_pipeline
from torch import Tensor

from challenge import decoder_choice
from challenge.decoder_choice import choose_decoders, head_owner, spread_prompts
from challenge.errors import UsageError, WeightsError
from challenge.events import Notice
from challenge.generators import decoder_fitting
from challenge.generators.decoder_file import load_head, save_head
from challenge.generators.decoder_fitting import Fidelity, FitReport
from challenge.generators.decoders import ThumbnailDecoder, ThumbnailHead
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.run_parts import RunParts
from challenge.run_state import DatasetState
from challenge.settings import GenerateSettings
from challenge.spec import CIFAR100, TINYIMAGENET

BOOKS = {CIFAR100: load_prompt_book(CIFAR100, find_prompts_dir(None))}
REPORT = FitReport(64, 0, 1.0, 1.0, {32: Fidelity(40.0, 1.0, 40.0, 1.0)})


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> OneStepGenerator:
    monkeypatch.setattr(decoder_choice, "LINEAR_LATENTS", 0)  # the fewest pairs: it is quicker
    return one_step_generator(small_pipeline(), BOOKS[CIFAR100].all_prompts())


@pytest.fixture
def parts(tmp_path: Path, generator: OneStepGenerator, monkeypatch: pytest.MonkeyPatch) -> RunParts:
    """Parts with a clock on which the VAE takes a second a batch, and all else almost nothing."""
    clock = TickingClock()
    decode = generator.vae_decoder.decode

    def slow(latents: Tensor) -> Tensor:
        clock.advance(1.0)
        return decode(latents)

    monkeypatch.setattr(generator.vae_decoder, "decode", slow)
    return Run(tmp_path, clock).parts()


def settings(**changes: object) -> GenerateSettings:
    return GenerateSettings(**{"dataset": "cifar100", "model": "small"} | changes)  # type: ignore[arg-type]


def notices(parts: RunParts) -> str:
    events = parts.emit.__self__  # type: ignore[attr-defined]  # the list that it appends to
    return "; ".join(event.text for event in events if isinstance(event, Notice))


def test_auto_takes_the_closed_form_where_it_pays_and_is_good(
    generator: OneStepGenerator, parts: RunParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_fitting, "GOOD_ENOUGH_DB", 5.0)
    choices = choose_decoders(settings(), BOOKS, generator, parts)[CIFAR100]

    assert [(choice.what, choice.pays) for choice in choices] == [("linear decoder", True)]
    assert generator.description.decoder.startswith("linear ")
    (path,) = parts.run_dir.glob("decoder-*.safetensors")
    assert path.name == "decoder-cifar100.safetensors"
    note = parts.notes["decoder cifar100"]
    assert isinstance(note, dict)
    assert note["fidelity"][32]["psnr_db"] > 5
    assert generator.image_size(32) == 32


def test_what_is_not_good_enough_is_said_and_not_used(
    generator: OneStepGenerator, parts: RunParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_fitting, "GOOD_ENOUGH_DB", 90.0)
    choose_decoders(settings(decoder="linear"), BOOKS, generator, parts)
    assert generator.description.decoder == "vae"
    assert "the linear decoder reaches" in notices(parts)
    assert "it is not used" in notices(parts)
    assert not list(parts.run_dir.glob("decoder-*"))


def test_auto_goes_on_to_the_trained_one_and_stops_where_it_no_longer_pays(
    generator: OneStepGenerator, parts: RunParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_fitting, "GOOD_ENOUGH_DB", 90.0)
    monkeypatch.setattr(decoder_choice, "THUMBNAIL_PAIRS", 10**9)
    choices = choose_decoders(settings(), BOOKS, generator, parts)[CIFAR100]
    assert [(choice.what, choice.pays) for choice in choices] == [
        ("linear decoder", True),
        ("thumbnail decoder", False),
    ]
    assert generator.description.decoder == "vae"


@pytest.mark.parametrize("changes", [{"ipc": 5}, {"limit_s": 0.01}, {"decoder": "vae"}])
def test_nothing_is_fitted_for_a_fixed_plan_a_short_run_or_on_request(
    changes: dict[str, object], generator: OneStepGenerator, parts: RunParts
) -> None:
    choose_decoders(settings(**changes), BOOKS, generator, parts)
    assert generator.description.decoder == "vae"
    assert not parts.notes


def test_a_resumed_run_goes_on_with_the_decoder_that_it_had(
    generator: OneStepGenerator, parts: RunParts
) -> None:
    head = ThumbnailHead(channels=4, ratio=4, blocks=0)
    path = parts.run_dir / "decoder-cifar100.safetensors"
    save_head(path, head, REPORT, head_owner(generator, 32))
    choose_decoders(settings(), BOOKS, generator, parts)
    assert generator.description.decoder == ThumbnailDecoder(head).identity


def test_a_run_that_began_with_the_vae_stays_with_it(
    generator: OneStepGenerator, parts: RunParts
) -> None:
    parts.state.datasets["tinyimagenet"] = DatasetState(0.0)
    assert choose_decoders(settings(), BOOKS, generator, parts) == {CIFAR100: []}
    assert generator.description.decoder == "vae"


def test_a_generator_without_latents_has_no_decoder_to_choose(parts: RunParts) -> None:
    fake = FakeGenerator(TickingClock())
    assert choose_decoders(settings(), BOOKS, fake, parts) == {CIFAR100: []}
    with pytest.raises(UsageError, match=r"--decoder linear: small has no latents"):
        choose_decoders(settings(decoder="linear"), BOOKS, fake, parts)


def test_a_small_decoder_that_is_not_on_disk_is_told_with_the_way_to_get_it(
    generator: OneStepGenerator, parts: RunParts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WeightsError, match=r"taesdxl is not in the hub cache .*hf download"):
        choose_decoders(settings(decoder="taesdxl"), BOOKS, generator, parts)


def test_a_file_gives_back_the_head_and_refuses_another_owner(tmp_path: Path) -> None:
    head, device = ThumbnailHead(channels=4, ratio=2, width=8, blocks=1), torch.device("cpu")
    report = replace(REPORT, fidelity={32: REPORT.fidelity[32], 64: REPORT.fidelity[32]})
    save_head(tmp_path / "head.safetensors", head, report, {"weights": "a"})

    found, its_report = load_head(tmp_path / "head.safetensors", device, {"weights": "a"})

    latents = torch.randn(2, 4, 6, 6)
    assert torch.equal(found(latents), head(latents))
    assert its_report == report
    with pytest.raises(WeightsError, match=r"fitted to another model"):
        load_head(tmp_path / "head.safetensors", device, {"weights": "b"})
    (tmp_path / "head.safetensors").write_bytes(b"not this")
    with pytest.raises(WeightsError, match=r"missing or damaged"):
        load_head(tmp_path / "head.safetensors", device, {"weights": "a"})


def test_prompts_are_spread_over_the_classes_of_all_books() -> None:
    books = [load_prompt_book(spec, find_prompts_dir(None)) for spec in (CIFAR100, TINYIMAGENET)]
    firsts = {book.dataset: {book.prompts_for(i)[0] for i in range(100)} for book in books}
    some = spread_prompts(books, 60)
    assert len(set(some)) == 60
    assert 15 <= len(firsts["cifar100"] & set(some[:])) <= 25  # a third of the classes
    assert firsts["cifar100"] & set(some[:10])
    assert len(spread_prompts(books, 900)) == 900
