"""The challenge's own network as the eye of ``inspect``: trained once on real images, then kept.

It sees the teaching half of the real training images, mirrored and shifted, and is judged on images
of the other half; that accuracy is told wherever its features are used. Its file lies in the cache
folder, named for all that it depends on.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from challenge.embedded_training.training_images import mirror_half, shift
from challenge.evaluation.classifier import Batches, TrainingPlan, new_convnet, train_classifier
from challenge.evaluation.convnet import ConvNet
from challenge.images import from_uint8
from challenge.measures.real_parts import RealParts
from challenge.records import explaining_os_errors
from challenge.seeds import derive_seed
from challenge.spec import DatasetSpec
from challenge.submission import normalize

SEED = derive_seed("feature network")
JUDGED_PER_CLASS = 50  # held-out images of each class, at most

Tell = Callable[[int, int], None]  # a step is done, of so many


PLAN = TrainingPlan()


@dataclass(frozen=True)
class TrainedNetwork:
    """The network, and the share of held-out real training images that it labels right."""

    network: ConvNet
    accuracy: float


def network_file(folder: Path, parts: RealParts, plan: TrainingPlan) -> Path:
    """Where the network for these images lies in the cache folder ``folder``."""
    key = derive_seed(parts.fingerprint, json.dumps(asdict(plan)))
    return folder / f"features-{parts.spec.name}-{key:016x}.safetensors"


def load_network(path: Path, spec: DatasetSpec, device: torch.device) -> TrainedNetwork | None:
    """The network that was kept; None where there is none that can be read."""
    network = new_convnet(spec, SEED, device)
    try:
        with safe_open(path, "pt") as file:
            accuracy = float(file.metadata()["accuracy"])
            network.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError):
        return None
    return TrainedNetwork(network.eval(), accuracy)


def train_network(
    parts: RealParts, path: Path, device: torch.device, tell: Tell, plan: TrainingPlan
) -> TrainedNetwork:
    """Train on the teaching half, judge on the other, and keep the network at ``path``."""
    classes = range(parts.spec.num_classes)
    of_classes = [parts.teaching(index) for index in classes]
    labels = torch.cat([torch.full((len(each),), index) for index, each in enumerate(of_classes)])
    network = new_convnet(parts.spec, SEED, device)
    batches = _batches(torch.cat(of_classes), labels, parts.spec, plan)
    chunked = device.type == "cpu"
    steps = train_classifier(network, batches, parts.spec, device, plan, chunked=chunked)
    for step, _ in enumerate(steps, start=1):
        tell(step, plan.steps)
    trained = TrainedNetwork(network.eval(), _accuracy(network, parts, device))
    tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    partial = path.with_suffix(".partial")
    with explaining_os_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, {"accuracy": repr(trained.accuracy), **_as_text(plan)})
        partial.replace(path)
    return trained


@torch.inference_mode()
def look(
    network: ConvNet, images: UInt8[Tensor, "B 3 S S"], spec: DatasetSpec
) -> tuple[Float[Tensor, "B F"], Int64[Tensor, " B"]]:
    """The last maps of each image as means over their quarters, and the label it gets."""
    device = network.classifier.weight.device
    maps = network.features(normalize(from_uint8(images.to(device)), spec))
    labels = network.classifier(maps.flatten(1)).argmax(1)
    return F.adaptive_avg_pool2d(maps, 2).flatten(1), labels


def _batches(
    images: UInt8[Tensor, "N 3 S S"],
    labels: Int64[Tensor, " N"],
    spec: DatasetSpec,
    plan: TrainingPlan,
) -> Batches:
    """Batches of mirrored and shifted images, epochs one after the other, without end."""
    rng = torch.Generator().manual_seed(SEED)
    most = max(1, round(spec.image_size * plan.shift_share))
    while True:
        order = torch.randperm(len(images), generator=rng)
        for batch in torch.split(order, plan.batch):
            moved = shift(mirror_half(images[batch], rng), most, rng)
            yield normalize(from_uint8(moved), spec), labels[batch]


def _accuracy(network: ConvNet, parts: RealParts, device: torch.device) -> float:
    right = total = 0
    for index in range(parts.spec.num_classes):
        images = parts.held_out(index, JUDGED_PER_CLASS // 2)
        _, labels = look(network, images.to(device), parts.spec)
        right += int((labels == index).sum())
        total += len(images)
    return right / max(total, 1)


def _as_text(plan: TrainingPlan) -> dict[str, str]:
    return {key: str(value) for key, value in asdict(plan).items()}
