"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.needs import REPOSITORY, classroom_folder, need

from devstack.ceph import ProgramsMissing, check_programs
from devstack.demo import sample_folder
from devstack.processes import Process, Processes, answers, free_port


@pytest.fixture(scope="session")
def classroom() -> Path:
    return classroom_folder()


@pytest.fixture(scope="session")
def sample() -> Path:
    """The demo's own sample, made when it is not there yet."""
    return sample_folder(REPOSITORY / "state" / "demo")


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real moto server: S3, SNS and DynamoDB over HTTP."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with Processes() as processes:
        process = Process("moto", argv, os.environ, tmp_path_factory.mktemp("moto"))
        processes.add(process).wait_ready(answers(url))
        yield url


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI every part has to be there, so a skipped test is a failed run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def ceph_programs() -> None:
    """Ceph's programs are there."""
    try:
        check_programs(os.environ["PATH"])
    except ProgramsMissing as error:
        need(False, str(error))
