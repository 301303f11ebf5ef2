"""`rollcall rerun`: recognise videos again, for example with a better gallery."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any
from uuid import uuid4

import click

from rollcall.cli.entry import COMMAND_FAILED, command_errors, settings
from rollcall.cli.progress import Progress, progress
from rollcall.cli.terminal import Command, say, say_json
from rollcall.core.errors import ObjectNotFound
from rollcall.core.keys import is_video_key
from rollcall.core.protocols import ObjectStore
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.settings import Settings
from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.queues.open_queue import open_queue
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store

BATCH = 500
"""Videos that are queued in one transaction."""


@click.command(cls=Command)
@click.argument("keys", nargs=-1, metavar="KEY...")
@click.option("--prefix", metavar="P", help="Also every video whose key begins with P.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def rerun(keys: tuple[str, ...], prefix: str | None, as_json: bool) -> None:
    """Recognise the videos with these keys in INPUT_BUCKET again, and overwrite their results.

    A running trigger starts at once. Videos that are not in its database are looked up in the
    bucket. Exit 1 if one of the videos, or all with the prefix, do not exist.
    """
    if not keys and prefix is None:
        raise click.UsageError("give at least one KEY, or --prefix")
    chosen = settings(offline=True)
    with (
        closing(open_queue(chosen, must_exist=True)) as queue,
        progress("queueing", unit="videos") as shown,
    ):
        queued, waiting, missing = _rerun(queue, chosen, keys, prefix, shown)
    if as_json:
        say_json({"queued": queued, "waiting": waiting, "missing": missing})
    else:
        if queued or waiting or missing:
            say(f"queued {queued} video{'' if queued == 1 else 's'} again")
        else:
            what = f"no video whose key begins with {prefix!r}" if prefix else "no video"
            # People start `rollcall up` again to change a setting, and its videos are gone then.
            hint = "" if prefix else "; `rollcall up` starts without videos, so upload them again"
            say(f"{chosen.input_bucket} has {what}, so nothing is queued{hint}", err=True)
        if waiting:
            say(f"waiting already: {waiting}", err=True)
        for key in missing:
            say(f"{key}: {chosen.input_bucket} has no such video", err=True)
    sys.exit(COMMAND_FAILED if missing or not (queued or waiting) else 0)


def _rerun(
    queue: WorkQueue, chosen: Settings, keys: Iterable[str], prefix: str | None, shown: Progress
) -> tuple[int, int, list[str]]:
    """Queue the videos; return how many were queued, how many waited already, and missing keys."""
    bucket, store = chosen.input_bucket, S3Store(s3_client(chosen))
    queued, waiting, missing = 0, 0, list[str]()
    for batch in _batches(dict.fromkeys(keys)):
        fresh = [key for key in batch if not _is_queued(queue, bucket, key)]
        waiting += len(batch) - len(fresh)
        known = set(queue.rerun(bucket, fresh))
        found = {key: _head(store, bucket, key) for key in fresh if key not in known}
        missing += [key for key, info in found.items() if info is None]
        queued += len(known) + _queue_new(queue, [info for info in found.values() if info])
        shown.advance(len(batch))
    listed = store.list_objects(bucket, prefix) if prefix is not None else iter(())
    for infos in _batches(info for info in listed if is_video_key(info.key)):
        fresh_infos = [info for info in infos if not _is_queued(queue, bucket, info.key)]
        waiting += len(infos) - len(fresh_infos)
        known = set(queue.rerun(bucket, [info.key for info in fresh_infos]))
        queued += len(known)
        queued += _queue_new(queue, [info for info in fresh_infos if info.key not in known])
        shown.advance(len(infos))
    return queued, waiting, missing


def _is_queued(queue: WorkQueue, bucket: str, key: str) -> bool:
    """Whether work for the video waits already. A running call may have begun before the change
    for which the video is recognised again."""
    return any(work.state == "queued" for work in queue.history(bucket, key, 2))


def _head(store: ObjectStore, bucket: str, key: str) -> ObjectInfo | None:
    if not is_video_key(key):
        return None
    try:
        return store.head(bucket, key)
    except ObjectNotFound:
        return None


def _queue_new(queue: WorkQueue, infos: Iterable[ObjectInfo]) -> int:
    # Each event has an id of its own, because a video may be recognised again any number of times.
    return queue.add(
        VideoRef(info.bucket, info.key, info.version_id, info.etag, event_id=f"rerun-{uuid4()}")
        for info in infos
    )


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch
