"""Test the flow, the registration and the galleries on a real Ceph cluster.

All tests share one cluster. The tests of the flow also share one function and one trigger, and each
of these tests uses its own object keys.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner
from support.flow_processes import (
    TRIGGER_TOKEN,
    enrol_painted,
    inherited_environ,
    start_function,
    trigger_process,
)
from support.gallery_writers import at_once, enrol_and_remove
from support.videos import paint_video
from support.waiting import wait_until

from devstack.build_context import REPOSITORY
from devstack.ceph import Ceph, Certificate
from devstack.processes import Processes, answers, free_port
from rollcall.cli.trigger_command import main as trigger_command
from rollcall.core.errors import ObjectNotFound, RollcallError, SettingsError, StoreUnavailable
from rollcall.core.keys import result_key
from rollcall.core.results import parse_csv, render_csv
from rollcall.core.settings import Settings, parse_settings
from rollcall.core.types import Person
from rollcall.core.work import Work
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.gallery.forgetting import PersonRemoval, results_in
from rollcall.gallery.gallery_formats import parse_gallery
from rollcall.queues.open_queue import open_queue
from rollcall.stores import topics
from rollcall.stores.boto import delete_notification, s3_client, topic_client
from rollcall.stores.s3 import S3Store
from rollcall.stores.topics import Target, create_ceph_topic
from rollcall.trigger import notifications as registration
from rollcall.trigger.notifications import topic_name

DEADLINE_S = 240.0
"""Enough for a restarted gateway, which may need 30 s until it sends its first event."""

ENVIRON = inherited_environ()


def until(condition: Callable[[], Any], description: str) -> Any:
    return wait_until(condition, description, DEADLINE_S, poll_s=0.1)


class Flow:
    """Ceph, the function for painted faces, and the trigger."""

    def __init__(self, ceph: Ceph, folder: Path, processes: Processes) -> None:
        self.ceph, self.folder, self._processes = ceph, folder, processes
        trigger_port = free_port()
        self._gateway = f"http://127.0.0.1:{free_port()}"
        self._url = f"http://127.0.0.1:{trigger_port}"
        self.values = {
            **ceph_values(ceph),
            "OPENFAAS_GATEWAY": self._gateway,
            "TRIGGER_LISTEN": f"127.0.0.1:{trigger_port}",
            "TRIGGER_TOKEN": TRIGGER_TOKEN,
            "DATABASE_URL": f"sqlite:///{folder / 'inbox.sqlite3'}",
            "ENCODINGS": str(folder / "gallery.npz"),
            "MAX_INFLIGHT": "2",
        }
        self.settings = parse_settings(self.values)
        self.store, self.s3 = S3Store(s3_client(self.settings)), s3_client(self.settings)
        enrol_painted(folder / "gallery.npz", **{colour: colour for colour in PaintedFaces.COLOURS})
        environ = {**ENVIRON, **self.values}
        start_function(processes, folder, environ, "painted_function:app()", self._gateway)
        self.start_trigger()

    @property
    def topic(self) -> str:
        return topic_name(self.settings.input_bucket, self._url + "/events")

    def start_trigger(self) -> None:
        env = {**ENVIRON, **self.values, "RECONCILE_S": "20"}
        self._trigger = self._processes.add(trigger_process(self.folder, env, self._url))
        self._trigger.wait_ready(answers(self._url + "/healthz"))

    def stop_trigger(self) -> None:
        self._processes.stop(self._trigger)

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.settings.input_bucket, Key=key, Body=body)

    def people(self, key: str) -> list[str]:
        """Wait for the result of the object that is stored now, and return the names in it."""
        result = until(lambda: self._result(key), f"the result of {key}")
        return [row["name"] for row in parse_csv(result)]

    def works(self) -> list[Work]:
        with closing(open_queue(self.settings)) as queue:
            return queue.latest(10_000)

    def calls(self, prefix: str) -> dict[str, int]:
        """Wait until all work below the prefix is done, and return the number of calls by key.

        Fails if any of that work is a dead letter.
        """

        def settled() -> list[Work]:
            works = [work for work in self.works() if work.key.startswith(prefix)]
            return works if all(work.state in ("done", "dead") for work in works) else []

        calls: Counter[str] = Counter()
        for work in until(settled, f"the end of all work below {prefix}"):
            assert work.state == "done", work
            calls[work.key] += work.calls
        return dict(calls)

    def retries(self) -> Counter[str]:
        """Return the number of retries by key, from the trigger's log."""
        log = self._trigger.log.read_text()
        return Counter(re.findall(r"dispatcher: '(\S+)' is retried in", log))

    def events(self, outcome: str) -> float:
        auth = ("any", TRIGGER_TOKEN)
        metrics = httpx.get(self._url + "/metrics", trust_env=False, auth=auth, timeout=60).text
        found = re.search(rf'rollcall_events_total{{outcome="{outcome}"}} (\S+)', metrics)
        return float(found[1]) if found else 0.0

    def _result(self, key: str) -> bytes | None:
        try:
            etag = self.store.head(self.settings.input_bucket, key).etag
            where = self.settings.output_bucket, result_key(key)
            fresh = self.store.metadata(*where)["source-etag"] == etag
            return self.store.read(*where, 1 << 20) if fresh else None
        except (ObjectNotFound, StoreUnavailable):
            return None


def ceph_values(ceph: Ceph) -> dict[str, str]:
    return {
        "S3_ENDPOINT_URL": ceph.url,
        "S3_AWS_ACCESS_KEY_ID": ceph.keys.access,
        "S3_AWS_SECRET_ACCESS_KEY": ceph.keys.secret,
    }


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flow")


@pytest.fixture(scope="session")
def certificate(folder: Path, ceph_programs: None) -> Certificate:
    """A self-signed certificate, which clients have to trust explicitly."""
    made = Certificate(folder / "gateway.pem", folder / "gateway.key")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=gateway"
        " -addext subjectAltName=IP:127.0.0.1"
    )
    files = ["-keyout", str(made.private_key), "-out", str(made.certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return made


@pytest.fixture(scope="session")
def ceph(folder: Path, certificate: Certificate) -> Iterator[Ceph]:
    with Processes() as running:
        cluster = Ceph(folder, ENVIRON, running, certificate)
        cluster.start()
        yield cluster
    cluster.remove_data()


@pytest.fixture(scope="session")
def flow(ceph: Ceph, folder: Path) -> Iterator[Flow]:
    with Processes() as running:
        started = Flow(ceph, folder, running)
        until(lambda: ceph.delivers(started.topic), "the gateway to find the trigger's topic")
        yield started


@pytest.fixture(scope="session")
def clips(folder: Path) -> dict[str, bytes]:
    """A short video of each colour."""
    return {colour: painted_clip(folder / f"{colour}.mp4", colour) for colour in ("red", "blue")}


def painted_clip(path: Path, colour: str) -> bytes:
    """Return a video of five frames with a painted face."""
    return paint_video(path, [colour], frames_each=5).read_bytes()


def padded(clip: bytes, size_bytes: int) -> bytes:
    """Return the clip, extended to this size with an MP4 box that players skip."""
    rest = size_bytes - len(clip)
    return clip + rest.to_bytes(4, "big") + b"free" + bytes(rest - 8)


@pytest.mark.parametrize(
    "key",
    [
        "plain.mp4",
        "folder/two words.mp4",
        "a+b.mp4",
        "100%41.mp4",
        'it\'s "quoted" & <marked>.mp4',
        "žluťoučký/視頻 Ωμέγα.mp4",
        "CAMERA.MOV",
        "é" * 498 + ".mp4",
    ],
    ids=lambda key: key[:20],
)
def test_every_key_gets_its_result(flow: Flow, clips: dict[str, bytes], key: str) -> None:
    flow.put(key, clips["red"])

    assert flow.people(key) == ["red"]
    assert flow.calls(key) == {key: 1}


def test_a_multipart_upload_causes_one_call(flow: Flow, clips: dict[str, bytes]) -> None:
    large = flow.folder / "large.mp4"
    large.write_bytes(padded(clips["blue"], 20 << 20))

    flow.store.upload(large, flow.settings.input_bucket, "multipart/large.mp4")

    assert flow.people("multipart/large.mp4") == ["blue"]
    assert flow.calls("multipart/") == {"multipart/large.mp4": 1}


def test_a_copied_video_is_processed_too(flow: Flow, clips: dict[str, bytes]) -> None:
    bucket = flow.settings.input_bucket
    flow.put("copy/one.mp4", clips["red"])

    source = {"Bucket": bucket, "Key": "copy/one.mp4"}
    flow.s3.copy_object(Bucket=bucket, Key="copy/two.mp4", CopySource=source)

    for key in ("copy/one.mp4", "copy/two.mp4"):
        assert flow.people(key) == ["red"]
    assert flow.calls("copy/") == {"copy/one.mp4": 1, "copy/two.mp4": 1}


def test_the_result_belongs_to_the_last_upload_of_a_key(
    flow: Flow, clips: dict[str, bytes]
) -> None:
    flow.put("twice/video.mp4", clips["red"])
    flow.put("twice/video.mp4", clips["blue"])

    assert flow.people("twice/video.mp4") == ["blue"]
    assert until(lambda: flow.calls("twice/")["twice/video.mp4"] == 2, "the second event")
    assert flow.people("twice/video.mp4") == ["blue"]


def test_each_version_is_processed_but_a_delete_marker_is_not(
    flow: Flow, clips: dict[str, bytes]
) -> None:
    """Deleting the video leaves its result in place."""
    bucket, key = flow.settings.input_bucket, "versions/video.mp4"
    versioning: Callable[[str], Any] = lambda status: flow.s3.put_bucket_versioning(  # noqa: E731
        Bucket=bucket, VersioningConfiguration={"Status": status}
    )
    versioning("Enabled")
    try:
        flow.put(key, clips["red"])
        assert flow.people(key) == ["red"]
        flow.put(key, clips["blue"])
        assert flow.people(key) == ["blue"]
        flow.s3.delete_object(Bucket=bucket, Key=key)
        flow.put("versions/after.mp4", clips["red"])
        assert flow.people("versions/after.mp4") == ["red"]
    finally:
        versioning("Suspended")

    assert flow.calls("versions/") == {key: 2, "versions/after.mp4": 1}
    works = [work for work in flow.works() if work.key == key]
    assert [(work.state, work.calls) for work in works] == [("done", 1)] * 2
    assert len({work.version_id for work in works}) == 2
    assert flow.store.head(flow.settings.output_bucket, result_key(key))


DOWN_S = 60
"""Time for which the trigger is stopped. The gateway retries its events during this time."""


def test_a_trigger_that_was_down_misses_nothing(flow: Flow, clips: dict[str, bytes]) -> None:
    """The reconciler finds the videos first. The redelivered events are then duplicates."""
    keys = [f"down/{number}.mp4" for number in range(5)]
    flow.stop_trigger()
    for key in keys:
        flow.put(key, clips["red"])
    time.sleep(DOWN_S)
    flow.start_trigger()

    wait_for_redelivery(flow, 5)
    assert {key: flow.people(key) for key in keys} == {key: ["red"] for key in keys}
    assert flow.calls("down/") == dict.fromkeys(keys, 1)


def wait_for_redelivery(flow: Flow, count: int) -> None:
    """Wait until the gateway has sent its events again; restart it if it does not."""
    # In about one of forty runs, a gateway of version 16 stopped sending after its connections
    # had been refused.

    def arrived() -> bool:
        return flow.events("duplicate") + flow.events("queued") >= count

    try:
        wait_until(arrived, "redelivery without a restart of the gateway", 20, poll_s=0.1)
    except AssertionError:
        flow.ceph.stop_gateway()
        flow.ceph.start_gateway()
    until(arrived, "redelivery after a restart of the gateway")


def test_the_reconciler_finds_a_video_without_an_event(flow: Flow, clips: dict[str, bytes]) -> None:
    """The video is uploaded while the bucket has no notification."""
    bucket = flow.settings.input_bucket
    present = flow.s3.get_bucket_notification_configuration(Bucket=bucket)
    flow.stop_trigger()
    for entry in present["TopicConfigurations"]:
        delete_notification(flow.settings, bucket, entry["Id"])
    flow.put("dropped/video.mp4", clips["blue"])
    flow.start_trigger()

    assert flow.people("dropped/video.mp4") == ["blue"]
    (work,) = (work for work in flow.works() if work.key.startswith("dropped/"))
    assert work.origin == "reconcile"
    flow.put("dropped/later.mp4", clips["blue"])
    assert flow.people("dropped/later.mp4") == ["blue"]


def test_a_hundred_videos_cause_a_hundred_calls(flow: Flow, clips: dict[str, bytes]) -> None:
    keys = [f"hundred/{number}.mp4" for number in range(100)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: flow.put(key, clips["red"]), keys))

    results = until(lambda: result_keys(flow, "hundred/", 100), "a hundred results")

    assert results == {result_key(key) for key in keys}
    assert flow.calls("hundred/") == dict.fromkeys(keys, 1)


def test_a_restart_of_the_gateway_loses_no_video(flow: Flow, clips: dict[str, bytes]) -> None:
    """Calls in flight and uploads fail, and are retried. Stored events wait for the gateway."""
    keys = [f"restart/{number}.mp4" for number in range(100)]
    before = flow.retries()

    def put(key: str) -> None:
        # Uploads fail while the gateway is down.
        until(lambda: upload(flow, key, clips["red"]), f"the upload of {key}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, keys[:50]))
        until(lambda: result_keys(flow, "restart/", 10), "the first ten results")
        flow.ceph.stop_gateway()
        uploads = pool.map(put, keys[50:])
        flow.ceph.start_gateway()
        list(uploads)

    results = until(lambda: result_keys(flow, "restart/", 100), "a hundred results")
    assert results == {result_key(key) for key in keys}
    calls = flow.calls("restart/")  # a call whose result exists may still be retried
    retries = flow.retries() - before
    queued = Counter(work.key for work in flow.works() if work.key.startswith("restart/"))
    assert calls == {key: queued[key] + retries[key] for key in keys}


def upload(flow: Flow, key: str, body: bytes) -> bool:
    """Try to upload a video, and return whether it was stored."""
    try:
        flow.store.write(flow.settings.input_bucket, key, body, "video/mp4", {})
    except RollcallError:
        return False
    return True


def result_keys(flow: Flow, prefix: str, count: int) -> set[str]:
    """Return the keys of the results with this prefix; empty if there are fewer than `count`."""
    results = flow.store.list_objects(flow.settings.output_bucket)
    keys = {info.key for info in results if info.key.startswith(prefix)}
    return keys if len(keys) >= count else set()


@pytest.fixture
def other(ceph: Ceph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Settings of another trigger, with its own buckets. Each test removes its registrations."""
    monkeypatch.chdir(tmp_path)  # so that no credentials.env is read
    buckets = {"INPUT_BUCKET": "other-in", "OUTPUT_BUCKET": "other-out"}
    return {**ceph_values(ceph), **buckets, "TRIGGER_TOKEN": "other-token-of-a-trigger"}


def configured(settings: Settings) -> dict[str, Any]:
    """Return everything that a registration may change: the bucket's entries, and its topics."""
    s3, topics = s3_client(settings), topic_client(settings)
    entries = s3.get_bucket_notification_configuration(Bucket=settings.input_bucket)
    arns = {topic["TopicArn"] for topic in topics.list_topics().get("Topics", ())}
    mine = sorted(arn for arn in arns if f":rollcall-{settings.input_bucket}-" in arn)
    return {
        "entries": sorted(entries.get("TopicConfigurations", ()), key=lambda entry: entry["Id"]),
        "topics": [topics.get_topic_attributes(TopicArn=arn)["Attributes"] for arn in mine],
    }


def test_registering_again_changes_nothing_and_unregistering_restores_the_bucket(
    other: dict[str, str],
) -> None:
    settings = parse_settings(other)
    s3 = s3_client(settings)
    s3.create_bucket(Bucket="other-in")
    theirs = create_ceph_topic(
        topic_client(settings), "theirs", Target("http://127.0.0.1:9/", "secret")
    )
    entry = {"Id": "theirs", "TopicArn": theirs, "Events": ["s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(
        Bucket="other-in", NotificationConfiguration={"TopicConfigurations": [entry]}
    )
    before = configured(settings)

    registration.register(settings, "http://127.0.0.1:9", "ceph")
    once = configured(settings)
    registration.register(settings, "http://127.0.0.1:9", "ceph")

    assert configured(settings) == once
    assert once["topics"][0]["OpaqueData"] == "other-token-of-a-trigger"
    name = topic_name("other-in", "http://127.0.0.1:9/events")
    assert f"{name}-mp4" in {entry["Id"] for entry in once["entries"]}
    for _ in range(2):
        assert CliRunner().invoke(trigger_command, ["--unregister"], env=other).exit_code == 0
        assert configured(settings) == before
    s3.put_object(Bucket="other-in", Key="accepted.mp4", Body=b"")  # not refused


@pytest.fixture
def fresh(other: dict[str, str]) -> dict[str, str]:
    """Settings with an input bucket that no test has used before."""
    return {**other, "INPUT_BUCKET": f"in-{uuid.uuid4().hex[:8]}"}


def test_two_triggers_of_one_bucket_keep_their_own_registrations(fresh: dict[str, str]) -> None:
    first, second = (
        parse_settings(fresh),
        parse_settings({**fresh, "TRIGGER_TOKEN": "second-trigger-token"}),
    )
    registration.register(first, "http://127.0.0.1:9", "ceph")
    alone = configured(first)

    registration.register(second, "http://127.0.0.1:10", "ceph")
    both = configured(first)
    assert len(both["topics"]) == 2
    assert all(entry in both["entries"] for entry in alone["entries"])

    registration.unregister(second, "ceph")
    assert configured(first) == alone
    registration.unregister(first, "ceph", "http://127.0.0.1:9")
    assert configured(first) == {"entries": [], "topics": []}


def test_a_deleted_topic_can_be_registered_again_or_unregistered(fresh: dict[str, str]) -> None:
    """A gateway of version 16 still lists a deleted topic in use, but answers 404 for it."""
    settings = parse_settings(fresh)
    topics, s3 = topic_client(settings), s3_client(settings)
    registration.register(settings, "http://127.0.0.1:9", "ceph")
    whole = configured(settings)
    arn = whole["entries"][0]["TopicArn"]

    topics.delete_topic(TopicArn=arn)
    with pytest.raises(topics.exceptions.ClientError):
        topics.get_topic_attributes(TopicArn=arn)
    registration.register(settings, "http://127.0.0.1:9", "ceph")
    assert configured(settings) == whole
    s3.put_object(Bucket=settings.input_bucket, Key="accepted.mp4", Body=b"")

    topics.delete_topic(TopicArn=arn)
    for _ in range(2):
        registration.unregister(settings, "ceph")
        assert configured(settings) == {"entries": [], "topics": []}
    s3.put_object(Bucket=settings.input_bucket, Key="accepted-too.mp4", Body=b"")


def test_the_topic_of_an_earlier_version_is_replaced(fresh: dict[str, str]) -> None:
    """Registering at the same address removes old entries. The topic goes with its last entry."""
    settings = parse_settings(fresh)
    topics, s3 = topic_client(settings), s3_client(settings)
    s3.create_bucket(Bucket=settings.input_bucket)
    s3.create_bucket(Bucket="neighbour-in")
    old = create_ceph_topic(
        topics, registration.OLD_TOPIC, Target("http://127.0.0.1:9/events", "t" * 16)
    )
    for bucket in (settings.input_bucket, "neighbour-in"):
        entry = {"Id": "rollcall-mp4", "TopicArn": old, "Events": ["s3:ObjectCreated:Put"]}
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": [entry]}
        )

    registration.register(settings, "http://127.0.0.1:10", "ceph")
    assert "rollcall-mp4" in {entry["Id"] for entry in configured(settings)["entries"]}

    registration.register(settings, "http://127.0.0.1:9", "ceph")
    assert "rollcall-mp4" not in {entry["Id"] for entry in configured(settings)["entries"]}
    s3.put_object(Bucket="neighbour-in", Key="accepted.mp4", Body=b"")

    neighbour = parse_settings({**fresh, "INPUT_BUCKET": "neighbour-in", "TRIGGER_TOKEN": "t" * 16})
    registration.unregister(neighbour, "ceph")
    with pytest.raises(topics.exceptions.ClientError):
        topics.get_topic_attributes(TopicArn=old)
    for port in (9, 10):
        registration.unregister(settings, "ceph", f"http://127.0.0.1:{port}")
    assert configured(settings) == {"entries": [], "topics": []}


@pytest.mark.parametrize("versions", [False, True])
def test_concurrent_writers_of_a_gallery_lose_nothing(
    ceph: Ceph, tmp_path: Path, versions: bool
) -> None:
    """Ceph 16 compares ETags only in buckets without versioning, so both kinds are tested."""
    values, bucket = ceph_values(ceph), f"galleries-{uuid.uuid4().hex[:8]}"
    client = s3_client(parse_settings(values))
    store, enabled = S3Store(client), {"Status": "Enabled"}
    store.create_bucket(bucket)
    if versions:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    gallery = f"s3://{bucket}/gallery.npz"
    plans, left = enrol_and_remove(gallery, tmp_path, writers=3, people=4)
    codes = at_once(plans, tmp_path, values)
    assert [set(each) for each in codes] == [{0}] * 3
    assert set(parse_gallery(store.read(bucket, "gallery.npz", 1 << 20)).people) == left
    listed = [*store.list_objects(bucket), *store.old_versions(bucket)]
    assert {info.key for info in listed} == {"gallery.npz"}


@pytest.mark.parametrize("key", ["a b+c %41 é.mp4", "日本/語.mp4"])
def test_a_browser_reads_ranges_of_a_presigned_url(ceph: Ceph, key: str) -> None:
    store = S3Store(s3_client(parse_settings(ceph_values(ceph))))
    store.create_bucket("presigned")
    store.write("presigned", key, b"0123456789", "video/mp4", {})
    url = store.presigned_url("presigned", key, 600)
    answer = httpx.get(url, headers={"Range": "bytes=2-4"}, timeout=60)
    assert (answer.status_code, answer.content) == (206, b"234")
    saved = httpx.get(store.presigned_url("presigned", key, 600, "é.mp4"), timeout=60)
    assert (saved.status_code, saved.content) == (200, b"0123456789")
    assert "filename*=UTF-8''%C3%A9.mp4" in saved.headers["Content-Disposition"]


def test_a_person_is_forgotten_in_old_versions_too(ceph: Ceph) -> None:
    settings = parse_settings(ceph_values(ceph))
    client, bucket = s3_client(settings), "forgetting"
    store = S3Store(client)
    store.create_bucket(bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for names in (["alice"], ["bob"], ["alice", "bob"]):
        body = render_csv([Person(name, 0, 1, 2, 0.4) for name in names], {})
        store.write(bucket, "a.csv", body, "text/csv", {"source-etag": "e"})
    traces = list(
        PersonRemoval("alice", dry_run=False).remove_from_bucket(store, results_in(bucket))
    )
    assert [trace.count for trace in traces] == [1, 1, 1]
    bodies = [store.read(bucket, "a.csv", 999)]
    bodies += [store.read(bucket, "a.csv", 999, v.version_id) for v in store.old_versions(bucket)]
    assert [[row["name"] for row in parse_csv(body)] for body in bodies] == [["bob"], ["bob"]]
    assert store.metadata(bucket, "a.csv") == {"source-etag": "e", "forgotten": "1"}


@pytest.mark.parametrize("kind", ["videos", "reports"])
def test_the_gateway_accepts_the_lifecycle_rules(ceph: Ceph, kind: str) -> None:
    client, bucket = s3_client(parse_settings(ceph_values(ceph))), f"kept-{kind}"
    S3Store(client).create_bucket(bucket)
    given = json.loads((REPOSITORY / "deploy" / "lifecycle" / f"{kind}.json").read_text())
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=given)
    (found,) = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    (rule,) = given["Rules"]
    assert found["Expiration"]["Days"] == rule["Expiration"]["Days"]
    assert found["NoncurrentVersionExpiration"] == rule["NoncurrentVersionExpiration"]


@pytest.mark.parametrize("name", ["input-bucket-video", "rollcall-reports"])
def test_the_gateway_returns_the_rules_of_a_claim_unchanged(ceph: Ceph, name: str) -> None:
    """Otherwise Rook would set the rules again and again."""
    client, bucket = s3_client(parse_settings(ceph_values(ceph))), f"claimed-{name}"
    S3Store(client).create_bucket(bucket)
    documents = yaml.safe_load_all((REPOSITORY / "ceph" / "buckets.yaml").read_text())
    (claim,) = (each for each in documents if each["metadata"]["name"] == name)
    given = json.loads(claim["spec"]["additionalConfig"]["bucketLifecycle"])
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=given)
    found = client.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert found["Rules"] == given["Rules"]


def test_a_new_token_reaches_the_topic(other: dict[str, str]) -> None:
    registration.register(parse_settings(other), "http://127.0.0.1:9", "ceph")
    changed = parse_settings({**other, "TRIGGER_TOKEN": "newer-token-of-a-trigger"})

    registration.register(changed, "http://127.0.0.1:9", "ceph")

    (topic,) = configured(changed)["topics"]
    assert topic["OpaqueData"] == "newer-token-of-a-trigger"
    registration.unregister(changed, "ceph")


def test_a_topic_whose_old_token_is_accepted_is_updated(other: dict[str, str]) -> None:
    """The events that wait in the topic are accepted with the old token."""
    registration.register(parse_settings(other), "http://127.0.0.1:9", "ceph")
    tokens = f"newer-token-of-a-trigger,{other['TRIGGER_TOKEN']}"
    changed = parse_settings({**other, "TRIGGER_TOKEN": tokens})
    removed: list[str] = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topics, "remove_topic", lambda client, arn: removed.append(arn))
        registration.register(changed, "http://127.0.0.1:9", "ceph")

    (topic,) = configured(changed)["topics"]
    assert topic["OpaqueData"] == "newer-token-of-a-trigger"
    assert removed == []
    registration.unregister(changed, "ceph")
    assert configured(changed)["topics"] == []


def test_tls_with_a_self_signed_certificate(
    ceph: Ceph, certificate: Certificate, other: dict[str, str]
) -> None:
    secure = {**other, "S3_ENDPOINT_URL": ceph.tls_url}
    trusting = parse_settings({**secure, "S3_CA_BUNDLE": str(certificate.certificate)})

    registration.register(trusting, "http://127.0.0.1:9", "ceph")
    assert configured(trusting)["entries"]
    registration.unregister(trusting, "ceph")

    with pytest.raises(StoreUnavailable, match="SSL"):
        S3Store(s3_client(parse_settings(secure))).create_bucket("other-in")
    with pytest.raises(SettingsError, match="S3_CA_BUNDLE"):
        s3_client(parse_settings({**secure, "S3_CA_BUNDLE": "/nowhere.pem"}))
