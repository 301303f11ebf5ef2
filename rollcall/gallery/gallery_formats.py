"""Galleries as bytes: the native `.npz`, and the pickle that courses hand out."""

from __future__ import annotations

import io
import math
import zipfile
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import GalleryError
from rollcall.core.gallery import Gallery
from rollcall.gallery.gallery_pickle import parse_pickle

FORMAT = "rollcall-gallery-1"
MAX_GALLERY_BYTES = 1 << 30
"""A million encodings are just under this size."""

MEMBERS = ("format", "names", "encodings")
SPACE = "space"
"""The member that names the encoding space. Galleries of older versions lack it and are dlib's."""

MAX_RATIO = 8
"""Unpacked to packed. Encodings are noise, which does not shrink; only long names do, and numbers
that were float32 once."""

SMALL_BYTES = 1 << 20
"""Whatever the ratio, this much may be unpacked."""

PIECE_BYTES = 1 << 20
"""How much of a gallery is unpacked at once."""

MAX_DIRECTORY_BYTES = 4096
"""Four members need 260."""


def parse_gallery(body: bytes) -> Gallery:
    """A gallery of either format. Raises GalleryError."""
    if len(body) > MAX_GALLERY_BYTES:
        raise GalleryError(f"a gallery has at most {MAX_GALLERY_BYTES} bytes, not {len(body)}")
    if body.startswith(b"PK"):
        return _parse_npz(body)
    return parse_pickle(body)


def is_native(body: bytes) -> bool:
    """Whether the bytes are `.npz`, the format that we also write."""
    return body.startswith(b"PK")


def render_gallery(gallery: Gallery) -> bytes:
    """The native format: arrays `names`, `encodings`, `space` and `format`, no pickle inside."""
    out = io.BytesIO()
    names = np.array(gallery.names, dtype=np.str_) if len(gallery) else np.empty(0, "U1")
    space, form = np.array(gallery.space), np.array(FORMAT)
    np.savez(out, format=form, space=space, names=names, encodings=gallery.encodings)
    return out.getvalue()


def _parse_npz(body: bytes) -> Gallery:
    try:
        _check_directory(body)
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            _check_members(archive, len(body))
            form, names, encodings = (_member(archive, name) for name in MEMBERS)
            has_space = f"{SPACE}.npy" in archive.namelist()
            space = str(_member(archive, SPACE)) if has_space else DLIB.name
    except GalleryError:
        raise
    except Exception as error:  # zipfile, zlib and numpy have a dozen between them
        raise GalleryError(
            f"the gallery is not an .npz file of Rollcall's ({type(error).__name__})"
        ) from None
    if str(form) != FORMAT or names.ndim != 1 or names.dtype.kind != "U":
        raise GalleryError(f"the gallery's format is not {FORMAT}")
    return Gallery([str(name) for name in names], encodings, space)


def _check_directory(body: bytes) -> None:
    """Before it is read: each of its entries would become an object. The layout is that of the
    "end of central directory record" (PKWARE's APPNOTE, 4.3.16); in one of 64 bits, which a file
    of ours never needs, sizes would stand elsewhere."""
    end = body.rfind(b"PK\x05\x06")
    if end < 0 or len(body) < end + 22 or body[max(end - 20, 0) : end].startswith(b"PK\x06\x07"):
        raise GalleryError(
            "the gallery is not an .npz file of Rollcall's: its directory is missing or odd"
        )
    if int.from_bytes(body[end + 12 : end + 16], "little") > MAX_DIRECTORY_BYTES:
        raise GalleryError("the gallery is not an .npz file of Rollcall's: it has too many members")


def _check_members(archive: zipfile.ZipFile, packed_bytes: int) -> None:
    unpacked_bytes = sum(item.file_size for item in archive.infolist())
    if unpacked_bytes > MAX_RATIO * packed_bytes + SMALL_BYTES:
        raise GalleryError(f"the gallery unpacks to {unpacked_bytes} bytes, too much for its size")


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array whose header and size agree, which is checked before anything is allocated."""
    item = archive.getinfo(f"{name}.npy")
    with archive.open(item) as file:
        header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran, dtype = header[npy.read_magic(file)](file)
        expected_bytes = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or expected_bytes != item.file_size - file.tell():
            raise GalleryError(f"the gallery's {name} are not what their header says")
        flat = np.empty(math.prod(shape), dtype)
        _fill(flat.view(np.uint8).data if flat.nbytes else memoryview(b""), file, name)
    array = flat.reshape(shape, order="F" if fortran else "C")
    array.setflags(write=False)
    return array


def _fill(place: memoryview, file: IO[bytes], name: str) -> None:
    """Piece by piece, because a second copy of a large gallery would not fit beside the first."""
    filled = 0
    while filled < len(place):
        piece = file.read(min(PIECE_BYTES, len(place) - filled))
        if not piece:
            raise GalleryError(f"the gallery's {name} are cut off")
        place[filled : filled + len(piece)] = piece
        filled += len(piece)
