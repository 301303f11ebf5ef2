"""Time to answer for a small and a large object, and how much of it is fetched.

Both hold one and the same video, with its index in front; the large one goes on with a box that
players skip (`free`). So what differs is only how many bytes come after what is looked at.
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
WARM_KEY = "warm.mp4"


def run(bench: Bench) -> dict[str, Any]:
    """By store, for each size: the answer by one request for all, and as Rollcall does it."""
    with store_alone(bench) as settings:
        store = S3Store(s3_client(settings))
        store.upload(bench.videos[0], settings.input_bucket, WARM_KEY)
        found = [_size(bench, settings, store, count) for count in bench.sizes.object_bytes]
    return {bench.store: found}


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
    """Seconds to the answer of a pipeline in this process, its models loaded and a decoder
    started before, bytes fetched, and the status."""
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
    """The MP4 and a box of zeros, as sparse as the file system allows."""
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
        *("store", "object", "fetched whole, s", "Rollcall, s", "ratio", "Rollcall fetched"),
        "requests",
    )
    rows = [(store, *_cells(each)) for store, found in result.items() for each in found]
    return markdown.table(head, rows)


def ratio(each: dict[str, Any]) -> float:
    """How many times sooner Rollcall answers."""
    return float(each["whole"]["answer_s"] / each["rollcall"]["answer_s"])


def _cells(each: dict[str, Any]) -> tuple[str, ...]:
    whole, ours = each["whole"], each["rollcall"]
    size, fetched = each["size_bytes"] / 1e6, ours["fetched_bytes"] / 1e6
    seconds = f"{whole['answer_s']:.2f}", f"{ours['answer_s']:.2f}", f"{ratio(each):.1f}"
    return f"{size:,.0f} MB", *seconds, f"{fetched:,.1f} MB", str(ours["requests"])
