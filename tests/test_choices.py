"""What is asked of a model beside its name: contradictions are told before anything is loaded."""

from typing import Any

import pytest
from conftest import CliRunner

from challenge.errors import UsageError
from challenge.generators import one_step_unets
from challenge.settings import ONE_STEP_UNETS, GenerateSettings, PrepareSettings


def test_the_names_of_one_step_unets_are_those_that_the_generators_know() -> None:
    assert tuple(one_step_unets.ONE_STEP_UNETS) == ONE_STEP_UNETS


@pytest.mark.parametrize("settings", [GenerateSettings, PrepareSettings])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "tiny", "timestep": 399}, "change a model of files, and --model is tiny"),
        ({"model": "images:x", "revision": "v1"}, "and --model is images:x"),
        ({"model": "dmd2", "unet": "a.bin"}, "dmd2 is a UNet itself"),
        ({"timestep": 1000}, "--timestep 1000 is none; give one from 0 to 999"),
        ({"timestep": -1}, "--timestep -1 is none"),
        ({"model": "dmd2", "num_inference_steps": 2}, "--model dmd2 is of a single step"),
        ({"timestep": 399, "num_inference_steps": 4}, "--timestep is of a single step"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    settings: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        settings(**changes)


def test_what_is_given_is_what_is_asked_of_the_model() -> None:
    settings = GenerateSettings(revision="v1", unet="x.bin", timestep=0, prediction_type="sample")
    options = settings.model_options
    assert (options.revision, options.unet) == ("v1", "x.bin")
    assert (options.timestep, options.prediction_type) == (0, "sample")
    assert options.changes_the_step
    assert not GenerateSettings(revision="v1").model_options.changes_the_step
    assert GenerateSettings(timestep=0).model_options.changes_the_step


@pytest.mark.parametrize("command", ["generate", "prepare"])
@pytest.mark.parametrize("count", ["3", "0", "8"])
def test_steps_are_one_two_or_four(command: str, count: str, run_cli: CliRunner) -> None:
    code, _, errors = run_cli(command, "--model", "tiny", "--num-inference-steps", count)
    assert code == 2
    told = " ".join(errors.replace("│", " ").split())
    assert f"invalid choice '{count}' for argument '--num-inference-steps'" in told
    assert "Expected one of ('1', '2', '4')" in told
