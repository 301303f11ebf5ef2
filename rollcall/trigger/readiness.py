"""Whether the parts that the trigger needs can be reached, for probes and for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urlsplit

from rollcall.core.errors import TransientError
from rollcall.core.protocols import ObjectStore
from rollcall.http_client import HttpClient, NoAnswer
from rollcall.trigger.shared_call import NotKnown, SharedCall

KEEP_S = 5.0
"""How long the result of a check is used, so that frequent probes cost no more than rare ones."""

WAIT_S = 2.0
"""Longest wait of a probe for a check."""

RECENT_S = 60.0
"""How old a result may be to be shown to a person."""

FUNCTION_TIMEOUT_S = 5.0
MAX_HEALTH_BYTES = 4096

PROBE_PREFIX = "rollcall-readiness-check/"
"""Listing keys with this prefix shows that the bucket exists and may be listed. No key has it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One part, and how to find out whether it can be reached."""

    name: str
    needed_for: str
    """What does not work while this part cannot be reached."""
    check: Callable[[], object]
    """Raises an exception if the part cannot be reached. May hang."""


@dataclass(frozen=True, slots=True)
class PartState:
    """The result of a check."""

    name: str
    needed_for: str
    error: str
    """Empty if the part can be reached. It may name hosts and buckets, so only some may see it."""

    @property
    def ok(self) -> bool:
        return not self.error


class Readiness:
    """The checks of several parts, which run in threads of their own."""

    def __init__(
        self, checks: Sequence[Check], *, keep_s: float = KEEP_S, wait_s: float = WAIT_S
    ) -> None:
        self._calls = {
            check: SharedCall(check.check, keep_s=keep_s, wait_s=wait_s) for check in checks
        }

    def states(self, name: str = "") -> list[PartState]:
        """The state of all parts, or of one. A check that takes too long counts as failed."""
        chosen = [check for check in self._calls if name in ("", check.name)]
        for check in chosen:  # all checks run at the same time
            self._calls[check].refresh()
        return [_state(check, self._calls[check].result) for check in chosen]

    def last_states(self) -> list[PartState]:
        """The state of the parts that were checked in the last minute, without waiting.

        Begins a check of the others.
        """
        found = []
        for check, call in self._calls.items():
            with suppress(NotKnown):
                found.append(_state(check, partial(call.last, RECENT_S)))
        return found


def _state(check: Check, result: Callable[[], object]) -> PartState:
    try:
        result()
    except NotKnown:
        raise
    except Exception as error:
        return PartState(check.name, check.needed_for, str(error) or type(error).__name__)
    return PartState(check.name, check.needed_for, "")


class NotReachable(TransientError):
    """A part of the system cannot be reached."""


def check_buckets(store: ObjectStore, buckets: Sequence[str]) -> None:
    """Raise an error unless the trigger may list each of the buckets."""
    for bucket in buckets:
        next(iter(store.list_objects(bucket, PROBE_PREFIX)), None)


class FunctionCheck:
    """Finds out whether the function can be called, without calling it.

    The gateway passes the path `/_/health` to the function's watchdog, which answers it itself. So
    the answer 200 shows that the gateway is up, the function is deployed, and a replica answers.
    The function's own code does not run, and no token is needed (docs/decisions/0109).
    """

    def __init__(self, gateway: str, function: str) -> None:
        self._url = f"{gateway}/function/{quote(function, safe='.-_')}/_/health"

    def __call__(self) -> None:
        """Raise NotReachable, with the reason, if the function cannot be called."""
        shown = urlsplit(self._url)._replace(netloc=self._host()).geturl()
        try:
            # Not the client that calls the function: its connections may all be in use.
            with HttpClient() as client:
                answer = client.get(
                    self._url, timeout_s=FUNCTION_TIMEOUT_S, max_bytes=MAX_HEALTH_BYTES
                )
        except (NoAnswer, OSError) as error:
            raise NotReachable(
                f"{shown} does not answer ({error}); check OPENFAAS_GATEWAY"
            ) from error
        if answer.status != 200:
            raise NotReachable(
                f"{shown} answers {answer.status}; check that OPENFAAS_FUNCTION names a function"
                " that is deployed and has a ready replica"
            )

    def _host(self) -> str:
        """Host and port, without the password that the URL may contain."""
        return urlsplit(self._url).netloc.rpartition("@")[2]
