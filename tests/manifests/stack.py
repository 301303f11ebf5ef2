"""OpenFaaS stack files against what faas-cli reads; it drops every other key without a word.

Keys and types are those of the structs in `stack/schema.go` of faas-cli's Go SDK.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rollcall.core.settings import setting_names

TEXT, FLAG, TEXTS, TABLE = "a text", "true or false", "a list of texts", "a table of texts"
RESOURCES = {"cpu": TEXT, "memory": TEXT}
FUNCTION: dict[str, Any] = {
    "annotations": TABLE,
    "build_args": TABLE,
    "build_options": TEXTS,
    "build_secrets": TABLE,
    "constraints": TEXTS,
    "environment": TABLE,
    "environment_file": TEXTS,
    "fprocess": TEXT,
    "handler": TEXT,
    "image": TEXT,
    "labels": TABLE,
    "lang": TEXT,
    "limits": RESOURCES,
    "namespace": TEXT,
    "platforms": TEXT,
    "readonly_root_filesystem": FLAG,
    "requests": RESOURCES,
    "secrets": TEXTS,
    "skip_build": FLAG,
}
STACK: dict[str, Any] = {
    "version": TEXT,
    "provider": {"name": TEXT, "gateway": TEXT},
    "configuration": {"copy": TEXTS, "templates": [{"name": TEXT, "source": TEXT}]},
    "functions": {"*": FUNCTION},
}
WATCHDOG = frozenset(
    [
        "exec_timeout",
        "read_timeout",
        "write_timeout",
        "healthcheck_interval",
        "max_inflight",
        "log_buffer_size",
        "prefix_logs",
        "log_callid",
        "http_buffer_req_body",
        "ready_path",
    ]
)
"""Settings of of-watchdog that a stack file may change; the image itself sets the others."""

SECRET_FILES = frozenset({"ca-bundle"})
"""Secrets that are files for a library, not settings (docs/deploy.md)."""

TELEMETRY = "ORT_DISABLE_TELEMETRY"
LIBRARIES = frozenset({"OPENBLAS_NUM_THREADS", TELEMETRY})
"""Variables that a library reads."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def stack_problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Keys, types, names of settings and secrets."""
    yield from _shape(document, STACK, "")
    for name, function in document.get("functions", {}).items():
        for variable in function.get("environment", {}):
            if variable not in {*WATCHDOG, *LIBRARIES, *setting_names()}:
                yield f"{name}: {variable} is neither a setting nor the watchdog's"
        if function.get("environment", {}).get(TELEMETRY) != "1":
            yield f"{name}: {TELEMETRY} is not 1, so onnxruntime reports to Microsoft"
        for secret in function.get("secrets", ()):
            if secret not in SECRET_FILES and _setting(secret) not in setting_names():
                yield f"{name}: the secret {secret} is no setting"
        if "/" not in function.get("image", ""):
            yield f"{name}: the image's name needs a /"


def timeout_problems(
    environment: Mapping[str, Any], upstream_s: float, caller_s: float
) -> Iterator[str]:
    """exec < the gateway's upstream time-out < read, write < the caller's, else it sees a 502."""
    exec_s, read_s, write_s = (
        seconds(str(environment.get(f"{name}_timeout", "30s")))
        for name in ("exec", "read", "write")
    )
    if not exec_s < upstream_s < min(read_s, write_s) <= max(read_s, write_s) < caller_s:
        yield f"exec {exec_s} < {upstream_s} < read {read_s}, write {write_s} < {caller_s} is wrong"


def shutdown_problems(environment: Mapping[str, Any], linger_s: float) -> Iterator[str]:
    """The watchdog stops passing on calls before the function's process ends.

    After SIGTERM, of-watchdog 0.11 waits `healthcheck_interval`; its default is write_timeout.
    """
    default = str(environment.get("write_timeout", "30s"))
    interval_s = seconds(str(environment.get("healthcheck_interval", default)))
    if not interval_s < linger_s:
        yield f"healthcheck_interval {interval_s} is not below the {linger_s} s of the function"


def seconds(duration: str) -> float:
    """Go's notation, `1m30s`; raises ValueError for anything else."""
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", duration)
    if not parts or "".join(map("".join, parts)) != duration:
        raise ValueError(f"{duration!r} is no duration")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _setting(secret: str) -> str:
    """As rollcall.config reads them: `trigger-token` is TRIGGER_TOKEN."""
    return secret.upper().replace("-", "_")


def _shape(value: Any, wanted: Any, path: str) -> Iterator[str]:
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            yield f"{path}: has to be a table"
            return
        for key, part in value.items():
            if "*" in wanted or key in wanted:
                yield from _shape(part, wanted.get("*", wanted.get(key)), f"{path}.{key}")
            else:
                yield f"{path}.{key}: faas-cli does not know this key"
    elif isinstance(wanted, list):
        for index, part in enumerate(value):
            yield from _shape(part, wanted[0], f"{path}[{index}]")
    elif not _is(value, wanted):
        yield f"{path}: {value!r} has to be {wanted}"


def _is(value: Any, wanted: str) -> bool:
    if wanted == FLAG:
        return isinstance(value, bool)
    if wanted == TEXTS:
        return isinstance(value, list) and all(_is(part, TEXT) for part in value)
    if wanted == TABLE:
        return isinstance(value, dict) and all(_is(part, TEXT) for part in value.values())
    # A bare number stays the text that it was; a bare yes, no or n need not.
    return isinstance(value, str | int | float) and not isinstance(value, bool)
