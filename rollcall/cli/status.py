"""`rollcall status`: how much work waits, runs, is done and has failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import click
from sqlalchemy import select

from rollcall.cli.durations import duration_text
from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Command, say, say_json
from rollcall.database.database import Database
from rollcall.database.open_database import open_database
from rollcall.database.tables import reconciled
from rollcall.queues.sql_outbox import SqlOutbox
from rollcall.queues.sql_queue import SqlQueue


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def status(as_json: bool) -> None:
    """Show how much work waits, runs, is done and has failed.

    Reads the trigger's database, so it works while the trigger is down. Exit 1 if the database
    cannot be used.
    """
    chosen = settings(offline=True)
    with closing(open_database(chosen, must_exist=True)) as database:
        document = _document(database, chosen.input_bucket)
    if as_json:
        say_json(document)
        return
    for line in _lines(document):
        say(line)


def _document(database: Database, bucket: str) -> dict[str, Any]:
    queue, outbox = SqlQueue(database), SqlOutbox(database)
    counts, codes = queue.counts(), queue.codes()
    notices = outbox.counts()
    return {
        "database": database.name,
        **counts,
        "oldest_waiting_s": round(queue.oldest_waiting_s(), 1),
        "done_by_code": _of_state(codes, "done"),
        "dead_by_code": _of_state(codes, "dead"),
        "messages": {**notices, "oldest_s": round(outbox.oldest_s(), 1)},
        "last_scan_s": _last_scan_s(database, bucket),
    }


def _of_state(codes: dict[tuple[str, str], int], state: str) -> dict[str, int]:
    """The counts by code, largest first."""
    found = [(code, count) for (each, code), count in codes.items() if each == state]
    return dict(sorted(found, key=lambda item: (-item[1], item[0])))


def _last_scan_s(database: Database, bucket: str) -> float | None:
    """Seconds since the reconciler last scanned the bucket to the end; None if it never did."""
    with database.reading() as connection:
        query = select(reconciled.c.finished_s).where(reconciled.c.bucket == bucket)
        finished_s = float(connection.execute(query).scalar() or 0)
        return round(max(0.0, database.now_s(connection) - finished_s), 1) if finished_s else None


def _lines(document: dict[str, Any]) -> Iterator[str]:
    yield f"database: {document['database']}"
    waiting = f"waiting: {document['queued']}"
    if document["queued"]:
        waiting += f", the oldest for {duration_text(document['oldest_waiting_s'])}"
    yield waiting
    yield f"running: {document['running']}"
    yield f"done: {document['done']}{_codes(document['done_by_code'])}"
    yield f"dead letters: {document['dead']}{_codes(document['dead_by_code'])}"
    yield f"events that could not be read: {document['bad']}"
    messages = document["messages"]
    if messages["queued"] or messages["running"] or messages["dead"]:
        undelivered = messages["queued"] + messages["running"]
        text = f"messages: {undelivered} not delivered yet"
        if undelivered:
            text += f", the oldest for {duration_text(messages['oldest_s'])}"
        yield f"{text}; {messages['dead']} given up"
    if document["last_scan_s"] is not None:
        yield f"last scan of the buckets: {duration_text(document['last_scan_s'])} ago"


def _codes(codes: dict[str, int]) -> str:
    shown = ", ".join(f"{code or 'no code'} {count}" for code, count in codes.items())
    return f" ({shown})" if shown else ""
