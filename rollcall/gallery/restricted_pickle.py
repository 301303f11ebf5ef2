"""Reads a pickle without running any code of its choice.

A pickle is a program: its opcodes build objects, and some of them import a global name and call it
with arguments from the file. That is how a harmful pickle runs commands. The rules here are:

1. *No foreign code.* `find_class` knows only the seven names that rebuild a numpy array. Each of
   them is replaced by a small class of this module, which only stores its arguments. Every other
   name, `builtins` included, is refused before it is called.
2. *No surprises by the arguments.* numpy is called only after shape, dtype and size were checked.
3. *No attack on memory or time.* The number of opcodes is limited, no memory is allocated for a
   size that the file only claims, and a value that the pickle repeats stays one object.
4. *No hashing of foreign objects.* Keys have to be text and sets are refused: hashing a deeply
   nested tuple overflows the stack and ends the process.

Python 2 wrote text as byte strings. The unpickler leaves them as bytes; `text_of` decodes them.
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
"""Enough for sixty thousand encodings. Larger galleries have to be native."""

MAX_STEPS = 2_000_000
"""Limit for opcodes. An encoding needs about 20 as an array, and 130 as a list of numbers."""

MIN_ROW_BYTES = 2 * DLIB.size
"""Smallest size of an encoding in a pickle, in which each number takes two bytes or more."""

MAX_TEXTS = MAX_PICKLE_BYTES // MIN_ROW_BYTES
"""Limit for the names in one array: a pickle cannot have more encodings than this."""

MAX_TEXT_BYTES = 4 * MAX_RAW_CHARS
"""A character takes at most four bytes in UTF-8."""


def load_pickle(body: bytes) -> Any:
    """Return the unpickled document, in which each array is a PickledArray.

    Raises GalleryError for a pickle that breaks one of the rules above. A broken pickle may raise
    any other exception, too.
    """
    return _ArrayUnpickler(io.BytesIO(body)).load()


def text_of(value: Any) -> Any:
    """Decode byte strings, as UTF-8 or else as Latin-1. Any other value is returned unchanged.

    The length is checked first: a pickle may use one long string as the name of every person, and
    each of them would be decoded. Raises GalleryError for a string that is too long.
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
    """Replaces `numpy.dtype`, which an array's pickle calls with a type code such as "f8"."""

    def __init__(self, code: object = None, *_: object) -> None:
        code = code.decode("latin-1") if isinstance(code, bytes) and len(code) < 10 else code
        if not isinstance(code, str) or not _CODES.fullmatch(code):
            raise GalleryError("encodings have to be float64 or float32, and names have to be text")
        self.code = code
        self.kind = code[0]
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        # numpy pickles a dtype's state as (version, byte order, ...); the rest is not needed.
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|", b"<", b">", b"=", b"|"):
            raise GalleryError("the dtype of an encoding is not a plain number")
        order = order.decode() if isinstance(order, bytes) else str(order)
        # "|" means that the order does not matter. "=" is the order of the machine that wrote the
        # file, and nearly all machines are little-endian.
        self.order = "<" if order in ("=", "|") else order


_CODES = re.compile("f8|f4|O[48]?|[US][1-9][0-9]{0,3}")
"""Allowed type codes: floating-point numbers, objects, and text of up to 9,999 characters."""


class _NdArray:
    """Replaces `numpy.ndarray`, which a pickle passes to `_reconstruct` but never calls."""


class _Latin1:
    """Replaces `_codecs.encode`. Protocols 0 to 2 store bytes as text and a call of that function.

    The text is encoded only when the bytes are needed, after their length was checked.
    """

    def __init__(self, text: object, encoding: object) -> None:
        if not isinstance(text, str) or encoding != "latin1":
            raise GalleryError("the pickle encodes text, but not as the bytes of an array")
        self.text = text

    def __len__(self) -> int:
        return len(self.text)

    def __bytes__(self) -> bytes:
        return self.text.encode("latin-1")


class PickledArray:
    """Replaces an array. It holds what the pickle says about the array, unchecked."""

    def __init__(self, *_: object) -> None:
        self.state: object = None
        """Becomes (version, shape, dtype, is_fortran, data), as `ndarray.__setstate__` gets it."""

    def __setstate__(self, state: object) -> None:
        self.state = state

    def shape(self) -> object:
        """Return the shape as the pickle gives it, which may be anything."""
        return self.state[1] if isinstance(self.state, tuple) and len(self.state) == 5 else None

    def kind(self) -> str:
        """Return `f` for numbers, `U` or `S` for text, `O` for objects; empty for anything else."""
        match self.state:
            case (_, _, _DType() as dtype, _, _):
                return dtype.kind
        return ""

    def values(self) -> Encodings:
        """Build an array of numbers. Raises GalleryError if shape, dtype and bytes do not match."""
        shape, dtype, data, fortran_order = self._checked_parts()
        if self.kind() != "f":
            raise GalleryError("an encoding is not a plain array of numbers")
        numbers = np.frombuffer(data, dtype).astype(np.float64)
        return numbers.reshape(shape, order="F" if fortran_order else "C")

    def texts(self) -> list[Any]:
        """Return the members of a one-dimensional array of names."""
        if self.kind() == "O":
            return self.items()
        shape, dtype, data, _ = self._checked_parts()
        if self.kind() not in ("U", "S") or len(shape) != 1:
            raise GalleryError("the names of a pickled gallery have to be a list or array of text")
        if shape[0] > MAX_TEXTS:
            raise GalleryError(f"{shape[0]} names do not fit: at most {MAX_TEXTS}")
        return list(np.frombuffer(data, dtype).tolist())

    def items(self) -> list[Any]:
        """Return the members of a one-dimensional array of objects."""
        match self.state:
            case (_, (size,), _DType(kind="O"), _, list() as members) if size == len(members):
                return members
        raise GalleryError("an array of objects has to have one dimension")

    def _checked_parts(self) -> tuple[tuple[int, ...], np.dtype[Any], bytes, bool]:
        """Return shape, dtype, data and whether the order is Fortran's, after checking them all."""
        match self.state:
            case (
                _,
                tuple() as shape,
                _DType() as dtype,
                bool() | 0 | 1 as fortran_order,
                bytes() | bytearray() | _Latin1() as data,
            ) if dtype.kind != "O":
                numpy_dtype = np.dtype(dtype.order + dtype.code)
                _check_shape(shape, numpy_dtype, data)
                return shape, numpy_dtype, bytes(data), bool(fortran_order)
        raise GalleryError("an encoding is not a plain array of numbers")


class _Buffer(PickledArray):
    """Replaces `_frombuffer(data, dtype, shape, order)`, by which protocol 5 rebuilds an array."""

    def __init__(self, data: object, dtype: object, shape: object, order: object) -> None:
        self.state = (1, shape, dtype, order == "F", data) if order in ("C", "F") else None


def _check_shape(
    shape: tuple[Any, ...], dtype: np.dtype[Any], data: bytes | bytearray | _Latin1
) -> None:
    """Raise GalleryError unless the data has exactly the size that shape and dtype need."""
    # The sides are compared before they are multiplied: a pickle may hold integers with millions of
    # digits, whose product takes very long to compute.
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
    """A dict that hashes text only, because hashing a deeply nested tuple ends the process."""

    def __setitem__(self, key: Any, value: Any) -> None:
        key = text_of(key)
        if type(key) is not str:
            raise GalleryError("the keys of a pickled gallery have to be text")
        super().__setitem__(key, value)


# The functions below replace opcodes of the unpickler, and have its calling convention.


def _load_dict(unpickler: Any) -> None:
    items = unpickler.pop_mark()
    _load_empty_dict(unpickler)
    for key, value in zip(items[::2], items[1::2], strict=True):
        unpickler.stack[-1][key] = value


def _load_empty_dict(unpickler: Any) -> None:
    unpickler.append(_Document())


def _load_build(unpickler: Any) -> None:
    # BUILD calls `__setstate__`, or else changes the object's `__dict__`.
    if not isinstance(unpickler.stack[-2], _DType | PickledArray):
        raise GalleryError("the pickle sets the state of something that is not an array")
    _OPCODES[pickle.BUILD[0]](unpickler)


def _load_bytearray(unpickler: Any) -> None:
    # Python's own implementation allocates as many bytes as the file says before it reads them.
    (size,) = struct.unpack("<Q", unpickler.read(8))
    if size > MAX_PICKLE_BYTES:
        raise GalleryError("the pickle announces more bytes than a gallery may have")
    unpickler.append(bytearray(unpickler.read(size)))


_OPCODES: Mapping[int, Callable[[Any], None]] = pickle._Unpickler.dispatch
_HASHING = (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)
"""Opcodes that put values into a set, and so hash them."""

_REGISTERED = (pickle.EXT1, pickle.EXT2, pickle.EXT4)
"""Opcodes that take an object from a registry of the process. They bypass `find_class` if the
object was looked up before."""

_REFUSED = frozenset(opcode[0] for opcode in (*_HASHING, *_REGISTERED))


class _CountedOpcodes(dict[int, Callable[[Any], None]]):
    """The table of opcodes. It counts look-ups and refuses more than MAX_STEPS of them."""

    left = MAX_STEPS

    def __getitem__(self, opcode: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise GalleryError(
                f"the pickle has more than {MAX_STEPS} steps; a gallery this large has to be native"
            )
        return super().__getitem__(opcode)


class _ArrayUnpickler(pickle._Unpickler):
    """The restricted unpickler, made from Python's implementation in Python.

    In the implementation in C, opcodes cannot be replaced. It also keeps its memo in an array, so
    one entry with a huge index makes it allocate memory for all indices below.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{opcode: load for opcode, load in _OPCODES.items() if opcode not in _REFUSED},
        pickle.DICT[0]: _load_dict,
        pickle.EMPTY_DICT[0]: _load_empty_dict,
        pickle.BUILD[0]: _load_build,
        pickle.BYTEARRAY8[0]: _load_bytearray,
    }

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")  # leave Python 2's byte strings as bytes
        self.dispatch = _CountedOpcodes(self.dispatch)  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError as error:
            raise GalleryError(
                f"the pickle asks for {f'{module}.{name}'!r:.200}, which a gallery does not need;"
                " no code of the pickle was run"
            ) from error

    def persistent_load(self, pid: object) -> Any:
        raise GalleryError("the pickle refers to objects outside the file")
