"""The bytes of a journal: a header line, then a record a batch, each guarded by its CRC.

    one line of JSON: format, version, image_shape, settings
    record:  magic 8 bytes, number of images B, crc32 of these 12 bytes
             class B times, round B times, attempt B times (int32)
             pixels, B x 3 x S x S (uint8)
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

FORMAT = "challenge-journal"
VERSION = 1
MAGIC = b"\x93BATCH\r\n"
HEAD = struct.Struct("<8sII")
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
    """A batch in the file: what its images are, the byte where their pixels start, its end."""

    class_indices: tuple[int, ...]
    round_indices: tuple[int, ...]
    attempts: tuple[int, ...]
    pixels_at: int
    end: int


def encode_record(
    class_indices: Sequence[int],
    round_indices: Sequence[int],
    attempts: Sequence[int],
    images: UInt8[Tensor, "B 3 S S"],
) -> bytes:
    """One batch as it stands in the file."""
    start = HEAD.pack(MAGIC, len(images), 0)[: -CRC.size]
    indices = np.array([class_indices, round_indices, attempts], dtype="<i4").tobytes()
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
    magic, count, head_crc = HEAD.unpack(head)
    if magic != MAGIC or head_crc != zlib.crc32(head[: -CRC.size]):
        return None
    pixels_at = start + HEAD.size + count * INDEX_BYTES
    end = pixels_at + count * math.prod(image_shape) + CRC.size
    if end > size:
        return None
    body = file.read(end - CRC.size - start - HEAD.size)
    if CRC.unpack(file.read(CRC.size)) != (zlib.crc32(body),):
        return None
    indices = np.frombuffer(body, dtype="<i4", count=3 * count).reshape(3, count)
    classes, rounds, attempts = (tuple(row) for row in indices.tolist())
    return RecordedBatch(classes, rounds, attempts, pixels_at, end)


def find_record(file: BinaryIO, start: int, size: int, image_shape: Sequence[int]) -> int | None:
    """Where the first intact record at or after ``start`` begins, if there is one."""
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
        place = content.find(MAGIC, start)
        while place >= 0 and read_record(file, place, size, image_shape) is None:
            place = content.find(MAGIC, place + 1)
    return place if place >= 0 else None
