"""Reads a pickle without running it.

A pickle is a program. Ours is run by an unpickler in which the few names that rebuild a numpy array
stand for small classes of this module, and every other name is refused. Nothing of numpy is called
with what the file says, so a huge shape or an odd dtype is only data to be checked.

Nor may it cost much: its steps are counted, nothing is allocated because the file says how much,
and what a pickle repeats from its memo stays a reference.

Python 2 wrote text as byte strings. They stay bytes here; `text_of` reads them as UTF-8, or else as
Latin-1.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import GalleryError
from rollcall.core.names import MAX_RAW_CHARS
from rollcall.core.types import Encodings

MAX_PICKLE_BYTES = 64 << 20
"""Sixty thousand encodings."""

MAX_STEPS = 2_000_000
"""Opcodes: an encoding needs about twenty as an array, and 130 as a list of numbers."""

MIN_ROW_BYTES = 2 * DLIB.size
"""No pickle writes a number in less than two bytes."""

MAX_TEXTS = MAX_PICKLE_BYTES // MIN_ROW_BYTES
"""Names in one array. No pickle has room for more encodings."""

MAX_TEXT_BYTES = 4 * MAX_RAW_CHARS


def load_pickle(body: bytes) -> Any:
    """The document; arrays in it are a PickledArray each. Raises whatever a broken pickle runs
    into, and GalleryError for one that asks for more than an array needs."""
    return _ArrayUnpickler(io.BytesIO(body)).load()


def text_of(value: Any) -> Any:
    """Byte strings as text; anything else stays, and is refused as a name later.

    Looks at the length first: one long string may be the name of everybody.
    """
    if not isinstance(value, bytes | _Latin1):
        return value
    if len(value) > MAX_TEXT_BYTES:
        raise GalleryError(f"a name in the pickle has {len(value)} bytes, which is too long")
    value = bytes(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


class _DType:
    """Stands for `numpy.dtype`, as an array's pickle calls it."""

    def __init__(self, code: object = None, *_: object) -> None:
        code = code.decode("latin-1") if isinstance(code, bytes) and len(code) < 10 else code
        if not isinstance(code, str) or not _CODES.fullmatch(code):
            raise GalleryError("encodings have to be float64 or float32, and names text")
        self.code = code
        self.kind = code[0]
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|", b"<", b">", b"=", b"|"):
            raise GalleryError("the dtype of an encoding is not a plain number")
        order = order.decode() if isinstance(order, bytes) else str(order)
        self.order = "<" if order in ("=", "|") else order


_CODES = re.compile("f8|f4|O[48]?|[US][1-9][0-9]{0,3}")
"""Numbers, objects, and text of up to 9,999 characters, which is far beyond a name."""


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


class PickledArray:
    """Stands for an array that is being rebuilt; holds what the pickle says."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def shape(self) -> object:
        """As the pickle says it."""
        return self.state[1] if isinstance(self.state, tuple) and len(self.state) == 5 else None

    def kind(self) -> str:
        """`f` for numbers, `U` and `S` for text, `O` for objects; empty for anything else."""
        match self.state:
            case (_, _, _DType() as dtype, _, _):
                return dtype.kind
        return ""

    def values(self) -> Encodings:
        """The array. Raises GalleryError unless shape, dtype and bytes fit each other."""
        shape, dtype, data, fortran = self._parts()
        if self.kind() != "f":
            raise GalleryError("an encoding is not a plain array of numbers")
        numbers = np.frombuffer(data, dtype).astype(np.float64)
        return numbers.reshape(shape, order="F" if fortran else "C")

    def texts(self) -> list[Any]:
        """The members of an array of names, of one dimension."""
        if self.kind() == "O":
            return self.items()
        shape, dtype, data, _ = self._parts()
        if self.kind() not in ("U", "S") or len(shape) != 1:
            raise GalleryError("the names of a pickled gallery have to be a list or array of text")
        if shape[0] > MAX_TEXTS:
            raise GalleryError(f"{shape[0]} names do not fit: at most {MAX_TEXTS}")
        return list(np.frombuffer(data, dtype).tolist())

    def items(self) -> list[Any]:
        """The members of an array of objects, of one dimension."""
        match self.state:
            case (_, (size,), _DType(kind="O"), _, list() as members) if size == len(members):
                return members
        raise GalleryError("an array of objects has to have one dimension")

    def _parts(self) -> tuple[tuple[int, ...], np.dtype[Any], bytes, bool]:
        match self.state:
            case (
                _,
                tuple() as shape,
                _DType() as dtype,
                bool() | 0 | 1 as fortran,
                bytes() | bytearray() | _Latin1() as data,
            ) if dtype.kind != "O":
                kind = np.dtype(dtype.order + dtype.code)
                _check_shape(shape, kind, data)
                return shape, kind, bytes(data), bool(fortran)
        raise GalleryError("an encoding is not a plain array of numbers")


class _Buffer(PickledArray):
    """Stands for `_frombuffer(data, dtype, shape, order)`, which protocol 5 calls."""

    def __init__(self, data: object, dtype: object, shape: object, order: object) -> None:
        self.state = (1, shape, dtype, order == "F", data) if order in ("C", "F") else None


def _check_shape(
    shape: tuple[Any, ...], dtype: np.dtype[Any], data: bytes | bytearray | _Latin1
) -> None:
    """Sides are compared before they are multiplied: they may have millions of digits."""
    if not 1 <= len(shape) <= 2 or not all(
        type(side) is int and 0 <= side <= MAX_PICKLE_BYTES for side in shape
    ):
        raise GalleryError("an encoding has one dimension")
    count = shape[0] * (shape[1] if len(shape) == 2 else 1)
    if count * dtype.itemsize != len(data):
        raise GalleryError("an encoding's shape does not fit its bytes")


_ALLOWED: Mapping[tuple[str, str], Callable[..., object]] = {
    ("_codecs", "encode"): _Latin1,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NdArray,
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("numpy.core.numeric", "_frombuffer"): _Buffer,
    ("numpy._core.numeric", "_frombuffer"): _Buffer,
}


class _Document(dict[str, Any]):
    """Hashes text alone: a tuple in tuples may be so deep that hashing it kills the process."""

    def __setitem__(self, key: Any, value: Any) -> None:
        key = text_of(key)
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
    if not isinstance(unpickler.stack[-2], _DType | PickledArray):
        raise GalleryError("the pickle changes something that is not an array")
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
        super().__init__(file, encoding="bytes")
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
