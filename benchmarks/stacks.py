"""Runs the local OpenFaaS stack with either Rollcall's function or the reference in it."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench import Bench
from devstack.build_context import REPOSITORY
from devstack.openfaas_stack import OpenFaasStack
from devstack.processes import Processes
from devstack.store_servers import Place, build_store
from rollcall.cli.students import upload_students
from rollcall.cli.workload import upload_videos
from rollcall.core.settings import Settings, parse_settings
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store

OURS = OpenFaasStack.app
REFERENCE = "benchmarks.reference_function:from_environment()"
"""The two applications, in gunicorn's notation."""

DEADLINE_S = 900.0
"""Time limit for all videos of a section."""

POLL_S = 0.1


@contextmanager
def store_alone(bench: Bench) -> Iterator[Settings]:
    """Start a store with buckets and student records but without notifications. Yields the
    settings for the store."""
    folder = _folder(bench)
    with ExitStack() as stack:
        processes = Processes()
        store = build_store(bench.store, Place(folder, os.environ, processes))
        stack.callback(store.clean)
        stack.enter_context(processes)
        store.start()
        ours = {"ENCODINGS": str(bench.encodings), "MODEL_CACHE": bench.model_cache}
        settings = parse_settings({**store.settings(), **ours})
        for bucket in (settings.input_bucket, settings.output_bucket):
            S3Store(s3_client(settings)).create_bucket(bucket)
        upload_students(settings, bench.data / "student_data.json")
        yield settings


def _folder(bench: Bench) -> Path:
    return Path(tempfile.mkdtemp(prefix="stack-", dir=bench.folder))


class BenchStack(OpenFaasStack):
    """A stack with either function. Store, notification and trigger are always the same.

    `app` runs as in `OpenFaasStack`: gunicorn with `workers` processes, each of which serves one
    call at a time.
    """

    def __init__(self, bench: Bench, app: str = OURS, workers: int | None = None) -> None:
        self._bench = bench
        self._warmed = 0
        self.app = app
        self.workers = workers or bench.sizes.workers
        overrides = {
            "ENCODINGS": str(bench.encodings),
            "MODEL_CACHE": bench.model_cache,
            "FUNCTION_HMAC_KEY": "",  # the reference does not check signatures
        }
        # One client for all calls: httpx.get would load certificates in every call, which takes
        # 15 ms of CPU.
        self.client = httpx.Client(trust_env=False, timeout=DEADLINE_S)
        environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        super().__init__(_folder(bench), environ, overrides, bench.store)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.client.close()

    def get_ready(self) -> None:
        """Upload the students, wait until events are delivered, and warm up every worker."""
        upload_students(self.settings, self._bench.data / "student_data.json")
        self.wait_delivering()
        warm = {f"warm-{n}/{video.name}": video for n in range(2) for video in self._bench.videos}
        self.upload(warm)
        self._warmed = len(warm)
        self.wait_settled(0)

    def upload(self, videos: dict[str, Path]) -> None:
        upload_videos(self.settings, videos, lambda sent: None, lambda: None)

    def wait_settled(self, count: int) -> None:
        """Wait until this many videos after the warm-up are done or dead letters.

        Raises TimeoutError.
        """
        until = time.monotonic() + DEADLINE_S
        while self._settled() < self._warmed + count:
            if time.monotonic() > until:
                raise TimeoutError(f"not done after {DEADLINE_S:g} s; logs are in {self.folder}")
            time.sleep(POLL_S)

    def call(self, key: str) -> dict[str, Any]:
        """Call the function directly for a video in the input bucket, and return its answer."""
        video = {"bucket": self.settings.input_bucket, "key": key}
        response = self.client.post(self._function_url, json=video)
        answer: dict[str, Any] = response.raise_for_status().json()
        return answer

    @property
    def _function_url(self) -> str:
        return f"{self.settings.openfaas_gateway}/function/{self.settings.openfaas_function}"

    def _settled(self) -> int:
        metrics = self.client.get(self.trigger_url + "/metrics").text
        counts = re.findall(r'^rollcall_work{state="(?:done|dead)"} (\S+)$', metrics, re.MULTILINE)
        return sum(int(float(count)) for count in counts)
