"""Checks of OpenFaaS stack files. faas-cli silently ignores keys that it does not know.

Keys and types are those of the structs in `stack/schema.go` of the Go SDK of faas-cli.
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
"""Settings of of-watchdog that a stack file may change. The image sets the other ones."""

SECRET_FILES = frozenset({"ca-bundle"})
"""Secrets that are files for a library instead of settings (docs/deploy.md)."""

TELEMETRY = "ORT_DISABLE_TELEMETRY"
LIBRARIES = frozenset({"OPENBLAS_NUM_THREADS", TELEMETRY})
"""Environment variables that libraries read."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def stack_problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Check keys, types and the names of settings and secrets."""
    yield from _shape(document, STACK, "")
    for name, function in document.get("functions", {}).items():
        for variable in function.get("environment", {}):
            if variable not in {*WATCHDOG, *LIBRARIES, *setting_names()}:
                yield f"{name}: {variable} is neither a setting nor a variable of the watchdog"
        if function.get("environment", {}).get(TELEMETRY) != "1":
            yield f"{name}: {TELEMETRY} is not 1, so onnxruntime reports to Microsoft"
        for secret in function.get("secrets", ()):
            if secret not in SECRET_FILES and _setting(secret) not in setting_names():
                yield f"{name}: the secret {secret} is not a setting"
        if "/" not in function.get("image", ""):
            yield f"{name}: the image's name needs a /"


def timeout_problems(
    environment: Mapping[str, Any], upstream_s: float, caller_s: float
) -> Iterator[str]:
    """Check that the time-outs increase: exec, the gateway's upstream, read and write, the caller.

    In any other order, the caller could get a 502.
    """
    exec_s, read_s, write_s = (
        seconds(str(environment.get(f"{name}_timeout", "30s")))
        for name in ("exec", "read", "write")
    )
    if not exec_s < upstream_s < min(read_s, write_s) <= max(read_s, write_s) < caller_s:
        yield f"not exec {exec_s} < {upstream_s} < read {read_s}, write {write_s} < {caller_s}"


def shutdown_problems(environment: Mapping[str, Any], linger_s: float) -> Iterator[str]:
    """Check that the watchdog stops forwarding calls before the function's process ends.

    After SIGTERM, of-watchdog 0.11 forwards calls for `healthcheck_interval`, by default
    `write_timeout`.
    """
    default = str(environment.get("write_timeout", "30s"))
    interval_s = seconds(str(environment.get("healthcheck_interval", default)))
    if not interval_s < linger_s:
        yield f"healthcheck_interval {interval_s} is not below the {linger_s} s of the function"


def seconds(duration: str) -> float:
    """Parse Go's notation for durations, such as `1m30s`, into seconds. Raises ValueError."""
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", duration)
    if not parts or "".join(map("".join, parts)) != duration:
        raise ValueError(f"{duration!r} is not a duration")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _setting(secret: str) -> str:
    """Return the name of a secret's setting, as rollcall.config does."""
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
    # faas-cli reads a bare number as text, but a bare yes, no or n as a boolean.
    return isinstance(value, str | int | float) and not isinstance(value, bool)
