"""Photos in the formats that phones, cameras and programs write."""

from __future__ import annotations

import io
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from support.pictures import astronaut

from rollcall.core.errors import PhotoError
from rollcall.core.types import Pixels
from rollcall.gallery import photos
from rollcall.gallery.photos import MAX_PHOTO_BYTES, MAX_SIDE_PX, decode_photo, read_photo

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> the transposition of an upright picture that such a file stores."""


def picture() -> Image.Image:
    return Image.fromarray(astronaut()[:200, 100:400])


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def read(tmp_path: Path, body: bytes) -> Pixels:
    path = tmp_path / "photo"
    path.write_bytes(body)
    return read_photo(path)


def refused(tmp_path: Path, body: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        read(tmp_path, body)
    message = str(caught.value)
    assert str(tmp_path / "photo") in message
    return message


def difference(pixels: Pixels, expected: Image.Image) -> float:
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.shape == (expected.height, expected.width, 3)
    return float(np.abs(pixels.astype(float) - np.asarray(expected.convert("RGB"))).mean())


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_turned_upright(tmp_path: Path, form: str, orientation: int) -> None:
    method = STORED[orientation]
    stored = picture() if method is None else picture().transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(read(tmp_path, encoded(stored, form, exif=exif)), picture()) < 8


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16", "I", "F"])
def test_other_kinds_of_pixels_become_rgb(tmp_path: Path, mode: str) -> None:
    grey = picture().convert("L")
    deep = np.asarray(grey).astype(np.uint16) * 257
    image = {
        "I;16": lambda: Image.fromarray(deep),
        "I": lambda: Image.fromarray(deep.astype(np.int32)),
        "F": lambda: Image.fromarray(deep.astype(np.float32) / 65535),
    }.get(mode, lambda: picture().convert(mode))()
    expected = grey if mode[0] in "IF" else image.convert("RGB")
    assert difference(read(tmp_path, encoded(image, "TIFF")), expected) < 2


def test_a_large_photo_is_made_smaller(tmp_path: Path) -> None:
    large = picture().resize((3000, 2000))
    pixels = read(tmp_path, encoded(large, "JPEG"))
    assert pixels.shape == (round(MAX_SIDE_PX * 2 / 3), MAX_SIDE_PX, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_photo_with_broken_metadata_is_read(tmp_path: Path, form: str) -> None:
    body = encoded(picture(), form, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xffgarbage")
    assert difference(read(tmp_path, body), picture()) < 8


def ftyp(major: bytes, *others: bytes) -> bytes:
    brands = major + bytes(4) + b"".join(others)
    return struct.pack(">I", len(brands) + 8) + b"ftyp" + brands + bytes(100)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            ftyp(b"heic", b"mif1", b"heic"),
            "is HEIC, which cannot be read; export the photo as JPEG",
        ),
        (ftyp(b"heix", b"mif1"), "is HEIC"),
        (ftyp(b"mif1", b"miaf", b"heic"), "is HEIC"),
        (ftyp(b"hevc", b"msf1"), "is HEIC"),
        (ftyp(b"avif", b"mif1", b"avif"), "is a damaged AVIF"),
        (ftyp(b"isom", b"mp41"), "is a video"),
        (b"\xff\x0a" + bytes(50), "is JPEG XL"),
        (b"%PDF-1.7" + bytes(50), "is a PDF"),
        (b"no picture", "is not a picture that can be read (JPEG,"),
        (b"", "is not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_the_error_names_the_kind_of_the_file(tmp_path: Path, body: bytes, reason: str) -> None:
    assert reason in refused(tmp_path, body)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_a_truncated_photo_is_refused(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This also holds if a library has set Pillow to accept truncated files."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    body = encoded(picture(), form)
    assert "is" in refused(tmp_path, body[: len(body) // 2])


def png_of(width: int, height: int) -> bytes:
    """Return the header of a picture of that size, without pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def jpeg_of(side: int) -> bytes:
    """The start of a JPEG that claims this size."""
    body = encoded(picture(), "JPEG")
    at = body.index(b"\xff\xc0") + 5
    return body[:at] + struct.pack(">HH", side, side) + body[at + 4 :]


@pytest.mark.parametrize(
    ("body", "millions"),
    [(png_of(8_000, 8_000), 50), (png_of(60_000, 60_000), 150), (jpeg_of(13_000), 150)],
)
def test_too_many_pixels_are_refused_before_decoding(
    tmp_path: Path, body: bytes, millions: int
) -> None:
    assert f"more than {millions} million pixels" in refused(tmp_path, body)


def test_photos_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a few uploads at once could use up the memory of the pages."""
    running, most, check = [0], [0], photos._check_size

    def slow(image: Image.Image) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.01)
        check(image)
        running[0] -= 1

    monkeypatch.setattr(photos, "_check_size", slow)
    body = encoded(picture(), "PNG")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: decode_photo(f"{number}.png", body), range(8)))
    assert most == [1]


def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    with open(path, "wb") as file:
        file.truncate(MAX_PHOTO_BYTES + 1)
    with pytest.raises(PhotoError, match="more than 64 MB"):
        read_photo(path)


@pytest.mark.parametrize(("name", "reason"), [(".", "Is a directory"), ("missing", "No such file")])
def test_the_error_for_an_unreadable_file_gives_the_reason(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(PhotoError, match=reason):
        read_photo(tmp_path / name)
