"""Runs commands of `rollcall` one after the other in this process, with quick faces.

    python gallery_commands.py < commands.json

The input is a list of argument lists; the output is the list of exit codes. A photo is the picture
that `photo` writes. Models are not loaded, so that many processes can run at once.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np

from rollcall.core.types import ENCODING_SIZE, Box, Encodings, Face, Pixels
from rollcall.tools import cli


class NumberedFaces:
    """FaceEngine that finds one large, sharp face in each picture, told apart by its number."""

    name = "numbered"

    def faces(self, pixels: Pixels, *, thorough: bool = False) -> tuple[Face, ...]:
        return (Face(Box(0, 80, 80, 0), encoding(int(pixels[0, 0, 0]))),)


def encoding(number: int) -> Encodings:
    return np.random.default_rng(number).normal(0, 0.1, ENCODING_SIZE)


def photo(folder: Path, number: int) -> Path:
    """A picture of the face with that number, up to 255."""
    board = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((10, 10))) * 255
    pixels = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    pixels[0, 0] = number
    path = folder / f"{number}.png"
    cv2.imwrite(str(path), pixels)
    return path


def run(argv: list[str]) -> int:
    try:
        cli.main(argv, standalone_mode=False)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def main() -> None:
    cli.build_engine = lambda settings: NumberedFaces()  # type: ignore[assignment]
    with redirect_stdout(sys.stderr):
        codes = [run(argv) for argv in json.load(sys.stdin)]
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
