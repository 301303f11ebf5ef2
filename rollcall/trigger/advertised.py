"""The address that the store sends events to, checked before anything is registered."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from urllib.parse import SplitResult, urlsplit

from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings
from rollcall.http_client import HttpClient, NoAnswer

EVENTS = "/events"
PROBE_TIMEOUT_S = 5.0
MAX_HEALTH_BYTES = 65536
PROBES = 3
PROBE_PAUSE_S = 1.0
_PORTS = {"http": 80, "https": 443}


def checked_url(advertise: str, settings: Settings) -> str:
    """`http://host:8090` -> `http://host:8090/events`.

    Raises SettingsError for an address that the store could not use. Contacts nothing.
    """
    url = normal_url(advertise)
    _check_host(advertise, str(urlsplit(url).hostname), settings.s3_endpoint_url)
    return url


def normal_url(advertise: str) -> str:
    """The address with `/events`, in one spelling. Raises SettingsError when it is malformed."""
    given = advertise.strip()
    parts = _split(given)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise _wrong(given, "write it as http://HOST:PORT or https://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise _wrong(given, "leave out user and password; the token is added to it")
    if parts.query or parts.fragment or "?" in given or "#" in given:
        raise _wrong(given, "leave out everything from ? or # on")
    if any(not character.isprintable() or character.isspace() for character in given):
        raise _wrong(given, "it contains spaces or control characters")
    path = parts.path.rstrip("/").removesuffix(EVENTS).rstrip("/")
    return parts._replace(netloc=_authority(parts), path=path + EVENTS).geturl()


def probe(url: str, settings: Settings) -> None:
    """Asks `/healthz` beside `url` and expects the answer of a Rollcall trigger.

    Raises SettingsError after several tries.
    """
    health = url.removesuffix(EVENTS) + "/healthz"
    for attempt in range(PROBES):
        if attempt:
            time.sleep(PROBE_PAUSE_S)
        problem = _problem(health, settings)
        if not problem:
            return
    base = url.removesuffix(EVENTS)
    raise _wrong(
        base,
        f"{problem}.{_port_hint(base, settings)} If the store reaches it although this machine does"
        " not, add --no-check",
    )


def _problem(health: str, settings: Settings) -> str:
    try:
        with HttpClient(ca_bundle=settings.s3_ca_bundle) as client:
            answer = client.get(health, timeout_s=PROBE_TIMEOUT_S, max_bytes=MAX_HEALTH_BYTES)
    except (NoAnswer, OSError) as error:
        return f"{health} does not answer ({error})"
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return f"{health} answers {answer.status}, but not as a Rollcall trigger does"
    # Before its start the trigger answers 503, in the same form.
    if not isinstance(found, dict) or not {"ok", "work"} <= found.keys():
        return f"{health} answers {answer.status}, but not as a Rollcall trigger does"
    return ""


def _port_hint(base: str, settings: Settings) -> str:
    """The usual mistake is a missing port."""
    listens = settings.trigger_listen.rpartition(":")[2]
    parts = urlsplit(base)
    if parts.port is None:
        used = _PORTS[parts.scheme]
        return f" Without a port it means port {used}; this trigger listens on port {listens}."
    return "" if str(parts.port) == listens else f" This trigger listens on port {listens}."


def _split(given: str) -> SplitResult:
    try:
        parts = urlsplit(given)
        if parts.port == 0:
            raise ValueError("port 0 cannot be reached")
    except ValueError as error:
        raise _wrong(given, str(error)) from error
    return parts


def _authority(parts: SplitResult) -> str:
    """Host in small letters, and the port unless it is the scheme's own: one name for one place."""
    host = str(parts.hostname)
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in (None, _PORTS[parts.scheme]) else f"{host}:{parts.port}"


def _check_host(given: str, host: str, store: str) -> None:
    address = _address(host)
    if address and address.is_unspecified:
        raise _wrong(given, f"{host} is only for listening; give the address of this machine")
    store_host = urlsplit(store).hostname or ""
    if _is_loopback(host) and not _is_loopback(store_host):
        where = f"the store ({store_host})" if store_host else "AWS"
        raise _wrong(given, f"{where} runs elsewhere and cannot reach {host}")
    if not store_host and address and address.is_private:
        raise _wrong(given, f"AWS cannot reach the private address {host}")


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith((".localhost", ".localdomain"))
    return address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for a name. An IPv4 address inside an IPv6 one counts as itself."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _wrong(given: str, why: str) -> SettingsError:
    """A password in the address is not repeated."""
    return SettingsError(f"--advertise {re.sub('//.*@', '//...@', given)}: {why}")
