"""Calls a Lambda function and waits for the answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from rollcall.core.errors import FunctionBusy, RollcallError
from rollcall.stores.boto import boto_errors, refusal_code

_BUSY = "TooManyRequestsException"
"""Lambda's error code for a call beyond the concurrency limit of the function or the account."""


class Answer(NamedTuple):
    """The answer to a call.

    If the function failed, `function_error` is not empty and the payload describes the failure.
    """

    payload: bytes
    function_error: str = ""


class LambdaFunction:
    """A Lambda function that can be called. Safe for threads."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def invoke(self, payload: bytes) -> Answer:
        """Call the function. Raises FunctionBusy, StoreUnavailable or StoreMisconfigured."""
        try:
            with boto_errors(f"calling {self._name}"):
                answer = self._client.invoke(
                    FunctionName=self._name, InvocationType="RequestResponse", Payload=payload
                )
                return Answer(answer["Payload"].read(), answer.get("FunctionError", ""))
        except RollcallError as error:
            if refusal_code(error) == _BUSY:
                raise FunctionBusy(
                    f"{self._name} is at its concurrency limit; the call is repeated"
                ) from error
            raise
