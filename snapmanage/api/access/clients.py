"""The clients that limits for each client count: an IPv4 address, or an IPv6 network of 64 bits.

A single host may use all addresses of such a network.
"""

import ipaddress


def client_of(address: str | None) -> str:
    """Return the client of an address; all addresses that can't be parsed, such as that of a UNIX socket, are one."""
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network((known.packed, 64), strict=False))
