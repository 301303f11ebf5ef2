"""Reads and writes student records in DynamoDB."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from rollcall.core.names import spellings
from rollcall.core.student_records import TableKey
from rollcall.core.types import Student
from rollcall.stores.boto import boto_errors, error_code, error_message

log = logging.getLogger(__name__)

Item = Mapping[str, Mapping[str, Any]]
"""An item as DynamoDB's API gives it, such as {"name": {"S": "Ada"}}."""

Lookup = Callable[[tuple[str, ...]], Item | None]
"""Finds an item by one of several spellings of its name."""

INVALID = "ValidationException"
"""Error code for an item that does not fit the table, for example because it lacks the key."""

BATCH_ITEMS = 25
"""DynamoDB's limit for one BatchWriteItem."""

MAX_REFUSED = 25
"""Writing stops after this many refused items, because the file probably belongs elsewhere."""


class DynamoStudents:
    """StudentStore that works with any table layout.

    A look-up uses GetItem if `name` is the whole key, and Query if `name` is the partition key of
    the table or of an index with all attributes. For any other layout it scans the whole table, and
    the first look-up logs a warning. `get` reads the layout only once.

    Another program may have stored a name composed (NFC) or decomposed (NFD), for example "é" as
    one character or as two. Both spellings are looked up, the composed one first.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table
        self._lock = threading.Lock()
        self._lookup: Lookup | None = None

    def get(self, name: str) -> Student | None:
        with boto_errors(f"looking up a record in {self._table}"):
            item = self._lookup_for_layout()(spellings(name))
        if item is None:
            return None
        return Student(name, _text(item, "major"), _text(item, "year"))

    def count(self, name: str) -> int:
        with boto_errors(f"looking for records in {self._table}"):
            return len(self._find_keys(name))

    def remove(self, name: str) -> int:
        with boto_errors(f"removing records from {self._table}"):
            keys = self._find_keys(name)
            for key in keys:
                self._client.delete_item(TableName=self._table, Key=key)
            return len(keys)

    def _find_keys(self, name: str) -> list[Item]:
        """Return the keys of all items of that name."""
        # The table itself is read and not an index, because an index may lag behind.
        key_names = _key_names(self._client.describe_table(TableName=self._table)["Table"])
        names = spellings(name)
        if key_names[0] == "name":
            operation = "query"
            conditions = [_name_equals(each) for each in names]
        else:
            operation = "scan"
            conditions = [_name_is_one_of(names)]
        paginator = self._client.get_paginator(operation)
        items = [
            item
            for condition in conditions
            for page in paginator.paginate(TableName=self._table, ConsistentRead=True, **condition)
            for item in page["Items"]
        ]
        return [{attribute: item[attribute] for attribute in key_names} for item in items]

    def _lookup_for_layout(self) -> Lookup:
        with self._lock:
            if self._lookup is None:
                description = self._client.describe_table(TableName=self._table)["Table"]
                self._lookup = self._choose_lookup(description)
            return self._lookup

    def _choose_lookup(self, table: Mapping[str, Any]) -> Lookup:
        if _key_names(table) == ["name"]:
            return self._get_item
        if _key_names(table)[0] == "name":
            return lambda names: self._query(names, {})
        # Only an index with all attributes is useful: others may lack major and year.
        for index in table.get("GlobalSecondaryIndexes", ()):
            if _key_names(index)[0] == "name" and index["Projection"]["ProjectionType"] == "ALL":
                on_index = {"IndexName": index["IndexName"]}
                return lambda names: self._query(names, on_index)
        log.warning(
            "the table %s has neither the key `name` nor an index on `name` with all attributes, so"
            " every look-up reads the whole table; add an index on `name`",
            self._table,
        )
        return self._scan

    def _get_item(self, names: tuple[str, ...]) -> Item | None:
        for name in names:
            answer = self._client.get_item(TableName=self._table, Key={"name": {"S": name}})
            if item := answer.get("Item"):
                found: Item = item
                return found
        return None

    def _query(self, names: tuple[str, ...], on_index: Mapping[str, Any]) -> Item | None:
        for name in names:
            answer = self._client.query(
                TableName=self._table, Limit=1, **on_index, **_name_equals(name)
            )
            if items := answer["Items"]:
                found: Item = items[0]
                return found
        return None

    def _scan(self, names: tuple[str, ...]) -> Item | None:
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table, **_name_is_one_of(names)
        )
        return next((item for page in pages for item in page["Items"]), None)


def ensure_table(client: Any, table: str) -> bool:
    """Create the table with the key `name` if it is missing. Return whether it was created."""
    with boto_errors(f"creating the table {table}"):
        try:
            client.describe_table(TableName=table)
            return False
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
        client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",  # no capacity has to be planned
        )
        client.get_waiter("table_exists").wait(TableName=table)
        return True


def table_keys(client: Any, table: str) -> list[TableKey]:
    """Return the table's key attributes, the partition key first."""
    with boto_errors(f"describing the table {table}"):
        description = client.describe_table(TableName=table)["Table"]
    types = {each["AttributeName"]: each["AttributeType"] for each in _definitions(description)}
    return [TableKey(name, str(types.get(name, "S"))) for name in _key_names(description)]


def put_items(
    resource: Any, table: str, items: Iterable[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], str]]:
    """Create or replace items, in batches. Return the items that were refused, with the reason.

    DynamoDB refuses a whole batch without naming the bad item, so the items of such a batch are
    written one by one. No further batch is written after MAX_REFUSED refusals.
    """
    target, rest = resource.Table(table), iter(items)
    refused: list[tuple[Mapping[str, Any], str]] = []
    while len(refused) < MAX_REFUSED and (batch := list(islice(rest, BATCH_ITEMS))):
        with boto_errors(f"writing to {table}"):
            try:
                _put_batch(target, batch)
            except ClientError as error:
                if error_code(error) != INVALID:
                    raise
                refused += _put_each(target, batch)
    return refused


def _put_batch(target: Any, items: Iterable[Mapping[str, Any]]) -> None:
    with target.batch_writer() as writer:
        for item in items:
            writer.put_item(Item=dict(item))


def _put_each(
    target: Any, items: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], str]]:
    for item in items:
        try:
            target.put_item(Item=dict(item))
        except ClientError as error:
            if error_code(error) != INVALID:
                raise
            yield item, error_message(error)


def _definitions(description: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = description.get("AttributeDefinitions", [])
    return found


def _key_names(layout: Mapping[str, Any]) -> list[str]:
    """Return the names of the key attributes, the partition key first."""
    # The key types are HASH (the partition key) and RANGE, so sorting by type is enough.
    schema = sorted(layout["KeySchema"], key=lambda key: str(key["KeyType"]))
    return [str(key["AttributeName"]) for key in schema]


def _name_equals(name: str) -> dict[str, Any]:
    """Return the arguments of a query. They use "#name", because `name` is a reserved word."""
    return {
        "KeyConditionExpression": "#name = :name",
        "ExpressionAttributeNames": {"#name": "name"},
        "ExpressionAttributeValues": {":name": {"S": name}},
    }


def _name_is_one_of(names: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments of a scan, which reads the table once for all spellings of a name."""
    values = {f":name{index}": {"S": name} for index, name in enumerate(names)}
    return {
        "FilterExpression": f"#name IN ({', '.join(values)})",
        "ExpressionAttributeNames": {"#name": "name"},
        "ExpressionAttributeValues": values,
    }


def _text(item: Item, attribute: str) -> str:
    """Return the value of a string or number attribute; empty for any other type."""
    value = item.get(attribute, {})
    return str(value.get("S", value.get("N", "")))
