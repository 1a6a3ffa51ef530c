"""A fitted thumbnail decoder on disk: a .safetensors file with its shape, its report and its owner.

A run keeps the one it was fitted inside its folder, since a resumed run must go on with the very
same; ``prepare`` keeps one in the cache folder. ``owner`` names what it was fitted to.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from challenge.errors import WeightsError
from challenge.generators.decoder_fitting import Fidelity, FitReport
from challenge.generators.decoders import ThumbnailHead

Owner = Mapping[str, str | int]


def save_head(path: Path, head: ThumbnailHead, report: FitReport, owner: Owner) -> None:
    """Write the file, replacing an older one in one step; ``OSError`` when it cannot be."""
    metadata = {
        "shape": json.dumps(head.shape),
        "report": json.dumps(asdict(report)),
        "owner": json.dumps(dict(owner)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    tensors = {name: tensor.contiguous() for name, tensor in head.state_dict().items()}
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


def load_head(path: Path, device: torch.device, owner: Owner) -> tuple[ThumbnailHead, FitReport]:
    """The head on ``device`` and what its fit reached.

    Raises:
        WeightsError: the file is missing, damaged, or was fitted to something else.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if json.loads(metadata["owner"]) != dict(owner):
            raise WeightsError(f"{path} was fitted to another model, or for another size")
        head = ThumbnailHead(**json.loads(metadata["shape"])).to(device)
        head.load_state_dict(tensors)
        return head, _report(json.loads(metadata["report"]))
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} is missing or damaged ({reason})") from error


def _report(entry: dict[str, object]) -> FitReport:
    fidelity = entry.pop("fidelity")
    assert isinstance(fidelity, dict)
    by_target = {int(target): Fidelity(**values) for target, values in fidelity.items()}
    return FitReport(**entry, fidelity=by_target)  # type: ignore[arg-type]  # a misfit is a TypeError
