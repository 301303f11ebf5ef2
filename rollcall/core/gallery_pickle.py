"""The pickle that courses hand out, read without running it.

A pickle is a program. Ours is run by an unpickler in which the few names that rebuild a numpy array
stand for small classes of this module, and every other name is refused; nothing of numpy is called
with what the file says, so a huge shape or an odd dtype is only data to be checked.

Nor may it cost much: its steps are counted, nothing is allocated because the file says how much,
and nothing is copied before it is known to be an encoding, so that what a pickle repeats from its
memo stays a reference.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rollcall.core.errors import GalleryError
from rollcall.core.gallery import Gallery
from rollcall.core.types import ENCODING_SIZE, Encodings

MAX_PICKLE_BYTES = 64 << 20
"""Sixty thousand encodings."""

MAX_STEPS = 2_000_000
"""Opcodes: an encoding needs about twenty as an array, and 130 as a list of numbers."""

LEAST_ROW_BYTES = 2 * ENCODING_SIZE
"""No pickle writes a number in less than two bytes."""


def parse_pickle(body: bytes) -> Gallery:
    """Raises GalleryError, whose message has nothing of what the file holds but its globals."""
    if len(body) > MAX_PICKLE_BYTES:
        raise GalleryError(
            f"a pickled gallery has at most {MAX_PICKLE_BYTES} bytes, not {len(body)};"
            " a larger one has to be native"
        )
    try:
        return _gallery_of(_ArrayUnpickler(io.BytesIO(body)).load(), len(body))
    except GalleryError:
        raise
    except Exception as error:  # a broken pickle raises whatever its opcodes run into
        raise GalleryError(
            f"the gallery is neither .npz nor a readable pickle ({type(error).__name__})"
        ) from None


def _gallery_of(document: Any, size_bytes: int) -> Gallery:
    if not isinstance(document, dict) or not {"name", "encoding"} <= document.keys():
        raise GalleryError('a pickled gallery is a dict {"name": [...], "encoding": [...]}')
    names, rows = document["name"], document["encoding"]
    if not isinstance(names, list) or not isinstance(rows, list | _Array):
        raise GalleryError("names and encodings of a pickled gallery have to be lists")
    if len(names) * LEAST_ROW_BYTES > size_bytes:
        raise GalleryError(f"{len(names)} encodings do not fit into {size_bytes} bytes")
    return Gallery(names, _stack(rows, len(names)))


def _stack(rows: Sequence[Any] | _Array, count: int) -> Encodings:
    if isinstance(rows, _Array):
        return rows.values()
    if len(rows) != count:
        raise GalleryError(f"there are {count} names for {len(rows)} encodings")
    stacked = np.empty((count, ENCODING_SIZE))
    for index, row in enumerate(rows):
        stacked[index] = _encoding(row)
    return stacked


def _encoding(row: Any) -> Encodings:
    """Looks at the length first: rows may be one object many times over."""
    if isinstance(row, _Array):
        if row.shape() == (ENCODING_SIZE,):
            return row.values()
    elif not isinstance(row, list | tuple):
        raise GalleryError("an encoding has to be an array or a list of numbers")
    elif len(row) == ENCODING_SIZE and all(type(cell) in (int, float) for cell in row):
        return np.array(row, dtype=np.float64)
    raise GalleryError(f"every encoding has to be {ENCODING_SIZE} numbers")


class _DType:
    """Stands for `numpy.dtype`, as an array's pickle calls it."""

    def __init__(self, code: object = None, *_: object) -> None:
        if code not in ("f8", "f4"):
            raise GalleryError("encodings have to be float64 or float32")
        self.code = str(code)
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise GalleryError("the dtype of an encoding is not a plain number")
        self.order = "<" if order in ("=", "|") else str(order)


class _NdArray:
    """Stands for the name `numpy.ndarray`, which a pickle only mentions."""


class _Latin1:
    """Stands for `_codecs.encode`, with which protocol 2 and below write bytes; not yet encoded."""

    def __init__(self, text: object, encoding: object) -> None:
        if not isinstance(text, str) or encoding != "latin1":
            raise GalleryError("an encoding's bytes are not written as bytes are")
        self.text = text

    def __len__(self) -> int:
        return len(self.text)

    def __bytes__(self) -> bytes:
        return self.text.encode("latin-1")


class _Array:
    """Stands for an array that is being rebuilt; holds what the pickle says."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def shape(self) -> object:
        """As the pickle says it."""
        return self.state[1] if isinstance(self.state, tuple) and len(self.state) == 5 else None

    def values(self) -> Encodings:
        """The array. Raises GalleryError unless shape, dtype and bytes fit each other."""
        match self.state:
            case (
                _,
                tuple() as shape,
                _DType() as dtype,
                bool() as fortran,
                bytes() | bytearray() | _Latin1() as data,
            ):
                return _array(shape, np.dtype(dtype.order + dtype.code), data, fortran)
        raise GalleryError("an encoding is not a plain array of numbers")


class _Buffer(_Array):
    """Stands for `_frombuffer(data, dtype, shape, order)`, which protocol 5 calls."""

    def __init__(self, data: object, dtype: object, shape: object, order: object) -> None:
        self.state = (1, shape, dtype, order == "F", data) if order in ("C", "F") else None


def _array(
    shape: tuple[Any, ...], dtype: np.dtype[Any], data: bytes | bytearray | _Latin1, fortran: bool
) -> Encodings:
    """Sides are compared before they are multiplied: they may have millions of digits."""
    if not 1 <= len(shape) <= 2 or not all(
        type(side) is int and 0 <= side <= MAX_PICKLE_BYTES for side in shape
    ):
        raise GalleryError("an encoding has one dimension")
    count = shape[0] * (shape[1] if len(shape) == 2 else 1)
    if count * dtype.itemsize != len(data):
        raise GalleryError("an encoding's shape does not fit its bytes")
    numbers = np.frombuffer(bytes(data), dtype).astype(np.float64)
    return numbers.reshape(shape, order="F" if fortran else "C")


_ALLOWED: Mapping[tuple[str, str], Callable[..., object]] = {
    ("_codecs", "encode"): _Latin1,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NdArray,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _Buffer,
    ("numpy._core.numeric", "_frombuffer"): _Buffer,
}


class _Document(dict[str, Any]):
    """Hashes text alone: a tuple in tuples may be so deep that hashing it kills the process."""

    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is not str:
            raise GalleryError("the keys of a pickled gallery have to be text")
        super().__setitem__(key, value)


def _load_dict(unpickler: Any) -> None:
    items = unpickler.pop_mark()
    _load_empty_dict(unpickler)
    for key, value in zip(items[::2], items[1::2], strict=True):
        unpickler.stack[-1][key] = value


def _load_empty_dict(unpickler: Any) -> None:
    unpickler.append(_Document())


def _load_build(unpickler: Any) -> None:
    if not isinstance(unpickler.stack[-2], _DType | _Array):
        raise GalleryError("the pickle changes something that is no array")
    _OPCODES[pickle.BUILD[0]](unpickler)


def _load_bytearray(unpickler: Any) -> None:
    """Python's own makes room for as many bytes as the file says there are."""
    (size,) = struct.unpack("<Q", unpickler.read(8))
    if size > MAX_PICKLE_BYTES:
        raise GalleryError("the pickle says that it is larger than a gallery may be")
    unpickler.append(bytearray(unpickler.read(size)))


_OPCODES: Mapping[int, Callable[[Any], None]] = pickle._Unpickler.dispatch
_HASHING = (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)
_REGISTERED = (pickle.EXT1, pickle.EXT2, pickle.EXT4)
"""Take objects from a registry of the process, and do not ask `find_class` for a known one."""

_REFUSED = frozenset(opcode[0] for opcode in (*_HASHING, *_REGISTERED))


class _Counted(dict[int, Callable[[Any], None]]):
    """Opcodes, of which so many are run."""

    left = MAX_STEPS

    def __getitem__(self, opcode: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise GalleryError(
                f"the pickle has more than {MAX_STEPS} steps; so large a gallery has to be native"
            )
        return super().__getitem__(opcode)


class _ArrayUnpickler(pickle._Unpickler):
    """The one written in Python: its opcodes can be replaced, and a single index does not make it
    fill the memory."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{opcode: load for opcode, load in _OPCODES.items() if opcode not in _REFUSED},
        pickle.DICT[0]: _load_dict,
        pickle.EMPTY_DICT[0]: _load_empty_dict,
        pickle.BUILD[0]: _load_build,
        pickle.BYTEARRAY8[0]: _load_bytearray,
    }

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.dispatch = _Counted(self.dispatch)  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError as error:
            raise GalleryError(
                f"the pickle asks for {f'{module}.{name}'!r:.200}, which a gallery does not need;"
                " nothing of it was run"
            ) from error

    def persistent_load(self, pid: object) -> Any:
        raise GalleryError("the pickle refers to objects outside of it")
