"""Reads galleries in a process with limited memory and time. Exceeding a limit ends the process.

`python -m support.limited FILE...` prints one line per file: the number of encodings, or the error.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from rollcall.core.errors import GalleryError
from rollcall.gallery.gallery_formats import parse_gallery

MEMORY_BYTES = 1 << 30
CPU_S = 120
"""Limit for all files together. Reading harmless files takes far less."""


def main(paths: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    for path in paths:
        try:
            result = f"{len(parse_gallery(Path(path).read_bytes()))} encodings"
        except GalleryError as error:
            result = f"refused: {error}"
        print(result, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
