"""Removes a person from the worker's result files, which are not in any bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rollcall.core.errors import ObjectChanged
from rollcall.core.results import text_file_without
from rollcall.gallery.forgetting import MAX_RESULT_BYTES, MAX_TRIES, Mention, PersonRemoval
from rollcall.worker.result_files import result_files, rewrite


def in_files(removal: PersonRemoval, folder: Path) -> Iterator[Mention]:
    """Remove the person's rows from every result file, and yield what was found.

    Rows of other people stay. The files keep their modification times, by which the worker orders
    results. The worker may keep running. Raises ObjectChanged for a file that changes at every
    attempt.
    """
    for path in result_files(folder):
        mention = Mention("file", str(folder / path), 0)
        try:
            count = _remove_rows(removal, folder / path)
        except FileNotFoundError:
            continue  # deleted since the files were listed
        except (ValueError, OSError) as error:
            yield replace(mention, problem=str(error))
        else:
            if count:
                yield replace(mention, count=count)


def _remove_rows(removal: PersonRemoval, path: Path) -> int:
    """Remove the person's rows from one file, and return how many there are.

    In a dry run the rows are only counted.
    """
    for _ in range(MAX_TRIES):
        before = path.stat()
        if before.st_size > MAX_RESULT_BYTES:
            raise ValueError(f"it is larger than {MAX_RESULT_BYTES} bytes")
        rest, count = text_file_without(path.read_bytes(), removal.name)
        if not count or removal.dry_run or rewrite(path, before, rest):
            return count
    raise ObjectChanged(
        f"{str(path)!r} changed {MAX_TRIES} times while it was edited; try again later"
    )
