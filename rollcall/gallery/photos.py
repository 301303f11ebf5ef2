"""Photos for enrolment, by Pillow.

OpenCV would do for most formats, but it does not turn AVIF photos upright: their rotation is a
property of the container (`irot`, `imir`), which Pillow hands on as an EXIF orientation.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from rollcall.core.errors import PhotoError
from rollcall.core.types import Pixels

MAX_PHOTO_BYTES = 64 << 20
MAX_PHOTO_PX = 150_000_000
"""Decoded, that is 600 MB for a moment. Phones have up to 108 million pixels, a few have 200."""

LONGEST_SIDE_PX = 1600
"""Larger photos are made smaller: the detector's work grows with the area, faces stay large."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "JPEG2000", "PPM")
"""Pillow knows more; some of those start other programs."""

SHRINKABLE = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")

ORIENTATION = 0x0112
"""The EXIF tag (Exif 2.3, 4.6.4)."""

_TOO_LARGE = f"has more than {MAX_PHOTO_PX // 1_000_000} million pixels; save it smaller"

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_photo(path: Path) -> Pixels:
    """RGB, shape (height, width, 3), turned upright as its metadata says. Raises PhotoError, which
    names the file."""
    try:
        return _decoded(_bytes(path))
    except PhotoError as error:
        raise PhotoError(f"{str(path)!r} {error}") from error.__cause__


def _bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PHOTO_BYTES + 1)
    except OSError as error:
        raise PhotoError(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_PHOTO_BYTES:
        raise PhotoError(f"has more than {MAX_PHOTO_BYTES >> 20} MB; save it smaller, or as a JPEG")
    return data


def _decoded(data: bytes) -> Pixels:
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # face_recognition switches it on when imported
    try:
        with warnings.catch_warnings():
            # Pillow warns about large photos, for which we have a limit of our own, and about
            # broken metadata, which does not make a photo useless.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image)
                return _upright(image)
    except UnidentifiedImageError:
        raise PhotoError(_what_it_is(data)) from None
    except Image.DecompressionBombError as error:  # Pillow's own limit is above ours
        raise PhotoError(_TOO_LARGE) from error
    except PhotoError:
        raise
    except Exception as error:  # each of Pillow's decoders raises errors of its own
        raise PhotoError(f"is damaged and cannot be decoded ({error}); export it again") from error


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PHOTO_PX:
        raise PhotoError(_TOO_LARGE)


def _upright(image: Image.Image) -> Pixels:
    shown = image if image.mode in SHRINKABLE else _eight_bits(image)
    # A large JPEG is decoded at a fraction of its size at once, which saves memory.
    shown.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BOX, reducing_gap=2.0)
    image.load()
    # Looked up after decoding, because Pillow turns TIFF files itself then, and drops the tag.
    turn = _UPRIGHT.get(_orientation(image))
    rgb = shown.convert("RGB")
    return np.array(rgb if turn is None else rgb.transpose(turn))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken metadata says nothing about the picture
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey values of 16 or 32 bits or fractions, which Pillow itself would cut off at 255; and
    palettes, which cannot be averaged."""
    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB")
    grey = np.asarray(image, dtype=np.float64)
    scale = 255 if image.mode.startswith("F") and grey.max(initial=0) <= 1 else 255 / 65535
    return Image.fromarray(np.clip(grey * scale, 0, 255).astype(np.uint8))


def _what_it_is(data: bytes) -> str:
    if _brands(data) & {b"avif", b"avis"}:
        return "is a damaged AVIF picture; export it again"
    if kind := _kind(data):
        return f"is {kind}, which cannot be read; export the photo as JPEG"
    return "is not a picture that can be read (JPEG, PNG, WebP, TIFF, AVIF, ...)"


def _kind(data: bytes) -> str:
    """The kind of a file that is not a photo, by its first bytes; empty when unknown."""
    brands = _brands(data)
    if any(brand.startswith((b"he", b"mif", b"msf")) for brand in brands):
        return "HEIC"
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    if data.startswith(b"%PDF"):
        return "a PDF"
    if b"crx " in brands:
        return "a raw photo of a camera"
    return "a video" if brands else ""


def _brands(data: bytes) -> set[bytes]:
    """The major brand of an ISO media file (ISO/IEC 14496-12, 4.3) and the compatible ones."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}
