import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FakeClock
from diffusers import UNet2DConditionModel
from small_training import small_books, small_data, small_settings
from torch import Tensor

from challenge.embedded_training.class_means import ClassMeansTraining
from challenge.embedded_training.export import export_model
from challenge.embedded_training.settings import TrainingSettings
from challenge.embedded_training.stages import TrainingRun
from challenge.embedded_training.training_log import TrainingLog
from challenge.errors import OutputError, UsageError
from challenge.generators.tiny import load_tiny_pipeline, networks

STAGES = {
    "text", "vae", "pixel_judge_0", "pixel_judge_1",
    "features_cifar100", "generator", "features_tinyimagenet",
    "class_shifts_cifar100_4", "class_shifts_tinyimagenet_4", "class_means_4",
}  # fmt: skip


def new_run(settings: TrainingSettings) -> TrainingRun:
    clock = FakeClock()
    log = TrainingLog(settings.out / "log.jsonl", clock)
    cpu = torch.device("cpu")
    return TrainingRun(settings, cpu, small_data(), small_books(), clock, log)


def told_stages(out: Path) -> set[str]:
    return {json.loads(line)["stage"] for line in (out / "log.jsonl").read_text().splitlines()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """The folder of a whole run, and all weights that came out."""
    settings = small_settings(tmp_path_factory.mktemp("training"))
    model = new_run(settings).train()
    export_model(model, settings, settings.out / "model")
    weights = {
        f"{name}.{key}": tensor
        for name, network in networks(model.pipe).items()
        for key, tensor in network.state_dict().items()
    }
    return settings.out, weights


def test_every_stage_is_run_and_told(finished: tuple[Path, dict[str, Tensor]]) -> None:
    assert told_stages(finished[0]) == STAGES


def test_no_checkpoint_of_a_finished_stage_is_left(
    finished: tuple[Path, dict[str, Tensor]],
) -> None:
    assert sorted(path.stem for path in finished[0].glob("*.pt")) == sorted({*STAGES, "latents"})


def test_the_exported_model_is_what_was_trained(finished: tuple[Path, dict[str, Tensor]]) -> None:
    out, weights = finished
    loaded = networks(load_tiny_pipeline(out / "model"))
    for name, network in loaded.items():
        for key, tensor in network.state_dict().items():
            assert torch.allclose(tensor, weights[f"{name}.{key}"], rtol=1e-3, atol=1e-6)


def test_each_stage_begins_where_the_last_one_ended(
    finished: tuple[Path, dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, weights = finished
    for key, tensor in torch.load(out / "class_means_4.pt").items():
        assert torch.equal(tensor, weights[f"unet.{key}"])
    (out / "class_means_4.pt").unlink()
    begun_with = []

    def told(unet: UNet2DConditionModel, *rest: Any, **named: Any) -> ClassMeansTraining:
        begun_with.append({key: tensor.clone() for key, tensor in unet.state_dict().items()})
        return ClassMeansTraining(unet, *rest, **named)

    monkeypatch.setattr("challenge.embedded_training.stages.ClassMeansTraining", told)
    new_run(small_settings(out)).train()
    average = torch.load(out / "generator.pt")["average"]
    for key, tensor in begun_with[0].items():
        assert torch.equal(tensor, average[key])


def test_a_unet_trained_anew_gets_class_means_of_its_own(
    finished: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    out = shutil.copytree(finished[0], tmp_path / "run")
    (out / "generator.pt").unlink()
    state = torch.load(out / "class_means_4.pt")
    torch.save(
        {key: torch.zeros_like(tensor) for key, tensor in state.items()}, out / "class_means_4.pt"
    )
    model = new_run(small_settings(out)).train()
    for key, tensor in model.pipe.unet.state_dict().items():
        assert torch.equal(tensor, finished[1][f"unet.{key}"])


def test_the_record_says_the_recipe_and_no_folder_of_the_machine(
    finished: tuple[Path, dict[str, Tensor]],
) -> None:
    text = (finished[0] / "model" / "training.json").read_text()
    record = json.loads(text)
    assert record["settings"]["generator_steps"] == 4
    assert record["generator_steps_made"] == 4
    assert record["torch"] == torch.__version__
    assert str(finished[0]) not in text


def test_a_run_that_is_started_again_makes_nothing_anew(
    finished: tuple[Path, dict[str, Tensor]],
) -> None:
    out, weights = finished
    (out / "log.jsonl").unlink()
    model = new_run(small_settings(out)).train()
    for key, tensor in model.pipe.unet.state_dict().items():
        assert torch.equal(tensor, weights[f"unet.{key}"])
    assert not (out / "log.jsonl").exists()


def test_a_stage_is_the_same_whichever_stages_stood_already(
    finished: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    for path in finished[0].glob("*.pt"):
        if not path.stem.startswith(("features", "generator")):
            shutil.copy(path, tmp_path)
    shutil.copy(finished[0] / "vocabulary.json", tmp_path)
    new_run(small_settings(tmp_path)).train()
    for name in ("features_cifar100", "features_tinyimagenet", "generator"):
        ours, theirs = (torch.load(out / f"{name}.pt") for out in (tmp_path, finished[0]))
        ours, theirs = (state.get("master", state) for state in (ours, theirs))
        for key, tensor in ours.items():
            assert torch.equal(tensor, theirs[key]), f"{name} {key}"


def test_stages_of_other_settings_are_refused_but_the_unet_may_be_trained_longer(
    finished: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    shutil.copy(finished[0] / "recipe.json", tmp_path)
    other = replace(small_settings(tmp_path), text_steps=7)
    with pytest.raises(UsageError, match=r"begun with --text-steps 1, found 7; give that again"):
        TrainingRun.open(other, torch.device("cpu"), FakeClock())
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]
    shutil.copytree(finished[0], tmp_path / "whole")
    longer = replace(small_settings(tmp_path / "whole"), generator_steps=5)
    assert new_run(longer).train().generator_steps == 5


def test_a_model_can_be_written_before_the_training_is_done(
    finished: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    out, weights = finished
    checkpoint = out / "generator.pt"
    before = checkpoint.read_bytes()
    settings = replace(small_settings(out), generator_steps=100, export_now=True)
    model = new_run(settings).train()
    assert model.generator_steps == 4
    for key, tensor in model.pipe.unet.state_dict().items():
        assert torch.equal(tensor, weights[f"unet.{key}"])
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize("name", ["latents.pt", "vae.pt", "generator.pt", "vocabulary.json"])
def test_a_damaged_file_of_a_stage_is_named(
    finished: tuple[Path, dict[str, Tensor]], tmp_path: Path, name: str
) -> None:
    out = shutil.copytree(finished[0], tmp_path / "run")
    (out / name).write_bytes((out / name).read_bytes()[:100])
    with pytest.raises(OutputError, match=rf"{name} is damaged \(.+\); "):
        new_run(small_settings(out)).train()


def test_weights_that_float16_cannot_hold_are_refused(
    finished: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    settings = small_settings(finished[0])
    model = new_run(settings).train()
    with torch.no_grad():
        model.pipe.unet.conv_in.bias[0] = 1e6
    with pytest.raises(ValueError, match=r"unet\.conv_in\.bias is not finite in float16"):
        export_model(model, settings, tmp_path)
