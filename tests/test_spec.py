"""The challenge's facts, against numbers written down by hand from their sources."""

import os
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from challenge.spec import (
    CIFAR100,
    DATASETS,
    DSA,
    DSA_STRATEGIES,
    EVALUATOR,
    LIMIT_S,
    OFFICIAL_IPC,
    PROTOCOLS,
    TINYIMAGENET,
    DatasetSpec,
    Protocol,
)

DATA = os.environ.get("CHALLENGE_DATA")


def test_cifar100_is_100_classes_of_32_pixels() -> None:
    assert (CIFAR100.num_classes, CIFAR100.image_shape) == (100, (3, 32, 32))
    assert CIFAR100.file_name == "cifar100.pt"
    assert CIFAR100.mean == (0.5071, 0.4866, 0.4409)
    assert CIFAR100.std == (0.2673, 0.2564, 0.2762)


def test_tinyimagenet_is_200_classes_of_64_pixels() -> None:
    assert (TINYIMAGENET.num_classes, TINYIMAGENET.image_shape) == (200, (3, 64, 64))
    assert TINYIMAGENET.file_name == "tinyimagenet.pt"
    assert TINYIMAGENET.mean == (0.485, 0.456, 0.406)
    assert TINYIMAGENET.std == (0.229, 0.224, 0.225)


def test_data_sets_are_found_by_name_and_come_in_the_official_order() -> None:
    assert list(DATASETS.items()) == [("cifar100", CIFAR100), ("tinyimagenet", TINYIMAGENET)]


def test_the_track_gives_ten_minutes_and_expects_ten_images_a_class() -> None:
    assert LIMIT_S == 10 * 60
    assert OFFICIAL_IPC == 10


@pytest.mark.parametrize(("spec", "parameters"), [(CIFAR100, 504_420), (TINYIMAGENET, 1_938_120)])
def test_depth_and_width_give_the_official_network_its_parameters(
    spec: DatasetSpec, parameters: int
) -> None:
    total, channels, side = 0, 3, spec.image_size
    for _ in range(EVALUATOR.depth):
        total += channels * EVALUATOR.width * 9 + EVALUATOR.width  # 3x3 convolution and its bias
        total += 2 * EVALUATOR.width  # group norm
        channels, side = EVALUATOR.width, side // 2
    total += (channels * side**2 + 1) * spec.num_classes
    assert total == parameters


def test_the_optimizer_is_the_official_one() -> None:
    assert (EVALUATOR.learning_rate, EVALUATOR.momentum) == (0.01, 0.9)
    assert (EVALUATOR.weight_decay, EVALUATOR.batch_size) == (0.0005, 256)
    assert EVALUATOR.learning_rate_drop == 0.1


@pytest.mark.parametrize(("name", "epochs", "drop"), [("official", 1001, 501), ("short", 101, 51)])
def test_published_protocols_train_three_times_and_drop_the_rate_half_way(
    name: str, epochs: int, drop: int
) -> None:
    protocol = {str(key): value for key, value in PROTOCOLS.items()}[name]
    assert (protocol.name, protocol.rounds, protocol.epochs) == (name, 3, epochs)
    assert protocol.comparable
    assert (epochs - 1) // 2 + 1 == drop  # the rule of Protocol's docstring


def test_only_published_protocols_are_called_comparable() -> None:
    assert [name for name, each in PROTOCOLS.items() if each.comparable] == ["official", "short"]
    assert PROTOCOLS["quick"].epochs is None


@pytest.mark.parametrize(("epochs", "updates"), [(None, None), (10, 400)])
def test_a_protocol_is_measured_in_epochs_or_in_updates(
    epochs: int | None, updates: int | None
) -> None:
    with pytest.raises(ValueError, match="quick: give epochs or updates, not both"):
        Protocol("quick", rounds=1, epochs=epochs, updates=updates)


def test_siamese_augmentation_is_the_official_one() -> None:
    assert "_".join(DSA_STRATEGIES) == "color_crop_cutout_flip_scale_rotate"
    assert (DSA.flip_probability, DSA.scale_ratio, DSA.rotate_degrees) == (0.5, 1.2, 15.0)
    assert (DSA.crop_pad_ratio, DSA.cutout_ratio) == (0.125, 0.5)
    assert (DSA.brightness, DSA.saturation, DSA.contrast) == (1.0, 2.0, 0.5)


def test_facts_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        CIFAR100.image_size = 64  # type: ignore[misc]


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="CHALLENGE_DATA names no folder")
def test_cifar100_normalization_is_that_of_its_training_images() -> None:
    with (Path(DATA or "") / "cifar-100-python" / "train").open("rb") as file:
        train = pickle.load(file, encoding="bytes")  # noqa: S301 -- the data set comes as a pickle
    levels = np.arange(256) / 255
    for channel in range(3):
        share = np.bincount(train[b"data"][:, channel * 1024 : channel * 1024 + 1024].ravel())
        mean, mean_square = (np.average(values, weights=share) for values in (levels, levels**2))
        assert CIFAR100.mean[channel] == pytest.approx(mean, abs=1e-4)
        assert CIFAR100.std[channel] == pytest.approx((mean_square - mean**2) ** 0.5, abs=1e-4)
