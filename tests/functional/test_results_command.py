"""`rollcall results` and `rollcall index`, on SQLite and PostgreSQL."""

from __future__ import annotations

import csv
import io
import json
import shlex
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.databases import open_tables
from support.index_samples import BUCKET, DAY_S, T0, appearance, indexed, samples
from support.stored_reports import REPORTS, encoding_of, store_report

from benchmarks.big_index import BigIndex, fill
from rollcall.cli import index as index_module
from rollcall.cli.dates import period_between
from rollcall.cli.file_index import opened_file_index
from rollcall.cli.main import main
from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.settings import parse_settings
from rollcall.core.verdicts import FaceSource, Verdict
from rollcall.database import index_tables
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.index.change_log import SqlChangeLog
from rollcall.index.forgotten_people import PersonInDatabase
from rollcall.index.rematch_rows import add_where
from rollcall.index.sql_index import SqlIndex
from rollcall.index.unknown_groups import SqlUnknownGroups
from rollcall.stores.memory import MemoryStore


@pytest.fixture(autouse=True)
def _zone_and_gallery(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("ENCODINGS", "missing.npz")  # not the gallery of whoever runs the tests
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/index.sqlite3"
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
    with closing(open_tables(url)) as database:
        SqlIndex(database).put(samples())
    return url


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a gallery with three people, which ENCODINGS names."""
    names = ["Ada Lovelace", "Ben Bitdiddle", "Chen Wu"]
    Path("gallery.npz").write_bytes(render_gallery(Gallery(names, np.eye(3, DLIB.size))))
    monkeypatch.setenv("ENCODINGS", "gallery.npz")
    return "gallery.npz"


def run(url: str, *args: str, **env: str) -> Result:
    return CliRunner().invoke(main, list(args), env={"DATABASE_URL": url, **env})


class TestResults:
    def test_all_videos_in_the_order_of_their_uploads(self, url: str) -> None:
        done = run(url, "results")
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines() == [
            "2026-11-21 05:04 UTC  lectures/1.mp4",
            "    Ada Lovelace (clear, distance 0.41): 0:00 to 0:20, 0:30 to 0:55",
            "    Ben Bitdiddle (clear, distance 0.55): 0:10 to 0:12",
            "    unknown (distance 0.71): 0:40 to 0:41",
            "2026-11-22 05:04 UTC  lectures/2.mp4",
            "    Ada Lovelace (clear, distance 0.41): 0:00 to 0:01",
            "2026-11-23 05:04 UTC  door/ä+b %41.mp4",
            "    Ben Bitdiddle (clear, distance 0.41): 0:00 to 0:01",
            "    Ada Lovelace (clear, distance 0.41): 0:00 to 0:01",
            "2026-11-24 05:04 UTC  door/4.mp4",
            "    unknown: 0:00 to 0:01",
            "    unknown (distance 0.41): 0:00 to 0:01",
            "2026-11-25 05:04 UTC  door/5.mp4: nobody",
            "2026-11-26 05:04 UTC  broken.mp4: not recognised: 'broken.mp4' cannot be decoded",
        ]
        assert done.stderr == "6 videos\n"

    def test_the_videos_of_one_person(self, url: str) -> None:
        for name in ("Ben Bitdiddle", "  ben   BITDIDDLE "):
            done = run(url, "results", "--person", name)
            assert done.stdout.splitlines() == [
                "2026-11-21 05:04 UTC  lectures/1.mp4 (and 2 others)",
                "    Ben Bitdiddle (clear, distance 0.55): 0:10 to 0:12",
                "2026-11-23 05:04 UTC  door/ä+b %41.mp4 (and 1 other)",
                "    Ben Bitdiddle (clear, distance 0.41): 0:00 to 0:01",
            ]

    def test_a_person_who_was_never_seen(self, url: str) -> None:
        done = run(url, "results", "--person", "Ada Byron")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            "nobody named 'Ada Byron' was seen in a video; similar names: 'Ada Lovelace'\n"
        )

    def test_a_part_of_a_name_is_enough(self, url: str) -> None:
        done = run(url, "results", "--person", "diddle")
        assert done.exit_code == 0, done.output
        assert done.stderr == "showing the videos of 'Ben Bitdiddle'\n2 videos\n"
        assert done.stdout == run(url, "results", "--person", "Ben Bitdiddle").stdout

    def test_a_part_of_several_names_is_not_guessed(self, url: str) -> None:
        people = [appearance(n, f"Ada {n}") for n in range(5)]
        with closing(open_tables(url)) as database:
            SqlIndex(database).put([indexed("more.mp4", *people)])
        done = run(url, "results", "--person", "ada")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("'ada' is in several names: 'Ada ")
        assert done.stderr.endswith(" and others; write more of the name\n")

    def test_the_videos_of_a_period(self, url: str) -> None:
        keys = [
            json.loads(line)["video"]["key"]
            for line in run(
                url, "results", "--since", "2026-11-22", "--until", "2026-11-23", "--json"
            ).stdout.splitlines()
        ]
        assert keys == ["lectures/2.mp4", "door/ä+b %41.mp4"]
        done = run(url, "results", "--until", "2026-11-20")
        assert (done.exit_code, done.stderr) == (1, "no video was found\n")

    def test_the_videos_with_unknown_people(self, url: str) -> None:
        done = run(url, "results", "--unknown", "--person", "Ada Lovelace")
        assert [line for line in done.stdout.splitlines() if line[0] != " "] == [
            "2026-11-21 05:04 UTC  lectures/1.mp4 (and 1 other)"
        ]
        found = run(url, "results", "--unknown", "--json").stdout.splitlines()
        assert [json.loads(line)["video"]["key"] for line in found] == [
            "lectures/1.mp4",
            "door/4.mp4",
        ]

    def test_csv_has_a_row_for_each_appearance(self, url: str) -> None:
        done = run(url, "results", "--csv")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert len(rows) == 10
        assert rows[0] == {
            "uploaded": "2026-11-21T05:04:59+00:00",
            "bucket": BUCKET,
            "key": "lectures/1.mp4",
            "status": "recognised",
            "name": "Ada Lovelace",
            "first_seen_s": "0",
            "last_seen_s": "55.5",
            "intervals": "0-20; 30-55.5",
            "distance": "0.41",
            "certainty": "clear",
        }
        assert (rows[-1]["key"], rows[-1]["status"], rows[-1]["name"]) == (
            "broken.mp4",
            "error",
            "",
        )
        assert done.stderr == ""

    def test_json_has_all_that_the_index_knows(self, url: str) -> None:
        lines = run(url, "results", "--json").stdout.splitlines()
        document = json.loads(lines[2])
        assert document["corrected"] is True
        assert document["people"][1] == {
            "name": "Ada Lovelace",
            "distance": 0.41,
            "certainty": "clear",
            "first_seen_s": 0.0,
            "last_seen_s": 1.0,
            "frames": 10,
            "intervals": [[0.0, 1.0]],
        }
        assert json.loads(lines[5])["error"]["code"] == "not_a_video"

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("--csv",),
            ("--json",),
            ("--person", "Ben Bitdiddle"),
            ("--person", "Zoe"),
            ("--absent", "class.txt"),
        ],
    )
    def test_results_that_may_change_are_announced(
        self, url: str, gallery: str, arguments: tuple[str, ...]
    ) -> None:
        Path("class.txt").write_text("Chen Wu\n")
        before = run(url, "results", *arguments)
        assert "compared" not in before.stderr
        sentence = "still being compared with the gallery, so some results may change"
        with closing(open_tables(url)) as database:
            for key, waiting in (("door/4.mp4", "1 video is"), ("door/5.mp4", "2 videos are")):
                with database.transaction() as connection:
                    add_where(connection, T0, None, index_tables.video.c.key == key)
                done = run(url, "results", *arguments)
                assert done.exit_code == before.exit_code
                assert done.stdout == before.stdout
                assert done.stderr == f"{before.stderr}{waiting} {sentence}\n"

    def test_a_search_that_stopped_is_named(self, url: str) -> None:
        stopped = {"looks": 3, "stopped_at_s": 2.0}
        with closing(open_tables(url)) as database:
            SqlIndex(database).put(
                [
                    indexed("s.mp4", appearance(0, "Zoe"), coverage=stopped),
                    indexed(
                        "t.mp4",
                        appearance(0, "Zoe"),
                        coverage=stopped,
                        duration_s=2.0,
                        uploaded_s=T0 + 1,
                    ),
                ]
            )
        lines = run(url, "results", "--person", "Zoe").stdout.splitlines()
        assert [line for line in lines if line[0] == " "] == [
            "    Zoe (clear, distance 0.41): 0:00 to 0:01; the rest was not searched",
            "    Zoe (clear, distance 0.41): 0:00 to 0:01",
        ]
        found = run(url, "results", "--person", "Zoe", "--json").stdout.splitlines()
        document = json.loads(found[0])
        assert document["coverage"]["stopped_at_s"] == 2.0
        assert document["limits"] == ["stopped after the first clear frame at 2 s"]

    def test_a_video_of_somebody_forgotten_does_not_show_nobody(self, url: str) -> None:
        with closing(open_tables(url)) as database:
            faces = {"looks": 1, "faces": 2, "not_judged": {"too small": 1}}
            SqlIndex(database).put([indexed("f.mp4", appearance(0, "Zoe"), coverage=faces)])
            list(PersonInDatabase(database, "Zoe").remove())
        shown = run(url, "results").stdout
        assert "f.mp4: nobody any more, because somebody was forgotten" in shown
        assert "door/5.mp4: nobody\n" in shown

    def test_a_time_after_the_last_year_is_printed(self, url: str) -> None:
        with closing(open_tables(url)) as database:
            SqlIndex(database).put([indexed("late.mp4", uploaded_s=9e11)])
        assert "9999-12-30 00:00 UTC  late.mp4" in run(url, "results").stdout
        shown = run(url, "results", "--csv").stdout
        assert f"9999-12-30T00:00:00+00:00,{BUCKET},late.mp4" in shown

    def test_a_hostile_name_and_key_are_printed_safely(self, url: str) -> None:
        with closing(open_tables(url)) as database:
            SqlIndex(database).put(
                [indexed("a\x1b[2J.mp4", appearance(0, "=1+1"), uploaded_s=T0 + 9 * DAY_S)]
            )
        assert "\x1b" not in run(url, "results").stdout
        assert ",'=1+1," in run(url, "results", "--csv").stdout

    @pytest.mark.parametrize(
        "args",
        [
            ("--since", "soon"),
            ("--since", "2026-13-01"),
            ("--since", "9999999 weeks"),
            ("--since", "2026-11-22", "--until", "2026-11-20"),
            ("--until", "1960-01-01"),
            ("--person", " "),
            ("--csv", "--json"),
            ("--absent", "names.txt", "--unknown"),
        ],
    )
    def test_wrong_usage(self, url: str, args: tuple[str, ...]) -> None:
        Path("names.txt").write_text("Ada\n")
        done = run(url, "results", *args)
        assert done.exit_code == 2
        assert "Traceback" not in done.output

    def test_more_videos_than_one_page(self, url: str) -> None:
        videos = [
            indexed(f"{n}.mp4", appearance(0, "Zoe"), uploaded_s=T0 + (20 + n // 7) * DAY_S)
            for n in range(1100)
        ]
        with closing(open_tables(url)) as database:
            SqlIndex(database).put(videos)
        for args in (("--person", "zoe"), ("--since", "2026-12-10")):
            lines = run(url, "results", *args, "--json").stdout.splitlines()
            keys = [json.loads(line)["video"]["key"] for line in lines]
            assert sorted(keys) == sorted(video.key for video in videos)


class TestAbsent:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("names.txt", "ada lovelace\n\nChen Wu\nBen Bitdiddle\nChen Wu\n"),
            ("class.csv", "Name;seat\nAda Lovelace;1\nChen Wu;2\nBen Bitdiddle;3\n"),
            ("turned.txt", "Lovelace, Ada\nWu,Chen\nbitdiddle,  ben\n"),
            ("turned.csv", 'name\nLovelace, Ada\n"Wu, Chen"\nBitdiddle, Ben\n'),
            ("first.csv", "first_name,last_name\nAda,Lovelace\nChen,Wu\nBen,Bitdiddle\n"),
            ("last.csv", "No;Surname;Given-Name\n1;Lovelace;Ada\n2;Wu;Chen\n3;Bitdiddle;Ben\n"),
            ("tabs.csv", "\nFamily name\tForename\nLovelace\tAda\nWu\tChen\nBitdiddle\tBen"),
            ("full.csv", "First name;Full Name\nA;Ada Lovelace\nC;Chen Wu\nB;Ben Bitdiddle\n"),
            ("ids.csv", "id,Name\n1,Ada Lovelace\n2,Chen Wu\n\n3\n4,Ben Bitdiddle\n"),
            (
                "student_data.json",
                json.dumps([{"name": n} for n in ("Ada Lovelace", "Chen Wu", "Ben Bitdiddle")]),
            ),
        ],
    )
    def test_who_was_not_seen(self, url: str, name: str, text: str, gallery: str) -> None:
        Path(name).write_text(text)
        done = run(url, "results", "--absent", name)
        assert done.exit_code == 0, done.output
        chen = {"turned.txt": "Wu,Chen", "turned.csv": "Wu, Chen"}.get(name, "Chen Wu")
        assert done.stdout == f"{chen}\n"
        assert done.stderr == (
            "1 of 3 were not seen\n"
            "of 6 videos, 2 show unknown people, and 1 could not be recognised\n"
        )
        late = run(url, "results", "--absent", name, "--since", "2026-11-22", "--until", "today")
        assert late.exit_code in (0, 1)
        day = run(
            url, "results", "--absent", name, "--since", "2026-11-22", "--until", "2026-11-22"
        )
        assert len(day.stdout.splitlines()) == 2
        assert day.stdout.splitlines()[0] == chen

    @pytest.mark.usefixtures("gallery")
    def test_names_that_are_not_in_the_gallery_are_not_called_absent(self, url: str) -> None:
        Path("class.csv").write_text("Pupil;Seat\nChen Wu;\nAda Lovelase;\n")
        done = run(url, "results", "--absent", "class.csv")
        assert done.stdout == "Chen Wu\n"
        assert done.stderr.splitlines()[:4] == [
            "1 of 1 was not seen",
            "2 of 3 names cannot be checked:",
            "    'Pupil' is not in the gallery",
            "    'Ada Lovelase' is not in the gallery; similar names: 'Ada Lovelace'",
        ]
        Path("others.txt").write_text("Obama\nTrump\n")
        done = run(url, "results", "--absent", "others.txt")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "2 of 2 names cannot be checked" in done.stderr
        Path("gallery.npz").unlink()
        done = run(url, "results", "--absent", "class.csv")
        assert done.stdout.splitlines() == ["Pupil", "Chen Wu", "Ada Lovelase"]
        assert "names that are not in the gallery are not told apart" in done.stderr

    def test_a_name_that_is_written_last_first(self, url: str, gallery: str) -> None:
        Path("names.txt").write_text("Lovelace, Ada\nWu, Chen\nLovelase, Ada\nBitdiddle, Ben, Dr\n")
        done = run(url, "results", "--absent", "names.txt")
        assert done.stdout == "Wu, Chen\n"
        assert done.stderr.splitlines()[:4] == [
            "1 of 2 were not seen",
            "2 of 4 names cannot be checked:",
            "    'Lovelase, Ada' is not in the gallery; similar names: 'Ada Lovelace'",
            "    'Bitdiddle, Ben, Dr' is not in the gallery",
        ]
        # Somebody whose name has a comma in the gallery is not turned into somebody else.
        names = ["Ada Lovelace", "Lovelace, Ada"]
        Path(gallery).write_bytes(render_gallery(Gallery(names, np.eye(2, DLIB.size))))
        done = run(url, "results", "--absent", "names.txt")
        assert done.stdout == "Lovelace, Ada\n"
        Path(gallery).unlink()
        done = run(url, "results", "--absent", "names.txt")
        assert done.stdout.splitlines() == ["Wu, Chen", "Lovelase, Ada", "Bitdiddle, Ben, Dr"]

    def test_without_videos_nobody_is_called_absent(self, url: str) -> None:
        Path("names.txt").write_text("Ada Lovelace\n")
        done = run(url, "results", "--absent", "names.txt", "--until", "2020-01-01")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == "no video was uploaded in this time\n"

    def test_json_and_csv(self, url: str) -> None:
        Path("names.txt").write_text("Ada Lovelace\nChen, Wu\n")
        done = run(url, "results", "--absent", "names.txt", "--json")
        assert json.loads(done.stdout) == {
            "names": 2,
            "absent": ["Chen, Wu"],
            "not_in_gallery": [],
        }
        done = run(url, "results", "--absent", "names.txt", "--csv")
        assert done.stdout == 'name\n"Chen, Wu"\n'

    def test_a_file_without_names(self, url: str) -> None:
        for text in ("", "name\n", "x" * 5000):
            Path("names.txt").write_text(text)
            done = run(url, "results", "--absent", "names.txt")
            assert done.exit_code == 1
            assert "'names.txt' does not hold a list of names" in done.stderr


class TestIndexCommands:
    def test_rebuild_and_status(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        store = MemoryStore()
        for video in samples()[:3]:
            store_report(store, video)
        monkeypatch.setattr(index_module, "S3Store", lambda client: store)
        done = run(url, "index", "rebuild", REPORT_BUCKET=REPORTS, ENCODINGS="gallery.npz")
        assert done.stdout == (
            "indexed 3 videos and 0 dead letters; removed 3 without a report\n"
        ), done.output
        again = run(url, "index", "rebuild", "--json", REPORT_BUCKET=REPORTS)
        assert json.loads(again.stdout) == {
            "indexed": 3,
            "dead_letters": 0,
            "removed": 0,
            "unreadable": 0,
        }
        lines = run(url, "index", "status").stdout.splitlines()
        assert lines[:4] == [
            "videos: 3 (recognised 3)",
            "people: 2, who appear 6 times, unknown ones included",
            "stored encodings: 5; groups of unknown faces: 1",
            "results that are not in the index yet: 0",
        ]
        status = json.loads(run(url, "index", "status", "--json").stdout)
        assert (status["videos"], status["people"]) == ({"recognised": 3}, 2)

    def test_a_verdict_joins_faces_that_come_after_the_rebuild(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No face has been stored yet when the lost index is rebuilt."""
        monkeypatch.setattr(index_module, "S3Store", lambda client: MemoryStore())
        faces = np.array([encoding_of("", 1), encoding_of("", 2)])
        said = Verdict("v", "same", "", faces, (FaceSource(), FaceSource()))
        Path("gallery.npz").write_bytes(render_gallery(empty_gallery().with_verdict(said)))
        done = run(url, "index", "rebuild", REPORT_BUCKET=REPORTS, ENCODINGS="gallery.npz")
        assert done.exit_code == 0, done.output
        video = indexed("a.mp4", appearance(0, ""), appearance(1, ""))
        with closing(open_tables(url)) as database:
            SqlIndex(database).put([video])
            id_ = SqlIndex(database).id_of(BUCKET, "a.mp4")
            assert id_
            groups = SqlUnknownGroups(database)
            groups.put(id_, DLIB.name, [0, 1], faces, T0)
            (group,) = groups.largest(10)
        assert group.appearances == 2

    def test_a_rebuild_needs_a_report_bucket(self, url: str) -> None:
        done = run(url, "index", "rebuild", REPORT_BUCKET="")
        assert done.exit_code == 2
        assert "REPORT_BUCKET is empty" in done.stderr

    def test_a_rebuild_that_fails_says_how_to_continue(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = MemoryStore()
        store_report(store, replace(samples()[0], key="it's $HOME.mp4"))
        monkeypatch.setattr(index_module, "S3Store", lambda client: store)

        def interrupt(self: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(index_module.Rebuild, "put_dead_letters", interrupt)
        done = run(url, "index", "rebuild", REPORT_BUCKET=REPORTS)
        assert done.exit_code == 1
        (line,) = [line for line in done.stderr.splitlines() if "--after" in line]
        assert shlex.split(line.partition("run: ")[2])[-1] == "it's $HOME.mp4"


@pytest.mark.parametrize(
    ("since", "until", "start", "end"),
    [
        ("2026-11-01", "2026-11-02", "2026-11-01 00:00:00", "2026-11-03 00:00:00"),
        ("2026-11-01 10:30", "2026-11-01T11:00", "2026-11-01 10:30:00", "2026-11-01 11:00:00"),
        ("20261101", "2026-W45", "2026-11-01 00:00:00", "2026-11-03 00:00:00"),
        ("7 days", "1 hour ago", "2026-11-19 14:30:15", "2026-11-26 13:30:15"),
        ("yesterday", "Yesterday", "2026-11-25 00:00:00", "2026-11-26 00:00:00"),
        ("last week", "last week", "2026-11-16 00:00:00", "2026-11-23 00:00:00"),
        ("this week", "now", "2026-11-23 00:00:00", "2026-11-26 14:30:15"),
        ("last month", "this month", "2026-10-01 00:00:00", "2026-12-01 00:00:00"),
    ],
)
def test_times_as_people_write_them(since: str, until: str, start: str, end: str) -> None:
    now = datetime(2026, 11, 26, 14, 30, 15).astimezone()  # a Thursday
    period = period_between(since, until, now)
    found = [datetime.fromtimestamp(at_s) for at_s in (period.since_s, period.until_s)]
    assert [at.strftime("%Y-%m-%d %H:%M:%S") for at in found] == [start, end]


def test_a_day_has_the_length_that_the_clock_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    now = datetime(2026, 10, 26, 12).astimezone()
    period = period_between("yesterday", "yesterday", now)
    assert period.until_s - period.since_s == timedelta(hours=25).total_seconds()


class TestOtherCommands:
    def test_a_copy_of_the_database_has_the_index_too(
        self, tmp_path: Path, postgres_url: str
    ) -> None:
        source, back = (f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("one", "two"))
        with closing(open_tables(source)) as database:
            fill(database, BigIndex(videos=30, people=5, appearances=100), faces=True)
            SqlChangeLog(database).record("root", "is", "Ada")
        for url, target in ((source, postgres_url), (postgres_url, back)):
            done = run(target, "copy-database", url, "-")
            assert done.exit_code == 0, done.output
        contents = [run(url, "results", "--json").stdout for url in (source, postgres_url, back)]
        assert contents[0].count("\n") == 30
        assert contents[0] == contents[1] == contents[2]
        statuses = [run(url, "index", "status").stdout for url in (source, postgres_url, back)]
        assert statuses[0] == statuses[1] == statuses[2]
        for url in (postgres_url, back):  # new rows get new ids
            with closing(open_tables(url)) as database:
                SqlIndex(database).put([indexed("new.mp4", appearance(0, "Somebody New"))])
                assert SqlIndex(database).id_of(BUCKET, "new.mp4") == 31
                assert SqlChangeLog(database).record("root", "is", "Ben") == 2

    def test_backup_and_restore_keep_the_index(self, url: str, tmp_path: Path) -> None:
        before = run(url, "results", "--json").stdout
        backup = str(tmp_path / "backup")
        done = run(url, "backup", backup)
        assert done.exit_code == 0, done.output
        with closing(open_tables(url)) as database:
            SqlIndex(database).remove(BUCKET, "lectures/1.mp4")
        assert run(url, "results", "--json").stdout != before
        done = run(url, "restore", backup, "--force")
        assert done.exit_code == 0, done.output
        assert run(url, "results", "--json").stdout == before

    def test_deleting_old_work_leaves_the_index(self, url: str) -> None:
        before = run(url, "results", "--json").stdout
        done = run(url, "purge", "--older-than", "0", "--dead", "--yes")
        assert done.exit_code == 0, done.output
        assert run(url, "results", "--json").stdout == before


class TestFiles:
    def test_recognised_files_are_put_into_the_index(self, url: str, tmp_path: Path) -> None:
        video = tmp_path / "ä b.mp4"
        video.write_bytes(b"first")
        people = [{"name": "Ada", "intervals": [[0, 2]], "distance": 0.4, "certainty": "clear"}]
        found = {"video": "ä b.mp4", "status": "recognised", "people": people, "error": None}
        with opened_file_index(parse_settings({"DATABASE_URL": url}), "g7") as files:
            files.put(Path("ä b.mp4"), found)
            files.put(Path("missing.mp4"), {**found, "status": "error", "error": "not found"})
            video.write_bytes(b"second one")
            files.put(Path("ä b.mp4"), {**found, "status": "error", "people": [], "error": "bad"})
        lines = run(url, "results", "--since", "yesterday", "--json").stdout.splitlines()
        (document,) = [each for each in map(json.loads, lines) if not each["video"]["bucket"]]
        assert document["video"]["key"] == str(video)
        assert document["error"] == {"code": "not_recognised", "message": "bad"}
        with closing(open_tables(url)) as database:
            assert SqlIndex(database).id_of("", str(video)) == 7

    def test_the_command_puts_files_into_the_index(
        self, url: str, sample: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        video = sample / "videos" / "lecture_1.mp4"
        encodings = str(sample / "encoding")
        done = run(url, "recognise", str(video), "--index", "--encodings", encodings, "--json")
        assert done.exit_code == 0, done.output
        (name,) = [each["name"] for each in json.loads(done.stdout)["people"]]
        shown = run(url, "results", "--person", name)
        assert str(video.resolve()) in shown.stdout
        assert "KEEP_FACES" not in done.output
        options = ("--index", "--encodings", encodings)
        done = run(url, "recognise", str(video), *options, KEEP_FACES="pictures")
        assert "KEEP_FACES has no effect with --index" in done.stderr
