"""A UNet from a single file with diffusers' names of tensors, shaped by the config of its base.

That is how SDXL-Lightning, Hyper-SD and DMD2 are given away. Each tensor goes from the file to the
device in the dtype of the run, one by one: a float32 file of 10 GB needs no more memory than the
network itself. A .bin file is read by ``torch.load(weights_only=True)``, which runs no code.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor

from challenge.errors import first_line
from challenge.tensor_file import LOAD_ERRORS


def load_unet_file(
    path: Path, config_dir: Path, dtype: torch.dtype, device: torch.device
) -> tuple[UNet2DConditionModel, list[str]]:
    """The UNet on ``device``, and the names of the tensors that the file lacks.

    ``ValueError`` for tensors that the config has no place for, or another shape.
    """
    config = UNet2DConditionModel.load_config(config_dir, local_files_only=True)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    tensors = {name: tensor.to(device, dtype) for name, tensor in _tensors(path)}
    for name, wanted in unet.state_dict().items():
        if name in tensors and tensors[name].shape != wanted.shape:
            found = list(tensors[name].shape)
            raise ValueError(
                f"{path} is not of this base: {name} is {found}, not {list(wanted.shape)}"
            )
    missing, unexpected = unet.load_state_dict(tensors, strict=False, assign=True)
    if unexpected:
        raise ValueError(f"{path} has {unexpected[0]}, which {config_dir / 'config.json'} has not")
    return unet, list(missing)


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor, read from the file when it is asked for."""
    if path.suffix == ".bin":
        yield from _tensors_of_bin(path).items()
        return
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name)


def _tensors_of_bin(path: Path) -> dict[str, Tensor]:
    """Tensors in mapped memory: each is read when it is first used."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except LOAD_ERRORS as error:
        raise ValueError(f"{path} holds no tensors by name ({first_line(error)})") from error
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise ValueError(f"{path} holds no tensors by name")
    return found
