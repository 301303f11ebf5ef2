"""`workload.py`: a folder of videos into the input bucket."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from rollcall.adapters.boto import s3_client
from rollcall.adapters.s3 import S3Store
from rollcall.core.errors import PermanentError
from rollcall.core.keys import why_left_out
from rollcall.core.settings import Settings
from rollcall.terminal import Command, say
from rollcall.tools.entry import command_errors, settings

UPLOADS_AT_ONCE = 4
"""Each of them sends large files in parallel parts as well."""


SHOWN = 3
"""Names in a message for each reason; the others are counted."""


class NoVideos(PermanentError):
    """The folder has nothing to upload, or a video in it cannot be read."""


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
        return f"left out {count} file{'' if count == 1 else 's'}: {reasons}"


def _reason(why: str, keys: list[str]) -> str:
    more = ", ..." if len(keys) > SHOWN else ""
    return f"{len(keys)} {why} ({', '.join(map(repr, keys[:SHOWN]))}{more})"


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


def clear_buckets(chosen: Settings) -> int:
    """Empties the input, output and report buckets; how many objects went."""
    store = S3Store(s3_client(chosen))
    buckets = filter(None, (chosen.input_bucket, chosen.output_bucket, chosen.report_bucket))
    count = 0
    for info in [info for bucket in buckets for info in store.list_objects(bucket)]:
        store.delete(info.bucket, info.key)
        count += 1
    return count


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
@click.option("--clear", is_flag=True, help="Empty the input, output and report buckets first.")
@command_errors
def main(folder: Path, clear: bool) -> None:
    """Upload every video of FOLDER into INPUT_BUCKET.

    Hidden files and files without a video extension are left out, and counted.
    """
    chosen = settings()
    found = find_videos(folder)
    videos = found.videos
    if clear:
        say(f"{clear_buckets(chosen)} objects removed")
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
