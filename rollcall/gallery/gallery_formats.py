"""Turns bytes into galleries, and galleries into bytes.

The native format is `.npz`. Pickles, which many tutorials use, are only read. Facts about the
encodings and about verdicts are JSON text (`gallery_lines.py`), one object a line.

A gallery may come from somebody else, so no memory is allocated before the sizes that the file
claims (in the ZIP directory and in each array's header) were compared with the size of the file.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import GalleryError
from rollcall.core.gallery import Gallery
from rollcall.core.gallery_checks import MAX_VERDICTS
from rollcall.core.verdicts import Example, Verdict
from rollcall.gallery.gallery_lines import (
    VerdictHead,
    example_document,
    example_of,
    head_document,
    parse_lines,
    render_lines,
    source_document,
    source_of,
)
from rollcall.gallery.gallery_pickle import parse_pickle

FORMAT = "rollcall-gallery-1"
FORMAT_WITH_VERDICTS = "rollcall-gallery-2"
"""Versions of Rollcall without verdicts refuse this format. They would write wrong names, and
enrolling with them would lose the verdicts."""

MAX_GALLERY_BYTES = 5 << 28
"""A million of dlib's encodings take 1 GiB, and the facts about them up to a quarter of it."""

MEMBERS = ("format", "names", "encodings")
SPACE = "space"
"""The member that names the encoding space. Galleries of older versions lack this member; their
encodings are dlib's."""

EXAMPLES = "examples"
"""The facts about each encoding. Galleries of older versions lack this member."""

VERDICTS, FACES, FACE_ENCODINGS = "verdicts", "verdict_faces", "verdict_encodings"
"""The verdicts; and the faces that they are about, with sources and encodings. The faces of *is*
verdicts are not among these faces, but among the examples."""

MAX_RATIO = 8
"""Limit for the unpacked size as a multiple of the packed size, against ZIP bombs. Encodings look
like noise and hardly shrink. Long names do, and so do numbers that were converted from float32."""

SMALL_BYTES = 1 << 20
"""This much may be unpacked in addition, so that MAX_RATIO does not refuse tiny galleries."""

CHUNK_BYTES = 1 << 20
"""How much is unpacked at once."""

MAX_DIRECTORY_BYTES = 4096
"""Limit for the ZIP directory. The eight members of a gallery need less than 500 bytes."""


def parse_gallery(body: bytes) -> Gallery:
    """Parse a gallery of either format. Raises GalleryError."""
    if len(body) > MAX_GALLERY_BYTES:
        raise GalleryError(f"a gallery has at most {MAX_GALLERY_BYTES} bytes, not {len(body)}")
    if body.startswith(b"PK"):
        return _parse_npz(body)
    return parse_pickle(body)


def is_native(body: bytes) -> bool:
    """Whether the bytes begin like an `.npz` file, the format that Rollcall also writes."""
    return body.startswith(b"PK")


def render_gallery(gallery: Gallery) -> bytes:
    """Write the native format, a few named arrays without a pickle.

    Raises GalleryError for a gallery that is too large to be read again.

    Without verdicts, the file has the arrays of older versions, and `examples`, which older
    versions skip. `names` has the dtype `U`: an array of Python objects would be stored as a
    pickle.
    """
    out = io.BytesIO()
    members: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT_WITH_VERDICTS if gallery.verdicts else FORMAT),
        SPACE: np.array(gallery.space),
        "names": np.array(gallery.names, dtype=np.str_) if len(gallery) else np.empty(0, "U1"),
        "encodings": gallery.encodings,
    }
    if any(example.id for example in gallery.examples):
        members[EXAMPLES] = render_lines(map(example_document, gallery.examples))
    if gallery.verdicts:
        others = [verdict for verdict in gallery.verdicts if verdict.kind != "is"]
        sources = (source for verdict in others for source in verdict.sources)
        none = gallery.encodings[:0]
        members |= {
            VERDICTS: render_lines(map(head_document, gallery.verdicts)),
            FACES: render_lines(map(source_document, sources)),
            FACE_ENCODINGS: np.vstack([none, *(verdict.encodings for verdict in others)]),
        }
    np.savez(out, **members)  # type: ignore[arg-type]
    if out.tell() > MAX_GALLERY_BYTES:
        raise GalleryError(
            f"the gallery would have {out.tell()} bytes, and a gallery has at most"
            f" {MAX_GALLERY_BYTES} bytes; remove people who are not needed any more"
        )
    return out.getvalue()


def _parse_npz(body: bytes) -> Gallery:
    try:
        _check_directory(body)
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            _check_unpacked_size(archive, len(body))
            format_name, names, encodings = (_read_array(archive, name) for name in MEMBERS)
            optional = {
                name: _read_array(archive, name)
                for name in (SPACE, EXAMPLES, VERDICTS, FACES, FACE_ENCODINGS)
                if f"{name}.npy" in archive.namelist()
            }
    except GalleryError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen different classes
        raise GalleryError(
            f"the gallery is not an .npz file of Rollcall's ({type(error).__name__})"
        ) from None
    known = str(format_name) in (FORMAT, FORMAT_WITH_VERDICTS)
    if not known or names.ndim != 1 or names.dtype.kind != "U":
        raise GalleryError(
            f"the gallery's format is neither {FORMAT} nor {FORMAT_WITH_VERDICTS}; if a newer"
            " version of Rollcall wrote it, update this one"
        )
    space = str(optional.get(SPACE, DLIB.name))
    examples, verdicts = _facts(encodings, optional)
    return Gallery(
        [str(name) for name in names], encodings, space, examples=examples, verdicts=verdicts
    )


def _facts(
    encodings: NDArray[Any], members: Mapping[str, NDArray[Any]]
) -> tuple[list[Example], list[Verdict]]:
    """The examples, and the verdicts with their encodings."""
    nothing = np.empty(0, np.uint8)
    face_encodings = members.get(FACE_ENCODINGS, np.empty((0, 0)))
    if encodings.ndim != 2 or face_encodings.ndim != 2:
        raise GalleryError("the gallery's encodings are not a table with a row for each face")
    examples = parse_lines(members.get(EXAMPLES, nothing), EXAMPLES, len(encodings), example_of)
    heads = parse_lines(members.get(VERDICTS, nothing), VERDICTS, MAX_VERDICTS, VerdictHead)
    max_faces = len(face_encodings)
    sources = parse_lines(members.get(FACES, nothing), "faces of verdicts", max_faces, source_of)
    rows: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        if example.verdict:
            rows.setdefault(example.verdict, []).append(row)
    verdicts, start = [], 0
    for head in heads:
        if head.kind == "is":
            # Taken out, so that many verdicts with one id cannot each copy the same encodings.
            own = rows.pop(head.id, [])
            verdicts.append(head.verdict(encodings[own], [examples[row].source for row in own]))
            continue
        end = start + head.faces
        verdicts.append(head.verdict(face_encodings[start:end], sources[start:end]))
        start = end
    if not start == len(sources) == max_faces:
        raise GalleryError("the verdicts of the gallery do not match their encodings")
    return examples, verdicts


def _check_directory(body: bytes) -> None:
    """Refuse a large ZIP directory before zipfile reads it and makes an object for each entry."""
    # The "end of central directory record" (PKWARE's APPNOTE, 4.3.16) has 22 bytes; its bytes 12 to
    # 15 are the directory's size. A ZIP64 locator before the record means that the size is stored
    # elsewhere. A gallery never needs ZIP64, so such a file is refused.
    end = body.rfind(b"PK\x05\x06")
    if end < 0 or len(body) < end + 22 or body[max(end - 20, 0) : end].startswith(b"PK\x06\x07"):
        raise GalleryError(
            "the gallery is not an .npz file of Rollcall's: its ZIP directory is missing or damaged"
        )
    if int.from_bytes(body[end + 12 : end + 16], "little") > MAX_DIRECTORY_BYTES:
        raise GalleryError("the gallery is not an .npz file of Rollcall's: it has too many members")


def _check_unpacked_size(archive: zipfile.ZipFile, packed_bytes: int) -> None:
    unpacked_bytes = sum(item.file_size for item in archive.infolist())
    if unpacked_bytes > MAX_RATIO * packed_bytes + SMALL_BYTES:
        raise GalleryError(f"the gallery unpacks to {unpacked_bytes} bytes, too much for its size")


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array. Raises GalleryError if its header does not match its size.

    `numpy.load` would allocate the size that the header claims before it reads the data.
    """
    item = archive.getinfo(f"{name}.npy")
    with archive.open(item) as file:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran_order, dtype = read_header[npy.read_magic(file)](file)
        expected_bytes = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or expected_bytes != item.file_size - file.tell():
            raise GalleryError(f"the header of the gallery's {name} does not match their data")
        flat = np.empty(math.prod(shape), dtype)
        _read_into(flat.view(np.uint8).data if flat.nbytes else memoryview(b""), file, name)
    array = flat.reshape(shape, order="F" if fortran_order else "C")
    array.setflags(write=False)  # so that Gallery need not copy it
    return array


def _read_into(buffer: memoryview, file: IO[bytes], name: str) -> None:
    """Fill the buffer in chunks: a second copy of a large gallery might not fit into memory."""
    filled = 0
    while filled < len(buffer):
        chunk = file.read(min(CHUNK_BYTES, len(buffer) - filled))
        if not chunk:
            raise GalleryError(f"the gallery's {name} are cut off")
        buffer[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
