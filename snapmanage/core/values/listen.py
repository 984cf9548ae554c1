"""The addresses on which a process listens, parsed from text such as `127.0.0.1:8776`."""

import ipaddress

from snapmanage import errors
from snapmanage.core.values.text import cut, printable

_LARGEST_PORT = 65535
_LONGEST_PORT = len(str(_LARGEST_PORT))


def parse_listen(text: str, option: str = "listen") -> tuple[str, int]:
    """Parse HOST:PORT or [IPV6]:PORT; raise `ConfigurationError` for other text, with the name of the option."""
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) <= _LONGEST_PORT and int(port) <= _LARGEST_PORT
    if not (host and is_port):
        raise errors.ConfigurationError(
            f"{option} must be HOST:PORT, such as 127.0.0.1:8776, not '{cut(printable(text))}'"
        )
    return host.strip("[]"), int(port)


def join_listen(host: str, port: int) -> str:
    """Return HOST:PORT, with brackets around an address of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_loopback(host: str, service: str) -> None:
    """Raise `ConfigurationError` for an address that other machines can reach."""
    if not is_loopback(host):
        raise errors.ConfigurationError(
            f"{service} has no authentication, so listen must be a loopback address, not {host}"
        )
