"""Prompts as the UNet reads them: encoded once, kept in tables, gathered by index.

A table that would fill more than a tenth of a GPU's memory, with those before it, stays on the CPU,
and each batch brings its own rows through pinned memory: no copy makes the CPU wait for the device.
A file that ``prepare`` wrote is mapped into memory and never read as a whole, unless it goes to the
device: a run reads the rows that it uses and no others.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from challenge.generators.embeddings_file import Owner, open_embeddings
from challenge.transfer import to_device

DEVICE_SHARE = 0.1  # of a GPU's memory, at most, for embeddings

# hidden states [N, tokens, width], then pooled prompts [N, width] if there are any
Kinds = tuple[Tensor, ...]


@dataclass(frozen=True)
class Table:
    """Rows of prompts that were added together; ``first`` is the number of the first of them."""

    first: int
    kinds: Kinds
    streamed: bool  # its rows go to the device batch by batch
    mapped: bool = False  # it is in a file, and nothing of it need be in memory

    def __len__(self) -> int:
        return len(self.kinds[0])

    @property
    def nbytes(self) -> int:
        """Size of all rows."""
        return sum(kind.nbytes for kind in self.kinds)


class PromptEmbeddings:
    """The tables of one model; pooled prompts only where its UNet reads such as well.

    ``room_bytes`` is what they may fill of the device; default: ``DEVICE_SHARE`` of a GPU's memory,
    and no bound on a CPU, where nothing is moved.
    """

    def __init__(self, device: torch.device, room_bytes: int | None = None) -> None:
        self._device = device
        self._room_bytes = _device_room(device) if room_bytes is None else room_bytes
        self._rows: dict[str, int] = {}
        self._tables: list[Table] = []

    def __contains__(self, prompt: object) -> bool:
        return prompt in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def placement(self) -> dict[str, object]:
        """For records: how many prompts, and how many bytes of them are where."""
        return {
            "prompts": len(self),
            "device_bytes": self._bytes_on_device(),
            "streamed_bytes": sum(each.nbytes for each in self._tables if each.streamed),
            "mapped_bytes": sum(each.nbytes for each in self._tables if each.mapped),
        }

    def add(self, prompts: Sequence[str], batches: Iterable[Sequence[Tensor]]) -> None:
        """Add new prompts, whose rows come batch by batch, each in order and in all its kinds.

        No more than the table itself and one batch is held.
        """
        table: Kinds = ()
        streamed, filled = False, 0
        for batch in batches:
            if not table:
                streamed = not self._fits(len(prompts) * sum(kind[0].nbytes for kind in batch))
                table = tuple(
                    torch.empty(
                        (len(prompts), *kind.shape[1:]),
                        dtype=kind.dtype,
                        device="cpu" if streamed else self._device,
                    )
                    for kind in batch
                )
            for kind, part in zip(table, batch, strict=True):
                kind[filled : filled + len(part)].copy_(part)
            filled += len(batch[0])
        if filled != len(prompts):
            raise ValueError(f"{len(prompts)} prompts and rows for {filled}")
        self._append(prompts, table, streamed=streamed)
        self._merge()

    def load(self, path: Path, owner: Owner) -> None:
        """Add the prompts of a file that ``write_embeddings`` wrote.

        Raises:
            WeightsError: it is damaged, or of another model, dtype or prompt book.
        """
        prompts, kinds = open_embeddings(path, owner)
        streamed = not self._fits(sum(kind.nbytes for kind in kinds))
        mapped = streamed or self._device.type == "cpu"
        if not mapped:
            kinds = [kind.to(self._device) for kind in kinds]
        self._append(prompts, tuple(kinds), streamed=streamed, mapped=mapped)

    def _append(
        self, prompts: Sequence[str], kinds: Kinds, *, streamed: bool, mapped: bool = False
    ) -> None:
        first = self._tables[-1].first + len(self._tables[-1]) if self._tables else 0
        for row, prompt in enumerate(prompts, first):
            self._rows.setdefault(prompt, row)
        self._tables.append(Table(first, kinds, streamed, mapped))

    def _merge(self) -> None:
        """Join small tables to those before them, so that their number grows by the logarithm."""
        while len(self._tables) > 1:
            before, last = self._tables[-2:]
            if before.mapped or before.streamed != last.streamed or len(before) > 2 * len(last):
                return
            kinds = tuple(torch.cat(pair) for pair in zip(before.kinds, last.kinds, strict=True))
            self._tables[-2:] = [Table(before.first, kinds, before.streamed)]

    def _fits(self, nbytes: int) -> bool:
        """Whether so many bytes more may be on the device."""
        return self._bytes_on_device() + nbytes <= self._room_bytes

    def _bytes_on_device(self) -> int:
        return sum(each.nbytes for each in self._tables if not each.streamed)

    def gather(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Hidden states ``[B, tokens, width]``, and pooled prompts ``[B, width]`` if there are any.

        Raises:
            ValueError: a prompt is not encoded.
        """
        missing = [prompt for prompt in prompts if prompt not in self._rows]
        if missing:
            raise ValueError(f"{missing[0]!r} is not encoded; call encode_prompts before generate")
        hidden, *pooled = self._gather([self._rows[prompt] for prompt in prompts])
        return hidden, pooled[0] if pooled else None

    def _gather(self, rows: Sequence[int]) -> Sequence[Tensor]:
        """These rows on the device, from as many tables as they are in."""
        firsts = [table.first for table in self._tables]
        table_of = [bisect_right(firsts, row) - 1 for row in rows]
        if len(set(table_of)) == 1:
            return self._rows_of(self._tables[table_of[0]], rows)
        order = sorted(range(len(rows)), key=table_of.__getitem__)
        pieces = [
            self._rows_of(self._tables[place], [rows[at] for at in group])
            for place, group in groupby(order, table_of.__getitem__)
        ]
        together = tuple(torch.cat(kind) for kind in zip(*pieces, strict=True))
        back = sorted(range(len(rows)), key=order.__getitem__)
        return self._rows_of(Table(0, together, streamed=False), back)

    def _rows_of(self, table: Table, rows: Sequence[int]) -> Sequence[Tensor]:
        """These rows on the device; no copy makes the CPU wait for it."""
        index = torch.tensor([row - table.first for row in rows])
        if not table.streamed:
            index = to_device(index, self._device)
            return [kind.index_select(0, index) for kind in table.kinds]
        on_gpu, found = self._device.type == "cuda", []
        for kind in table.kinds:
            shape = (len(index), *kind.shape[1:])
            part = torch.empty(shape, dtype=kind.dtype, pin_memory=on_gpu)
            torch.index_select(kind, 0, index, out=part)
            found.append(part.to(self._device, non_blocking=True))
        return found


def _device_room(device: torch.device) -> int:
    """Bytes of the device that embeddings may fill."""
    if device.type != "cuda":
        return 2**62
    return int(DEVICE_SHARE * torch.cuda.get_device_properties(device).total_memory)
