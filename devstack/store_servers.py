"""The stores that a local stack can use: moto, or a real Ceph with moto for DynamoDB."""

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
    """Where a store runs: its folder for logs and state, its environment, and its processes."""

    folder: Path
    environ: Mapping[str, str]
    processes: Processes


class Store(Protocol):
    """Servers for objects, notifications and the student table."""

    via: str
    """Value of `trigger_openfaas.py --via` with which the trigger registers at this store."""

    hint: str
    """A sentence for users who wait for the first result; may be empty."""

    def delivers(self, topic: str) -> bool:
        """Return whether the store already delivers the events of this topic without delay."""
        ...

    def settings(self) -> dict[str, str]:
        """Return addresses and keys by setting name. May be called before `start`."""
        ...

    def start(self) -> Process:
        """Start the servers, and return the process that serves S3. Raises StartFailed."""
        ...

    def clean(self) -> None:
        """Delete the stored data. All processes must have been stopped."""
        ...


class EmbeddedStore:
    """One moto server for S3, SNS, SQS and DynamoDB.

    It accepts any key, and listens only on 127.0.0.1.
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
            "SNS_VERIFY": "no",  # moto signs messages with a certificate that AWS did not issue
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
        """Do nothing: the data was in memory."""


class CephStore:
    """Ceph for objects and notifications, and moto for DynamoDB."""

    via = "ceph"
    hint = "The first result can take 30 s longer, until Ceph's gateway has found the new topic."

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
