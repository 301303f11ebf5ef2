"""Student records in a JSON file, and the limits that DynamoDB sets for an item."""

from __future__ import annotations

import decimal
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from rollcall.core.errors import PermanentError
from rollcall.core.texts import nfc

Record = dict[str, Any]

MAX_ITEM_BYTES = 400 << 10
MAX_NESTING = 32
MAX_DIGITS = 38
MIN_EXPONENT, MAX_EXPONENT = -130, 125
MAX_PARTITION_KEY_BYTES, MAX_SORT_KEY_BYTES = 2048, 1024
MAX_ATTRIBUTE_NAME_BYTES = 65535
"""DynamoDB's quotas, from "Quotas in Amazon DynamoDB" and "Supported data types"."""

SHOWN = 5
"""Names in a message; the others are counted."""

_EXACT = decimal.Context(prec=10_000, traps=[])

_KEY_TYPES = {"S": "text", "N": "a number"}


class StudentFileError(PermanentError):
    """The file does not hold records that DynamoDB can store."""


class TableKey(NamedTuple):
    """A key attribute of a table: its name, and `S`, `N` or `B`."""

    name: str
    type: str


class _Fields(dict[str, Any]):
    """A JSON object that remembers its repeated fields, and the spelling of its `name`."""

    twice: tuple[str, ...] = ()
    written: str = ""


def parse_records(text: str, file: str) -> list[Record]:
    """Records with a `name` each. DynamoDB has no floats, so numbers become decimals.

    A name becomes the spelling in which it is looked up: NFC, single spaces. Raises
    StudentFileError, which names the file.
    """
    try:
        records = json.loads(
            text,
            parse_int=_number,
            parse_float=_number,
            object_pairs_hook=_fields,
        )
    except json.JSONDecodeError as error:
        raise StudentFileError(
            f"{file!r} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except RecursionError as error:
        raise StudentFileError(f"{file!r} is nested too deeply") from error
    if not isinstance(records, list):
        raise StudentFileError(f"{file!r} has to hold a list of records: [{{...}}, {{...}}]")
    for number, record in enumerate(records, 1):
        if not isinstance(record, _Fields):
            raise StudentFileError(f"{file!r}: record {number} is not an object: {{...}}")
        if not isinstance(record.get("name"), str):
            raise StudentFileError(f"{file!r}: record {number} has no text `name`")
        record.written = record["name"]
        record["name"] = " ".join(nfc(record["name"]).split())
        if not record["name"]:
            raise StudentFileError(f"{file!r}: record {number} has an empty `name`")
    return records


def check_records(records: Sequence[Record], keys: Sequence[TableKey], file: str) -> None:
    """Raises StudentFileError for the first record that DynamoDB would refuse, with its field."""
    for record in records:
        problem = next(_problems(record, keys), None)
        if problem:
            raise StudentFileError(f"{file!r}: record {record['name']!r}: {problem}")


def without_duplicates(
    records: Sequence[Record], keys: Sequence[TableKey]
) -> tuple[list[Record], list[str]]:
    """The last record of each key, in order, and a sentence for each kind of repetition."""
    same: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        same.setdefault(tuple(record[each.name] for each in keys), []).append(record)
    last = [found[-1] for found in same.values()]
    said = []
    if repeated := [(key, found) for key, found in same.items() if len(found) > 1]:
        field = " and ".join(f"`{each.name}`" for each in keys)
        listed = _listed(_repetition(key, found) for key, found in repeated)
        said.append(f"several records have the same {field}, and the last one wins: {listed}")
    if twice := [record for record in last if _twice(record)]:
        listed = _listed(
            f"{record['name']!r} ({', '.join(dict.fromkeys(_twice(record)))})" for record in twice
        )
        said.append(f"some records have a field twice, and its last value wins: {listed}")
    return last, said


def _repetition(key: tuple[Any, ...], records: Sequence[Record]) -> str:
    shown = ", ".join(repr(each) if isinstance(each, str) else f"{each:f}" for each in key)
    spellings = {record.written for record in records if isinstance(record, _Fields)}
    differ = " in different spellings" if len(spellings) > 1 and records[0]["name"] in key else ""
    return f"{shown} ({len(records)} records{differ})"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def _twice(value: Any) -> list[str]:
    """Fields that are there twice, inside others too. JSON is not deeper than it was parsed."""
    if isinstance(value, _Fields):
        return [*value.twice, *(name for each in value.values() for name in _twice(each))]
    if isinstance(value, list):
        return [name for each in value for name in _twice(each)]
    return []


def _fields(pairs: list[tuple[str, Any]]) -> _Fields:
    fields = _Fields(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        fields.twice = tuple(name for name, count in counts.items() if count > 1)
    return fields


def _number(text: str) -> Decimal:
    """The exact number; not a finite one if it is beyond the limits of Python's decimals."""
    if len(text) > _EXACT.prec:
        return Decimal("NaN")
    number = _EXACT.create_decimal(text)
    if not number:
        underflow = any(digit in "123456789" for digit in text.lower().partition("e")[0])
        return Decimal("NaN") if underflow else Decimal(0)
    if len(number.as_tuple().digits) > MAX_DIGITS:
        number = number.normalize(_EXACT)
    whole = number.is_finite() and number.as_tuple().exponent > 0  # type: ignore[operator]
    return Decimal(f"{number:f}") if whole and number.adjusted() < MAX_DIGITS else number


def _problems(record: Mapping[str, Any], keys: Sequence[TableKey]) -> Iterator[str]:
    for field, value in record.items():
        if not field:
            yield "a field has an empty name"
        if len(field.encode(errors="replace")) > MAX_ATTRIBUTE_NAME_BYTES:
            yield f"field {field[:50]!r}...: its name has more than 65535 bytes"
        yield from (f"field {where!r:.200} {what}" for where, what in _in_value(field, value, 0))
    yield from _key_problems(record, keys)
    size_bytes = sum(len(field.encode()) + _size_bytes(value) for field, value in record.items())
    if size_bytes > MAX_ITEM_BYTES:
        yield f"it has {size_bytes} bytes, and DynamoDB stores at most {MAX_ITEM_BYTES} (400 KB)"


def _in_value(where: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Each problem, and the path of the field that has it."""
    if _has_surrogates(where):
        yield where, "has a name with half of a surrogate pair, which is not text"
    elif isinstance(value, str):
        if _has_surrogates(value):
            yield where, "holds half of a surrogate pair, which is not text"
    elif isinstance(value, float):  # the JSON library's own NaN, Infinity and -Infinity
        yield where, f"is {value}, which is not a number that DynamoDB can store"
    elif isinstance(value, Decimal):
        yield from ((where, problem) for problem in _number_problems(value))
    elif isinstance(value, dict | list):
        if depth == MAX_NESTING:
            yield where, f"is nested more than {MAX_NESTING} levels deep, DynamoDB's limit"
            return
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for name, each in named:
            inner = f"{where}.{name}" if isinstance(value, dict) else f"{where}[{name}]"
            yield from _in_value(inner, each, depth + 1)


def _number_problems(number: Decimal) -> Iterator[str]:
    out_of_range = not number.is_finite() or (
        number != 0 and not MIN_EXPONENT <= number.adjusted() <= MAX_EXPONENT
    )
    if out_of_range:
        yield (
            "is a number outside of DynamoDB's range (1E-130 to 9.99E+125); write it as text,"
            " in quotation marks"
        )
    elif (digits := len(number.normalize(_EXACT).as_tuple().digits)) > MAX_DIGITS:
        yield (
            f"is a number of {digits} digits, and DynamoDB stores at most {MAX_DIGITS}; write it as"
            " text, in quotation marks"
        )


def _key_problems(record: Mapping[str, Any], keys: Sequence[TableKey]) -> Iterator[str]:
    limits = (MAX_PARTITION_KEY_BYTES, MAX_SORT_KEY_BYTES)
    for key, max_bytes in zip(keys, limits, strict=False):
        value = record.get(key.name)
        kinds = {"S": str, "N": Decimal}
        if key.type not in kinds:
            yield f"the table's key {key.name!r} is binary, which JSON cannot hold"
        elif value is None:
            yield f"it has no {key.name!r}, which is a key of the table"
        elif not isinstance(value, kinds[key.type]):
            yield f"field {key.name!r} is a key of the table, and has to be {_KEY_TYPES[key.type]}"
        elif value == "":
            yield f"field {key.name!r} is empty, and it is a key of the table"
        elif isinstance(value, str) and len(value.encode()) > max_bytes:
            size_bytes = len(value.encode())
            yield f"field {key.name!r} has {size_bytes} bytes, and a key has at most {max_bytes}"


def _size_bytes(value: Any) -> int:
    """As DynamoDB's documentation of item sizes says; for numbers it gives an approximation."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Decimal):
        return len(value.normalize(_EXACT).as_tuple().digits) // 2 + 2
    if isinstance(value, dict):
        return 3 + sum(1 + len(name.encode()) + _size_bytes(each) for name, each in value.items())
    if isinstance(value, list):
        return 3 + sum(1 + _size_bytes(each) for each in value)
    return 1


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
