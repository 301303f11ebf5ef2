"""How users are recognised, from the settings, and what the addresses of a request say."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from flask import current_app, request

from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings
from rollcall.web.sign_in_limit import SignInLimit
from rollcall.web.user_file import UserFile

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Gate:
    """The settings for the sign-in, and the limit of attempts."""

    users: UserFile | None
    proxy_header: str
    proxies: tuple[Network, ...]
    limit: SignInLimit

    @property
    def open(self) -> bool:
        """Whether nobody has to sign in."""
        return self.users is None and not self.proxy_header

    def is_proxy(self, address: str | None) -> bool:
        """Whether requests from this address come from a trusted reverse proxy."""
        try:
            found = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in network for network in self.proxies)

    def is_safe(self) -> bool:
        """Whether the request came over HTTPS, or did not leave this machine."""
        forwarded = request.headers.get("X-Forwarded-Proto")
        if forwarded and self.is_proxy(request.remote_addr):
            return forwarded == "https"
        # A header from an unknown proxy shows at least that the request came from elsewhere.
        return request.is_secure or (not forwarded and is_loopback(request.remote_addr or ""))

    def client_address(self) -> str:
        """The address that sent the request to the first trusted proxy, for the limit of attempts.

        Each proxy appends the address that it got the request from, so everything before the last
        address that is not a proxy may be made up.
        """
        address = request.remote_addr or ""
        for text in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
            if not self.is_proxy(address):
                break
            address = text.strip() or address
        return address[:64]


def build_gate(settings: Settings) -> Gate:
    """Raises SettingsError if the settings would show the pages to everybody on the network."""
    proxies = tuple(_networks(settings.web_proxies))
    if settings.web_proxy_header and not proxies:
        raise SettingsError(
            "WEB_PROXY_HEADER needs WEB_PROXIES, the addresses of the reverse proxies; everybody"
            " else could send the header too"
        )
    users = UserFile(Path(settings.web_users)) if settings.web_users else None
    gate = Gate(users, settings.web_proxy_header, proxies, SignInLimit())
    if users:
        users.users()  # a file that cannot be used is reported at the start
    host = settings.web_listen.rpartition(":")[0].strip("[]")
    if gate.open and not is_loopback(host):
        raise SettingsError(
            f"WEB_LISTEN {settings.web_listen} can be reached from other machines, and nobody has"
            " to sign in; set WEB_USERS (`rollcall web user add NAME`), or listen on 127.0.0.1"
        )
    return gate


def current_gate() -> Gate:
    """The gate of the app that answers the current request."""
    gate: Gate = current_app.extensions["rollcall-gate"]
    return gate


def is_loopback(host: str) -> bool:
    """Whether this is an address of this machine that other machines cannot reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _networks(text: str) -> list[Network]:
    try:
        parts = [part.strip() for part in text.split(",")]
        return [ipaddress.ip_network(part) for part in parts if part]
    except ValueError as error:
        raise SettingsError(
            f"WEB_PROXIES {text!r} has to be a list of addresses or networks, for example"
            " 10.0.0.5, 10.1.0.0/16"
        ) from error
