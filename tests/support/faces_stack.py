"""The real stack for tests of the pages: clips of real faces in, results and pages out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2

from devstack.openfaas_stack import OpenFaasStack
from devstack.processes import Process, Processes, answers, free_port
from rollcall.cli.students import upload_students
from rollcall.core.errors import ObjectNotFound, TransientError
from rollcall.core.gallery import Gallery
from rollcall.core.keys import result_key
from rollcall.core.results import parse_csv
from rollcall.gallery.gallery_formats import parse_gallery, render_gallery
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from support.ffmpeg import H264, ffmpeg
from support.waiting import wait_until

WAIT_S = 240.0
MAX_RESULT_BYTES = 1 << 20


@dataclass(frozen=True)
class FacesStack:
    """A running stack with pages, and the sample of the demo."""

    stack: OpenFaasStack
    store: S3Store
    sample: Path
    folder: Path

    @property
    def url(self) -> str:
        return self.stack.pages_url

    def clip(self, *names: str) -> Path:
        """Clips of the sample one after the other, in a format that browsers play."""
        output = self.folder / f"{'-'.join(names)}.mp4"
        if not output.exists():
            inputs = " ".join(f"-i '{self.sample / 'videos' / name}.mp4'" for name in names)
            joined = f"-filter_complex concat=n={len(names)}:v=1:a=0"
            ffmpeg(f"{inputs} {joined} {H264} -movflags +faststart", output)
        return output

    def photo(self, name: str) -> bytes:
        """The first picture of a clip, as a PNG file."""
        video = cv2.VideoCapture(str(self.sample / "videos" / f"{name}.mp4"))
        try:
            return cv2.imencode(".png", video.read()[1])[1].tobytes()
        finally:
            video.release()

    def upload(self, key: str, path: Path) -> None:
        """Upload a file, and retry if the store cannot deliver the event."""
        while True:
            try:
                return self.store.upload(path, self.stack.settings.input_bucket, key)
            except TransientError:
                time.sleep(0.2)

    def upload_bytes(self, key: str, body: bytes) -> None:
        path = self.folder / "upload"
        path.write_bytes(body)
        self.upload(key, path)

    def names(self, key: str) -> list[str]:
        """The names in the result of a video. Raises ObjectNotFound if it has none yet."""
        bucket = self.stack.settings.output_bucket
        body = self.store.read(bucket, result_key(key), MAX_RESULT_BYTES)
        return sorted(row["name"] for row in parse_csv(body))

    def wait_for_names(self, key: str, *names: str) -> None:
        """Wait until exactly these people are in the result of a video."""

        found: list[str] | None = None

        def right() -> bool:
            nonlocal found
            try:
                found = self.names(key)
            except ObjectNotFound:
                found = None
            return found == sorted(names)

        try:
            wait_until(right, f"{names} in the result of {key}", WAIT_S, poll_s=0.1)
        except AssertionError as error:
            error.add_note(f"the result has {found}")
            raise

    def is_corrected(self, key: str) -> bool:
        """Whether the result of a video says that it was corrected."""
        bucket = self.stack.settings.output_bucket
        return self.store.metadata(bucket, result_key(key)).get("corrected") == "yes"

    def gallery(self) -> Gallery:
        return parse_gallery(Path(self.stack.settings.encodings).read_bytes())

    @contextmanager
    def more_pages(self, settings: Mapping[str, str]) -> Iterator[str]:
        """Start the pages once more with other settings, and yield their URL."""
        address = f"127.0.0.1:{free_port()}"
        environ = {**self.stack.environ, "WEB_LISTEN": address, **settings}
        argv = [sys.executable, "-m", "rollcall", "web"]
        with Processes() as processes:
            pages = processes.add(Process("more-pages", argv, environ, self.folder))
            pages.wait_ready(answers(f"http://{address}/healthz"))
            yield f"http://{address}"


@contextmanager
def faces_stack(sample: Path, folder: Path) -> Iterator[FacesStack]:
    """Start store, function, trigger and pages, with a copy of the sample's gallery."""
    gallery = folder / "gallery.npz"
    gallery.write_bytes(render_gallery(parse_gallery((sample / "encoding").read_bytes())))
    values = {
        "ENCODINGS": str(gallery),
        "ENCODINGS_REFRESH_S": "0",
        "KEEP_FACES": "pictures",
        "RECONCILE_S": "2",
        "SCAN": "timeline",
    }
    with OpenFaasStack(folder / "stack", os.environ, values) as stack:
        upload_students(stack.settings, sample / "student_data.json")
        stack.start_pages()
        yield FacesStack(stack, S3Store(s3_client(stack.settings)), sample, folder)
