"""Rows of a statement in one parameter, as JSON.

So a statement is prepared once, and a batch costs as many statements as a single row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_PG_TYPES = {"int": "bigint", "real": "double precision"}


def as_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """The value of a parameter for rows. Numbers must be finite, and texts storable."""
    return json.dumps(list(rows))


def rows_sql(shared: bool, columns: str, name: str = "rows", table: str = "r") -> str:
    """The rows of the parameter `name` as a table with these columns.

    `columns` looks like `"id int, name text, time_s real"`. `shared` is that of the database.
    """
    pairs = [column.split() for column in columns.split(", ")]
    if shared:
        typed = ", ".join(f"{column} {_PG_TYPES.get(kind, kind)}" for column, kind in pairs)
        return f"json_to_recordset(CAST(:{name} AS json)) AS {table}({typed})"
    picked = ", ".join(f"json_extract(value, '$.{column}') AS {column}" for column, _ in pairs)
    return f"(SELECT {picked} FROM json_each(:{name})) AS {table}"


def ids_sql(shared: bool, name: str = "ids") -> str:
    """The numbers of the parameter `name`, for `IN`. `ids_value` gives its value."""
    if shared:
        return f"(SELECT unnest(CAST(:{name} AS bigint[])))"
    return f"(SELECT value FROM json_each(:{name}))"


def among_sql(shared: bool, column: str, name: str = "ids") -> str:
    """The condition that the column is one of the numbers of the parameter `name`.

    In PostgreSQL, this form always uses an index of the column. With `IN (SELECT ...)`, a plan that
    was made while the table was small may read the whole table, even after it has grown.
    """
    if shared:
        return f"{column} = ANY(CAST(:{name} AS bigint[]))"
    return f"{column} IN (SELECT value FROM json_each(:{name}))"


def ids_value(shared: bool, ids: Iterable[int]) -> object:
    """The value of a parameter for numbers."""
    return list(ids) if shared else json.dumps(list(ids))
