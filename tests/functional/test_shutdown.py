"""SIGTERM to the function under waitress, as in the python3-http template of OpenFaaS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from support.videos import painted_gallery
from support.waiting import wait_until

from devstack.build_context import assemble
from devstack.processes import free_port
from rollcall.function.shutdown import LINGER_S
from rollcall.gallery.enrolment import save
from rollcall.gallery.gallery_locations import GalleryFile

INDEX = """
import sys, waitress
from function import handler
from rollcall.function.python3_http import create_app
waitress.serve(create_app(handler.handle), host="127.0.0.1", port=int(sys.argv[1]))
"""
NO_OBJECT = b"<Error><Code>NoSuchKey</Code></Error>"
CALL = {"bucket": "input-bucket-video", "key": "a.mp4"}


class SlowStore:
    """An object store without objects. It answers requests only after `released` is set."""

    def __init__(self) -> None:
        self.asked, self.released = threading.Event(), threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(b"")

            def do_GET(self) -> None:
                self._answer(NO_OBJECT)

            def _answer(self, body: bytes) -> None:
                store.asked.set()
                store.released.wait(60)
                self.send_response(404)
                self.send_header("Content-Length", str(len(NO_OBJECT)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def store() -> Iterator[SlowStore]:
    slow = SlowStore()
    thread = threading.Thread(target=slow.server.serve_forever)
    thread.start()
    yield slow
    slow.released.set()
    slow.server.shutdown()
    slow.server.server_close()
    thread.join()


@pytest.fixture
def function(tmp_path: Path, store: SlowStore) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running function: its process and its URL."""
    save(painted_gallery(alice="red"), GalleryFile(tmp_path / "gallery.npz"))
    port, context = free_port(), assemble(tmp_path / "context")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "S3_ENDPOINT_URL": store.url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "ENCODINGS": str(tmp_path / "gallery.npz"),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", INDEX, str(port)], cwd=context, env=environment
    )
    url = f"http://127.0.0.1:{port}/"
    wait_until(lambda: _listens(url), "the function to listen")
    yield process, url
    process.kill()
    process.wait()


def _listens(url: str) -> bool:
    try:
        return httpx.get(url + "healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _call(url: str) -> tuple[int, str]:
    answer = httpx.post(url, content=json.dumps(CALL), timeout=60, trust_env=False)
    return answer.status_code, answer.json()["error"]["code"]


def test_after_sigterm_new_calls_get_503_and_the_call_in_flight_is_answered(
    function: tuple[subprocess.Popen[bytes], str], store: SlowStore
) -> None:
    process, url = function
    with ThreadPoolExecutor() as pool:
        first = pool.submit(_call, url)
        assert store.asked.wait(60)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: _call(url) == (503, "shutting_down"), "the first 503")
        process.send_signal(signal.SIGTERM)  # a second one changes nothing
        assert not first.done()
        assert _call(url) == (503, "shutting_down")
        store.released.set()
        assert first.result(60) == (404, "gone")
    assert _call(url) == (503, "shutting_down"), "the watchdog still forwards calls"
    assert process.wait(60) == 128 + signal.SIGTERM


def test_after_sigterm_an_idle_function_answers_503_for_a_while(
    function: tuple[subprocess.Popen[bytes], str],
) -> None:
    process, url = function
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: _call(url) == (503, "shutting_down"), "the first 503")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(LINGER_S / 4)
    assert _call(url) == (503, "shutting_down")
    assert process.wait(60) == 128 + signal.SIGTERM
