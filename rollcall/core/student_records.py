"""Reads student records from JSON, and checks them against DynamoDB's limits for an item.

The checks run before the first write, so that a bad record leaves the table unchanged.
"""

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
"""DynamoDB's limits for items, numbers and keys, from the pages "Quotas in Amazon DynamoDB" and
"Supported data types" of its manual."""

MAX_LISTED = 5
"""Largest number of names in a message. Further names are only counted."""

_EXACT = decimal.Context(prec=10_000, traps=[])
"""Enough digits to read numbers without rounding, so that too many digits are noticed."""

_KEY_TYPES = {"S": "text", "N": "a number"}


class StudentFileError(PermanentError):
    """The file does not hold records that DynamoDB can store."""


class TableKey(NamedTuple):
    """A key attribute of a table."""

    name: str
    type: str
    """`S` (text), `N` (number) or `B` (binary)."""


class _Fields(dict[str, Any]):
    """A JSON object with two facts that a plain dictionary would lose."""

    repeated: tuple[str, ...] = ()
    """Names of fields that occur more than once."""
    written_name: str = ""
    """The value of the field `name` before it was normalised."""


def parse_records(text: str, file: str) -> list[Record]:
    """The records in a JSON text, each with a `name`. `file` is the file's name for messages.

    Names are normalised as in a look-up (NFC, single spaces). Numbers become decimals, because
    DynamoDB has no floats. Raises StudentFileError.
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
        record.written_name = record["name"]
        record["name"] = " ".join(nfc(record["name"]).split())
        if not record["name"]:
            raise StudentFileError(f"{file!r}: record {number} has an empty `name`")
    return records


def check_records(records: Sequence[Record], keys: Sequence[TableKey], file: str) -> None:
    """Raise StudentFileError for the first record that DynamoDB would refuse.

    The message names the record and the field.
    """
    for record in records:
        problem = next(_problems(record, keys), None)
        if problem:
            raise StudentFileError(f"{file!r}: record {record['name']!r}: {problem}")


def without_duplicates(
    records: Sequence[Record], keys: Sequence[TableKey]
) -> tuple[list[Record], list[str]]:
    """The last record of each key, and warnings about repeated keys and fields.

    The records are in the order in which their keys first appear.
    """
    by_key: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        by_key.setdefault(tuple(record[key.name] for key in keys), []).append(record)
    last = [same_key[-1] for same_key in by_key.values()]
    warnings = []
    if repeated := [(key, same_key) for key, same_key in by_key.items() if len(same_key) > 1]:
        fields = " and ".join(f"`{key.name}`" for key in keys)
        listed = _listed(_repetition(key, same_key) for key, same_key in repeated)
        warnings.append(f"several records have the same {fields}, and the last one wins: {listed}")
    if with_repeated_fields := [record for record in last if _repeated_fields(record)]:
        listed = _listed(
            f"{record['name']!r} ({', '.join(dict.fromkeys(_repeated_fields(record)))})"
            for record in with_repeated_fields
        )
        warnings.append(f"some records have a field twice, and its last value wins: {listed}")
    return last, warnings


def _repetition(key: tuple[Any, ...], records: Sequence[Record]) -> str:
    """A text with the values of a key and the number of records that have it."""
    shown = ", ".join(repr(part) if isinstance(part, str) else f"{part:f}" for part in key)
    spellings = {record.written_name for record in records if isinstance(record, _Fields)}
    differ = " in different spellings" if len(spellings) > 1 and records[0]["name"] in key else ""
    return f"{shown} ({len(records)} records{differ})"


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    rest = len(all_names) - MAX_LISTED
    return ", ".join(all_names[:MAX_LISTED]) + (f", and {rest} more" if rest > 0 else "")


def _repeated_fields(value: Any) -> list[str]:
    """Names of fields that occur more than once, at any depth."""
    # The recursion cannot be too deep, because the JSON parser has refused such documents.
    if isinstance(value, _Fields):
        inner = (name for item in value.values() for name in _repeated_fields(item))
        return [*value.repeated, *inner]
    if isinstance(value, list):
        return [name for item in value for name in _repeated_fields(item)]
    return []


def _fields(pairs: list[tuple[str, Any]]) -> _Fields:
    fields = _Fields(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        fields.repeated = tuple(name for name, count in counts.items() if count > 1)
    return fields


def _number(text: str) -> Decimal:
    """The exact number. NaN stands for a number that Python's decimals cannot hold exactly."""
    if len(text) > _EXACT.prec:
        return Decimal("NaN")
    number = _EXACT.create_decimal(text)
    if not number:
        # 1e-99999999 is rounded to 0 without an error; such a number is out of range, not 0.
        underflow = any(digit in "123456789" for digit in text.lower().partition("e")[0])
        return Decimal("NaN") if underflow else Decimal(0)
    if len(number.as_tuple().digits) > MAX_DIGITS:
        number = number.normalize(_EXACT)  # trailing zeros do not count as digits in DynamoDB
    # boto3 sends a decimal in the notation that it has. Whole numbers are written out, so that 1E+2
    # becomes 100, unless that needs more digits than DynamoDB stores.
    whole = number.is_finite() and number.as_tuple().exponent > 0  # type: ignore[operator]
    return Decimal(f"{number:f}") if whole and number.adjusted() < MAX_DIGITS else number


def _problems(record: Mapping[str, Any], keys: Sequence[TableKey]) -> Iterator[str]:
    """The reasons why DynamoDB would refuse a record. Each completes a message."""
    for field, value in record.items():
        if not field:
            yield "a field has an empty name"
        if len(field.encode(errors="replace")) > MAX_ATTRIBUTE_NAME_BYTES:
            yield f"field {field[:50]!r}...: its name has more than 65535 bytes"
        problems = _value_problems(field, value, 0)
        yield from (f"field {path!r:.200} {problem}" for path, problem in problems)
    yield from _key_problems(record, keys)
    size_bytes = sum(len(field.encode()) + _size_bytes(value) for field, value in record.items())
    if size_bytes > MAX_ITEM_BYTES:
        yield f"it has {size_bytes} bytes, and DynamoDB stores at most {MAX_ITEM_BYTES} (400 KB)"


def _value_problems(path: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Each problem, after the path of the field that has it, such as `a.b[0]`."""
    if _has_surrogates(path):
        yield path, "has a name with half of a surrogate pair, which is not text"
    elif isinstance(value, str):
        if _has_surrogates(value):
            yield path, "holds half of a surrogate pair, which is not text"
    elif isinstance(value, float):  # the JSON library's own NaN, Infinity and -Infinity
        yield path, f"is {value}, which is not a number that DynamoDB can store"
    elif isinstance(value, Decimal):
        yield from ((path, problem) for problem in _number_problems(value))
    elif isinstance(value, dict | list):
        if depth == MAX_NESTING:
            yield path, f"is nested more than {MAX_NESTING} levels deep, DynamoDB's limit"
            return
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            inner = f"{path}.{name}" if isinstance(value, dict) else f"{path}[{name}]"
            yield from _value_problems(inner, item, depth + 1)


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
    # A table has a partition key, and may have a sort key after it.
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
    """The size of a value by "DynamoDB item sizes and formats", approximate for numbers."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Decimal):
        return len(value.normalize(_EXACT).as_tuple().digits) // 2 + 2
    if isinstance(value, dict):
        return 3 + sum(1 + len(name.encode()) + _size_bytes(item) for name, item in value.items())
    if isinstance(value, list):
        return 3 + sum(1 + _size_bytes(item) for item in value)
    return 1


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
