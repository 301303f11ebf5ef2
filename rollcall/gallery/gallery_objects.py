"""Updates the object that holds a gallery, without losing another writer's change.

A conditional write (`If-Match` with the etag that was read) fails if the object was replaced since
it was read; then the newest bytes are read and the change is applied to them. Some stores do not
support this: Ceph's gateway before version 20 ignores the conditions in buckets that keep versions,
and other stores ignore them everywhere. For such a store, Rollcall's commands take turns with a
lock object instead (decision 0065).
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

MAX_TRIES = 30
"""Limit for conditional writes of one change. Each refusal means that another writer was faster."""

MAX_PAUSE_S = 1.0
"""Upper limit of the back-off between two tries."""

LOCK_WAIT_S = 60.0
"""Maximum wait for another command's lock object."""

LOCK_EXPIRES_S = 3600.0
"""A lock object that is older than this belongs to a command that was killed."""

Change = Callable[[bytes | None], bytes | None]
"""Takes the newest bytes (None if there is no gallery) and returns the bytes to write, or None to
write nothing. If another writer was faster, it runs again, on that writer's bytes."""

Read = Callable[[], tuple[bytes | None, str]]
"""Returns the newest bytes and their etag, or None and an empty etag if there is no object."""


def update_object(store: ObjectStore, bucket: str, key: str, read: Read, change: Change) -> None:
    """Write the result of `change` to the object.

    Raises ObjectChanged if other writers are always faster, and GalleryError if another command
    does not release its lock object.
    """
    if _supports_conditional_writes(store, bucket, key):
        _update_with_condition(store, bucket, key, read, change)
        return
    with _lock_object(store, bucket, key):
        body, _ = read()
        new = change(body)
        if new is not None and new != body:
            store.write(bucket, key, new, CONTENT_TYPE, {})


def _update_with_condition(
    store: ObjectStore, bucket: str, key: str, read: Read, change: Change
) -> None:
    new: bytes | None = None
    for attempt in range(MAX_TRIES):
        body, etag = read()
        if new is not None and body == new:
            # The previous write had succeeded. Its answer was lost, and botocore's retry was
            # refused because the etag had changed.
            return
        new = change(body)
        if new is None or new == body:
            return
        try:
            store.write_if(bucket, key, new, CONTENT_TYPE, etag)
            return
        except ObjectChanged:
            _back_off(attempt)
    raise ObjectChanged(f"s3://{bucket}/{key} keeps being rewritten; run this again later")


def _back_off(attempt: int) -> None:
    """Sleep for a random time, so that two writers do not meet again and again."""
    time.sleep(random.uniform(0, min(MAX_PAUSE_S, 0.05 * 2**attempt)))


def _supports_conditional_writes(store: ObjectStore, bucket: str, key: str) -> bool:
    """Try conditional writes on an empty object beside the gallery, and delete the object.

    Returns True if the keys do not allow this test.
    """
    probe = f"{key}.probe-{uuid.uuid4().hex}"

    def accepts(etag: str) -> bool:
        try:
            store.write_if(bucket, probe, b"", CONTENT_TYPE, etag)
        except ObjectChanged:
            return False
        return True

    try:
        # An empty etag means "create": the first write must be accepted and the second one refused.
        # A write with a wrong etag must be refused, too. A store that ignores conditions accepts
        # all three.
        if not accepts("") or accepts("") or accepts("0" * 32):
            return False
        # Ceph 16 refuses the right etag, too, in a bucket that keeps versions.
        return accepts(store.head(bucket, probe).etag)
    except StoreMisconfigured as error:
        # The keys may write only the gallery itself, so the test is forbidden.
        log.warning(
            "could not check whether the store supports conditional writes, which keep two writers"
            " apart: %s",
            error,
        )
        return True
    finally:
        _clean_up(store, bucket, probe)


def delete_all_versions(store: ObjectStore, bucket: str, key: str) -> None:
    """Delete the object for good, even in a bucket that keeps versions.

    Raises StoreMisconfigured if the keys do not allow that.
    """
    for info in list(store.old_versions(bucket, key)):
        store.delete(bucket, key, info.version_id)
    with suppress(ObjectNotFound):
        store.delete(bucket, key, store.head(bucket, key).version_id)


def _clean_up(store: ObjectStore, bucket: str, key: str) -> None:
    """Delete an empty object of ours, with its versions as far as the keys allow that."""
    try:
        delete_all_versions(store, bucket, key)
    except StoreMisconfigured:
        with suppress(StoreMisconfigured):
            store.delete(bucket, key)


@contextmanager
def _lock_object(store: ObjectStore, bucket: str, key: str) -> Iterator[None]:
    """Hold a lock that consists of objects, because the store does not support conditional writes.

    Each command writes a lock object with a random name and then lists all lock objects. A command
    that finds only its own object has the lock: a command that writes later will list both objects.
    A command that finds another object deletes its own and tries again. Raises GalleryError after
    LOCK_WAIT_S.
    """
    log.warning(
        "the store does not support conditional writes to s3://%s/%s (Ceph before version 20 does"
        " not in buckets that keep versions); a lock object keeps Rollcall's commands apart, but"
        " not other programs",
        bucket,
        key,
    )
    prefix = f"{key}.lock-"
    own_key, deadline, attempt = f"{prefix}{uuid.uuid4().hex}", time.monotonic() + LOCK_WAIT_S, 0
    try:
        while others := _write_lock_and_list_others(store, bucket, prefix, own_key):
            _clean_up(store, bucket, own_key)
            if time.monotonic() > deadline:
                raise GalleryError(
                    f"another command is changing s3://{bucket}/{key}; if no command is running,"
                    f" one was killed: delete s3://{bucket}/{others[0]}"
                )
            _back_off(attempt)
            attempt += 1
        yield
    finally:
        _clean_up(store, bucket, own_key)


def _write_lock_and_list_others(
    store: ObjectStore, bucket: str, prefix: str, own_key: str
) -> list[str]:
    """Write our lock object. Return the keys of all others, and delete those that have expired."""
    store.write(bucket, own_key, b"", CONTENT_TYPE, {})
    modified_s = {info.key: info.modified_s for info in store.list_objects(bucket, prefix)}
    # Our own object is the newest, so its time is the store's "now": the clock of this machine may
    # differ from the store's.
    now_s = max(modified_s.values(), default=0.0)
    others = []
    for key, written_s in modified_s.items():
        if key == own_key:
            continue
        if now_s - written_s > LOCK_EXPIRES_S:
            _clean_up(store, bucket, key)
        else:
            others.append(key)
    return others
