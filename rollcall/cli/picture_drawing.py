"""Draws the pictures of `rollcall recognise --save` and `--html`, with Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from zlib import crc32

from PIL import Image, ImageDraw, ImageFont

from rollcall.core.face_worth import shown_square
from rollcall.core.types import Box, Pixels
from rollcall.recognition.frame_book import SmallPicture

MAX_FRAME_PX = 1280
"""Largest side of a saved frame. Larger ones are made smaller."""

FACE_PX = 160
"""Side of a saved face. A smaller face is not enlarged."""

JPEG_QUALITY = 85

MADE_BY = b"made by rollcall recognise"
"""Comment in every picture, by which a later run recognises the pictures that it may delete."""

MAX_COMMENT_END = 256
"""The comment is within so many bytes from the start of a picture."""

COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8c6bb1"),
)
"""Colours that colour-blind people can tell apart (Okabe and Ito), and a violet."""

UNKNOWN_COLOUR = "#9aa5b1"

SHEET_COLUMNS = 6
SHEET_MARGIN_PX = 12
CAPTION_PX = 44
MAX_SHEET_FACES = 120
"""Limit for the faces of a contact sheet, which keeps it below 20 megapixels."""

FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf")
"""Fonts with more letters than Pillow's own. The first one that is installed is used."""


class Mark(NamedTuple):
    """A face in a frame, with its box in pixels of the original frame."""

    box: Box
    label: str
    colour: str


class SheetFace(NamedTuple):
    """A cell of a contact sheet."""

    jpeg: bytes | None
    lines: tuple[str, str]
    colour: str


def colour_of(name: str) -> str:
    """The colour of a person: the same in all videos. The name of an unknown person is empty."""
    # The same hash as for the lanes of the pages.
    number = crc32(name.encode("utf-8", "surrogatepass"))
    return COLOURS[number % len(COLOURS)] if name else UNKNOWN_COLOUR


def small_frame(pixels: Pixels) -> SmallPicture:
    """The frame as a JPEG of at most MAX_FRAME_PX."""
    image = Image.fromarray(pixels)
    image.thumbnail((MAX_FRAME_PX, MAX_FRAME_PX), Image.Resampling.BILINEAR)
    return SmallPicture(_jpeg(image), image.width / pixels.shape[1])


def face_cut_out(pixels: Pixels, box: Box) -> bytes:
    """The face with some surroundings as a JPEG of at most FACE_PX x FACE_PX pixels."""
    height, width = pixels.shape[:2]
    square = shown_square(box, width, height)
    image = Image.fromarray(pixels[square.top : square.bottom, square.left : square.right])
    image.thumbnail((FACE_PX, FACE_PX), Image.Resampling.BILINEAR)
    return _jpeg(image)


def annotated(picture: SmallPicture, marks: Sequence[Mark], title: str) -> bytes:
    """The frame with a box and a label for each face, and the title in its upper left corner.

    Texts that are wider than the frame are cut.
    """
    image = Image.open(io.BytesIO(picture.jpeg)).convert("RGB")
    draw = ImageDraw.Draw(image)
    size = max(12, image.height // 40)
    for mark in marks:
        sides = (mark.box.left, mark.box.top, mark.box.right, mark.box.bottom)
        left, top, right, bottom = (round(side * picture.scale) for side in sides)
        draw.rectangle((left, top, right, bottom), outline=mark.colour, width=max(2, size // 6))
        if mark.label:
            _label(draw, (left, bottom + 2), mark.label, mark.colour, size, image.size)
    _label(draw, (0, 0), title, "#000000", size, image.size)
    return _jpeg(image)


def contact_sheet(faces: Sequence[SheetFace], title: str) -> bytes:
    """One picture with a face of each person. Those beyond MAX_SHEET_FACES are only counted."""
    shown = faces[:MAX_SHEET_FACES]
    columns = max(1, min(SHEET_COLUMNS, len(shown)))
    rows = -(-len(shown) // columns)
    cell = (FACE_PX + SHEET_MARGIN_PX, FACE_PX + CAPTION_PX + SHEET_MARGIN_PX)
    head = 40
    width = max(480, columns * cell[0] + SHEET_MARGIN_PX)
    sheet = Image.new("RGB", (width, head + max(1, rows) * cell[1]), "#ffffff")
    draw = ImageDraw.Draw(sheet)
    more = f" and {len(faces) - len(shown)} more" if len(faces) > len(shown) else ""
    draw.text((SHEET_MARGIN_PX, 10), _fitting(title + more, width - 24, 16), "#1f2933", _font(16))
    for place, face in enumerate(shown):
        left = SHEET_MARGIN_PX + place % columns * cell[0]
        top = head + place // columns * cell[1]
        _draw_face(sheet, draw, face, left, top)
    return _jpeg(sheet)


def _draw_face(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, face: SheetFace, left: int, top: int
) -> None:
    square = (left, top, left + FACE_PX - 1, top + FACE_PX - 1)
    draw.rectangle(square, fill="#e4e7eb", outline=face.colour, width=3)
    if face.jpeg:
        image = Image.open(io.BytesIO(face.jpeg))
        space = ((FACE_PX - image.width) // 2, (FACE_PX - image.height) // 2)
        sheet.paste(image, (left + space[0], top + space[1]))
        draw.rectangle(square, outline=face.colour, width=3)
    for number, line in enumerate(face.lines):
        colour = "#52606d" if number else "#1f2933"
        place = (left, top + FACE_PX + 4 + 18 * number)
        draw.text(place, _fitting(line, FACE_PX, 13), colour, _font(13))


def _label(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    colour: str,
    size: int,
    image_size: tuple[int, int],
) -> None:
    """White or black text on a filled rectangle, moved into the picture if it is at its edge."""
    text = _fitting(text, image_size[0] - 8, size)
    left, top, right, bottom = draw.textbbox((0, 0), text, _font(size))
    width, height = int(right - left) + 8, int(bottom - top) + 8
    x = max(0, min(place[0], image_size[0] - width))
    y = max(0, min(place[1], image_size[1] - height))
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    dark = colour in ("#e69f00", "#56b4e9", "#f0e442", "#9aa5b1", "#cc79a7")
    ink = "#000000" if dark else "#ffffff"
    draw.text((x + 4 - left, y + 4 - top), text, ink, _font(size))


def _fitting(text: str, width: int, size: int) -> str:
    """The text, cut to this width."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _jpeg(image: Image.Image) -> bytes:
    body = io.BytesIO()
    image.save(body, "JPEG", quality=JPEG_QUALITY, comment=MADE_BY)
    return body.getvalue()
