"""The feature spaces in which images are compared; none needs a download.

* ``convnet``: the challenge's network, trained once on half of the real training images.
* ``pixels``: thumbnails after PCA; knows colour and layout, not what is in a picture.
* ``resnet18``, ``resnet50``: torchvision's, where their ImageNet weights are on disk.
"""

import abc
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from challenge.errors import WeightsError
from challenge.images import from_uint8, shrink
from challenge.measures.feature_network import (
    PLAN,
    Tell,
    TrainedNetwork,
    load_network,
    look,
    network_file,
    train_network,
)
from challenge.measures.real_parts import RealParts
from challenge.settings import FeatureName
from challenge.tensor_file import LOAD_ERRORS

THUMBNAIL_PIXELS = 16
PCA_COMPONENTS = 128
BATCH = 250
MEAN_OF_PER_CLASS = 25


class FeatureSpace(abc.ABC):
    """Images to vectors, the mean real one at the origin.

    ``accuracy`` is None for a space that knows no classes.
    """

    name: FeatureName
    title: str
    accuracy: float | None = None

    def embed(
        self, images: UInt8[Tensor, "N 3 S S"]
    ) -> tuple[Float[Tensor, "N F"], Int64[Tensor, " N"] | None]:
        """The features on the CPU, and the classes that the space takes the images for."""
        found = [self._embed(some) for some in torch.split(images, BATCH)]
        labels = [each for _, each in found if each is not None]
        features = torch.cat([each.float().cpu() for each, _ in found])
        return features, torch.cat(labels).cpu() if labels else None

    @abc.abstractmethod
    def _embed(self, images: UInt8[Tensor, "B 3 S S"]) -> tuple[Tensor, Tensor | None]: ...


def feature_space(
    name: FeatureName, parts: RealParts, folder: Path, device: torch.device, tell: Tell
) -> FeatureSpace:
    """The space of this name; what it must learn it learns from the teaching half of ``parts``.

    Raises:
        WeightsError: a torchvision network's weights are not on disk.
    """
    if name == "pixels":
        return PixelSpace(parts)
    if name == "convnet":
        path = network_file(folder, parts, PLAN)
        trained = load_network(path, parts.spec, device)
        return ConvNetSpace(trained or train_network(parts, path, device, tell, PLAN), parts)
    return BackboneSpace(name, parts, device)


class PixelSpace(FeatureSpace):
    """Thumbnails of 16 x 16 pixels, projected on the axes along which real ones differ most."""

    name: FeatureName = "pixels"

    def __init__(self, parts: RealParts) -> None:
        thumbnails = torch.cat(
            [_thumbnails(parts.teaching(index)) for index in range(parts.spec.num_classes)]
        )
        self._mean = thumbnails.mean(0)
        covariance = torch.cov(thumbnails.double().T)
        variances, axes = torch.linalg.eigh(covariance)  # ascending
        self._axes = axes[:, -PCA_COMPONENTS:].float()
        share = float(variances[-PCA_COMPONENTS:].sum() / variances.sum())
        self.title = (
            f"pixels of {THUMBNAIL_PIXELS} x {THUMBNAIL_PIXELS} thumbnails after PCA "
            f"({self._axes.shape[1]} components, {share:.1%} of the variance)"
        )

    def _embed(self, images: UInt8[Tensor, "B 3 S S"]) -> tuple[Tensor, None]:
        return (_thumbnails(images) - self._mean) @ self._axes, None


class ConvNetSpace(FeatureSpace):
    """The last maps of the challenge's network, averaged over the quarters of the image."""

    name: FeatureName = "convnet"

    def __init__(self, trained: TrainedNetwork, parts: RealParts) -> None:
        self._network, self._spec = trained.network, parts.spec
        self.accuracy = trained.accuracy
        self._mean = _mean_of_real(self, parts)
        self.title = (
            "the challenge's ConvNet, trained on half of the real training images "
            f"({trained.accuracy:.1%} right on the other half)"
        )

    _mean: Tensor | float = 0.0

    def _embed(self, images: UInt8[Tensor, "B 3 S S"]) -> tuple[Tensor, Tensor]:
        features, labels = look(self._network, images, self._spec)
        return features - self._mean, labels


class BackboneSpace(FeatureSpace):
    """What goes into the classifier of a torchvision network trained on ImageNet."""

    _mean: Tensor | float = 0.0

    def __init__(self, name: FeatureName, parts: RealParts, device: torch.device) -> None:
        import torchvision

        weights = torchvision.models.get_model_weights(name).DEFAULT
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        if not path.is_file():
            raise WeightsError(
                f"no weights of {name} at {path}; put torchvision's {path.name} there, or use "
                "--features convnet or pixels"
            )
        network = torchvision.models.get_model(name)
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except LOAD_ERRORS as error:
            raise WeightsError(f"{path}: not the weights of {name}; get the file again") from error
        network.fc = nn.Identity()
        self.name, self._device = name, device
        self._network = network.to(device).eval()
        self._transform = weights.transforms()
        self._mean = _mean_of_real(self, parts)
        self.title = f"torchvision's {name}, trained on ImageNet ({path.name})"

    @torch.inference_mode()
    def _embed(self, images: UInt8[Tensor, "B 3 S S"]) -> tuple[Tensor, None]:
        features: Tensor = self._network(self._transform(images.to(self._device)))
        return features - self._mean, None


def _mean_of_real(space: FeatureSpace, parts: RealParts) -> Tensor:
    """The mean feature of some teaching images, on the device that ``_embed`` works on."""
    classes = range(parts.spec.num_classes)
    images = torch.cat([parts.teaching(index)[:MEAN_OF_PER_CLASS] for index in classes])
    found = [space._embed(some)[0] for some in torch.split(images, BATCH)]
    return torch.cat(found).mean(0)


def _thumbnails(images: UInt8[Tensor, "N 3 S S"]) -> Float[Tensor, "N F"]:
    return shrink(from_uint8(images), THUMBNAIL_PIXELS).flatten(1)
