"""Reads galleries in a process of little memory and time; a hostile one would end it.

`python -m support.limited FILE...` prints one line per file: what the reader said of it.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from rollcall.core.errors import GalleryError
from rollcall.gallery.gallery_formats import parse_gallery

MEMORY_BYTES = 1 << 30
CPU_S = 120
"""Of all files together: far above what reading takes, far below what they ask for."""


def main(paths: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    for path in paths:
        try:
            said = f"{len(parse_gallery(Path(path).read_bytes()))} encodings"
        except GalleryError as error:
            said = f"refused: {error}"
        print(said, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
