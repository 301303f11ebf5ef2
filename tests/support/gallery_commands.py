"""Run `rollcall` commands one after the other in this process, with a fast face engine.

    python gallery_commands.py < commands.json

The input is a JSON list of argument lists, and the output the JSON list of their exit codes. Photos
have to be written by `photo`. No models are loaded, so that many processes can run at once.

`["verdict", GALLERY, KIND, NAME, NUMBER]` is not a command of `rollcall`: it gives a verdict about
the face with this number, as the pages do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np

from rollcall.cli import enrol as enrol_cli
from rollcall.cli import main as cli
from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import empty_gallery
from rollcall.core.types import Box, DetectedFace, Encodings, Pixels
from rollcall.core.verdicts import FaceSource, Verdict, VerdictKind
from rollcall.gallery.gallery_formats import parse_gallery, render_gallery
from rollcall.gallery.gallery_locations import GalleryFile

LARGE_FACE = DetectedFace(
    Box(0, 80, 80, 0), np.array([(25.0, 30), (55, 30), (40, 45), (28, 60), (52, 60)]), 1.0
)
"""An upright face that fills the pictures of `photo` and looks into the camera."""


class NumberedFaces:
    """A FaceEngine that finds one sharp face in each picture.

    The first pixel of the picture is the number of the face.
    """

    name = "numbered"
    space = DLIB

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        return (LARGE_FACE,)

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        return np.array([encoding(int(pixels[0, 0, 0])) for _ in faces])


def encoding(number: int) -> Encodings:
    return np.random.default_rng(number).normal(0, 0.1, DLIB.size)


def photo(folder: Path, number: int) -> Path:
    """Write a picture of the face with this number, 0 to 255.

    The chequered pattern makes the face look sharp.
    """
    board = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((10, 10))) * 255
    pixels = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    pixels[0, 0] = number
    path = folder / f"{number}.png"
    cv2.imwrite(str(path), pixels)
    return path


def give_verdict(gallery: str, kind: VerdictKind, name: str, number: str) -> int:
    faces = encoding(int(number))[None]
    verdict = Verdict(f"{kind}-{number}", kind, name, faces, (FaceSource(key=f"{number}.mp4"),))

    def change(body: bytes | None) -> bytes:
        known = parse_gallery(body) if body else empty_gallery()
        return render_gallery(known.with_verdict(verdict))

    GalleryFile(Path(gallery)).update(change)
    return 0


def run(argv: list[str]) -> int:
    if argv[0] == "verdict":
        return give_verdict(*argv[1:])  # type: ignore[arg-type]
    try:
        cli.main(argv, standalone_mode=False)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def main() -> None:
    enrol_cli.build_engine = lambda settings: NumberedFaces()  # type: ignore[assignment]
    with redirect_stdout(sys.stderr):
        codes = [run(argv) for argv in json.load(sys.stdin)]
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
