"""`rollcall backup` and `rollcall restore`: copies of the trigger's database."""

from __future__ import annotations

from pathlib import Path

import click

from rollcall.cli.amounts import BYTES
from rollcall.cli.entry import command_errors, settings
from rollcall.cli.progress import Progress, progress, waiting
from rollcall.cli.terminal import Command, say, say_json
from rollcall.core.settings import SQLITE_URL
from rollcall.database import postgres_backup, sqlite_backup

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=Command)
@click.argument("file", type=_FILE)
@click.option("--yes", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def backup(file: Path, yes: bool, as_json: bool) -> None:
    """Copy the trigger's database to FILE, while the trigger runs.

    The copy of an SQLite file is complete and checked. (A plain copy of a live file loses rows.)
    A PostgreSQL database is copied by pg_dump.
    """
    url = settings(offline=True).database_url
    if url.startswith(SQLITE_URL):
        with progress("copying", unit=BYTES) as shown:
            rows = sqlite_backup.back_up(_path(url), file, replace=yes, on_bytes=_note(shown))
        _say_rows("backed up", rows, file, as_json)
    else:
        with waiting("copying with pg_dump"):
            postgres_backup.dump(url, file, replace=yes)
        _say_done("backed up", file, as_json)


@click.command(cls=Command)
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Replace a database that has rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def restore(file: Path, force: bool, as_json: bool) -> None:
    """Replace the trigger's database with the backup in FILE. Stop the trigger first.

    Work that was not finished at the time of the backup is done again, and the reconciler finds the
    videos that were uploaded since.
    """
    url = settings(offline=True).database_url
    if url.startswith(SQLITE_URL):
        with progress("copying", unit=BYTES) as shown:
            rows = sqlite_backup.restore(file, _path(url), force=force, on_bytes=_note(shown))
        _say_rows("restored", rows, file, as_json)
    else:
        with waiting("copying with pg_restore"):
            postgres_backup.restore_dump(url, file, force=force)
        _say_done("restored", file, as_json)


def _note(shown: Progress) -> sqlite_backup.OnBytes:
    done_bytes = 0

    def note(now_bytes: int, total_bytes: int) -> None:
        nonlocal done_bytes
        shown.expect(total_bytes)
        shown.advance(now_bytes - done_bytes)
        done_bytes = now_bytes

    return note


def _path(url: str) -> Path:
    return Path(url.removeprefix(SQLITE_URL))


def _say_rows(verb: str, rows: dict[str, int], file: Path, as_json: bool) -> None:
    if as_json:
        say_json({"file": str(file), "rows": rows})
        return
    waiting, ended = rows.get("work", 0), rows.get("finished", 0)
    say(f"{verb} {file}: {waiting} waiting or running, {ended} done or dead")


def _say_done(verb: str, file: Path, as_json: bool) -> None:
    if as_json:
        say_json({"file": str(file)})
    else:
        say(f"{verb} {file}")
