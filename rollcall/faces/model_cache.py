"""A folder that caches what is slow to build at start-up."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rollcall.atomic_files import replace_file

log = logging.getLogger(__name__)


def load_or_build(cache: Path, stem: str, suffix: str, build: Callable[[], bytes]) -> bytes:
    """Return the cached content, or build and cache it.

    `stem` must name everything that the content depends on. The file name also contains the hash of
    the content, so that a damaged file is recognised and built again. If the folder cannot be
    written, or the file cannot be read, the content is built at every start.
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
    content = build()
    _write(cache, _name(stem, suffix, content), content)
    return content


def _name(stem: str, suffix: str, content: bytes) -> str:
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}"


def _write(cache: Path, name: str, content: bytes) -> None:
    """Write the file atomically, because two processes may build the same model at once."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # All users may read the file, because the user who runs a container image is not the one
        # who built it. It need not be durable: if a power failure damages the file, the hash in its
        # name shows that.
        replace_file(cache / name, content, mode=0o644, durable=False)
    except OSError as error:
        log.warning("the model could not be cached, so each start builds it again: %s", error)
