from pathlib import Path

import pytest
import torch
from made_up_images import SPEC, MadeUpImages

from challenge.evaluation import classifier
from challenge.evaluation.classifier import TrainingPlan, new_convnet, train_classifier
from challenge.measures.feature_network import (
    load_network,
    look,
    network_file,
    train_network,
)
from challenge.measures.real_parts import RealParts
from challenge.submission import normalize

CPU = torch.device("cpu")
PLAN = TrainingPlan(steps=12, batch=16)
PARTS = RealParts(SPEC, MadeUpImages(per_class=32))


def silent(step: int, steps: int) -> None:
    """Tell nobody."""


def test_a_kept_network_says_the_same_as_the_trained_one(tmp_path: Path) -> None:
    path = network_file(tmp_path / "cache", PARTS, PLAN)
    told: list[tuple[int, int]] = []
    trained = train_network(PARTS, path, CPU, lambda step, of: told.append((step, of)), PLAN)
    kept = load_network(path, SPEC, CPU)
    assert kept is not None
    assert kept.accuracy == trained.accuracy
    images = PARTS.reference(0, 5)
    for ours, theirs in zip(
        look(kept.network, images, SPEC), look(trained.network, images, SPEC), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert told == [(step, 12) for step in range(1, 13)]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_features_are_the_means_of_the_four_quarters(tmp_path: Path) -> None:
    network = train_network(PARTS, tmp_path / "n", CPU, silent, TrainingPlan(steps=1)).network
    images = PARTS.reference(0, 3)
    features, _ = look(network, images, SPEC)
    maps = network.features(normalize(images.float() / 255, SPEC))
    assert features.shape == (3, 128 * 4)
    assert torch.allclose(
        features.view(3, 128, 2, 2)[:, :, 0, 0], maps[:, :, :1, :1].mean((2, 3)), atol=1e-5
    )


def test_the_gpu_way_learns_as_the_cpu_way_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "cpu_dtype", lambda: torch.float32)
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % SPEC.num_classes
    after = []
    for chunked in (True, False):
        network = new_convnet(SPEC, 1, CPU)
        batches = iter([(images, labels)] * 3)
        plan = TrainingPlan(steps=3)
        list(train_classifier(network, batches, SPEC, CPU, plan, chunked=chunked))
        after.append(network.classifier.weight.detach().clone())
    assert torch.allclose(after[0], after[1], atol=1e-4)


def test_another_plan_or_other_images_need_another_network(tmp_path: Path) -> None:
    other = MadeUpImages(per_class=32)
    other.by_class = other.by_class.flip(-1)
    files = {
        network_file(tmp_path, PARTS, PLAN),
        network_file(tmp_path, PARTS, TrainingPlan(steps=13)),
        network_file(tmp_path, RealParts(SPEC, other), PLAN),
    }
    assert len(files) == 3


@pytest.mark.parametrize("content", [None, b"", b"not a network"])
def test_a_file_that_is_no_network_is_not_used(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert load_network(path, SPEC, CPU) is None
