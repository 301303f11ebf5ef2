"""Measures the pages on a large index: server time, memory, and the trigger beside many readers.

The pages run as in production, as a process of their own, with a gallery of 1,000 people and a
database of 100,000 videos and a million appearances, 170,000 of them unknown faces in groups. The
trigger is measured with and without readers who poll.

Run alone: `make bench ONLY=pages`.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import click
import numpy as np
from sqlalchemy import select

from benchmarks import big_index, markdown, processes
from benchmarks.bench import Bench
from benchmarks.native import Load, missing_programs, postgres, send, start_nginx, start_trigger
from benchmarks.trigger import settings_of
from benchmarks.trigger_rows import Rows
from devstack.processes import Process, Processes, answers, free_port
from devstack.store_servers import EmbeddedStore, Place
from rollcall.core.gallery import Gallery
from rollcall.core.settings import parse_settings
from rollcall.database.database import Database
from rollcall.database.index_tables import unknown_group
from rollcall.database.open_database import prepare
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.stores.boto import s3_client

TITLE = "The pages"

DAY_S = 86400.0
PERSON = 3
"""A person with many appearances: the first ids of the generator have most."""
GROUP = 1
"""The largest group of unknown faces."""
READERS = 50
POLL_S = 2.0
"""Each reader asks again after this time, as the pages do."""
ENROLLED_PHOTOS = 3
"""Encodings of each person in the gallery."""
NEAR = 0.45
"""Distance of these encodings to a group of unknown faces, so that the page offers the person."""


def run(bench: Bench) -> dict[str, Any]:
    """Return the times of each page, and the trigger's rate with and without readers."""
    if missing := missing_programs():
        raise click.UsageError(f"programs are missing: {', '.join(missing)}")
    return {name: _measure(bench, name) for name in ("SQLite", "PostgreSQL")}


def _measure(bench: Bench, name: str) -> dict[str, Any]:
    sizes = bench.sizes
    folder = bench.folder / f"pages-{name}"
    folder.mkdir()
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'inbox.sqlite3'}"
        if name == "PostgreSQL":
            _, url = stack.enter_context(postgres())
        video = _fill(url, sizes.pages_videos, sizes.pages_people, sizes.pages_appearances)
        running = stack.enter_context(Processes())
        store = EmbeddedStore(Place(folder, os.environ, running))
        store.start()
        gallery = folder / "gallery.npz"
        gallery.write_bytes(_gallery(url, sizes.pages_people))
        values = {"DATABASE_URL": url, **store.settings(), "ENCODINGS": str(gallery)}
        _put_report(values, video)
        pages, page_url = _start_pages(running, folder, values)
        found = _times(page_url, video["id"], sizes.repeats)
        first_mb = processes.rss_bytes(processes.tree(pages.pid)) / 1e6
        for _ in range(sizes.pages_rounds):
            _times(page_url, video["id"], 1)
        last_mb = processes.rss_bytes(processes.tree(pages.pid)) / 1e6
        return {
            "pages": found,
            "rss_mb": [round(first_mb), round(last_mb)],
            "events": _events(bench, stack, running, folder, url, page_url),
        }


def _fill(url: str, videos: int, people: int, appearances: int) -> dict[str, Any]:
    """Fill the database, and return a recent video with many people."""
    with closing(Database(url)) as database:
        prepare(database)
        index = big_index.BigIndex(videos, people, appearances)
        big_index.fill(database, index)
    recent = range(max(0, videos - 100), videos)
    place = max(recent, key=lambda each: int((index.video == each).sum()))
    last = big_index.LAST[place % len(big_index.LAST)].lower()
    ids = [int(each) for each in index.person[index.video == place]]
    return {"id": place + 1, "key": f"{last}/lecture-{place:06d}.mp4", "people": ids}


def _gallery(url: str, people: int) -> bytes:
    """A gallery of the people in the index. Each is near one of the largest groups of unknowns."""
    query = select(unknown_group.c.centre).order_by(unknown_group.c.appearances.desc())
    with closing(Database(url)) as database, database.reading() as connection:
        centres = connection.execute(query.limit(people)).scalars().all()
    rows = np.array([np.frombuffer(centre, "<f4") for centre in centres], np.float64)
    size = rows.shape[1]
    places = np.arange(people * ENROLLED_PHOTOS) // ENROLLED_PHOTOS
    moved = np.random.default_rng(1).normal(0, NEAR / size**0.5, (len(places), size))
    names = [big_index.name_of(place) for place in places.tolist()]
    return render_gallery(Gallery(names, rows[places % len(rows)] + moved, big_index.SPACE))


def _put_report(values: Mapping[str, str], video: Mapping[str, Any]) -> None:
    """Upload a small video, and a report with a thousand faces."""
    settings = parse_settings(dict(values))
    client = s3_client(settings)
    for bucket in (settings.input_bucket, settings.output_bucket, settings.report_bucket):
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=settings.input_bucket, Key=video["key"], Body=b"video")
    people = [
        {"name": big_index.name_of(id_ - 1) if id_ else "unknown", "intervals": [[0, 60]]}
        for id_ in video["people"]
    ]
    box = {"top": 100, "right": 220, "bottom": 220, "left": 100}
    faces = [
        {"time_s": n, "box_px": box, "person": n % max(1, len(people)), "nearest": None}
        for n in range(1000)
    ]
    document = {
        "status": "recognised",
        "video": {"bucket": settings.input_bucket, "key": video["key"], "etag": "x"},
        "people": people,
        "faces": faces,
    }
    body = json.dumps(document).encode()
    client.put_object(Bucket=settings.report_bucket, Key=f"{video['key']}.json", Body=body)


def _start_pages(
    running: Processes, folder: Path, values: Mapping[str, str]
) -> tuple[Process, str]:
    port = free_port()
    env = {**os.environ, **values, "WEB_LISTEN": f"127.0.0.1:{port}"}
    process = running.add(Process("web", [sys.executable, "-m", "rollcall", "web"], env, folder))
    url = f"http://127.0.0.1:{port}"
    process.wait_ready(answers(url + "/healthz"))
    return process, url


def _paths(video_id: int) -> dict[str, str]:
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 7 * DAY_S))
    return {
        "Now": "/",
        "Videos": "/videos",
        "Videos of a person": f"/videos?person={quote_plus(big_index.name_of(PERSON - 1))}",
        "Videos since a week": f"/videos?from={day}",
        "Videos with unknowns": "/videos?unknown=1",
        "Videos that failed": "/videos?status=error",
        "Search of videos": "/videos?q=lecture-0990",
        "One video": f"/videos/{video_id}",
        "People": "/people",
        "People, last seen": "/people?sort=seen",
        "One person": f"/people/{PERSON}",
        "Unknown": "/unknown",
        "Unknown, page 50": "/unknown?page=50",
        "One group of unknowns": f"/unknown/{GROUP}",
        "Problems": "/problems",
        "Log": "/log",
    }


def _times(url: str, video_id: int, repeats: int) -> dict[str, float]:
    """Milliseconds until each page is answered; the median of some reads."""
    found = {}
    with closing(_connect(url)) as connection:
        for name, path in _paths(video_id).items():
            taken = []
            for _ in range(repeats):
                started = time.perf_counter()
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                taken.append((time.perf_counter() - started) * 1000)
                if answer.status != 200:
                    raise AssertionError(f"{path} answered {answer.status}")
            found[name] = round(statistics.median(taken), 1)
    return found


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)


def _events(
    bench: Bench, stack: ExitStack, running: Processes, folder: Path, url: str, page_url: str
) -> dict[str, Any]:
    """Videos per second that the trigger accepts and finishes, alone and beside the readers."""
    nginx_folder = folder / "nginx"
    nginx_folder.mkdir()
    _, gateway = start_nginx(running, nginx_folder)
    _, trigger_url = start_trigger(running, folder, "trigger", settings_of(url, gateway))
    rows = Rows(url)
    stack.callback(rows.close)

    def rate(name: str) -> float:
        last_id = rows.last_id()
        send([Load(trigger_url, name, bench.sizes.trigger_videos)])
        rows.wait_ended()
        ended = rows.ended_since(last_id)
        return ended.videos / ended.wall_s

    rate("warm")
    alone, beside = [], []
    for number in range(bench.sizes.trigger_repeats):
        alone.append(rate(f"alone-{number}"))
        with _readers(page_url):
            beside.append(rate(f"beside-{number}"))
    return {
        "alone_per_s": round(statistics.median(alone)),
        "beside_per_s": round(statistics.median(beside)),
        "runs": [[round(each) for each in runs] for runs in (alone, beside)],
    }


@contextmanager
def _readers(url: str) -> Iterator[None]:
    """READERS who have the first page open, and ask for its changing part again and again."""
    stop = threading.Event()
    threads = [threading.Thread(target=_poll, args=(url, stop, n)) for n in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _poll(url: str, stop: threading.Event, number: int) -> None:
    etag = ""
    with closing(_connect(url)) as connection:
        # The readers do not all ask at the same moment.
        while not stop.wait(POLL_S if etag else POLL_S * number / READERS):
            headers = {"If-None-Match": etag, "HX-Request": "true"}
            connection.request("GET", "/", headers=headers)
            answer = connection.getresponse()
            answer.read()
            etag = answer.getheader("ETag") or "none"


def table(results: Mapping[str, Any]) -> str:
    names = next(iter(results.values()))["pages"]
    pages = markdown.table(
        ("page", *(f"{name}, ms" for name in results)),
        ((name, *(each["pages"][name] for each in results.values())) for name in names),
    )
    beside = markdown.table(
        (
            *("database", "memory of the pages, MB: first", f"after {len(names)} pages each"),
            *("trigger, videos/s: alone", f"beside {READERS} readers"),
        ),
        (
            (name, *each["rss_mb"], each["events"]["alone_per_s"], each["events"]["beside_per_s"])
            for name, each in results.items()
        ),
    )
    return f"{pages}\n\n{beside}"
