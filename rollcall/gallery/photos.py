"""Decodes photos for enrolment, with Pillow.

OpenCV decodes most formats, too, but it does not turn AVIF photos upright. Their rotation is stored
in the container (`irot`, `imir`), and Pillow presents it as an EXIF orientation.
"""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from rollcall.core.errors import PhotoError
from rollcall.core.types import Pixels

MAX_PHOTO_BYTES = 64 << 20
"""Limit for the size of the file."""

MAX_JPEG_PX = 150_000_000
"""Limit for width times height. The photos of most phones have up to 108 million pixels, those of a
few phones 200 million. Decoding needs up to 9 bytes for each pixel, and most often 1."""

MAX_OTHER_PX = 50_000_000
"""The same for other formats. They cannot be decoded at a fraction of their size, and need 6 to 19
bytes for each pixel, even if the file has only a few thousand bytes."""

MAX_SIDE_PX = 1600
"""Larger photos are scaled down to this size: the time for detection grows with the area, and the
face of an enrolment photo is still large enough."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "JPEG2000", "PPM")
"""Only these formats are decoded. Pillow supports more, but some of its plug-ins start other
programs (Ghostscript for EPS)."""

RESIZABLE_MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Pillow's modes with 8 bits per channel, whose pixels can be averaged."""

ORIENTATION = 0x0112
"""Number of the EXIF tag (Exif 2.3, 4.6.4)."""

_ONE_AT_A_TIME = threading.Lock()
"""Held while a photo is decoded. Each may take a gigabyte, and the pages read several at once."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns a picture of each EXIF orientation upright; 1 needs none."""


def read_photo(path: Path) -> Pixels:
    """Return the photo in RGB, shape (height, width, 3), turned upright as its metadata says.

    The longer side has at most MAX_SIDE_PX pixels. Raises PhotoError, which names the file.
    """
    try:
        return _decode(_read_bytes(path))
    except PhotoError as error:
        raise PhotoError(f"{str(path)!r} {error}") from error.__cause__


def decode_photo(name: str, data: bytes) -> Pixels:
    """Return an uploaded photo as `read_photo` does. `name` is the file name, for the errors."""
    try:
        _check_bytes(data)
        return _decode(data)
    except PhotoError as error:
        raise PhotoError(f"{name!r} {error}") from error.__cause__


def _read_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PHOTO_BYTES + 1)
    except OSError as error:
        raise PhotoError(f"cannot be read: {error.strerror}") from error
    _check_bytes(data)
    return data


def _check_bytes(data: bytes) -> None:
    if len(data) > MAX_PHOTO_BYTES:
        raise PhotoError(f"has more than {MAX_PHOTO_BYTES >> 20} MB; make it smaller, or use JPEG")


def _decode(data: bytes) -> Pixels:
    # face_recognition sets this to True on import. Then half a photo could be enrolled.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            # Pillow warns about large photos, for which `_check_size` has limits, and about broken
            # metadata, which does not harm the picture.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image)
                return _resize_and_turn(image)
    except UnidentifiedImageError:
        raise PhotoError(_explain_unreadable(data)) from None
    except Image.DecompressionBombError as error:  # Pillow's limit is higher than ours
        raise _too_large(MAX_JPEG_PX) from error
    except PhotoError:
        raise
    except Exception as error:  # each decoder of Pillow raises its own errors
        raise PhotoError(f"is damaged and cannot be decoded ({error}); export it again") from error


def _check_size(image: Image.Image) -> None:
    max_px = MAX_JPEG_PX if image.format == "JPEG" else MAX_OTHER_PX
    if image.width * image.height > max_px:
        raise _too_large(max_px)


def _too_large(max_px: int) -> PhotoError:
    return PhotoError(f"has more than {max_px // 1_000_000} million pixels; make it smaller")


def _resize_and_turn(image: Image.Image) -> Pixels:
    shown = image if image.mode in RESIZABLE_MODES else _to_eight_bits(image)
    # With `reducing_gap`, a large JPEG is decoded at a fraction of its size, which saves memory.
    shown.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.BOX, reducing_gap=2.0)
    image.load()
    # The tag is read after decoding: Pillow turns TIFF files itself, and then removes the tag.
    transpose = _TRANSPOSE.get(_orientation(image))
    rgb = shown.convert("RGB")
    return np.array(rgb if transpose is None else rgb.transpose(transpose))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the picture can be used even if its metadata is broken
        return 1


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB")  # a palette or one bit per pixel, which cannot be averaged
    # Grey values of 16 or 32 bits, or fractions. Pillow's `convert` would clip them at 255.
    grey = np.asarray(image, dtype=np.float32)
    scale = 255 if image.mode.startswith("F") and grey.max(initial=0) <= 1 else 255 / 65535
    return Image.fromarray(np.clip(grey * scale, 0, 255).astype(np.uint8))


def _explain_unreadable(data: bytes) -> str:
    if _brands(data) & {b"avif", b"avis"}:
        return "is a damaged AVIF picture; export it again"
    if kind := _file_kind(data):
        return f"is {kind}, which cannot be read; export the photo as JPEG"
    return "is not a picture that can be read (JPEG, PNG, WebP, TIFF, AVIF, ...)"


def _file_kind(data: bytes) -> str:
    """Return the kind of a file that cannot be decoded, by its first bytes; empty if unknown."""
    brands = _brands(data)
    if any(brand.startswith((b"he", b"mif", b"msf")) for brand in brands):
        return "HEIC"
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    if data.startswith(b"%PDF"):
        return "a PDF"
    if b"crx " in brands:
        return "a camera's raw photo"
    return "a video" if brands else ""


def _brands(data: bytes) -> set[bytes]:
    """Return major and compatible brands of an ISO media file (ISO/IEC 14496-12, 4.3), or none."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}
