"""Galleries as bytes: the native `.npz`, and the pickle that courses hand out.

A pickle is a program. Ours is run by an unpickler in which the few names that rebuild a numpy array
stand for small classes of this module, and every other name is refused; nothing of numpy is called
with what the file says, so a huge shape or an odd dtype is only data to be checked.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rollcall.core.errors import GalleryError
from rollcall.core.gallery import Gallery
from rollcall.core.types import ENCODING_SIZE, Encodings

FORMAT = "rollcall-gallery-1"
MAX_GALLERY_BYTES = 1 << 30
"""A million encodings are just under this size."""

MAX_NPZ_BYTES = 2 * MAX_GALLERY_BYTES
"""Of all members together, unpacked."""


def parse_gallery(body: bytes) -> Gallery:
    """A gallery of either format. Raises GalleryError."""
    if len(body) > MAX_GALLERY_BYTES:
        raise GalleryError(f"a gallery has at most {MAX_GALLERY_BYTES} bytes, not {len(body)}")
    if body.startswith(b"PK"):
        return _parse_npz(body)
    return _parse_pickle(body)


def is_native(body: bytes) -> bool:
    """Whether the bytes are `.npz`, the format that we also write."""
    return body.startswith(b"PK")


def render_gallery(gallery: Gallery) -> bytes:
    """The native format: arrays `names`, `encodings` and `format`, no pickle inside."""
    out = io.BytesIO()
    names = np.array(gallery.names, dtype=np.str_) if len(gallery) else np.empty(0, "U1")
    np.savez(out, format=np.array(FORMAT), names=names, encodings=gallery.encodings)
    return out.getvalue()


def _parse_npz(body: bytes) -> Gallery:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAX_NPZ_BYTES:
                raise GalleryError(f"the gallery unpacks to more than {MAX_NPZ_BYTES} bytes")
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            parts = [np.asarray(arrays[name]) for name in ("format", "names", "encodings")]
    except GalleryError:
        raise
    except Exception as error:  # zipfile, zlib and numpy have a dozen between them
        raise GalleryError(f"the gallery is no .npz that we wrote: {error}") from error
    form, names, encodings = parts
    if str(form) != FORMAT or names.ndim != 1 or names.dtype.kind != "U":
        raise GalleryError(f"the gallery's format is not {FORMAT}")
    return Gallery([str(name) for name in names], encodings)


def _parse_pickle(body: bytes) -> Gallery:
    try:
        return _gallery_of(_ArrayUnpickler(io.BytesIO(body)).load())
    except GalleryError:
        raise
    except Exception as error:  # a broken pickle raises whatever its opcodes run into
        raise GalleryError(f"the gallery is neither .npz nor a readable pickle: {error}") from error


def _gallery_of(document: Any) -> Gallery:
    if not isinstance(document, dict) or not {"name", "encoding"} <= document.keys():
        raise GalleryError('a pickled gallery is a dict {"name": [...], "encoding": [...]}')
    names, rows = document["name"], document["encoding"]
    if not isinstance(names, list) or not isinstance(rows, list | _Array):
        raise GalleryError("names and encodings of a pickled gallery have to be lists")
    return Gallery(names, _stack(rows))


def _stack(rows: Sequence[Any] | _Array) -> Encodings:
    if isinstance(rows, _Array):
        return rows.values()
    arrays = [row.values() if isinstance(row, _Array) else _numbers(row) for row in rows]
    if any(array.shape != (ENCODING_SIZE,) for array in arrays):
        raise GalleryError(f"every encoding has to be {ENCODING_SIZE} numbers")
    return np.stack(arrays) if arrays else np.empty((0, ENCODING_SIZE))


def _numbers(row: Any) -> Encodings:
    plain = isinstance(row, list | tuple) and all(type(cell) in (int, float) for cell in row)
    if not plain:
        raise GalleryError("an encoding has to be an array or a list of numbers")
    return np.array(row, dtype=np.float64)


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


class _Array:
    """Stands for an array that is being rebuilt; holds what the pickle says, checked."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def values(self) -> Encodings:
        """The array. Raises GalleryError unless shape, dtype and bytes fit each other."""
        match self.state:
            case (_, tuple() as shape, _DType() as dtype, bool() as fortran, bytes() as data):
                return _array(shape, np.dtype(dtype.order + dtype.code), data, fortran)
        raise GalleryError("an encoding is not a plain array of numbers")


class _Buffer(_Array):
    """Stands for `_frombuffer(data, dtype, shape, order)`, which protocol 5 calls."""

    def __init__(self, data: Any, dtype: object, shape: object, order: object) -> None:
        plain = isinstance(data, bytes | bytearray) and order in ("C", "F")
        self.state = (1, shape, dtype, order == "F", bytes(data)) if plain else None


def _array(shape: tuple[Any, ...], dtype: np.dtype[Any], data: bytes, fortran: bool) -> Encodings:
    if not 1 <= len(shape) <= 2 or not all(type(side) is int and side >= 0 for side in shape):
        raise GalleryError("an encoding has one dimension")
    count = shape[0] * (shape[1] if len(shape) == 2 else 1)
    if count * dtype.itemsize != len(data):
        raise GalleryError("an encoding's shape does not fit its bytes")
    numbers = np.frombuffer(data, dtype).astype(np.float64)
    return numbers.reshape(shape, order="F" if fortran else "C")


def _latin1(text: object, encoding: object) -> bytes:
    """Stands for `_codecs.encode`, with which protocol 2 and below write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise GalleryError("an encoding's bytes are not written as bytes are")
    return text.encode("latin-1")


_ALLOWED: Mapping[tuple[str, str], Callable[..., object]] = {
    ("_codecs", "encode"): _latin1,
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


_OPCODES: Mapping[int, Callable[[Any], None]] = pickle._Unpickler.dispatch
_HASHING = (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)


class _ArrayUnpickler(pickle._Unpickler):
    """The one written in Python: its opcodes can be replaced, and a single index does not make it
    fill the memory."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{opcode: load for opcode, load in _OPCODES.items() if bytes([opcode]) not in _HASHING},
        pickle.DICT[0]: _load_dict,
        pickle.EMPTY_DICT[0]: _load_empty_dict,
        pickle.BUILD[0]: _load_build,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError as error:
            raise GalleryError(
                f"the pickle asks for {module}.{name}, which a gallery does not need; nothing of"
                " it was run"
            ) from error

    def persistent_load(self, pid: object) -> Any:
        raise GalleryError("the pickle refers to objects outside of it")
