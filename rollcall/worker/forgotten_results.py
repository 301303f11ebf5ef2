"""Forgetting a person in the worker's text files, which no bucket holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rollcall.core.errors import ObjectChanged
from rollcall.core.results import text_file_without
from rollcall.gallery.forgetting import MAX_NAMING_BYTES, TRIES, Forgetting, Mention
from rollcall.worker.result_files import result_files, rewrite


def in_files(forgetting: Forgetting, folder: Path) -> Iterator[Mention]:
    """Other people's rows and the files' times stay, so an earlier result still replaces nothing.

    The worker may go on meanwhile. Raises ObjectChanged for a file that is written all the time.
    """
    for path in result_files(folder):
        trace = Mention("file", str(folder / path), 0)
        try:
            count = _taken_out(forgetting, folder / path)
        except FileNotFoundError:
            continue  # deleted since the listing: it names nobody any more
        except (ValueError, OSError) as error:
            yield replace(trace, problem=str(error))
        else:
            if count:
                yield replace(trace, count=count)


def _taken_out(forgetting: Forgetting, path: Path) -> int:
    for _ in range(TRIES):
        before = path.stat()
        if before.st_size > MAX_NAMING_BYTES:
            raise ValueError(f"it has more than {MAX_NAMING_BYTES} bytes")
        rest, count = text_file_without(path.read_bytes(), forgetting.name)
        if not count or not forgetting.really or rewrite(path, before, rest):
            return count
    raise ObjectChanged(f"{str(path)!r} is being written all the time; do this again later")
