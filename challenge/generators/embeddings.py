"""Prompts as the UNet reads them: encoded once, kept as one tensor a kind, gathered by index.

A table that would take more than a fifth of a GPU's memory stays on the CPU, and each batch brings
its own rows through pinned memory. ``prepare`` keeps tables on disk, one a prompt book; such a file
is mapped into memory, so that a run reads the rows that it uses and no others.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from challenge.errors import WeightsError
from challenge.transfer import to_device

DEVICE_SHARE = 0.2  # of a GPU's memory, at most, for embeddings

Owner = Mapping[str, str | int]


class PromptEmbeddings:
    """The table of one model; ``pooled`` only where its UNet reads a pooled prompt as well."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rows: dict[str, int] = {}
        self._kinds: tuple[Tensor, ...] = ()

    def __contains__(self, prompt: object) -> bool:
        return prompt in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, prompts: Sequence[str], kinds: Sequence[Tensor]) -> None:
        """Add new prompts: tensors with a row for each, hidden states first, then pooled if any."""
        kinds = tuple(kinds)
        if self._kinds:
            pairs = zip(self._kinds, kinds, strict=True)
            kinds = tuple(torch.cat([old, new.to(old.device)]) for old, new in pairs)
        first = len(self._rows)
        self._rows.update((prompt, first + i) for i, prompt in enumerate(prompts))
        home = self._home(kinds)
        self._kinds = tuple(kind.to(home) for kind in kinds)

    def _home(self, kinds: tuple[Tensor, ...]) -> torch.device:
        """The device, unless the table takes too much of its memory."""
        if self._device.type != "cuda":
            return self._device
        room = DEVICE_SHARE * torch.cuda.get_device_properties(self._device).total_memory
        return self._device if sum(kind.nbytes for kind in kinds) <= room else torch.device("cpu")

    def gather(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Hidden states ``[B, tokens, width]``, and pooled prompts ``[B, width]`` if there are any.

        Raises:
            ValueError: a prompt is not encoded.
        """
        missing = [prompt for prompt in prompts if prompt not in self._rows]
        if missing:
            raise ValueError(f"{missing[0]!r} is not encoded; call encode_prompts before generate")
        index = torch.tensor([self._rows[prompt] for prompt in prompts])
        hidden, *pooled = (self._rows_of(kind, index) for kind in self._kinds)
        return hidden, pooled[0] if pooled else None

    def _rows_of(self, kind: Tensor, index: Tensor) -> Tensor:
        """These rows on the device; no copy makes the CPU wait for it."""
        if kind.device == self._device:
            return kind.index_select(0, to_device(index, self._device))
        rows = torch.empty((len(index), *kind.shape[1:]), dtype=kind.dtype, pin_memory=True)
        torch.index_select(kind, 0, index, out=rows)
        return rows.to(self._device, non_blocking=True)

    def save(self, path: Path, prompts: Sequence[str], owner: Owner) -> None:
        """Write the rows of these prompts, replacing an older file in one step.

        ``OSError`` when that cannot be.
        """
        index = torch.tensor([self._rows[prompt] for prompt in prompts])
        names = ("hidden", "pooled")
        tensors = {
            name: kind.index_select(0, index.to(kind.device)).cpu().contiguous()
            for name, kind in zip(names, self._kinds, strict=False)
        }
        metadata = {"owner": json.dumps(dict(owner)), "prompts": json.dumps(list(prompts))}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        save_file(tensors, partial, metadata=metadata)
        partial.replace(path)

    def load(self, path: Path, owner: Owner) -> None:
        """Add the prompts of a file that ``save`` wrote.

        Raises:
            WeightsError: it is damaged, or of another model, dtype or prompt book.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                found = json.loads(metadata["owner"])
                prompts: list[str] = json.loads(metadata["prompts"])
                names = [name for name in ("hidden", "pooled") if name in file.keys()]  # noqa: SIM118
                kinds = [file.get_tensor(name) for name in names]
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{path} is damaged ({reason})") from error
        if found != dict(owner) or not kinds or {len(kind) for kind in kinds} != {len(prompts)}:
            raise WeightsError(f"{path} was made for another model, dtype or prompt book")
        new = [number for number, prompt in enumerate(prompts) if prompt not in self._rows]
        if len(new) < len(prompts):
            kinds = [kind[torch.tensor(new, dtype=torch.long)] for kind in kinds]
        self.add([prompts[number] for number in new], kinds)
