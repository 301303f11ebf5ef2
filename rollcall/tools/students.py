"""`upload_data.py`: student records from a JSON file into DynamoDB."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from rollcall.adapters.boto import dynamodb_client, dynamodb_resource
from rollcall.adapters.dynamodb import ensure_table, put_items
from rollcall.core.errors import PermanentError
from rollcall.core.settings import Settings
from rollcall.tools.entry import command_errors, settings


class StudentFileError(PermanentError):
    """The file holds no list of records."""


def read_students(path: Path) -> list[dict[str, Any]]:
    """Records with a `name` each. DynamoDB knows no floats, so numbers become decimals."""
    try:
        records = json.loads(path.read_bytes(), parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, OSError) as error:
        raise StudentFileError(f"{str(path)!r} is not readable JSON: {error}") from error
    if not isinstance(records, list):
        raise StudentFileError(f"{str(path)!r} has to hold a list of records")
    for index, record in enumerate(records):
        name = record.get("name") if isinstance(record, dict) else None
        if not isinstance(name, str) or not name:
            raise StudentFileError(f"record {index} of {str(path)!r} has no name")
    return records


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def upload_students(settings: Settings, path: Path) -> int:
    """Creates the table when it is missing, and writes every record; how many."""
    records = read_students(path)
    ensure_table(dynamodb_client(settings), settings.student_table)
    put_items(dynamodb_resource(settings), settings.student_table, records)
    return len(records)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@command_errors
def main(file: Path) -> None:
    """Write the records of a JSON file into STUDENT_TABLE, creating the table when missing."""
    chosen = settings()
    count = upload_students(chosen, file)
    click.echo(f"{count} records are in {chosen.student_table}")
