"""Fixtures that tests in several folders use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from playwright.sync_api import Browser, Page
from support.browser import open_browser, open_page
from support.needs import REPOSITORY, classroom_folder, need
from support.one_at_a_time import one_at_a_time
from support.postgres import QUICK, FreshDatabases, running_postgres
from support.work_queues import Clock

from devstack.ceph import ProgramsMissing, check_programs
from devstack.demo import sample_folder
from devstack.processes import Processes
from devstack.store_servers import EmbeddedStore, Place


@pytest.fixture(scope="session", autouse=True)
def _shared_service_models() -> Iterator[None]:
    """Let all boto3 clients of this process share the descriptions of AWS's services.

    Otherwise each session would read and parse these files again, which takes ten times as long
    (130 ms of processor time for S3) as the rest of creating a client. The tests create thousands.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        yield


@pytest.fixture(scope="session", autouse=True)
def _patient_requests() -> Iterator[None]:
    """Let requests of tests wait a minute. The five seconds of httpx are too short for a busy
    machine."""
    with pytest.MonkeyPatch.context() as patch:
        for part in ("connect", "read", "write", "pool"):
            patch.setattr(DEFAULT_TIMEOUT_CONFIG, part, 60.0)
        yield


@pytest.fixture(scope="session")
def classroom() -> Path:
    return classroom_folder()


@pytest.fixture(scope="session")
def sample() -> Path:
    """The sample of the demo. It is created if it does not exist yet."""
    with one_at_a_time():
        return sample_folder(REPOSITORY / "state" / "demo")


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a moto server, which serves S3, SNS, SQS and DynamoDB over HTTP."""
    with Processes() as processes:
        store = EmbeddedStore(Place(tmp_path_factory.mktemp("moto"), os.environ, processes))
        store.start()
        yield store.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[FreshDatabases]:
    """A PostgreSQL server for all tests of this process."""
    # Vacuums would read blocks in the middle of tests that count them.
    with running_postgres({**QUICK, "autovacuum": "off"}) as server:
        yield FreshDatabases(server)


@pytest.fixture
def postgres_url(postgres: FreshDatabases) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database with Rollcall's tables."""
    with postgres.url() as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium for all tests of this process."""
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of the browser. The test fails if its scripts report errors."""
    with open_page(browser) as opened:
        yield opened


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run in CI if a test was skipped, because CI must have all programs and data."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def ceph_programs() -> None:
    """Skip the test if the programs of Ceph are not installed; in CI, fail it."""
    try:
        check_programs(os.environ["PATH"])
    except ProgramsMissing as error:
        need(False, str(error))
