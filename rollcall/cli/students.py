"""`upload_data.py`: write student records from a JSON file to DynamoDB."""

from __future__ import annotations

from pathlib import Path

import click

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Command, say
from rollcall.core.settings import Settings
from rollcall.core.student_records import (
    MAX_LISTED,
    StudentFileError,
    check_records,
    parse_records,
    without_duplicates,
)
from rollcall.stores.boto import dynamodb_client, dynamodb_resource
from rollcall.stores.dynamodb import ensure_table, put_items, table_keys
from rollcall.text_files import read_text


def upload_students(settings: Settings, path: Path) -> int:
    """Create the table if it is missing, write all records, and return their number.

    All records are checked before the first is written. If DynamoDB still refuses some of them, the
    others may be written already. Warnings name repeated keys and fields. Raises TextError or
    StudentFileError; the message names the file and the record.
    """
    # The file is parsed before the network is used, so mistakes in it are found offline.
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
        reasons = "; ".join(f"{item['name']!r}: {reason}" for item, reason in refused[:MAX_LISTED])
        more = f"; and {len(refused) - MAX_LISTED} more" if len(refused) > MAX_LISTED else ""
        raise StudentFileError(
            f"{str(path)!r}: DynamoDB refused records: {reasons}{more}; the others may already be"
            " written; correct the refused records and run this again"
        )
    return len(unique)


@click.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@command_errors
def main(file: Path) -> None:
    """Write the records of a JSON file to STUDENT_TABLE, and create the table if it is missing."""
    chosen = settings()
    count = upload_students(chosen, file)
    records = "1 record is" if count == 1 else f"{count} records are"
    say(f"{records} in {chosen.student_table}")
