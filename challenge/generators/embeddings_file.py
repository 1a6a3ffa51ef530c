"""Prompt embeddings on disk: a .safetensors file that is written and read without ever being held.

The library writes only what it is given whole, so the frame is written here: the length of the
header in eight bytes, the header in JSON (kinds with their type, shape and place, and what the file
is of), then the rows of one kind after the other. The library reads it, mapped into memory.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from challenge.errors import WeightsError

KINDS = ("hidden", "pooled")
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
ALIGNMENT = 64  # bytes, of the first row

Owner = Mapping[str, str | int]


def write_embeddings(
    path: Path, prompts: Sequence[str], owner: Owner, batches: Iterable[Sequence[Tensor]]
) -> None:
    """Write the rows of these prompts, which come batch by batch, each in all its kinds.

    An older file is replaced in one step, when the new one is whole; ``OSError`` when that cannot
    be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            _write_rows(file, prompts, owner, batches)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_rows(
    file: BinaryIO, prompts: Sequence[str], owner: Owner, batches: Iterable[Sequence[Tensor]]
) -> None:
    starts: list[int] = []
    written = 0
    for batch in batches:
        if not starts:
            header, starts = _header(prompts, owner, batch)
            file.write(header)
        for start, kind in zip(starts, batch, strict=True):
            file.seek(start + written * kind[0].nbytes)
            file.write(kind.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        written += len(batch[0])
    if written != len(prompts):
        raise ValueError(f"{len(prompts)} prompts and rows for {written}")


def _header(
    prompts: Sequence[str], owner: Owner, batch: Sequence[Tensor]
) -> tuple[bytes, list[int]]:
    """What stands before the rows, and where in the file each kind begins."""
    metadata = {"owner": json.dumps(dict(owner)), "prompts": json.dumps(list(prompts))}
    entries: dict[str, object] = {"__metadata__": metadata}
    ends = [0]
    for name, kind in zip(KINDS, batch, strict=False):
        ends.append(ends[-1] + len(prompts) * kind[0].nbytes)
        shape = [len(prompts), *kind.shape[1:]]
        entries[name] = {"dtype": DTYPES[kind.dtype], "shape": shape, "data_offsets": ends[-2:]}
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    header = len(text).to_bytes(8, "little") + text
    return header, [len(header) + end for end in ends[:-1]]


def open_embeddings(path: Path, owner: Owner) -> tuple[list[str], list[Tensor]]:
    """Prompts and kinds of a file, the rows in mapped memory: read when they are used.

    Raises:
        WeightsError: it is damaged, or of another model, dtype or prompt book.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            found = json.loads(metadata["owner"])
            prompts: list[str] = json.loads(metadata["prompts"])
            names = set(file.keys())
            kinds = [file.get_tensor(name) for name in KINDS if name in names]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} is damaged ({reason})") from error
    if found != dict(owner) or not kinds or {len(kind) for kind in kinds} != {len(prompts)}:
        raise WeightsError(f"{path} was made for another model, dtype or prompt book")
    return prompts, kinds
