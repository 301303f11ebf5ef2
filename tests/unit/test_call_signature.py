"""Signatures prove that a call comes from the trigger."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.call_signature import HEADER, MAX_AGE_S, check_signature, signature
from rollcall.core.errors import CallNotSigned

KEY = "k" * 32
NOW_S = 1_800_000_000.9
BODY = b'{"bucket": "b", "key": "k.mp4"}'
SIGNED = signature(KEY, BODY, NOW_S)


def refused(
    headers: dict[str, str], body: bytes = BODY, key: str = KEY, now_s: float = NOW_S
) -> str:
    with pytest.raises(CallNotSigned) as caught:
        check_signature(key, body, headers, now_s)
    assert KEY not in str(caught.value)
    return str(caught.value)


def test_the_signature_is_as_documented() -> None:
    text = b"rollcall-call-1\n1800000000\n" + BODY
    digest = hmac.new(KEY.encode(), text, hashlib.sha256).hexdigest()
    assert signature(KEY, BODY, NOW_S) == f"t=1800000000,sha256={digest}"


@pytest.mark.parametrize("name", [HEADER, HEADER.lower(), HEADER.upper()])
@pytest.mark.parametrize("late_s", [0, MAX_AGE_S - 1, 1 - MAX_AGE_S])
def test_a_signed_call_is_accepted(name: str, late_s: float) -> None:
    check_signature(KEY, BODY, {name: SIGNED, "Host": "x"}, NOW_S + late_s)


def test_while_a_key_is_replaced_both_keys_are_accepted_and_the_first_one_signs() -> None:
    new, old = "n" * 32, KEY
    both = f"{new}, {old}"
    assert signature(both, BODY, NOW_S) == signature(new, BODY, NOW_S)
    for signed_with, known in ((old, both), (both, new), (new, both), (both, both)):
        check_signature(known, BODY, {HEADER: signature(signed_with, BODY, NOW_S)}, NOW_S)
    assert "wrong" in refused({HEADER: signature(both, BODY, NOW_S)}, key=old)
    assert "wrong" in refused({HEADER: signature("x" * 32, BODY, NOW_S)}, key=both)


@pytest.mark.parametrize("late_s", [MAX_AGE_S + 2, -MAX_AGE_S - 2, 10**9])
def test_an_old_signature_is_rejected(late_s: float) -> None:
    assert "clocks" in refused({HEADER: SIGNED}, now_s=NOW_S + late_s)


def test_a_signature_of_another_body_key_or_time_is_rejected() -> None:
    assert "wrong" in refused({HEADER: SIGNED}, body=BODY + b" ")
    assert "wrong" in refused({HEADER: SIGNED}, key="j" * 32)
    assert "wrong" in refused({HEADER: SIGNED.replace("t=18", "t=19")}, now_s=NOW_S + 10**8)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "t=1",
        SIGNED.upper(),
        SIGNED + "0",
        " " + SIGNED,
        SIGNED + "\n",
        SIGNED.replace("t=1", "t=-1"),
        "t=" + "9" * 5000 + SIGNED[12:],
        "t=٣," + SIGNED[13:],
        "ü",
    ],
)
def test_malformed_headers_are_rejected(value: str) -> None:
    assert HEADER in refused({HEADER: value})


def test_two_headers_or_none_are_rejected() -> None:
    refused({HEADER: SIGNED, HEADER.lower(): SIGNED})
    refused({})


@given(st.binary(max_size=200), st.text(max_size=120))
def test_arbitrary_headers_are_rejected(body: bytes, value: str) -> None:
    refused({HEADER: value}, body=body)
