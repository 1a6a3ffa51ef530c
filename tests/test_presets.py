"""Whole-run presets: what BANKO did, faithfully, and flags beside a preset win over it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import CliRunner

from challenge import cli
from challenge.commands.session import load_books
from challenge.file_plan import plan_file
from challenge.presets import (
    PRESETS,
    changed_preset_text,
    changes_of_preset,
    with_preset,
)
from challenge.settings import GenerateSettings, RunPresetName
from challenge.spec import CIFAR100, TINYIMAGENET


def settings(preset: RunPresetName) -> GenerateSettings:
    return with_preset(GenerateSettings(preset=preset))


def test_the_default_changes_nothing() -> None:
    assert settings("default") == GenerateSettings()


def test_banko_makes_a_hundred_and_fifty_images_a_class_of_twenty_and_ten() -> None:
    banko = settings("banko")
    files = []
    for spec in (CIFAR100, TINYIMAGENET):
        distinct = banko.distinct_ipc(spec.name)
        assert distinct is not None
        files.append(plan_file([distinct] * 3, None, augment=banko.augment).ipc)
    assert files == [100, 50]
    assert (banko.batch_size, banko.framing, banko.shrink) == (1, "whole", "bicubic")


def test_banko_asks_for_bare_names_in_superclass_order() -> None:
    books = load_books(settings("banko"))
    assert books[CIFAR100].prompts_for(0) == ("beaver",)
    assert books[CIFAR100].prompts_for(99) == ("tractor",)
    own_place = [
        label
        for label, each in enumerate(load_books(settings("banko-ordered"))[CIFAR100].classes)
        if books[CIFAR100].classes[label].name == each.name
    ]
    assert len(own_place) == 1
    assert books[TINYIMAGENET].prompts_for(26) == ("goldenretriever",)


def test_banko_ordered_has_the_labels_put_right() -> None:
    books = load_books(settings("banko-ordered"))
    assert books[CIFAR100].prompts_for(0) == ("apple",)
    assert [each.index for each in books[CIFAR100].classes] == list(range(100))


@pytest.mark.parametrize("preset", ["banko-no-augment", "banko-ordered-no-augment"])
def test_the_ablation_has_the_base_images_alone(preset: RunPresetName) -> None:
    ablation = settings(preset)
    assert ablation.augment == "none"
    assert ablation.distinct_ipc("tinyimagenet") == 10


def test_every_preset_names_its_source() -> None:
    assert all(preset.source for preset in PRESETS.values())
    assert "Guang000/BANKO" in PRESETS["banko"].source


def test_flags_beside_a_preset_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[GenerateSettings] = []

    def note(given: GenerateSettings, clock: object) -> int:
        seen.append(given)
        return 0

    monkeypatch.setattr("challenge.commands.generate.generate", note)
    line = ["generate", "--preset", "banko", "--augment", "flip", "--seed", "7"]
    assert cli.main(line) == 0
    (given,) = seen
    assert (given.augment, given.seed, given.distinct) == ("flip", 7, (20, 10))
    assert given.preset == "banko"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_as_it_is_has_nothing_to_tell(preset: RunPresetName) -> None:
    assert changes_of_preset(settings(preset)) == {}
    assert changed_preset_text(replace(settings(preset), seed=7, limit_s=60.0)) is None


def test_a_preset_that_flags_have_changed_is_not_called_by_its_name_alone() -> None:
    changed = replace(settings("banko"), augment="none", distinct=(5,))
    assert changes_of_preset(changed) == {
        "augment": {"preset": "banko", "run": "none"},
        "distinct": {"preset": (20, 10), "run": (5,)},
    }
    assert changed_preset_text(changed) == (
        "preset banko with --distinct 5 (not 20 10), --augment none (not banko): "
        "name it so beside its results"
    )


def test_a_run_tells_and_records_what_flags_changed_of_its_preset(
    tmp_path: Path, run_cli: CliRunner
) -> None:
    out = tmp_path / "run"
    line = ("generate", "--model", "tiny", "--dataset", "cifar100", "--preset", "banko")
    flags = ("--augment", "none", "--distinct", "1", "--batch-size", "50", "--limit-s", "100")
    code, _, errors = run_cli(*line, *flags, "--no-prepared", "--out", out)
    assert code == 0, errors
    assert "preset banko with --distinct 1 (not 20 10), --batch-size 50 (not 1)" in errors
    record = json.loads((out / "run.json").read_text())
    assert set(record["preset_changes"]) == {"augment", "distinct", "batch_size"}
    assert record["preset_changes"]["augment"] == {"preset": "banko", "run": "none"}
