"""`workload.py`: a folder of videos into the input bucket."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Command, can_ask, confirmed, say
from rollcall.core.errors import PermanentError
from rollcall.core.keys import why_left_out
from rollcall.core.settings import Settings
from rollcall.core.types import ObjectInfo
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store

UPLOADS_AT_ONCE = 4
"""Each of them sends large files in parallel parts as well."""


SHOWN = 3
"""Names in a message for each reason; the others are counted."""


class NoVideos(PermanentError):
    """The folder has nothing to upload, or a video in it cannot be read."""


class NotConfirmed(PermanentError):
    """The question was answered with no."""


class VideoFolder(NamedTuple):
    """Videos by their keys, and what else is in the folder by the reason why it is left out."""

    videos: dict[str, Path]
    left_out: dict[str, list[str]]

    def left_out_sentence(self) -> str:
        """How many files are left out, and some of their names; empty if there are none."""
        count = sum(map(len, self.left_out.values()))
        if not count:
            return ""
        reasons = "; ".join(_reason(why, keys) for why, keys in sorted(self.left_out.items()))
        return f"left out {_count(count, 'file')}: {reasons}"


def _reason(why: str, keys: list[str]) -> str:
    return f"{len(keys)} {why} ({_some(keys)})"


def find_videos(folder: Path) -> VideoFolder:
    """Every file below the folder. Raises NoVideos if none of them is a video."""
    found = VideoFolder({}, {})
    for path in sorted(folder.rglob("*")):
        broken = path.is_symlink() and not path.exists()
        if not broken and not path.is_file():
            continue
        key = path.relative_to(folder).as_posix()
        if why := "that are broken links" if broken else why_left_out(key):
            found.left_out.setdefault(why, []).append(key)
        else:
            found.videos[key] = path
    if not found.videos:
        said = (f"no video in {str(folder)!r}", found.left_out_sentence())
        raise NoVideos("; ".join(filter(None, said)))
    return found


def objects_to_clear(chosen: Settings) -> list[ObjectInfo]:
    """Every object in the input, output and report buckets."""
    store = S3Store(s3_client(chosen))
    buckets = filter(None, (chosen.input_bucket, chosen.output_bucket, chosen.report_bucket))
    return [info for bucket in dict.fromkeys(buckets) for info in store.list_objects(bucket)]


def remove_objects(chosen: Settings, objects: list[ObjectInfo]) -> None:
    store = S3Store(s3_client(chosen))
    for info in objects:
        store.delete(info.bucket, info.key)


def clear_buckets(chosen: Settings) -> int:
    """Empties the input, output and report buckets without asking; how many objects went."""
    objects = objects_to_clear(chosen)
    remove_objects(chosen, objects)
    return len(objects)


def _ask_and_clear(chosen: Settings, yes: bool) -> None:
    """Shows what would be removed, and removes exactly that after a yes.

    Raises UsageError when nobody is there to ask, and NotConfirmed after a no.
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
        if not can_ask():
            raise click.UsageError(
                "--clear asks before it removes objects, and there is no terminal to ask;"
                " to remove them without a question, add --yes"
            )
        if not confirmed(f"Remove {_count(len(objects), 'object')}?"):
            raise NotConfirmed("nothing was removed, and nothing was uploaded")
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
    return ", ".join(map(repr, keys[:SHOWN])) + (", ..." if len(keys) > SHOWN else "")


def upload_videos(
    chosen: Settings,
    videos: dict[str, Path],
    on_bytes: Callable[[int], None],
    on_video: Callable[[], None],
) -> None:
    """Raises the first upload's error, when one fails."""
    store = S3Store(s3_client(chosen))

    def upload(key: str) -> None:
        try:
            store.upload(videos[key], chosen.input_bucket, key, on_bytes)
        except OSError as error:
            raise NoVideos(f"{str(videos[key])!r} cannot be read: {error.strerror}") from error
        on_video()

    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        list(pool.map(upload, videos))


@click.command(cls=Command)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--clear",
    is_flag=True,
    help="Empty the input, output and report buckets first; shows what would go, and asks.",
)
@click.option("--yes", is_flag=True, help="With --clear: do not ask.")
@command_errors
def main(folder: Path, clear: bool, yes: bool) -> None:
    """Upload every video of FOLDER into INPUT_BUCKET.

    Hidden files and files without a video extension are left out, and counted.
    """
    chosen = settings()
    found = find_videos(folder)
    videos = found.videos
    if clear:
        _ask_and_clear(chosen, yes)
    total_bytes = sum(path.stat().st_size for path in videos.values())
    count = TextColumn("{task.fields[done]} of {task.fields[videos]} videos")
    with Progress(TextColumn("uploading"), BarColumn(), count, DownloadColumn()) as progress:
        bar = progress.add_task("", total=total_bytes, done=0, videos=len(videos))
        sent = itertools.count(1)
        upload_videos(
            chosen,
            videos,
            lambda n: progress.advance(bar, n),
            lambda: progress.update(bar, done=next(sent)),
        )
    uploaded = "1 video is" if len(videos) == 1 else f"{len(videos)} videos are"
    say(f"{uploaded} in {chosen.input_bucket}")
    if sentence := found.left_out_sentence():
        say(sentence, err=True)
