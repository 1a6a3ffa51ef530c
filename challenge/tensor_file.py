"""Write one float32 tensor as ``torch.save`` would, without ever having all of it.

``torch.save`` wants the whole tensor. Its file is a zip archive of stored records: a pickle that
says "a tensor of this shape, its bytes are in data/0", three words about the format, and the bytes.
These records are written here one by one, in torch's order and at torch's 64-byte alignment, so
``torch.load`` reads the file, also with ``mmap=True``, and so does any zip tool.

``torch.serialization.skip_data`` could write the frame for us. It was not taken: it leaves every
CRC zero and the hash to a second pass over the file, and its documentation calls it a prototype.
"""

import contextlib
import hashlib
import io
import math
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

SYNC_EVERY_BYTES = 128 * 2**20
# what torch.load raises for a file that is damaged or of another kind
LOAD_ERRORS = (
    pickle.UnpicklingError,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    struct.error,
)

STORAGE_ALIGNMENT = 64  # bytes; torch.utils.serialization.config.save.storage_alignment


class TensorFileWriter:
    """A file that receives a contiguous float32 tensor of ``shape``, first values first.

    ``num_bytes`` is the size of what was written so far, ``sha256`` its hash. ``finish`` completes
    the file and forces it to disk; ``discard`` gives it up where it stands and leaves the remains.
    Both may be called again. Errors of the operating system pass through.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._file = _HashedFile(path)
        self._synced_bytes = 0
        self._archive = zipfile.ZipFile(self._file, "w")
        self._write_record("data.pkl", tensor_pickle(shape))
        self._write_record(".format_version", b"1")
        self._write_record(".storage_alignment", str(STORAGE_ALIGNMENT).encode())
        self._write_record("byteorder", sys.byteorder.encode())
        self._data = self._archive.open(self._record_info("data/0"), "w", force_zip64=True)

    @property
    def num_bytes(self) -> int:
        """Bytes written so far."""
        return self._file.num_bytes

    @property
    def sha256(self) -> str:
        """Hash of the bytes written so far, in hexadecimal."""
        return self._file.sha256.hexdigest()

    def write(self, values: Float32[Tensor, "..."]) -> None:
        """Append values of a CPU tensor, which may be reused when this returns.

        Every 128 MiB the disk is waited for, so that how fast the file grows says how fast the disk
        is, and little is left for the end.
        """
        self._data.write(values.flatten().view(torch.uint8).numpy().data)
        if self._file.num_bytes - self._synced_bytes >= SYNC_EVERY_BYTES:
            self._file.sync()
            self._synced_bytes = self._file.num_bytes

    def finish(self) -> None:
        """Complete the file and force it to disk."""
        self._data.close()
        self._write_record("version", b"3\n")
        self._archive.close()
        self._file.sync()
        self._file.close()

    def discard(self) -> None:
        """Close the file incomplete."""
        self._file.close()
        self._data.close()
        self._archive.close()

    def _write_record(self, name: str, content: bytes) -> None:
        with self._archive.open(self._record_info(name), "w", force_zip64=True) as record:
            record.write(content)

    def _record_info(self, name: str) -> zipfile.ZipInfo:
        """A stored record whose content will start at a multiple of 64 bytes."""
        info = zipfile.ZipInfo(f"archive/{name}")
        # the local header: 30 bytes, the name, the padding field's own 4 bytes, zip64's 20 bytes
        start = self._file.num_bytes + 30 + len(info.filename) + 4 + 20
        padding = -start % STORAGE_ALIGNMENT
        # "FB" is the extra field that torch.save pads with
        info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
        return info


class _HashedFile:
    """A file that hashes what is written to it, in a second thread beside the write itself.

    It cannot seek. ``zipfile`` then puts a record's CRC and sizes behind its data, as torch does,
    so each byte is final when it is written. After ``close`` what comes is dropped: an archive
    that is given up writes its ending all the same.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hasher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sha256")
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0

    def write(self, data: bytes | memoryview) -> int:
        num_bytes = memoryview(data).nbytes
        if not self._file.closed:
            hashing = self._hasher.submit(self.sha256.update, data)
            try:
                self._file.write(data)
            finally:
                hashing.result()  # the caller may reuse the memory now
            self.num_bytes += num_bytes
        return num_bytes

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._hasher.shutdown()
        with contextlib.suppress(OSError):  # what a full disk did not take is given up
            self._file.close()


def tensor_pickle(shape: tuple[int, ...]) -> bytes:
    """The pickle that ``torch.save`` makes of a contiguous float32 tensor of this shape on the CPU.

    A test compares it with torch's own, byte for byte.
    """
    content = io.BytesIO()
    _TensorPickler(content, protocol=2).dump(_TensorStandIn(shape))
    return content.getvalue()


class _TensorStandIn:
    """Pickles as a tensor does: as a call of the function by which torch rebuilds it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        storage = _StorageStandIn(math.prod(self.shape))
        strides = tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))
        hooks: OrderedDict[str, object] = OrderedDict()
        offset, requires_grad = 0, False
        arguments = (storage, offset, self.shape, strides, requires_grad, hooks)
        return torch._utils._rebuild_tensor_v2, arguments


class _StorageStandIn:
    """The tensor's memory, which is not in the pickle but in the record ``data/0``."""

    def __init__(self, num_values: int) -> None:
        self.num_values = num_values


class _TensorPickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> tuple[object, ...] | None:
        if isinstance(obj, _StorageStandIn):
            return ("storage", torch.FloatStorage, "0", "cpu", obj.num_values)
        return None
