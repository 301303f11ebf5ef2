"""Native programs around the trigger: wrk sends events, nginx is the function and the store, and
PostgreSQL is the database. They cost little CPU, so that the trigger is what is measured."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from devstack.build_context import REPOSITORY
from devstack.processes import Process, Processes, answers, free_port, run
from rollcall.core.errors import SettingsError

TOKEN = "token-of-the-benchmark"  # noqa: S105
BUCKET = "input-bucket-video"

CONNECTIONS = 32
"""Connections of wrk to each trigger, each of which sends one event after the other."""

LOAD_TIMEOUT_S = 120
_LOAD = Path(__file__).with_name("events.lua")

_ANSWER = {
    "status": "recognised",
    "video": {"bucket": BUCKET, "key": "course-1/a.mp4"},
    "people": [{"name": "ada", "distance": 0.41, "first_seen_s": 0.0, "frames": 12}],
    "output": {"bucket": "output-bucket-vid", "key": "course-1/a.csv"},
    "timings_ms": {"download": 4.1, "faces": 20.3, "write": 5.2},
}
"""The function's answer, as short as for a video with one person."""

_EMPTY_LISTING = (
    "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult"
    " xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><KeyCount>0</KeyCount>"
    "<IsTruncated>false</IsTruncated></ListBucketResult>"
)

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /function/ {{ default_type application/json; return 200 '{answer}'; }}
        location / {{ default_type application/xml; return 200 "{listing}"; }}
    }}
}}
"""

_POSTGRES_USER = "postgres"
"""PostgreSQL refuses to run as root, so then it runs as this user, which Debian's package adds."""


def missing_programs() -> list[str]:
    """Return the commands that install what is missing on this machine."""
    needed = {"wrk": "wrk", "nginx": "nginx-light"}
    missing = [package for program, package in needed.items() if not shutil.which(program)]
    if not list(_postgres_folders()):
        missing.append("postgresql")
    return [f"apt-get install {package}" for package in missing]


def start_nginx(processes: Processes, folder: Path) -> tuple[Process, str]:
    """Start the function and the store. Returns their process and their common URL."""
    port = free_port()
    config = folder / "nginx.conf"
    answer = json.dumps(_ANSWER)
    config.write_text(
        _NGINX.format(folder=folder, port=port, answer=answer, listing=_EMPTY_LISTING)
    )
    argv = [shutil.which("nginx") or "nginx", "-p", str(folder), "-c", str(config)]
    process = processes.add(Process("nginx", argv, os.environ, folder))
    url = f"http://127.0.0.1:{port}"
    process.wait_ready(answers(url))
    return process, url


def start_trigger(
    processes: Processes, folder: Path, name: str, values: Mapping[str, str]
) -> tuple[Process, str]:
    """Start a trigger with these settings. Returns its process and its URL."""
    port = free_port()
    env = {**os.environ, **values, "TRIGGER_LISTEN": f"127.0.0.1:{port}"}
    argv = [sys.executable, str(REPOSITORY / "trigger_openfaas.py")]
    process = processes.add(Process(name, argv, env, folder))
    url = f"http://127.0.0.1:{port}"
    process.wait_ready(answers(url + "/healthz"))
    return process, url


@dataclass(frozen=True, slots=True)
class Load:
    """Events for one trigger."""

    url: str
    name: str
    """Part of the keys and ids of the events, so that each load has its own."""
    count: int
    pause_ms: int = 0
    """Pause of each connection between an answer and the next event."""
    connections: int = CONNECTIONS


def send(loads: list[Load]) -> float:
    """Send all loads at the same time, and wait until every event is queued.

    Returns the CPU seconds of wrk. Raises CalledProcessError if an event was not accepted.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = [subprocess.Popen(_wrk(load), env=_wrk_env(load), stdout=-3) for load in loads]
    for process in running:
        if code := process.wait(LOAD_TIMEOUT_S + 5):
            raise subprocess.CalledProcessError(code, process.args)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _wrk(load: Load) -> list[str]:
    connections = min(load.connections, load.count)
    times = ["-t1", f"-c{connections}", f"-d{LOAD_TIMEOUT_S}s", "--timeout", "30s"]
    return ["wrk", *times, "-s", str(_LOAD), f"{load.url}/events"]


def _wrk_env(load: Load) -> dict[str, str]:
    return {
        **os.environ,
        "EVENTS_BUCKET": BUCKET,
        "EVENTS_COUNT": str(load.count),
        "EVENTS_NAME": load.name,
        "EVENTS_PAUSE_MS": str(load.pause_ms),
        "EVENTS_TOKEN": TOKEN,
    }


@contextmanager
def postgres() -> Iterator[tuple[Process, str]]:
    """Run a server with an empty database, on loopback and with fsync. Yields process and URL."""
    with ExitStack() as stack:
        # Only its owner may use the data folder, and only that user may enter the folder above.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-postgres-")))
        if os.geteuid() == 0:
            shutil.chown(folder, _POSTGRES_USER)
        data, port = folder / "data", free_port()
        initdb = ["-D", str(data), "-U", "rollcall", "-A", "trust", "-E", "UTF8", "--locale=C"]
        run(_as_postgres("initdb", *initdb), os.environ, folder)
        flags = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder}
        server = _as_postgres(
            "postgres", "-D", str(data), *(f"-c{k}={v}" for k, v in flags.items())
        )
        processes = stack.enter_context(Processes())
        process = processes.add(Process("postgres", server, os.environ, folder))
        url = f"postgresql://rollcall@127.0.0.1:{port}/postgres"
        process.wait_ready(lambda: _connects(url))
        yield process, url


def _connects(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _as_postgres(program: str, *arguments: str) -> list[str]:
    folders = list(_postgres_folders())
    if not folders:
        raise SettingsError("PostgreSQL is not installed: apt-get install postgresql")
    argv = [str(folders[-1] / program), *arguments]
    if os.geteuid() == 0:
        # Linux resets the signal for the parent's death when a process changes its user.
        user = (f"--reuid={_POSTGRES_USER}", f"--regid={_POSTGRES_USER}", "--init-groups")
        return ["setpriv", "--pdeathsig=INT", *user, *argv]
    return argv


def _postgres_folders() -> Iterator[Path]:
    yield from sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))
