"""Names of hosts in addresses of servers."""

import ipaddress


def is_local(host: str) -> bool:
    """Return whether a host is this one: loopback, or the folder of a socket."""
    if host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
