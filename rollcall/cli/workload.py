"""`workload.py`: upload a folder of videos to the input bucket."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import click

from rollcall.cli.amounts import BYTES
from rollcall.cli.entry import command_errors, settings
from rollcall.cli.progress import progress, tracked
from rollcall.cli.terminal import Command, confirmed, say, stdin_is_terminal
from rollcall.core.errors import PermanentError
from rollcall.core.keys import why_left_out
from rollcall.core.settings import Settings
from rollcall.core.types import ObjectInfo
from rollcall.stores.boto import s3_client
from rollcall.stores.buckets import present_buckets
from rollcall.stores.s3 import S3Store

UPLOADS_AT_ONCE = 4
"""Videos that are uploaded at the same time. Large ones are also split into parallel parts."""

MAX_SHOWN_NAMES = 3
"""How many names a list in a message shows. The other names are only counted."""


class NoVideos(PermanentError):
    """The folder contains no video, or one of its videos cannot be read."""


class NotConfirmed(PermanentError):
    """The user answered no to the question whether to remove objects."""


class VideoFolder(NamedTuple):
    """The videos in a folder by key, and the keys of left-out files by reason."""

    videos: dict[str, Path]
    left_out: dict[str, list[str]]

    def left_out_sentence(self) -> str:
        """Return how many files are left out, with some names; empty if there are none."""
        count = sum(map(len, self.left_out.values()))
        if not count:
            return ""
        reasons = "; ".join(_reason(why, keys) for why, keys in sorted(self.left_out.items()))
        return f"left out {_count(count, 'file')}: {reasons}"


def _reason(why: str, keys: list[str]) -> str:
    return f"{len(keys)} {why} ({_some(keys)})"


def find_videos(folder: Path) -> VideoFolder:
    """Find all videos below the folder. Raises NoVideos if there is none."""
    content = VideoFolder({}, {})
    for path in sorted(folder.rglob("*")):
        # A broken link is neither a file nor a folder, and would be skipped without a message.
        broken = path.is_symlink() and not path.exists()
        if not broken and not path.is_file():
            continue
        key = path.relative_to(folder).as_posix()
        if why := "that are broken links" if broken else why_left_out(key):
            content.left_out.setdefault(why, []).append(key)
        else:
            content.videos[key] = path
    if not content.videos:
        sentences = (f"no video in {str(folder)!r}", content.left_out_sentence())
        raise NoVideos("; ".join(filter(None, sentences)))
    return content


def objects_to_clear(chosen: Settings) -> list[ObjectInfo]:
    """List every object in the input, output and report buckets."""
    store = S3Store(s3_client(chosen))
    buckets = present_buckets(store, chosen)
    return [info for bucket in buckets for info in store.list_objects(bucket)]


def remove_objects(chosen: Settings, objects: list[ObjectInfo]) -> None:
    store = S3Store(s3_client(chosen))
    for info in tracked(objects, "removing", len(objects), "objects"):
        store.delete(info.bucket, info.key)


def _ask_and_clear(chosen: Settings, yes: bool) -> None:
    """List the objects in the buckets, ask unless `yes` is set, and remove the listed objects.

    Raises UsageError if it has to ask but there is no terminal, and NotConfirmed if the user
    answers no.
    """
    objects = objects_to_clear(chosen)
    if not objects:
        say("nothing to remove: the buckets are empty")
        return
    where = chosen.s3_endpoint_url or "AWS S3"
    verb = "removing" if yes else "would remove"
    for bucket, keys in _by_bucket(objects).items():
        say(f"{verb} {_count(len(keys), 'object')} of {bucket} at {where}: {_some(keys)}", err=True)
    if not yes:
        if not stdin_is_terminal():
            raise click.UsageError(
                "--clear asks before it removes objects, but there is no terminal to ask;"
                " to remove them without a question, add --yes"
            )
        if not confirmed(f"Remove {_count(len(objects), 'object')}?"):
            raise NotConfirmed("nothing was removed, and nothing was uploaded")
    # Only the listed objects are removed, because others may have been uploaded since.
    remove_objects(chosen, objects)
    say(f"{_count(len(objects), 'object')} removed")


def _by_bucket(objects: list[ObjectInfo]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for info in objects:
        keys.setdefault(info.bucket, []).append(info.key)
    return keys


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _some(keys: list[str]) -> str:
    return ", ".join(map(repr, keys[:MAX_SHOWN_NAMES])) + (
        ", ..." if len(keys) > MAX_SHOWN_NAMES else ""
    )


def upload_videos(
    chosen: Settings,
    videos: dict[str, Path],
    on_bytes: Callable[[int], None],
    on_video: Callable[[], None],
) -> None:
    """Upload the videos in parallel. Raises the error of the first upload that fails.

    `on_bytes` is called with the number of bytes sent since its last call, from several threads.
    """
    store = S3Store(s3_client(chosen))

    def upload(key: str) -> None:
        try:
            store.upload(videos[key], chosen.input_bucket, key, on_bytes)
        except OSError as error:  # the file cannot be read; errors of the store are RollcallErrors
            raise NoVideos(f"{str(videos[key])!r} cannot be read: {error.strerror}") from error
        on_video()

    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        list(pool.map(upload, videos))


@click.command(cls=Command)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--clear",
    is_flag=True,
    help="Before the upload, list all objects in the input, output and report buckets, ask, and"
    " remove them.",
)
@click.option("--yes", is_flag=True, help="With --clear: do not ask.")
@command_errors
def main(folder: Path, clear: bool, yes: bool) -> None:
    """Upload every video in FOLDER to INPUT_BUCKET.

    Hidden files and files without a video extension are left out and counted.
    """
    chosen = settings()
    content = find_videos(folder)  # before --clear, so that a wrong folder removes nothing
    videos = content.videos
    if clear:
        _ask_and_clear(chosen, yes)
    total_bytes = sum(path.stat().st_size for path in videos.values())
    with progress("uploading", total_bytes, BYTES) as shown:
        sent = itertools.count(1)
        upload_videos(
            chosen,
            videos,
            shown.advance,
            lambda: shown.mention(f"{next(sent)} of {_count(len(videos), 'video')}"),
        )
    say(f"uploaded {_count(len(videos), 'video')} to {chosen.input_bucket}")
    if sentence := content.left_out_sentence():
        say(sentence, err=True)
