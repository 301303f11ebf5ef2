"""Reads `.npz` files that somebody else may have written.

Every size that the file claims is compared with the size of the file before memory is allocated.
Only files whose members are not compressed are read, so nothing can unpack to more bytes than were
received. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MAX_DIRECTORY_BYTES = 4096
"""Limit for the ZIP directory. Each member needs about 60 bytes of it."""

END_BYTES = 22
"""Size of the end of a ZIP file without a comment (PKWARE's APPNOTE, 4.3.16)."""


def write_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The arrays as an `.npz` file that `read_arrays` can read."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def read_arrays(body: bytes, kinds: Mapping[str, tuple[str, int]]) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by name, read-only. Raises ValueError.

    `kinds` has the dtype and the number of dimensions of every array. There are no other arrays.
    """
    _check_directory(body)
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            _check_members(archive, {f"{name}.npy" for name in kinds}, len(body))
            return {name: _read_array(archive, name, *kind) for name, kind in kinds.items()}
    except ValueError:
        raise
    except Exception as error:  # zipfile and numpy raise a dozen different classes
        raise ValueError(f"it is not an .npz file ({type(error).__name__})") from None


def _check_directory(body: bytes) -> None:
    """Refuse a large ZIP directory before zipfile reads it and makes an object for each entry."""
    end = body[-END_BYTES:]
    if not end.startswith(b"PK\x05\x06") or len(end) < END_BYTES:
        raise ValueError("it is not an .npz file: its ZIP directory is missing or damaged")
    directory_bytes = int.from_bytes(end[12:16], "little")
    # A ZIP64 locator means that the size is stored elsewhere. Files of 4 GiB would need it.
    if directory_bytes > MAX_DIRECTORY_BYTES or body[-END_BYTES - 20 :].startswith(b"PK\x06\x07"):
        raise ValueError("it is not an .npz file that can be used: its ZIP directory is too large")


def _check_members(archive: zipfile.ZipFile, names: set[str], file_bytes: int) -> None:
    items = archive.infolist()
    if sorted(item.filename for item in items) != sorted(names):
        raise ValueError("its arrays are not the expected ones")
    if any(item.compress_type != zipfile.ZIP_STORED for item in items):
        raise ValueError("its arrays are compressed")
    if sum(item.file_size for item in items) > file_bytes:
        raise ValueError("its arrays have more bytes than the file")


def _read_array(archive: zipfile.ZipFile, name: str, dtype: str, ndim: int) -> NDArray[Any]:
    item = archive.getinfo(f"{name}.npy")
    with archive.open(item) as file:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran_order, found = read_header[npy.read_magic(file)](file)
        wanted = np.dtype(dtype)
        if found != wanted or len(shape) != ndim or fortran_order:
            raise ValueError(f"its array {name} is not of the type {dtype} with {ndim} dimensions")
        if math.prod(shape) * wanted.itemsize != item.file_size - file.tell():
            raise ValueError(f"the header of its array {name} does not match the data")
        data = file.read()
    array: NDArray[Any] = np.frombuffer(data, wanted).reshape(shape)
    return array
