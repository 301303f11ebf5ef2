"""Measures how long the answer takes for a small and a large object, and how much is fetched.

The reference is Rollcall itself with range requests switched off, so that it fetches the whole
object. Both objects hold the same video, with its index at the start. After the video, each object
is filled up with a box that players skip (`free`), so the objects differ only in that box.

Run alone: `make bench ONLY=ranged`.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import markdown
from benchmarks.bench import Bench
from benchmarks.long_videos import long_video
from benchmarks.stacks import store_alone
from rollcall import pipeline
from rollcall.core.settings import Settings
from rollcall.core.types import VideoRef
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.wiring import build_pipeline

TITLE = "Large objects"
LENGTH_S = 10
"""Length of the video in both objects."""

WARM_KEY = "warm.mp4"


def run(bench: Bench) -> dict[str, Any]:
    """Return, by store and size, the results with and without fetching the whole object."""
    with store_alone(bench) as settings:
        store = S3Store(s3_client(settings))
        store.upload(bench.videos[0], settings.input_bucket, WARM_KEY)
        results = [_size(bench, settings, store, count) for count in bench.sizes.object_bytes]
    return {bench.store: results}


def _size(bench: Bench, settings: Settings, store: S3Store, size_bytes: int) -> dict[str, Any]:
    path = padded(long_video(bench, LENGTH_S), bench.folder / "padded.mp4", size_bytes)
    key = f"{size_bytes}.mp4"
    store.upload(path, settings.input_bucket, key)
    path.unlink()
    ways = {
        "whole": answer_time(settings, key, ranges_from_bytes=size_bytes + 1),
        "rollcall": answer_time(settings, key),
    }
    store.delete(settings.input_bucket, key)
    return {"size_bytes": size_bytes, **ways}


def answer_time(
    settings: Settings, key: str, ranges_from_bytes: int = pipeline.RANGES_FROM_BYTES
) -> dict[str, Any]:
    """Return the seconds until the answer, its status, and the bytes and requests for the object.

    The pipeline runs in this process. Another video is recognised first, so that the models are
    loaded and a decoder is running.
    """
    # Without reports, only requests for the video are counted.
    settings = replace(settings, report_bucket="")
    warm, fetched = build_pipeline(settings), list[int]()
    client = s3_client(settings)
    client.meta.events.register("after-call.s3.GetObject", _counter(fetched))
    counted = replace(warm, store=S3Store(client))
    with patch.object(pipeline, "RANGES_FROM_BYTES", ranges_from_bytes):
        warm.run(VideoRef(settings.input_bucket, WARM_KEY))
        started = time.perf_counter()
        answer = counted.run(VideoRef(settings.input_bucket, key))
        seconds = time.perf_counter() - started
    return {
        "answer_s": round(seconds, 3),
        "fetched_bytes": sum(fetched),
        "requests": len(fetched),
        "status": answer["status"],
    }


def _counter(fetched: list[int]) -> Callable[..., None]:
    def count(parsed: dict[str, Any], **_: Any) -> None:
        fetched.append(parsed["ContentLength"])

    return count


def padded(video: Path, path: Path, size_bytes: int) -> Path:
    """Write a sparse file of this size: the MP4, and after it a box of zeros."""
    body = video.read_bytes()
    free_bytes = size_bytes - len(body)
    if not 8 <= free_bytes < 1 << 32:
        raise ValueError(f"{len(body)} bytes cannot be padded to {size_bytes}")
    path.write_bytes(body + struct.pack(">I4s", free_bytes, b"free"))
    with open(path, "r+b") as file:
        file.truncate(size_bytes)
    return path


def table(result: dict[str, Any]) -> str:
    head = (
        *("store", "object", "fetched whole, s", "Rollcall, s", "ratio", "fetched by Rollcall"),
        "Rollcall's requests",
    )
    rows = [(store, *_cells(each)) for store, results in result.items() for each in results]
    return markdown.table(head, rows)


def ratio(each: dict[str, Any]) -> float:
    """Return how many times as long the answer takes if the whole object is fetched."""
    return float(each["whole"]["answer_s"] / each["rollcall"]["answer_s"])


def _cells(each: dict[str, Any]) -> tuple[str, ...]:
    whole, ours = each["whole"], each["rollcall"]
    size, fetched = each["size_bytes"] / 1e6, ours["fetched_bytes"] / 1e6
    seconds = f"{whole['answer_s']:.2f}", f"{ours['answer_s']:.2f}", f"{ratio(each):.1f}"
    return f"{size:,.0f} MB", *seconds, f"{fetched:,.1f} MB", str(ours["requests"])
