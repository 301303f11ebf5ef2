"""Student records in DynamoDB."""

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

INVALID = "ValidationException"

BATCH_ITEMS = 25
"""DynamoDB's limit for one BatchWriteItem."""

MAX_REFUSED = 25


class DynamoStudents:
    """StudentStore over a table of any layout.

    Key `name`: GetItem. `name` as partition key of the table or of an index: Query. Neither: Scan,
    with one warning. The table is described once.

    A table that others filled may hold a name in its composed or decomposed spelling (NFC, NFD):
    both are looked up, the composed one first.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table
        self._lock = threading.Lock()
        self._find: Callable[[tuple[str, ...]], Item | None] | None = None

    def get(self, name: str) -> Student | None:
        with boto_errors(f"looking up a record in {self._table}"):
            item = self._finder()(spellings(name))
        if item is None:
            return None
        return Student(name, _text(item, "major"), _text(item, "year"))

    def count(self, name: str) -> int:
        with boto_errors(f"looking for records in {self._table}"):
            return len(self._matching(name))

    def remove(self, name: str) -> int:
        with boto_errors(f"removing records from {self._table}"):
            found = self._matching(name)
            for key in found:
                self._client.delete_item(TableName=self._table, Key=key)
            return len(found)

    def _matching(self, name: str) -> list[Item]:
        """Keys of every item of that name. An index may lag behind, so the table itself is read."""
        layout = _keys(self._client.describe_table(TableName=self._table)["Table"])
        names = spellings(name)
        if layout[0] == "name":
            operation = "query"
            conditions = [_equals(each) for each in names]
        else:
            operation = "scan"
            conditions = [_any_of(names)]
        paginator = self._client.get_paginator(operation)
        items = [
            item
            for condition in conditions
            for page in paginator.paginate(TableName=self._table, ConsistentRead=True, **condition)
            for item in page["Items"]
        ]
        return [{attribute: item[attribute] for attribute in layout} for item in items]

    def _finder(self) -> Callable[[tuple[str, ...]], Item | None]:
        with self._lock:
            if self._find is None:
                description = self._client.describe_table(TableName=self._table)["Table"]
                self._find = self._choose(description)
            return self._find

    def _choose(self, table: Mapping[str, Any]) -> Callable[[tuple[str, ...]], Item | None]:
        if _keys(table) == ["name"]:
            return self._get_item
        if _keys(table)[0] == "name":
            return lambda names: self._query(names, {})
        for index in table.get("GlobalSecondaryIndexes", ()):
            if _keys(index)[0] == "name" and index["Projection"]["ProjectionType"] == "ALL":
                where = {"IndexName": index["IndexName"]}
                return lambda names: self._query(names, where)
        log.warning(
            "the table %s has neither the key `name` nor an index on it: every look-up reads the"
            " whole table; add an index on `name`",
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

    def _query(self, names: tuple[str, ...], where: Mapping[str, Any]) -> Item | None:
        for name in names:
            answer = self._client.query(TableName=self._table, Limit=1, **where, **_equals(name))
            if items := answer["Items"]:
                found: Item = items[0]
                return found
        return None

    def _scan(self, names: tuple[str, ...]) -> Item | None:
        pages = self._client.get_paginator("scan").paginate(TableName=self._table, **_any_of(names))
        return next((item for page in pages for item in page["Items"]), None)


def ensure_table(client: Any, table: str) -> bool:
    """Creates the table, keyed by `name`, when it is missing; whether it did."""
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
            BillingMode="PAY_PER_REQUEST",
        )
        client.get_waiter("table_exists").wait(TableName=table)
        return True


def table_keys(client: Any, table: str) -> list[TableKey]:
    """The table's key attributes, the partition key first."""
    with boto_errors(f"describing the table {table}"):
        description = client.describe_table(TableName=table)["Table"]
    types = {each["AttributeName"]: each["AttributeType"] for each in _definitions(description)}
    return [TableKey(name, str(types.get(name, "S"))) for name in _keys(description)]


def put_items(
    resource: Any, table: str, items: Iterable[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], str]]:
    """Creates or replaces items, in batches. Returns those that were refused, with the reason.

    DynamoDB refuses a whole batch without naming the item, so its items are then written one by
    one. After MAX_REFUSED refusals nothing more is tried: the table does not fit the file.
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


def _keys(layout: Mapping[str, Any]) -> list[str]:
    """Names of the key attributes, the partition key first."""
    schema = sorted(layout["KeySchema"], key=lambda key: str(key["KeyType"]))
    return [str(key["AttributeName"]) for key in schema]


def _equals(name: str) -> dict[str, Any]:
    """The condition of a query. `name` is a reserved word in DynamoDB's expressions."""
    return {
        "KeyConditionExpression": "#name = :name",
        "ExpressionAttributeNames": {"#name": "name"},
        "ExpressionAttributeValues": {":name": {"S": name}},
    }


def _any_of(names: tuple[str, ...]) -> dict[str, Any]:
    """The filter of a scan, which then reads the table once for all spellings of a name."""
    values = {f":name{index}": {"S": name} for index, name in enumerate(names)}
    return {
        "FilterExpression": f"#name IN ({', '.join(values)})",
        "ExpressionAttributeNames": {"#name": "name"},
        "ExpressionAttributeValues": values,
    }


def _text(item: Item, attribute: str) -> str:
    """The value of a string or number attribute; of any other type, nothing."""
    value = item.get(attribute, {})
    return str(value.get("S", value.get("N", "")))
