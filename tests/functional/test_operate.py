"""The commands of docs/operate.md, run with a trigger, a store, a function and a database."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from manifests.checks import REPOSITORY, load
from manifests.kustomize import DATABASE, MANY, MONITORING, WEB_MANY, build
from manifests.names import OTHER_SECRETS, Manifests
from support.postgres import FreshDatabases
from support.servers import Reply, serve_function
from support.settings import embedded_values
from support.waiting import wait_until

from devstack.processes import Process, answers, free_port
from rollcall.core.keys import result_key
from rollcall.core.settings import parse_settings
from rollcall.stores.boto import s3_client

PAGE = (REPOSITORY / "docs" / "operate.md").read_text(encoding="utf-8")
TOKEN = "the-first-token-of-the-trigger"
DAY_S = 86400


def blocks() -> dict[str, list[str]]:
    """The shell commands below each heading. Blocks in lists are indented."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^## ", PAGE, flags=re.M):
        heading = part.partition("\n")[0]
        texts = re.findall(r"^( *)```sh\n(.*?)^\1```$", part, re.M | re.S)
        found[heading] = [textwrap.dedent(text) for _, text in texts]
    return found


BLOCKS = blocks()
FOR_A_CLUSTER = "kubectl"


def here(heading: str) -> list[str]:
    """The blocks that run without a cluster."""
    return [block for block in BLOCKS[heading] if FOR_A_CLUSTER not in block]


class Site:
    """A folder with an `.env`, in which the trigger and the commands run."""

    def __init__(self, folder: Path, moto_url: str, gateway: str) -> None:
        self.folder = folder
        self.port = free_port()
        name = uuid.uuid4().hex[:8]
        self.bucket, self.output = f"in-{name}", f"out-{name}"
        # Other tests write reports into the bucket with the default name.
        self.reports = f"reports-{name}"
        values = embedded_values(
            moto_url,
            INPUT_BUCKET=self.bucket,
            OUTPUT_BUCKET=self.output,
            REPORT_BUCKET=self.reports,
            OPENFAAS_GATEWAY=gateway,
            TRIGGER_LISTEN=f"127.0.0.1:{self.port}",
            TRIGGER_TOKEN=TOKEN,
        )
        # As in a copy of credentials.env.
        lines = [f"export {key}={value}" for key, value in values.items()]
        (folder / ".env").write_text("\n".join(lines) + "\n")
        self.client: Any = s3_client(parse_settings(values))
        for bucket in (self.bucket, self.output, self.reports):
            self.client.create_bucket(Bucket=bucket)
        # Without the settings of whoever runs the tests.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environ = {
            "PATH": path,
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self._trigger: Process | None = None

    def start(self) -> None:
        command = [sys.executable, str(REPOSITORY / "trigger_openfaas.py")]
        self._trigger = Process("trigger", command, self.environ, self.folder)
        self._trigger.wait_ready(answers(f"http://127.0.0.1:{self.port}/healthz"))

    def stop(self) -> None:
        if self._trigger:
            self._trigger.stop()
            self._trigger = None

    def send(self, key: str, token: str = TOKEN) -> int:
        """Upload a video, send its event, and return the status of the answer."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=b"x")
        stored = self.client.head_object(Bucket=self.bucket, Key=key)
        etag = stored["ETag"].strip('"')
        record = {
            "eventSource": "ceph:s3",
            "eventName": "ObjectCreated:Put",
            # The reconciler may find the video before its event arrives.
            "eventTime": stored["LastModified"].isoformat(),
            "eventId": uuid.uuid4().hex,
            "opaqueData": token,
            "s3": {"bucket": {"name": self.bucket}, "object": {"key": key, "eTag": etag}},
        }
        url = f"http://127.0.0.1:{self.port}/events"
        return httpx.post(url, json={"Records": [record]}, timeout=60).status_code

    def write_result(self, key: str) -> None:
        """Without a result, the reconciler would queue the video again."""
        etag = self.client.head_object(Bucket=self.bucket, Key=key)["ETag"].strip('"')
        self.client.put_object(
            Bucket=self.output, Key=result_key(key), Body=b"", Metadata={"source-etag": etag}
        )

    def run(self, block: str, **environ: str) -> str:
        """Run the commands of one block, and return what they print."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def status(self, **environ: str) -> dict[str, Any]:
        found = json.loads(self.run("rollcall status --json", **environ).splitlines()[-1])
        assert isinstance(found, dict)
        return found

    def wait_for(self, **counts: int) -> None:
        def reached() -> bool:
            found = self.status()
            return all(found[state] == count for state, count in counts.items())

        wait_until(reached, f"{counts}")


class Function:
    """A function that answers 404 for the keys in `gone`. For others it writes an empty result."""

    def __init__(self) -> None:
        self.site: Site | None = None
        self.gone: set[str] = set()
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, call: dict[str, Any]) -> Reply:
        with self._lock:
            self.calls.append(call["key"])
        if call["key"] in self.gone:
            error = {"code": "gone", "message": "the video is gone", "retryable": False}
            return 404, {}, json.dumps({"error": error}).encode()
        assert self.site is not None
        self.site.write_result(call["key"])
        return 200, {}, json.dumps({"status": "no_face", "people": []}).encode()


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def site(tmp_path: Path, moto_url: str, function: Function) -> Iterator[Site]:
    with serve_function(function) as gateway:
        site = function.site = Site(tmp_path, moto_url, gateway)
        try:
            yield site
        finally:
            site.stop()


@pytest.fixture
def busy(site: Site, function: Function) -> Site:
    """A site whose trigger runs. Two videos are done, and one is a dead letter."""
    function.gone.add("gone.mp4")
    site.start()
    for key in ("a.mp4", "b.mp4", "gone.mp4"):
        assert site.send(key) == 200
    site.wait_for(done=2, dead=1)
    return site


def make_old(site: Site) -> None:
    """Make the finished work 20 days older. (The trigger itself deletes it after 30 days.)"""
    with closing(sqlite3.connect(site.folder / "inbox.sqlite3", timeout=30)) as db, db:
        db.execute("UPDATE finished SET changed_s = changed_s - ?", (20 * DAY_S,))


def test_look_first(busy: Site) -> None:
    (block,) = here("Look first")
    text = busy.run(block)
    assert "done: 2 (no_face 2)\ndead letters: 1 (gone 1)\n" in text
    assert json.loads(text.splitlines()[-1])["dead_by_code"] == {"gone": 1}


def test_dead_letters(busy: Site, function: Function) -> None:
    function.gone.clear()
    (block,) = here("Dead letters")
    text = busy.run(block)
    assert "put back 1 dead letter\n" in text
    assert text.endswith("4 is not a dead letter\n")
    busy.wait_for(done=3, dead=0)


def test_the_database_is_down(site: Site) -> None:
    (block,) = here("The database is down")
    url = f"postgresql://rollcall:s3cr3t@127.0.0.1:{free_port()}/rollcall"
    text = site.run(block, DATABASE_URL=url)
    assert "check that the server runs" in text
    assert "s3cr3t" not in text
    assert text.endswith("the database cannot be used\n")


def test_the_disk_is_full(busy: Site) -> None:
    make_old(busy)
    (block,) = here("The disk is full")
    assert busy.run(block).endswith("deleted 2 finished and 0 dead\n")
    assert busy.send("c.mp4") == 200
    busy.wait_for(done=1, dead=1)


def keep_the_date(site: Site) -> None:
    """Let the command `date` always tell the present day, which might end during a test."""
    programs = site.folder / "programs"
    programs.mkdir()
    date = programs / "date"
    date.write_text(f'#!/bin/sh\nexec {shutil.which("date")} -d @{int(time.time())} "$@"\n')
    date.chmod(0o755)
    site.environ["PATH"] = f"{programs}{os.pathsep}{site.environ['PATH']}"


def test_back_up_and_restore(busy: Site) -> None:
    copy, back = here("Back up and restore")
    keep_the_date(busy)
    assert "0 waiting or running, 3 done or dead" in busy.run(copy)
    busy.send("c.mp4")
    busy.wait_for(done=3)
    busy.stop()
    assert "restored backup-" in busy.run(back)
    busy.start()
    busy.wait_for(done=2, dead=1)


def test_move_from_sqlite_to_postgresql(busy: Site, postgres: FreshDatabases) -> None:
    busy.stop()
    (block,) = here("Move from SQLite to PostgreSQL")
    with postgres.url("template1") as url:
        text = busy.run(block, POSTGRES_URL=url)
        assert "database: postgresql://" in text
        assert "done: 2 (no_face 2)\ndead letters: 1 (gone 1)\n" in text
        busy.start()
        assert busy.send("c.mp4") == 200
        busy.wait_for(done=3, dead=1)
        busy.stop()


def test_replace_the_token(busy: Site) -> None:
    begin, end = here("Replace the token or the key")
    busy.run(begin)
    text = (busy.folder / ".env").read_text()
    (tokens,) = re.findall(r"TRIGGER_TOKEN=(.*)", text)
    new, old = tokens.split(",")
    assert old == TOKEN
    busy.stop()
    busy.start()
    assert [busy.send("c.mp4", token) for token in (new, old)] == [200, 200]
    busy.run(end)
    busy.stop()
    busy.start()
    assert [busy.send("d.mp4", token) for token in (new, old)] == [200, 401]


def test_recognise_videos_again(busy: Site, function: Function) -> None:
    for key in ("lectures/monday.mp4", "lectures/tuesday.mp4", "lectures/old.mp4"):
        busy.send(key)
    busy.wait_for(done=5, queued=0)
    function.calls.clear()
    (block,) = here("Recognise videos again")
    text = busy.run(block)
    assert text.startswith("queued 2 videos again\n")
    wait_until(lambda: {*function.calls} >= {"lectures/old.mp4"}, "the calls")
    busy.wait_for(queued=0, running=0)
    assert {"lectures/monday.mp4", "lectures/tuesday.mp4"} <= {*function.calls}


def test_delete_old_data(busy: Site) -> None:
    make_old(busy)
    (block,) = here("Delete old data")
    assert busy.run(block) == "deleted 2 finished and 1 dead\n"


def test_the_index(busy: Site) -> None:
    """Reports of videos that the trigger has never seen."""
    person = {"name": "Ada", "first_seen_s": 1.0, "last_seen_s": 2.0, "frames": 2}
    for key in ("x.mp4", "y.mp4"):
        video = {"bucket": busy.bucket, "key": key, "etag": "1"}
        report = {"status": "recognised", "video": video, "people": [person], "recognised_s": 1e9}
        body = json.dumps(report).encode()
        busy.client.put_object(Bucket=busy.reports, Key=f"{key}.json", Body=body)
    (block,) = here("The index")
    busy.run(block)
    assert "people: 1, who appear 2 times" in busy.run("rollcall index status")


def test_every_block_is_run() -> None:
    """A new section needs a test of its own, with the section's name."""
    sections = {heading for heading in BLOCKS if here(heading)}
    tests = {name.removeprefix("test_").replace("_", " ") for name in globals()}
    expected = {heading.lower().replace(" or the key", "") for heading in sections}
    assert expected <= tests
    assert len(expected) >= 9


def test_the_commands_for_a_cluster_name_what_exists() -> None:
    documents = load(REPOSITORY / "ceph") + build(MANY, WEB_MANY, DATABASE, MONITORING)
    manifests = Manifests(documents)
    present = {(each.namespace, each.kind.lower(), each.name) for each in manifests.documents}
    commands = [block for found in BLOCKS.values() for block in found if FOR_A_CLUSTER in block]
    assert len(commands) == 4
    subprocess.run(["bash", "-n"], input="\n".join(commands), text=True, check=True)
    text = "\n".join(commands)
    named = re.findall(r"-n (\S+) (?:exec|rollout \w+) (\w+)/([\w-]+)", text)
    named += re.findall(r"-n (\S+) get (cluster) ([\w-]+)", text)
    assert len(named) == 5
    assert set(named) <= present
    secrets = set(re.findall(r"(?:get secret|secret generic) (\S+)", text))
    assert secrets <= {name for _, name in OTHER_SECRETS}
    for path in re.findall(r"s/CHANGE_ME/\S+ (\S+)", text):
        assert (REPOSITORY / path).is_file()


def test_the_links_exist() -> None:
    for target in re.findall(r"\]\(([\w./-]+)", PAGE):
        assert (REPOSITORY / "docs" / target).exists(), target
