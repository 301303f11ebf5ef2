"""Checks of `--advertise`, the address to which the store will send events."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from urllib.parse import SplitResult, urlsplit

from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings
from rollcall.http_client import HttpClient, NoAnswer
from rollcall.trigger.pages import SERVICE

EVENTS = "/events"
PROBE_TIMEOUT_S = 5.0
MAX_HEALTH_BYTES = 65536
"""Longest answer of /healthz that is read, because another program may answer at that address."""

PROBES = 3
"""Failed requests before the address counts as wrong, because a new pod or route may need time."""

PROBE_PAUSE_S = 1.0
_PORTS = {"http": 80, "https": 443}


def checked_url(advertise: str, settings: Settings) -> str:
    """Return the URL for events: `http://host:8090` -> `http://host:8090/events`.

    Raises SettingsError for an address that the store cannot use. Makes no connection.
    """
    url = normal_url(advertise)
    _check_host(advertise, str(urlsplit(url).hostname), settings.s3_endpoint_url)
    return url


def normal_url(advertise: str) -> str:
    """Return the URL for events in normal form. Raises SettingsError if it is malformed.

    Two spellings of one address get the same URL, and so the same topic.
    """
    address = advertise.strip()
    parts = _split(address)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise _wrong(address, "write it as http://HOST:PORT or https://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise _wrong(address, "leave out user and password; --register adds the token")
    if parts.query or parts.fragment or "?" in address or "#" in address:
        raise _wrong(address, "leave out ? or # and everything after it")
    if any(not character.isprintable() or character.isspace() for character in address):
        raise _wrong(address, "it contains spaces or control characters")
    path = parts.path.rstrip("/").removesuffix(EVENTS).rstrip("/")
    return parts._replace(netloc=_authority(parts), path=path + EVENTS).geturl()


def probe(url: str, settings: Settings) -> None:
    """Check that a Rollcall trigger answers at `/healthz` beside the URL for events.

    Raises SettingsError if none of PROBES requests gets its answer.
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
    # The status does not matter: until its threads run, a trigger answers 503 with this name.
    if not isinstance(found, dict) or found.get("service") != SERVICE:
        return f"{health} answers {answer.status}, but not as a Rollcall trigger does"
    return ""


def _port_hint(base: str, settings: Settings) -> str:
    """A sentence about the port, if the port may be wrong. It is often left out."""
    listens = settings.trigger_listen.rpartition(":")[2]
    parts = urlsplit(base)
    if parts.port is None:
        used = _PORTS[parts.scheme]
        return f" Without a port it means port {used}; this trigger listens on port {listens}."
    return "" if str(parts.port) == listens else f" This trigger listens on port {listens}."


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        if parts.port == 0:
            raise ValueError("port 0 cannot be reached")
    except ValueError as error:
        raise _wrong(address, str(error)) from error
    return parts


def _authority(parts: SplitResult) -> str:
    """The host in lower case, and the port unless it is the scheme's default port."""
    host = str(parts.hostname)
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in (None, _PORTS[parts.scheme]) else f"{host}:{parts.port}"


def _check_host(advertise: str, host: str, store: str) -> None:
    address = _ip_address(host)
    if address and address.is_unspecified:
        raise _wrong(advertise, f"{host} is only for listening; give the address of this machine")
    store_host = urlsplit(store).hostname or ""
    # A loopback address is right only if the store runs on this machine, too.
    if _is_loopback(host) and not _is_loopback(store_host):
        where = f"the store ({store_host})" if store_host else "AWS"
        raise _wrong(advertise, f"{where} runs elsewhere and cannot reach {host}")
    if not store_host and address and address.is_private:
        raise _wrong(advertise, f"AWS cannot reach the private address {host}")


def _is_loopback(host: str) -> bool:
    address = _ip_address(host)
    if address is None:
        return host == "localhost" or host.endswith((".localhost", ".localdomain"))
    return address.is_loopback


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address, or None for a host name. `::ffff:10.0.0.1` becomes the IPv4 address."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _wrong(address: str, reason: str) -> SettingsError:
    # The address may contain a password by mistake, which must not get into logs.
    shown = re.sub("//.*@", "//...@", address)
    return SettingsError(f"--advertise {shown}: {reason}")
