"""The metrics: each is documented, follows Prometheus' conventions, and has the right value."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.needs import REPOSITORY, need
from support.postgres import FreshDatabases

from rollcall.core.figures import FigureSource
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.core.retry import AttemptResult
from rollcall.core.types import VideoRef
from rollcall.core.work import Work
from rollcall.database.activity import oldest_transaction_s
from rollcall.database.database import Database
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.trigger.metrics import Metrics

NOW_S = 1_700_000_000.0


class Outbox:
    def counts(self) -> dict[str, int]:
        return {"queued": 3, "running": 1, "dead": 2}

    def oldest_s(self) -> float:
        return 12.0


@pytest.fixture
def queue() -> MemoryQueue:
    """A queue with a waiting video, a dead letter and three results."""
    queue = MemoryQueue(clock=lambda: NOW_S)
    statuses = ("recognised", "recognised", "no_face", "ignored", "http_418", "http_404")
    for number, code in enumerate(statuses):
        queue.add([VideoRef("b", f"{number}.mp4", event_id=str(number))])
        (work,) = queue.claim(1, 60)
        if code.startswith("http_"):
            queue.bury(work, code, "why")
        else:
            queue.finish(work, code)
    queue.add([VideoRef("b", "waits.mp4", event_id="waits")])
    return queue


def work(**changes: Any) -> Work:
    return replace(
        Work(
            *(1, "id:1", "b", "a.mp4", "", "e", "ObjectCreated:Put", "event", "running"),
            *(1, 1, NOW_S - 20, NOW_S, "", ""),
            uploaded_s=NOW_S - 30,
        ),
        **changes,
    )


def every_metric(queue: MemoryQueue) -> Metrics:
    """Metrics that all have a value."""
    metrics = Metrics(FigureSource(queue, Outbox(), lambda: 4.5, lambda: 3), clock=lambda: NOW_S)
    metrics.events.labels("queued").inc()
    metrics.calls.labels("done", "recognised").inc()
    result = AttemptResult(
        "done",
        "recognised",
        gallery=GalleryFacts(2, 5, NOW_S - 3600),
        stage_s={"decode": 0.5, "write": 0.25},
    )
    metrics.note_answer(result)
    metrics.note_end(work(attempts=3), result)
    metrics.note_scan(NOW_S - 60)
    return metrics


def values(metrics: Metrics) -> dict[str, float]:
    """All samples, by name and labels as in Prometheus' text format."""
    found = {}
    for line in generate_latest(metrics.registry).decode().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name] = float(value)
    return found


def test_every_metric_is_documented_with_its_type_and_labels(queue: MemoryQueue) -> None:
    found = {}
    text = generate_latest(every_metric(queue).registry).decode()
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):
            continue  # the library adds the time at which each counter was created
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    lines = (REPOSITORY / "docs/metrics.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = [each for each in cells if len(each) == 6 and each[0].startswith("`rollcall_")]
    described = {row[0][1:-1]: (row[1], set(re.findall(r"\w+", row[2]))) for row in rows}
    assert described == found
    added = {row[0][1:-1] for row in rows if row[3] == "add"}
    assert added == {name for name, (kind, _) in found.items() if kind != "gauge"}


def test_promtool_finds_nothing_to_improve(queue: MemoryQueue) -> None:
    promtool = shutil.which("promtool")
    need(promtool is not None, "promtool is not installed: apt-get install prometheus")
    text = generate_latest(every_metric(queue).registry)
    done = subprocess.run([str(promtool), "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_numbers_of_the_database_are_shown(queue: MemoryQueue) -> None:
    found = values(every_metric(queue))
    assert found['rollcall_work{state="done"}'] == 4
    assert found['rollcall_results{status="recognised"}'] == 2
    assert found['rollcall_results{status="unknown"}'] == 0
    assert 'rollcall_results{status="ignored"}' not in found
    assert found['rollcall_dead_letters{code="http_4xx"}'] == 2, "the list of codes is fixed"
    assert found['rollcall_notices{state="dead"}'] == 2
    assert found["rollcall_notice_oldest_seconds"] == 12
    assert found["rollcall_database_oldest_transaction_seconds"] == 4.5
    assert found["rollcall_unindexed"] == 3
    assert found["rollcall_database_up"] == 1


def test_what_a_trigger_does_not_have_is_missing(queue: MemoryQueue) -> None:
    found = values(Metrics(FigureSource(queue)))
    assert not [
        name for name in found if name.startswith(("rollcall_gallery_p", "rollcall_notices"))
    ]
    assert "rollcall_database_oldest_transaction_seconds" not in found
    assert "rollcall_unindexed" not in found
    assert found["rollcall_reconcile_last_success_timestamp_seconds"] == 0


@pytest.mark.parametrize(
    ("changes", "lag_s"),
    [
        ({}, 30),
        ({"uploaded_s": 0.0}, 20),
        ({"uploaded_s": NOW_S + 5}, 0),
        ({"origin": "rerun"}, 20),
        ({"origin": "reconcile"}, 30),
    ],
)
def test_the_lag_begins_with_the_upload(
    queue: MemoryQueue, changes: dict[str, Any], lag_s: float
) -> None:
    metrics = Metrics(FigureSource(queue), clock=lambda: NOW_S)
    metrics.note_end(work(**changes), AttemptResult("done", "unknown"))
    assert values(metrics)["rollcall_lag_seconds_sum"] == lag_s


def test_only_results_have_a_lag_and_every_end_has_attempts(queue: MemoryQueue) -> None:
    metrics = Metrics(FigureSource(queue), clock=lambda: NOW_S)
    metrics.note_end(work(attempts=20), AttemptResult("dead", "gone"))
    metrics.note_end(work(attempts=1), AttemptResult("done", "ignored"))
    found = values(metrics)
    assert found["rollcall_lag_seconds_count"] == 0
    assert found["rollcall_attempts_count"] == 2
    assert found["rollcall_attempts_sum"] == 21


def test_stages_and_gallery_come_from_the_answers(queue: MemoryQueue) -> None:
    metrics = every_metric(queue)
    metrics.note_answer(AttemptResult("retry", "no_answer"))
    metrics.note_answer(AttemptResult("done", "unknown", stage_s={"decode": 1.5}))
    found = values(metrics)
    assert found['rollcall_stage_seconds_total{stage="decode"}'] == 2.0
    assert found["rollcall_videos_staged_total"] == 2
    assert found["rollcall_gallery_people"] == 2, "an answer without the header changes nothing"
    assert found["rollcall_gallery_age_seconds"] == 3600


def test_the_oldest_transaction_is_that_of_any_connection(postgres: FreshDatabases) -> None:
    with (
        postgres.url() as url,
        closing(Database(url)) as database,
        closing(Database(url)) as other,
    ):
        assert oldest_transaction_s(database) == 0
        with other.transaction() as connection:
            connection.exec_driver_sql("SELECT 1")
            connection.exec_driver_sql("SELECT pg_sleep(0.2)")
            assert 0.2 <= oldest_transaction_s(database) < 60
        assert oldest_transaction_s(database) == 0
