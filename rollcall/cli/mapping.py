"""Read the mapping file, which has the expected result of each video."""

from __future__ import annotations

from pathlib import Path

from rollcall.core.expectations import Expectation, MappingError, parse_mapping
from rollcall.text_files import read_text


def read_mapping(path: Path) -> dict[str, Expectation]:
    """Return the expectation for each video. Raises TextError or MappingError with the file."""
    text = read_text(path)
    try:
        return parse_mapping(text)
    except MappingError as error:
        raise MappingError(f"{str(path)!r}: {error}") from error
