"""A folder that caches what is slow to build at start-up."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


def cached(cache: Path, stem: str, suffix: str, make: Callable[[], bytes]) -> bytes:
    """What `make` gives. `stem` names all that it depends on.

    The file's name also has the hash of its content, so a damaged one is found and made anew; where
    the folder cannot be written, or a file not read, everything is made at every start.
    """
    for path in sorted(cache.glob(f"{stem}-*{suffix}")):
        try:
            content = path.read_bytes()
        except OSError as error:
            log.warning("the cached model %s cannot be read: %s", path.name, error)
            continue
        if path.name == _name(stem, suffix, content):
            return content
        log.warning("the cached model %s is damaged; it is built again", path.name)
        with suppress(OSError):
            path.unlink()
    content = make()
    _keep(cache, _name(stem, suffix, content), content)
    return content


def _name(stem: str, suffix: str, content: bytes) -> str:
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}"


def _keep(cache: Path, name: str, content: bytes) -> None:
    """Whole or not at all; two processes may make the same at once."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=cache, prefix=".part-")
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o644)  # an image is built by another user than runs it
            file.write(content)
        os.replace(part, cache / name)
    except OSError as error:
        log.warning("the model could not be cached, each start builds it again: %s", error)
