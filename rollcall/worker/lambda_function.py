"""Calls of a Lambda function that wait for the answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from rollcall.core.errors import FunctionBusy, RollcallError
from rollcall.stores.boto import boto_errors, refusal_code

_BUSY = "TooManyRequestsException"


class Answer(NamedTuple):
    """`function_error` says that the function failed: the payload is then its error."""

    payload: bytes
    function_error: str = ""


class LambdaFunction:
    """One function. Safe for threads."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def invoke(self, payload: bytes) -> Answer:
        """Raises FunctionBusy, StoreUnavailable or StoreMisconfigured."""
        try:
            return self._invoke(payload)
        except RollcallError as error:
            if refusal_code(error) == _BUSY:
                raise FunctionBusy(f"{self._name} runs as many calls as it may") from error
            raise

    def _invoke(self, payload: bytes) -> Answer:
        with boto_errors(f"calling {self._name}"):
            answer = self._client.invoke(
                FunctionName=self._name, InvocationType="RequestResponse", Payload=payload
            )
            return Answer(answer["Payload"].read(), answer.get("FunctionError", ""))
