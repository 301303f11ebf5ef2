"""`workload.py`: a folder of videos into the input bucket."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from rollcall.adapters.boto import s3_client
from rollcall.adapters.s3 import S3Store
from rollcall.core.errors import PermanentError
from rollcall.core.keys import is_video_key
from rollcall.core.settings import Settings
from rollcall.tools.entry import command_errors, settings

UPLOADS_AT_ONCE = 4
"""Each of them sends large files in parallel parts as well."""


class NoVideos(PermanentError):
    """The folder has nothing to upload."""


def find_videos(folder: Path) -> dict[str, Path]:
    """Key -> file, for every video below the folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {path.relative_to(folder).as_posix(): path for path in files}
    videos = {key: path for key, path in found.items() if is_video_key(key)}
    if not videos:
        raise NoVideos(f"no video in {str(folder)!r}")
    return videos


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
        store.upload(videos[key], chosen.input_bucket, key, on_bytes)
        on_video()

    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        list(pool.map(upload, videos))


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--clear", is_flag=True, help="Empty the input, output and report buckets first.")
@command_errors
def main(folder: Path, clear: bool) -> None:
    """Upload every video of FOLDER into INPUT_BUCKET."""
    chosen = settings()
    videos = find_videos(folder)
    if clear:
        click.echo(f"{clear_buckets(chosen)} objects removed")
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
    click.echo(f"{len(videos)} videos are in {chosen.input_bucket}")
