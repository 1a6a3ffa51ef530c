"""The bytes of a journal: a header line, then a record a batch, each guarded by its CRC.

    one line of JSON: format, version, image_shape, settings
    record:  magic 8 bytes, number of images B, number of rejected R, crc32 of these 16 bytes
             class, round, attempt (int32): B times each, then R times each
             pixels, B x 3 V x S x S (uint8), V views of a picture one after the other
             crc32 of indices and pixels

Numbers are little-endian. A record is read whole or not at all, so a cut at any byte costs one
batch at most; the head has its own CRC, so a damaged length cannot swallow what follows it.
"""

import json
import math
import mmap
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from challenge.rounds import Place

FORMAT = "challenge-journal"
VERSION = 2
MAGIC = b"\x93BATCH\r\n"
HEAD = struct.Struct("<8sIII")
CRC = struct.Struct("<I")
INDEX_BYTES = 3 * 4  # of an image: class, round, attempt
LONGEST_HEADER_BYTES = 2**20


@dataclass(frozen=True)
class JournalHeader:
    """What all images share: their shape, and the settings that a resumed run must have too."""

    image_shape: tuple[int, ...]
    settings: Mapping[str, object]

    def encode(self) -> bytes:
        """The first line of the file."""
        fields = {
            "format": FORMAT,
            "version": VERSION,
            "image_shape": self.image_shape,
            "settings": dict(self.settings),
        }
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def read(cls, file: BinaryIO) -> "JournalHeader":
        """Read the first line of the file; ``ValueError`` says what else was found."""
        line = file.readline(LONGEST_HEADER_BYTES)
        try:
            fields = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ValueError("it does not begin with a journal's header")
        if fields.get("version") != VERSION:
            raise ValueError(f"version {fields.get('version')}, expected {VERSION}")
        return cls(tuple(fields["image_shape"]), fields["settings"])


@dataclass(frozen=True)
class RecordedBatch:
    """A batch in the file: what its images are, the byte where their pixels start, its end.

    ``rejected`` were made with them and thrown away, so a resumed run knows the batch as a whole.
    """

    accepted: tuple[Place, ...]
    rejected: tuple[Place, ...]
    pixels_at: int
    end: int


def encode_record(
    accepted: Sequence[Place], rejected: Sequence[Place], images: UInt8[Tensor, "B C S S"]
) -> bytes:
    """One batch as it stands in the file."""
    start = HEAD.pack(MAGIC, len(accepted), len(rejected), 0)[: -CRC.size]
    columns = [np.array(places, dtype="<i4").reshape(-1, 3).T for places in (accepted, rejected)]
    indices = b"".join(column.tobytes() for column in columns)
    pixels = images.contiguous().numpy().data
    body_crc = zlib.crc32(pixels, zlib.crc32(indices))
    return b"".join((start, CRC.pack(zlib.crc32(start)), indices, pixels, CRC.pack(body_crc)))


def read_record(
    file: BinaryIO, start: int, size: int, image_shape: Sequence[int]
) -> RecordedBatch | None:
    """The record at ``start`` of the first ``size`` bytes; None unless it is there and intact."""
    if start + HEAD.size > size:
        return None
    file.seek(start)
    head = file.read(HEAD.size)
    magic, count, rejects, head_crc = HEAD.unpack(head)
    if magic != MAGIC or head_crc != zlib.crc32(head[: -CRC.size]):
        return None
    pixels_at = start + HEAD.size + (count + rejects) * INDEX_BYTES
    end = pixels_at + count * math.prod(image_shape) + CRC.size
    if end > size:
        return None
    body = file.read(end - CRC.size - start - HEAD.size)
    if CRC.unpack(file.read(CRC.size)) != (zlib.crc32(body),):
        return None
    indices = np.frombuffer(body, dtype="<i4", count=3 * (count + rejects))
    accepted, rejected = (
        tuple(zip(*columns.reshape(3, -1).tolist(), strict=True))
        for columns in (indices[: 3 * count], indices[3 * count :])
    )
    return RecordedBatch(accepted, rejected, pixels_at, end)


def find_record(file: BinaryIO, start: int, size: int, image_shape: Sequence[int]) -> int | None:
    """Where the first intact record at or after ``start`` begins, if there is one."""
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
        place = content.find(MAGIC, start)
        while place >= 0 and read_record(file, place, size, image_shape) is None:
            place = content.find(MAGIC, place + 1)
    return place if place >= 0 else None
