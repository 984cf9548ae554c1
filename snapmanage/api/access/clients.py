"""The clients that limits for each client count: an IPv4 address, or an IPv6 network of 64 bits.

A single host may use all addresses of such a network.
"""

import ipaddress
import re

# An address with its port, or in quotes, as proxies write it into Forwarded (RFC 7239) or X-Forwarded-For.
_WITH_PORT = re.compile(r'"?(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?"?')


def client_of(address: str | None) -> str:
    """Return the client of an address, which may have a port.

    All addresses that can't be parsed, such as that of a UNIX socket, are one client.
    """
    text = address or ""
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        known = ipaddress.ip_address(text)
    except ValueError:
        return ""
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network((known.packed, 64), strict=False))
