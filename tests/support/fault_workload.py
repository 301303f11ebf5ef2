"""Upload videos during fault tests, and check that each gets its result or a dead letter."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from rollcall.core.errors import RollcallError
from rollcall.core.keys import result_key
from support.buckets import clear_buckets
from support.faulty_flow import FaultyFlow
from support.invariant import LATE_COUNT_S, Outcome, Sent, check_invariant
from support.proxied_flow import PEOPLE, RECORDS
from support.videos import paint_video

SCENES: dict[str, tuple[str, ...]] = {
    "one": ("red",),
    "two": ("blue", "green"),
    "recordless": ("yellow",),
    "stranger": ("magenta",),
    "nobody": (),
}
NOT_VIDEOS = {"empty": b"", "page": b"<!doctype html><html></html>", "noise": bytes(range(256)) * 9}


@cache
def clips() -> dict[str, bytes]:
    """Return the contents to upload by name. Each video shows every face for five frames."""
    with TemporaryDirectory() as folder:
        made = {
            name: paint_video(Path(folder) / f"{name}.mp4", scene, frames_each=5).read_bytes()
            for name, scene in SCENES.items()
        }
    return made | NOT_VIDEOS


def people_in(content: str) -> tuple[tuple[str, str, str], ...] | None:
    """Return name, major and year of each person; None if the content is not a video."""
    if content in NOT_VIDEOS:
        return None
    names = {colour: name for name, colour in PEOPLE.items()}
    seen = [names.get(colour, "unknown") for colour in SCENES[content]]
    return tuple(sorted((name, *RECORDS.get(name, ("", ""))) for name in seen))


class Workload:
    """A context manager that uploads videos below one prefix in the background."""

    def __init__(self, flow: FaultyFlow, prefix: str, contents: list[str], at_once: int = 2):
        self.flow, self.prefix = flow, prefix
        self._contents = {f"{prefix}{n:03}-{name}.mp4": name for n, name in enumerate(contents)}
        self._pool = ThreadPoolExecutor(at_once)
        self._uploads: dict[str, Future[Sent]] = {}

    def __enter__(self) -> Workload:
        self._logs_from = self.flow.logs()
        self.flow.take_baseline()
        for key, content in self._contents.items():
            self._uploads[key] = self._pool.submit(upload, self.flow, key, content)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def wait_settled(self, count: int) -> None:
        """Wait until at least `count` videos are done or dead letters."""

        def reached() -> bool:
            rows = self.flow.works(self.prefix)
            return sum(row.state in ("done", "dead") for row in rows) >= count

        self.flow.wait(reached, f"{count} settled videos below {self.prefix}")

    def sent(self) -> dict[str, Sent]:
        """Wait for all uploads, and return them by key."""
        return {key: upload.result() for key, upload in self._uploads.items()}

    def wait_over(self) -> None:
        """Wait until all videos are settled."""
        self.flow.wait(self._is_over, f"the end of all work below {self.prefix}")

    def finish(self, late_s: float = LATE_COUNT_S) -> Outcome:
        """Repair the links, wait until all videos settle, check them, and clear the buckets.

        `late_s` is for `check_invariant`.
        """
        sent = self.sent()
        self.flow.mend()
        self.wait_over()
        outcome = check_invariant(self.flow, self.prefix, sent, self._logs_from, late_s)
        clear_buckets(self.flow.settings)
        return outcome

    def _is_over(self) -> bool:
        # The reconciler may still have to find a video whose event was lost, or the result of a
        # video that is a dead letter.
        rows = self.flow.works(self.prefix)
        if {row.key for row in rows} != set(self._contents):
            return False
        if any(row.state not in ("done", "dead") for row in rows):
            return False
        dead = [row.key for row in rows if row.state == "dead"]
        given_up = [key for key in dead if self._contents[key] in SCENES]
        return not any(self._has_result(key) for key in given_up)

    def _has_result(self, key: str) -> bool:
        return find(self.flow, self.flow.settings.output_bucket, result_key(key)) is not None


def play(flow: FaultyFlow, prefix: str, *contents: str) -> Outcome:
    """Upload these contents, wait until all are settled, and check the results."""
    with Workload(flow, prefix, list(contents)) as workload:
        return workload.finish()


def upload(flow: FaultyFlow, key: str, content: str) -> Sent:
    """Upload a video, and retry until the store has it."""
    # If the embedded store cannot push the event, it answers 500 but has stored the video.
    # So the video of a failed upload may be in the store.
    body, bucket = clips()[content], flow.settings.input_bucket
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    puts = 0
    while True:
        puts += 1
        try:
            client_without_retries(flow).put_object(Bucket=bucket, Key=key, Body=body)
            break
        except (BotoCoreError, ClientError):
            if find(flow, bucket, key) == etag:
                break
            time.sleep(0.2)
    return Sent(people_in(content), etag, puts)


@cache
def client_without_retries(flow: FaultyFlow) -> Any:
    """Return an S3 client that sends each upload once, so that uploads can be counted."""
    settings = flow.settings
    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.aws_region,
        aws_access_key_id=settings.s3_aws_access_key_id or settings.aws_access_key_id,
        aws_secret_access_key=settings.s3_aws_secret_access_key or settings.aws_secret_access_key,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def find(flow: FaultyFlow, bucket: str, key: str) -> str | None:
    """Return the ETag of an object; None if it does not exist or the store does not answer."""
    try:
        return flow.s3.head(bucket, key).etag
    except RollcallError:
        return None
