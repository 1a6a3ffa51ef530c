from pathlib import Path

import pytest
import torch
import torchvision
from made_up_images import SPEC, MadeUpImages

from challenge.errors import WeightsError
from challenge.evaluation.classifier import TrainingPlan
from challenge.measures import features
from challenge.measures.features import PixelSpace, feature_space
from challenge.measures.real_parts import RealParts

CPU = torch.device("cpu")
PARTS = RealParts(SPEC, MadeUpImages(per_class=32))


def fail(step: int, steps: int) -> None:
    raise AssertionError("trained again")


def test_pixels_keep_the_distances_that_pca_keeps() -> None:
    space = PixelSpace(PARTS)
    images = torch.cat([PARTS.reference(index, 8) for index in range(SPEC.num_classes)])
    found, labels = space.embed(images)
    whole = images.float().flatten(1) / 255  # 16 pixels a side already
    assert found.shape == (len(images), 128)
    assert labels is None
    assert torch.all(torch.cdist(found, found) <= torch.cdist(whole, whole) + 0.02)
    share = torch.cdist(found, found).square().sum() / torch.cdist(whole, whole).square().sum()
    assert share > 0.9
    assert "% of the variance" in space.title


def test_the_network_is_trained_once_and_taken_from_the_cache_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "PLAN", TrainingPlan(steps=2, batch=16))
    first = feature_space("convnet", PARTS, tmp_path, CPU, lambda step, steps: None)
    again = feature_space("convnet", PARTS, tmp_path, CPU, fail)
    images = PARTS.reference(0, 300)
    found, labels = first.embed(images)
    assert torch.equal(found, again.embed(images)[0])
    assert labels is not None
    assert len(labels) == len(images)
    assert first.accuracy == again.accuracy
    assert f"{first.accuracy:.1%} right" in first.title


def test_a_torchvision_network_is_used_where_its_weights_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd.pth.*--features convnet"):
        feature_space("resnet18", PARTS, tmp_path, CPU, fail)
    path = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="not the weights of resnet18"):
        feature_space("resnet18", PARTS, tmp_path, CPU, fail)
    torch.save(torchvision.models.resnet18().state_dict(), path)
    monkeypatch.setattr(features, "MEAN_OF_PER_CLASS", 1)
    space = feature_space("resnet18", PARTS, tmp_path, CPU, fail)
    found, labels = space.embed(PARTS.reference(0, 2))
    assert found.shape == (2, 512)
    assert labels is None
    assert "resnet18" in space.title
