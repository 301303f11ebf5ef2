"""`upload_data.py`: student records from a JSON file into DynamoDB."""

from __future__ import annotations

from pathlib import Path

import click

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Command, say
from rollcall.core.settings import Settings
from rollcall.core.student_records import (
    SHOWN,
    StudentFileError,
    check_records,
    parse_records,
    without_duplicates,
)
from rollcall.stores.boto import dynamodb_client, dynamodb_resource
from rollcall.stores.dynamodb import ensure_table, put_items, table_keys
from rollcall.text_files import read_text


def upload_students(settings: Settings, path: Path) -> int:
    """Creates the table when it is missing, and writes every record; how many.

    The records are checked first, and nothing is written if one cannot be stored. Should DynamoDB
    refuse one all the same, others may be written. Repeated keys and fields are reported as
    warnings. Raises TextError and StudentFileError, which name the file and the record.
    """
    records = parse_records(read_text(path), str(path))
    client, table = dynamodb_client(settings), settings.student_table
    ensure_table(client, table)
    keys = table_keys(client, table)
    check_records(records, keys, str(path))
    unique, repetitions = without_duplicates(records, keys)
    for sentence in repetitions:
        say(f"warning: {str(path)!r}: {sentence}", err=True)
    refused = put_items(dynamodb_resource(settings), table, unique)
    if refused:
        reasons = "; ".join(f"{item['name']!r}: {reason}" for item, reason in refused[:SHOWN])
        more = f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise StudentFileError(
            f"{str(path)!r}: DynamoDB refuses records: {reasons}{more}; others may be written"
            " already, so correct these and run it again"
        )
    return len(unique)


@click.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@command_errors
def main(file: Path) -> None:
    """Write the records of a JSON file into STUDENT_TABLE, creating the table when missing."""
    chosen = settings()
    count = upload_students(chosen, file)
    records = "1 record is" if count == 1 else f"{count} records are"
    say(f"{records} in {chosen.student_table}")
