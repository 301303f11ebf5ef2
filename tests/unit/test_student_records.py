"""Before any write, an error names the record and the field that DynamoDB would refuse."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.student_records import (
    MAX_ITEM_BYTES,
    MAX_NESTING,
    StudentFileError,
    TableKey,
    check_records,
    parse_records,
    without_duplicates,
)

BY_NAME = [TableKey("name", "S")]
BY_ID = [TableKey("id", "N"), TableKey("term", "S")]


def read(text: str, keys: list[TableKey] = BY_NAME) -> tuple[list[dict[str, Any]], list[str]]:
    records = parse_records(text, "s.json")
    check_records(records, keys, "s.json")
    return without_duplicates(records, keys)


def one(fields: str) -> Any:
    """Return the value of the field `x` of a record with these fields."""
    (record,), said = read(f'[{{"name": "ada", {fields}}}]')
    assert not said
    return record["x"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON: line 1, column 1"),
        (
            '[{"name": "a"},\n {"name": "b" "x": 1}]',
            "is not JSON: line 2, column 15: Expecting ','",
        ),
        ("[" * 100_000, "is nested too deeply"),
        ("{}", "has to hold a list of records"),
        ("[1]", "record 1 is not an object"),
        ('[{"name": "a"}, {"x": 1}]', "record 2 has no text `name`"),
        ('[{"name": 7}]', "record 1 has no text `name`"),
        ('[{"name": ""}]', "record 1 has an empty `name`"),
        ('[{"name": " \\u00a0"}]', "record 1 has an empty `name`"),
    ],
)
def test_a_file_that_holds_no_records_is_named(text: str, problem: str) -> None:
    with pytest.raises(StudentFileError) as caught:
        read(text)
    assert str(caught.value).startswith("'s.json'")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        ("7", "7"),
        ("-0", "0"),
        ("0e99999999999999999999", "0"),
        ("20", "20"),
        ("1e2", "100"),
        ("3.70", "3.70"),
        ("9" * 38, "9" * 38),
        ("1" + "0" * 60, "1E+60"),
        ("0." + "0" * 40 + "1", "1E-41"),
        ("1e-130", "1E-130"),
        ("9." + "9" * 37 + "e125", "9." + "9" * 37 + "E+125"),
        ("-1.5", "-1.5"),
    ],
)
def test_a_number_within_the_limits_is_exact(number: str, stored: str) -> None:
    value = one(f'"x": {number}')
    assert isinstance(value, Decimal)
    assert (value, str(value)) == (Decimal(stored), stored)


DEEP = '{"x": ' * MAX_NESTING + "1" + "}" * MAX_NESTING


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('"x": ' + "1" * 39, "field 'x' is a number of 39 digits"),
        ('"x": 0.' + "1" * 39, "field 'x' is a number of 39 digits"),
        ('"x": 1e126', "field 'x' is a number outside of DynamoDB's range"),
        ('"x": -1e126', "field 'x' is a number outside of DynamoDB's range"),
        ('"x": 9e-131', "field 'x' is a number outside of DynamoDB's range"),
        ('"x": 1e99999999999999999999', "field 'x' is a number outside of DynamoDB's range"),
        ('"x": 1e-99999999999999999999', "field 'x' is a number outside of DynamoDB's range"),
        ('"x": ' + "1" * 20_000, "field 'x' is a number outside of DynamoDB's range"),
        ('"x": NaN', "field 'x' is nan, which is not a number"),
        ('"x": -Infinity', "field 'x' is -inf, which is not a number"),
        ('"x": {"y": [1, {"z": 1e200}]}', "field 'x.y[1].z' is a number outside"),
        ('"x": "\\ud800"', "field 'x' holds half of a surrogate pair"),
        ('"\\udc00": 1', "has a name with half of a surrogate pair"),
        ('"": 1', "a field has an empty name"),
        (f'"{"x" * 65536}": 1', "its name has more than 65535 bytes"),
        (f'"x": {{"y": {DEEP}}}', f"is nested more than {MAX_NESTING} levels deep"),
        ('"x": "' + "é" * (MAX_ITEM_BYTES // 2) + '"', "it has 409608 bytes"),
        ('"x": [' + "1," * 150_000 + "1]", "(400 KB)"),
    ],
)
def test_a_value_that_dynamodb_cannot_store_is_named_with_its_record(
    fields: str, problem: str
) -> None:
    with pytest.raises(StudentFileError) as caught:
        read(f'[{{"name": "bob"}}, {{"name": "ada", {fields}}}]')
    assert str(caught.value).startswith("'s.json': record 'ada': ")
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_limits_are_exact() -> None:
    overhead = len("name") + len("ada") + len("x")
    assert one(f'"x": "{"x" * (MAX_ITEM_BYTES - overhead)}"')
    assert one(f'"x": {DEEP}')
    assert read(json.dumps([{"name": "é" * 1024}]))
    with pytest.raises(StudentFileError, match="has 2050 bytes, and a key has at most 2048"):
        read(json.dumps([{"name": "é" * 1025}]))


def test_values_of_every_type_are_kept() -> None:
    value = one('"x": {"a": null, "b": [true, false, "", []], "c": {}}')
    assert value == {"a": None, "b": [True, False, "", []], "c": {}}


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"term": "t"}, "it has no 'id', which is a key of the table"),
        ({"id": None, "term": "t"}, "it has no 'id'"),
        ({"id": "7", "term": "t"}, "field 'id' is a key of the table, and has to be a number"),
        ({"id": True, "term": "t"}, "field 'id' is a key of the table, and has to be a number"),
        ({"id": 7, "term": 1}, "field 'term' is a key of the table, and has to be text"),
        ({"id": 7, "term": ""}, "field 'term' is empty"),
        ({"id": 7, "term": "x" * 1025}, "has 1025 bytes, and a key has at most 1024"),
    ],
)
def test_keys_of_a_table_of_another_layout(record: dict[str, Any], problem: str) -> None:
    with pytest.raises(StudentFileError, match="record 'ada'") as caught:
        read(json.dumps([{"name": "ada", **record}]), BY_ID)
    assert problem in str(caught.value)


def test_a_binary_key_cannot_come_from_json() -> None:
    with pytest.raises(StudentFileError, match="key 'hash' is binary"):
        read('[{"name": "ada", "hash": "x"}]', [TableKey("hash", "B")])


def test_the_last_record_of_a_key_wins_with_a_warning() -> None:
    records, said = read(
        '[{"name": "a", "x": 1}, {"name": "b"}, {"name": "a", "x": 2}, {"name": "a", "x": 3}]'
    )
    assert records == [{"name": "a", "x": 3}, {"name": "b"}]
    assert said == ["several records have the same `name`, and the last one wins: 'a' (3 records)"]


def test_many_repetitions_are_counted() -> None:
    _, (said,) = read(json.dumps([{"name": f"p{n % 9}"} for n in range(18)]))
    assert said.endswith("'p4' (2 records), and 4 more")


def test_names_that_differ_only_in_spelling_cause_a_warning() -> None:
    names = ["caf\u00e9", "cafe\u0301", " caf\u00e9  "]
    records, (said,) = read(json.dumps([{"name": name} for name in names]))
    assert records == [{"name": "caf\u00e9"}]
    assert "'caf\u00e9' (3 records in different spellings)" in said


def test_records_of_another_key_are_not_merged_by_name() -> None:
    text = '[{"name": "a", "id": 1, "term": "t"}, {"name": "a", "id": 2, "term": "t"}]'
    assert len(read(text, BY_ID)[0]) == 2
    (record,), (said,) = read(text.replace("2", "1.0"), BY_ID)
    assert record["id"] == 1
    assert said.endswith("the same `id` and `term`, and the last one wins: 1, 't' (2 records)")


def test_a_repeated_field_causes_a_warning() -> None:
    (record,), (said,) = read('[{"name": "b", "name": "a", "x": [{"y": 1, "y": 2}]}]')
    assert record == {"name": "a", "x": [{"y": 2}]}
    assert said == "some records have a field twice, and its last value wins: 'a' (name, y)"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.lists(st.dictionaries(st.sampled_from(["name", "id", "x", ""]), JSON), max_size=3))
def test_arbitrary_records_are_accepted_or_refused_with_a_message(
    records: list[dict[str, Any]],
) -> None:
    said = ""
    try:
        read(json.dumps(records))
    except StudentFileError as error:
        said = str(error)
    assert "\n" not in said
