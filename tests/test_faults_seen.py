"""Do the measures tell the truth? Sets of known faults beside the same images without them."""

import functools
from typing import Any

import pytest
import torch
from fault_sets import FAULTS, Fault, as_set, blurred_averages, duplicates, wrong_labels
from made_up_images import SPEC, MadeUpImages

from challenge.commands.inspect_screen import remarks
from challenge.evaluation.classifier import TrainingPlan
from challenge.measures.feature_network import train_network
from challenge.measures.features import ConvNetSpace, PixelSpace
from challenge.measures.measure import measure_set
from challenge.measures.real_parts import RealParts

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> ConvNetSpace:
    """A network of a few seconds that knows the made-up classes."""
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    plan = TrainingPlan(steps=40, batch=32)
    trained = train_network(PARTS, path, CPU, lambda step, steps: None, plan)
    assert trained.accuracy > 0.8
    return ConvNetSpace(trained, PARTS)


PARTS = RealParts(SPEC, MadeUpImages())


@functools.cache
def baseline() -> torch.Tensor:
    return torch.stack([PARTS.baseline(index, 10**6) for index in range(SPEC.num_classes)])


def measured(name: str, by_class: torch.Tensor, space: ConvNetSpace) -> dict[str, Any]:
    return measure_set(as_set(name, by_class, SPEC), PARTS, space, CPU, lambda done, of: None)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_is_seen_by_the_measures_that_claim_to(fault: Fault, space: ConvNetSpace) -> None:
    found = measured(fault.name, fault.make(baseline()), space)
    for place, measure, direction in fault.seen_by:
        made, real = found[place]["made"][measure], found[place]["real"][measure]
        assert made < real if direction == "falls" else made > real, f"{measure}: {made}, {real}"


def test_a_set_without_fault_equals_its_baseline(space: ConvNetSpace) -> None:
    found = measured("none", baseline(), space)
    for place in ("overall", "classes_mean"):
        assert found[place]["made"] == pytest.approx(found[place]["real"], abs=1e-5)


def test_more_of_a_fault_is_ranked_worse(space: ConvNetSpace) -> None:
    told = [
        measured("wrong", wrong_labels(share)(baseline()), space)["overall"]["made"]["told_right"]
        for share in (0.1, 0.3, 0.6)
    ]
    assert told == sorted(told, reverse=True)
    assert told[0] > told[-1] + 0.2
    twins = [
        measured("twins", duplicates(share)(baseline()), space)["near_duplicates"]["share"]
        for share in (0.1, 0.3, 0.5)
    ]
    assert twins == pytest.approx([0.2, 0.6, 1.0], abs=0.06)


def test_wrong_labels_hide_from_measures_that_know_no_classes(space: ConvNetSpace) -> None:
    found = measured("wrong", wrong_labels(0.1)(baseline()), space)["overall"]
    for measure in ("mean_pairwise_distance", "vendi_share", "sharpness", "saturation"):
        assert found["made"][measure] == pytest.approx(found["real"][measure], rel=0.02)


def test_a_blur_flatters_precision_and_density_of_pixels_and_the_guard_sees_it() -> None:
    found = measure_set(
        as_set("blurred", blurred_averages(baseline()), SPEC),
        PARTS, PixelSpace(PARTS), CPU, lambda done, of: None,
    )  # fmt: skip
    made, real = found["classes_mean"]["made"], found["classes_mean"]["real"]
    assert made["precision"] > real["precision"]
    assert made["density"] > 1.5 * real["density"]
    assert any("the images are blurred" in line for line in remarks(found))
