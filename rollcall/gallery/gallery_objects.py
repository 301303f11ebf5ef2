"""Changing a gallery's object in a bucket, so that no other writer's change is lost.

A store that compares etags refuses a write to an object that was replaced since it was read. Not
every store does: Ceph's gateway before version 20 ignores the conditions in buckets that keep
versions, and others ignore them everywhere. There a lock object keeps commands apart.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rollcall.core.errors import GalleryError, ObjectChanged, ObjectNotFound, StoreMisconfigured
from rollcall.core.protocols import ObjectStore

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/octet-stream"

TRIES = 30
"""Most writers that may come first, one after the other."""

LONGEST_PAUSE_S = 1.0

LOCK_WAIT_S = 60.0
LOCK_EXPIRES_S = 3600.0
"""A lock object of this age belongs to a command that was killed."""

Change = Callable[[bytes | None], bytes | None]
"""From the newest bytes (None: nothing is there) to those to store, None where they may stay.

It is called again when another writer came first.
"""

Read = Callable[[], tuple[bytes | None, str]]
"""The newest bytes with their etag; None and an empty one where nothing is there."""


def change_object(store: ObjectStore, bucket: str, key: str, read: Read, change: Change) -> None:
    """Raises ObjectChanged when others keep writing first, GalleryError for a lock that stays."""
    if _compares_etags(store, bucket, key):
        _change_compared(store, bucket, key, read, change)
        return
    with _lock_object(store, bucket, key):
        body, _ = read()
        new = change(body)
        if new is not None and new != body:
            store.write(bucket, key, new, CONTENT_TYPE, {})


def _change_compared(store: ObjectStore, bucket: str, key: str, read: Read, change: Change) -> None:
    written: bytes | None = None
    for tried in range(TRIES):
        body, etag = read()
        if written is not None and body == written:
            return  # our own write had arrived, and only its answer was lost
        written = change(body)
        if written is None or written == body:
            return
        try:
            store.write_if(bucket, key, written, CONTENT_TYPE, etag)
            return
        except ObjectChanged:
            _pause(tried)
    raise ObjectChanged(f"s3://{bucket}/{key} is being written all the time; do this again later")


def _pause(tried: int) -> None:
    time.sleep(random.uniform(0, min(LONGEST_PAUSE_S, 0.05 * 2**tried)))


def _compares_etags(store: ObjectStore, bucket: str, key: str) -> bool:
    """Whether conditional writes work beside that key, tried on an object that is removed again."""
    probe = f"{key}.probe-{uuid.uuid4().hex}"

    def accepts(etag: str) -> bool:
        try:
            store.write_if(bucket, probe, b"", CONTENT_TYPE, etag)
        except ObjectChanged:
            return False
        return True

    try:
        if not accepts("") or accepts("") or accepts("0" * 32):
            return False
        return accepts(store.head(bucket, probe).etag)
    except StoreMisconfigured as error:
        log.warning(
            "could not check whether the store supports conditional writes, which keep two writers"
            " apart: %s",
            error,
        )
        return True
    finally:
        _remove(store, bucket, probe)


def _remove(store: ObjectStore, bucket: str, key: str) -> None:
    """All versions of it, so that nothing of it stays in a bucket that keeps versions."""
    with suppress(StoreMisconfigured):
        for info in list(store.old_versions(bucket, key)):
            store.delete(bucket, key, info.version_id)
        with suppress(ObjectNotFound):
            store.delete(bucket, key, store.head(bucket, key).version_id)


@contextmanager
def _lock_object(store: ObjectStore, bucket: str, key: str) -> Iterator[None]:
    """Each command writes a lock object with a name of its own, and then lists all of them.

    Whoever finds its own alone has the lock: another one that is written later lists both. The
    others remove theirs and try again. Raises GalleryError after LOCK_WAIT_S.
    """
    log.warning(
        "the store does not support conditional writes to s3://%s/%s (Ceph before version 20 does"
        " not in buckets that keep versions); a lock object keeps rollcall's commands apart, but no"
        " other program",
        bucket,
        key,
    )
    prefix = f"{key}.lock-"
    own, until, tried = f"{prefix}{uuid.uuid4().hex}", time.monotonic() + LOCK_WAIT_S, 0
    try:
        while others := _other_locks(store, bucket, prefix, own):
            _remove(store, bucket, own)
            if time.monotonic() > until:
                raise GalleryError(
                    f"another command is changing s3://{bucket}/{key}; if none is running, it was"
                    f" killed: delete s3://{bucket}/{others[0]}"
                )
            _pause(tried)
            tried += 1
        yield
    finally:
        _remove(store, bucket, own)


def _other_locks(store: ObjectStore, bucket: str, prefix: str, own: str) -> list[str]:
    """Ages are told by the store's clock alone."""
    store.write(bucket, own, b"", CONTENT_TYPE, {})
    found = {info.key: info.modified_s for info in store.list_objects(bucket, prefix)}
    newest_s = max(found.values(), default=0.0)
    others = []
    for key, modified_s in found.items():
        if key == own:
            continue
        if newest_s - modified_s > LOCK_EXPIRES_S:
            _remove(store, bucket, key)
        else:
            others.append(key)
    return others
