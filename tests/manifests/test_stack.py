"""The OpenFaaS stack files: their keys, settings, time-outs and build contexts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import names
from manifests.checks import REPOSITORY, load, parse
from manifests.names import Manifests
from manifests.stack import seconds, shutdown_problems, stack_problems, timeout_problems

from devstack.build_context import assemble
from rollcall.core.settings import Settings
from rollcall.function.shutdown import LINGER_S

STACKS = ("project3.yml", "project3-fast.yml")


def _function(stack: str) -> dict[str, Any]:
    (document,) = parse((REPOSITORY / stack).read_text(), stack)
    (function,) = document.body["functions"].values()
    return dict(function)


@pytest.mark.parametrize("stack", STACKS)
def test_faas_cli_knows_every_key(stack: str) -> None:
    (document,) = parse((REPOSITORY / stack).read_text(), stack)
    assert list(stack_problems(document.body)) == []


@pytest.mark.parametrize("stack", STACKS)
def test_time_outs_are_in_the_right_order(stack: str) -> None:
    guide = (REPOSITORY / "docs" / "deploy.md").read_text()
    chart = dict(re.findall(r"--set gateway\.(\w+)=(\w+)", guide))
    upstream_s = seconds(chart["upstreamTimeout"])
    assert upstream_s < min(seconds(chart["readTimeout"]), seconds(chart["writeTimeout"]))
    environment = _function(stack)["environment"]
    caller_s = Settings().function_timeout_s
    assert list(timeout_problems(environment, upstream_s, caller_s)) == []


@pytest.mark.parametrize("stack", STACKS)
def test_the_watchdog_stops_forwarding_before_the_function_ends(stack: str) -> None:
    assert list(shutdown_problems(_function(stack)["environment"], LINGER_S)) == []


def test_the_image_of_the_template_caches_its_models_in_tmp() -> None:
    """Otherwise each process would convert them. The fast image contains the converted models."""
    assert _function("project3.yml")["environment"]["MODEL_CACHE"].startswith("/tmp/")
    assert "MODEL_CACHE" not in _function("project3-fast.yml")["environment"]
    dockerfile = (REPOSITORY / "OpenFaas" / "project3" / "Dockerfile").read_text()
    assert re.search(r"\bMODEL_CACHE=/home/app/models\b", dockerfile)


@pytest.mark.parametrize("stack", STACKS)
def test_the_function_uses_the_claimed_buckets(stack: str) -> None:
    manifests = Manifests(load(REPOSITORY / "ceph"))
    environment = _function(stack)["environment"]
    assert list(names.bucket_problems(manifests, stack, environment)) == []


def test_both_stack_files_deploy_the_same_function() -> None:
    """They differ only in the build of the image."""
    slow, fast = (_function(stack) for stack in STACKS)
    built = {"lang", "image", "build_args"}
    assert slow["lang"] == "python3-http-debian"
    assert fast["lang"] == "dockerfile"
    slow["environment"] = dict(slow["environment"])
    del slow["environment"]["MODEL_CACHE"]  # the fast image contains the models
    assert {key: slow[key] for key in slow.keys() - built} == {
        key: fast[key] for key in fast.keys() - built
    }


def test_the_dockerfile_copies_files_that_exist(tmp_path: Path) -> None:
    """faas-cli puts the handler's files and the folders in `configuration.copy` side by side."""
    context = assemble(tmp_path, "project3-fast.yml") / "function"
    copied = re.findall(r"^COPY (?!--from)(\S+) ", (context / "Dockerfile").read_text(), re.M)
    assert copied == ["requirements-fast.txt", "."]
    for name in (*copied, "handler.py", "index.py", "rollcall/pipeline.py"):
        assert (context / name).exists()


def test_there_is_a_worker_for_each_call_in_flight() -> None:
    """With more workers some would idle, and with fewer some calls would wait."""
    dockerfile = (REPOSITORY / "OpenFaas" / "project3" / "Dockerfile").read_text()
    environment = yaml.safe_load((REPOSITORY / "project3-fast.yml").read_text())["functions"][
        "face-recognition"
    ]["environment"]
    assert re.findall(r"WEB_CONCURRENCY=(\d+)", dockerfile) == [str(environment["max_inflight"])]
    (timeout_s,) = re.findall(r"--timeout (\d+)", dockerfile)
    assert float(timeout_s) > seconds(environment["exec_timeout"])
