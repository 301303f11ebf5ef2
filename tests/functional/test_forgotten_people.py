"""After a person is forgotten, no table of the database mentions the person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, insert, select, text
from support.filmed import Filmed, direction, open_filmed
from support.work_queues import T0

from rollcall.core.coverages import was_forgotten
from rollcall.core.keys import faces_key, report_key
from rollcall.core.reports import report_without
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, unindexed, unknown_face, video
from rollcall.database.tables import finished, metadata, notice
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.index.documents import indexed_video
from rollcall.index.forgotten_people import PersonInDatabase, Trace
from rollcall.index.rematch_rows import add_videos
from rollcall.recognition.stored_faces import parse_faces, render_faces

ADA, BEN = direction(0), direction(1)
FORGOTTEN = "Zoë Ó'Neill"
ALL = ["1.mp4", "2.mp4", "3.mp4", "4.mp4"]


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filmed]:
    with open_filmed(request, tmp_path) as filmed:
        filmed.faces = {"zoe": ADA, "ben": BEN, "eve": direction(5)}
        filmed.enrol(**{FORGOTTEN: ADA, "Ben": BEN})
        filmed.film("1.mp4", {"zoe": [0, 1, 2], "ben": [1, 2], "eve": [7]})
        filmed.film("2.mp4", {"zoe": [0]})
        filmed.film("3.mp4", {"ben": [0], "eve": [4]})
        filmed.film("4.mp4", {"eve": [0, 1, 2], "zoe": [7], "ben": [8]}, kept="none")
        yield filmed


def fill(filmed: Filmed) -> None:
    """Write the name into everything in the database that may hold it."""
    filmed.log.record("eve", "view", FORGOTTEN)
    filmed.corrections.rename("Ben", "Benjamin", "eve")  # gives ids to the examples
    filmed.rematcher.run_due()
    example = filmed.gallery.examples_of(FORGOTTEN)[0]
    filmed.corrections.remove_example(FORGOTTEN, example.id, "eve")
    report = json.dumps(filmed.report("1.mp4"))
    event = {"data": {"people": [{"name": FORGOTTEN}, {"name": "Ben"}]}, "type": "finished"}
    failed = {"message": f"cannot do {FORGOTTEN}: {FORGOTTEN}, but {FORGOTTEN}s can"}
    work = {"bucket": "videos", "key": "9.mp4", "state": "dead"}
    with filmed.database.transaction() as connection:
        connection.execute(insert(unindexed).values(document=report))
        message = {"message_id": "1", "body": json.dumps(event), "state": "queued"}
        connection.execute(insert(notice).values(message))
        connection.execute(insert(finished).values(id=1, identity="1", **work, **failed))
        add_videos(connection, T0, None, [filmed.id_of("1.mp4")])
        connection.execute(text("UPDATE rematch SET message=:message"), failed)


def everything(database: Database) -> str:
    """All rows of all tables as one text."""
    with database.reading() as connection:
        rows = [connection.execute(select(table)).all() for table in metadata.sorted_tables]
    return repr(rows)


def test_no_table_mentions_a_forgotten_person(filmed: Filmed) -> None:
    fill(filmed)
    person = PersonInDatabase(filmed.database, FORGOTTEN)
    assert FORGOTTEN in everything(filmed.database)
    counted = {trace.kind: trace.entries for trace in person.count()}
    assert counted == {"appearance": 3, "change": 2, "encoding": 1, "answer": 2, "message": 3}
    before = everything(filmed.database)
    assert before == everything(filmed.database)  # counting changes nothing
    removed = {trace.kind: trace.entries for trace in person.remove()}
    assert removed == counted
    left = everything(filmed.database)
    assert "Neill" not in left.replace(f"{FORGOTTEN}s can", "")
    assert "Zo" not in left.replace(f"{FORGOTTEN}s can", "")
    assert sum(trace.entries for trace in person.remove()) == 0
    with filmed.database.reading() as connection:
        body = connection.execute(select(notice.c.body)).scalar_one()
        message = connection.execute(select(finished.c.message)).scalar_one()
    assert json.loads(body) == {"data": {"people": [{"name": "Ben"}]}, "type": "finished"}
    assert message == f"cannot do (forgotten): (forgotten), but {FORGOTTEN}s can"


def rows_of(filmed: Filmed) -> list[object]:
    """The index without ids: appearances with names, groups and encodings."""
    columns = [column for column in appearance.c if column.name not in ("id", "group_id")]
    with filmed.database.reading() as connection:
        order = (appearance.c.video_id, appearance.c.number)
        seen = connection.execute(select(*columns).order_by(*order)).all()
        unknown = connection.execute(
            select(unknown_face.c.video_id, unknown_face.c.number).order_by(
                unknown_face.c.video_id, unknown_face.c.number
            )
        ).all()
        videos = connection.execute(select(video).order_by(video.c.id)).all()
    found = {
        name: filmed.search.find(filmed.faces[name][None], "dlib-resnet-1", 0.1, 100)
        for name in filmed.faces
    }
    return [seen, unknown, videos, found]


def remove_from_store(filmed: Filmed) -> None:
    """Remove the person from all reports and stored faces."""
    reports = filmed.settings.report_bucket
    for key in ALL:
        body, _ = report_without(filmed.store.read(reports, report_key(key), 1 << 20), FORGOTTEN)
        filmed.store.write(reports, report_key(key), body, "application/json", {})
        if filmed.indexed(key).kept != "none":
            place = reports, faces_key(key)
            faces, _ = parse_faces(filmed.store.read(*place, 1 << 24)).without(FORGOTTEN)
            filmed.store.write(*place, render_faces(faces), "", {})


def test_the_index_is_as_if_made_from_the_reports(filmed: Filmed) -> None:
    remove_from_store(filmed)
    assert list(PersonInDatabase(filmed.database, FORGOTTEN).remove())[1] == Trace("appearance", 3)
    edited = rows_of(filmed)
    assert filmed.indexed("2.mp4").status == "no_face"
    assert [each.name for each in filmed.indexed("1.mp4").people] == ["Ben", ""]
    assert filmed.search.find(ADA[None], "dlib-resnet-1", 0.1, 100) == []
    filmed.rebuild(ALL)
    assert rows_of(filmed) == edited
    for key in ALL:
        assert filmed.indexed(key) == indexed_video(filmed.report(key))


def test_a_comparison_keeps_that_somebody_was_forgotten(filmed: Filmed) -> None:
    filmed.location.save(render_gallery(filmed.gallery.without(FORGOTTEN)))
    remove_from_store(filmed)
    list(PersonInDatabase(filmed.database, FORGOTTEN).remove())
    assert was_forgotten(filmed.indexed("2.mp4").coverage)
    filmed.corrections.gallery_changed()
    filmed.rematcher.run_due()
    found = filmed.indexed("2.mp4")
    assert (found.status, found.corrected) == ("no_face", False)
    assert was_forgotten(found.coverage)
    assert found.coverage == indexed_video(filmed.report("2.mp4")).coverage


def test_a_late_result_is_removed_as_long_as_the_removal_runs(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The indexer adds it after the last videos were changed, before the name is deleted."""
    late = filmed.indexed("1.mp4")
    remove = PersonInDatabase._remove_from_videos

    def remove_slowly(self: PersonInDatabase, connection: Connection) -> int:
        removed = remove(self, connection)
        if not removed and not filmed.index.id_of(late.bucket, "late.mp4"):
            filmed.index.put_in(connection, [replace(late, key="late.mp4", kept="none")])
        return removed

    monkeypatch.setattr(PersonInDatabase, "_remove_from_videos", remove_slowly)
    counted = dict(PersonInDatabase(filmed.database, FORGOTTEN).remove())
    assert counted["appearance"] == 4
    assert [each.name for each in filmed.indexed("late.mp4").people] == ["Ben", ""]


def test_a_forgotten_person_leaves_the_search(filmed: Filmed) -> None:
    found = filmed.search.find(ADA[None], "dlib-resnet-1", 0.1, 100)
    assert len(found) == 2
    list(PersonInDatabase(filmed.database, FORGOTTEN).remove())
    assert filmed.search.find(ADA[None], "dlib-resnet-1", 0.1, 100) == []
    assert filmed.search.count() == 4
    assert np.allclose(filmed.search.find(BEN[None], "dlib-resnet-1", 0.1, 9)[0].distance, 0)
