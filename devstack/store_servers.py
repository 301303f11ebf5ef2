"""The stores that a local stack may stand on: moto for everything, or a real Ceph."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from devstack.ceph import Ceph
from devstack.processes import Process, Processes, answers, free_port

StoreName = Literal["embedded", "ceph"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where programs of a stack run: logs and state in `folder`, owned by `processes`."""

    folder: Path
    environ: Mapping[str, str]
    processes: Processes


class Store(Protocol):
    """Objects, notifications and the student table."""

    via: str
    """How the trigger is registered: `trigger_openfaas.py --via`."""

    hint: str
    """What a person who waits for the first result should know; empty: nothing."""

    def delivers(self, topic: str) -> bool:
        """Whether the events of this topic go out at once by now."""
        ...

    def settings(self) -> dict[str, str]:
        """Addresses and keys, by the names of the settings; known before the start."""
        ...

    def start(self) -> Process:
        """What answers S3. Raises StartFailed."""
        ...

    def clean(self) -> None:
        """When every process has stopped."""
        ...


class EmbeddedStore:
    """moto for S3, SNS and DynamoDB.

    Its keys are not secret: it accepts any key, and listens on loopback.
    """

    via = "sns"
    hint = ""

    def __init__(self, place: Place, name: str = "store") -> None:
        self._place = place
        self._name = name
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def settings(self) -> dict[str, str]:
        return {
            **self.dynamodb_settings(),
            "S3_ENDPOINT_URL": self.url,
            "SNS_VERIFY": "no",  # moto signs, with certificates of its own
        }

    def dynamodb_settings(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "embedded",
            "AWS_SECRET_ACCESS_KEY": "embedded",
            "AWS_REGION": "us-east-1",
            "DYNAMODB_ENDPOINT_URL": self.url,
        }

    def start(self) -> Process:
        argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        process = Process(self._name, argv, self._place.environ, self._place.folder)
        self._place.processes.add(process).wait_ready(answers(self.url))
        return process

    def delivers(self, topic: str) -> bool:
        return True

    def clean(self) -> None:
        """It keeps everything in memory."""


class CephStore:
    """Ceph for objects and notifications; moto beside it for DynamoDB alone."""

    via = "ceph"
    hint = "Ceph's gateway looks for topics 30 s after its start; from then on events come at once."

    def __init__(self, place: Place) -> None:
        self.ceph = Ceph(place.folder, place.environ, place.processes)
        self._students = EmbeddedStore(place, "dynamodb")

    def settings(self) -> dict[str, str]:
        return {
            **self._students.dynamodb_settings(),
            "S3_ENDPOINT_URL": self.ceph.url,
            "S3_AWS_ACCESS_KEY_ID": self.ceph.keys.access,
            "S3_AWS_SECRET_ACCESS_KEY": self.ceph.keys.secret,
        }

    def start(self) -> Process:
        gateway = self.ceph.start()
        self._students.start()
        return gateway

    def delivers(self, topic: str) -> bool:
        return self.ceph.delivers(topic)

    def clean(self) -> None:
        self.ceph.remove_data()


def build_store(name: StoreName, place: Place) -> Store:
    return CephStore(place) if name == "ceph" else EmbeddedStore(place)
